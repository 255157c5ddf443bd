"""What several networks are built of, in torch."""

from torch import nn


def dense(inputs: int, units: int, layers: int, dropout: float, outputs: int = 1) -> nn.Sequential:
    """Layers of rectified units with dropout, and a linear one."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout)]
        inputs = units
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


def transformer(width: int, layers: int, dropout: float) -> nn.TransformerEncoder:
    """Tokens of this width that attend to each other by four heads."""
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
