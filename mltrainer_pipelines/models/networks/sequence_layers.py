"""Networks of sequences, (rows, sessions, features) to log-odds (rows,), the last session being the row's own; in torch.

The last feature says whether a session is there: 1, or 0 where it is padding.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch program gives it
from torch import Tensor, nn

from mltrainer_pipelines.models.networks.blocks import dense, transformer
from mltrainer_pipelines.models.networks.convolution_layers import CausalConvolution


class Recurrent(nn.Module):
    """Reads the sessions in order; its state after the last one, or an attention over all its states, decides."""

    def __init__(
        self, features: int, length: int, units: int, dropout: float, kind: str, both: bool = False, attend: bool = False
    ):
        super().__init__()
        self.rnn = getattr(nn, kind)(features, units, batch_first=True, bidirectional=both)
        width = units * (2 if both else 1)
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)) if attend else None
        self.both, self.units = both, units
        self.last = nn.Sequential(nn.Dropout(dropout), nn.Linear(width * (2 if attend else 1), 1))

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x)
        end = torch.cat([states[:, -1, : self.units], states[:, 0, self.units :]], dim=1) if self.both else states[:, -1]
        if self.score is not None:
            weight = torch.softmax(self.score(states)[:, :, 0].masked_fill(x[:, :, -1] < 0.5, -1e4), dim=1)
            end = torch.cat([end, (weight[:, :, None] * states).sum(dim=1)], dim=1)
        return self.last(end)[:, 0]


class ConvolutionalRecurrent(nn.Module):
    def __init__(self, features: int, length: int, units: int, dropout: float):
        super().__init__()
        self.conv = nn.Sequential(CausalConvolution(features, units, 3), nn.ReLU(), nn.Dropout(dropout))
        self.rnn = Recurrent(units + 1, length, units, dropout, "LSTM")

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(torch.cat([self.conv(x.transpose(1, 2)).transpose(1, 2), x[:, :, -1:]], dim=2))


def _positional_encoding(length: int, width: int) -> Tensor:
    at = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([at.sin(), at.cos()], dim=2).flatten(1)[:, :width]


class SequenceTransformer(nn.Module):
    """Tokens are sessions, patches of sessions of all features, or whole features (inverted)."""

    def __init__(self, features: int, length: int, units: int, dropout: float, tokens: str = "sessions", patch: int = 5):
        super().__init__()
        self.tokens, self.patch = tokens, patch
        width = max(8, units // 4 * 4)
        inputs = {"sessions": features, "patches": features * patch, "features": length}[tokens]
        self.pad = -length % patch if tokens == "patches" else 0
        count = {"sessions": length, "patches": (length + self.pad) // patch, "features": features}[tokens]
        self.first = nn.Linear(inputs, width)
        if tokens == "features":
            self.place = nn.Parameter(torch.randn(count, width) * 0.1)
        else:
            self.register_buffer("place", _positional_encoding(count, width))
        self.encoder = transformer(width, 2 if tokens == "sessions" else 1, dropout)
        read = width * count if tokens == "features" else width
        self.last = nn.Sequential(nn.LayerNorm(read), nn.Linear(read, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.tokens == "patches":
            x = F.pad(x, (0, 0, self.pad, 0))
            x = x.reshape(len(x), -1, self.patch * x.shape[2])
        elif self.tokens == "features":
            x = x.transpose(1, 2)
        h = self.encoder(self.first(x) + self.place)
        return self.last(h.flatten(1) if self.tokens == "features" else h[:, -1])[:, 0]


class StackedBasis(nn.Module):
    """Blocks that explain part of the window, take it away and add to the forecast; pooled to coarser steps where asked."""

    def __init__(self, features: int, length: int, units: int, dropout: float, pools: tuple[int, ...] = (1, 1, 1)):
        super().__init__()
        self.mix = nn.Linear(features, max(4, units // 4))
        width, self.pools, self.length = self.mix.out_features, pools, length
        sizes = [math.ceil(length / pool) for pool in pools]
        self.blocks = nn.ModuleList(dense(size * width, units, 2, dropout, size * width + 1) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        rest = self.mix(x).transpose(1, 2)
        total = x.new_zeros(len(x))
        for block, pool in zip(self.blocks, self.pools, strict=True):
            pooled = F.avg_pool1d(F.pad(rest, (-self.length % pool, 0)), pool) if pool > 1 else rest
            output = block(pooled.flatten(1))
            total = total + output[:, 0]
            back = output[:, 1:].reshape(len(x), rest.shape[1], -1)
            rest = rest - (F.interpolate(back, size=self.length, mode="linear") if pool > 1 else back)
        return total


class DecomposedLinear(nn.Module):
    """The window's moving average and what is left of it, each a weighted sum over sessions and features."""

    def __init__(self, features: int, length: int, units: int, dropout: float, last_value: bool = False):
        super().__init__()
        self.trend, self.rest = nn.Linear(length * features, 1), nn.Linear(length * features, 1)
        self.kernel = min(5, length) | 1
        self.last_value = last_value
        self.now = nn.Linear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.last_value:
            return (self.rest((x - x[:, -1:]).flatten(1)) + self.now(x[:, -1]))[:, 0]
        half = self.kernel // 2
        padded = torch.cat([x[:, :1].expand(-1, half, -1), x, x[:, -1:].expand(-1, half, -1)], dim=1)
        trend = F.avg_pool1d(padded.transpose(1, 2), self.kernel, 1).transpose(1, 2)[:, : x.shape[1]]
        return (self.trend(trend.flatten(1)) + self.rest((x - trend).flatten(1)))[:, 0]


class MixerNetwork(nn.Module):
    """Perceptrons across sessions and across features in turn."""

    def __init__(self, features: int, length: int, units: int, dropout: float):
        super().__init__()
        self.time = nn.ModuleList(nn.Sequential(nn.Linear(length, length), nn.ReLU(), nn.Dropout(dropout)) for _ in range(2))
        self.depth = nn.ModuleList(
            nn.Sequential(nn.Linear(features, units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, features))
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(4))
        self.last = nn.Linear(length * features, 1)

    def forward(self, x: Tensor) -> Tensor:
        for number, (time, depth) in enumerate(zip(self.time, self.depth, strict=True)):
            x = x + time(self.norms[2 * number](x).transpose(1, 2)).transpose(1, 2)
            x = x + depth(self.norms[2 * number + 1](x))
        return self.last(x.flatten(1))[:, 0]


class DiagonalStateSpace(nn.Module):
    """A linear system with complex decays for each channel, read at the last session: one long learnt filter."""

    def __init__(self, features: int, length: int, units: int, dropout: float, states: int = 8):
        super().__init__()
        self.first, self.length = nn.Linear(features, units), length
        self.log_decay = nn.Parameter(torch.log(0.5 * torch.ones(units, states)))
        self.angle = nn.Parameter(math.pi * torch.arange(states).float().repeat(units, 1))
        self.log_step = nn.Parameter(torch.rand(units) * 2 - 3)
        self.output = nn.Parameter(torch.randn(units, states, 2) / math.sqrt(states))
        self.skip = nn.Parameter(torch.ones(units))
        self.last = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(units, units), nn.GELU(), nn.Linear(units, 1))

    def forward(self, x: Tensor) -> Tensor:
        u = self.first(x)
        step = self.log_step.exp()[:, None]
        ages = torch.arange(self.length - 1, -1, -1, device=x.device, dtype=x.dtype)
        fade = torch.exp(-self.log_decay.exp()[:, :, None] * step[:, :, None] * ages)
        turn = self.angle[:, :, None] * step[:, :, None] * ages
        real, imaginary = self.output[:, :, 0, None], self.output[:, :, 1, None]
        kernel = (fade * (real * turn.cos() - imaginary * turn.sin())).sum(dim=1) * step
        return self.last(torch.einsum("blu,ul->bu", u, kernel) + self.skip * u[:, -1])[:, 0]


class GatedAverage(nn.Module):
    """States that are averages with learnt forgetting: from the input alone (minGRU), or from neighbouring inputs (QRNN)."""

    def __init__(self, features: int, length: int, units: int, dropout: float, kernel: int = 1):
        super().__init__()
        self.conv = CausalConvolution(features, 3 * units, kernel)
        self.last = nn.Sequential(nn.Dropout(dropout), nn.Linear(units, 1))

    def forward(self, x: Tensor) -> Tensor:
        candidate, forget, output = self.conv(x.transpose(1, 2)).chunk(3, dim=1)
        candidate, forget = torch.tanh(candidate), torch.sigmoid(forget + 1.0)
        state = torch.zeros_like(candidate[:, :, 0])
        for t in range(candidate.shape[2]):
            state = forget[:, :, t] * state + (1 - forget[:, :, t]) * candidate[:, :, t]
        return self.last(torch.sigmoid(output[:, :, -1]) * state)[:, 0]


class Reservoir(nn.Module):
    """A random recurrent network that is never trained, near the edge of forgetting; only its reading is learnt."""

    into: Tensor
    within: Tensor

    def __init__(self, features: int, length: int, units: int, dropout: float):
        super().__init__()
        self.register_buffer("into", (torch.rand(features, units) * 2 - 1) * 0.5 / math.sqrt(features) * 2)
        within = torch.randn(units, units) * (torch.rand(units, units) < 0.2)
        self.register_buffer("within", 0.9 * within / torch.linalg.eigvals(within).abs().max().clamp(min=1e-3))
        self.last = nn.Linear(units + features, 1)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.within.shape[0])
        for t in range(x.shape[1]):
            state = 0.5 * state + 0.5 * torch.tanh(x[:, t] @ self.into + state @ self.within)
        return self.last(torch.cat([state, x[:, -1]], dim=1))[:, 0]


class TemporalFusion(nn.Module):
    """Chooses features by gates at each session, reads them with an LSTM and attends over what it read."""

    def __init__(self, features: int, length: int, units: int, dropout: float):
        super().__init__()
        width = max(8, units // 4 * 4)
        self.choose = nn.Sequential(nn.Linear(features, width), nn.ELU(), nn.Linear(width, features))
        self.first = nn.Linear(features, width)
        self.rnn = nn.LSTM(width, width, batch_first=True)
        self.gate, self.gate2 = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, dropout, batch_first=True)
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x * torch.softmax(self.choose(x), dim=2) * x.shape[2])
        h = self.norm(h + F.glu(self.gate(self.rnn(h)[0]), dim=2))
        read, _ = self.attend(h[:, -1:], h, h, need_weights=False)
        return self.last(self.norm2(h[:, -1] + F.glu(self.gate2(read[:, 0]), dim=1)))[:, 0]
