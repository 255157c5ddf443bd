"""Networks of sequences by convolutions over the sessions; shapes as in `sequence_layers`."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch program gives it
from torch import Tensor, nn


class CausalConvolution(nn.Conv1d):
    """Sees a session and those before it only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class TemporalConvolution(nn.Module):
    """Residual blocks of dilated causal convolutions; gated as in WaveNet where asked."""

    def __init__(self, features: int, length: int, units: int, dropout: float, gated: bool = False):
        super().__init__()
        self.first = nn.Conv1d(features, units, 1)
        levels = max(1, math.ceil(math.log2(max(length, 2) / 2)) + 1)
        self.blocks = nn.ModuleList(
            CausalConvolution(units, units * (2 if gated else 1), 2, dilation=2**level) for level in range(levels)
        )
        self.skips = nn.ModuleList(nn.Conv1d(units, units, 1) for _ in range(levels))
        self.gated, self.drop, self.last = gated, nn.Dropout(dropout), nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.transpose(1, 2))
        total = torch.zeros_like(h)
        for block, skip in zip(self.blocks, self.skips, strict=True):
            out = block(h)
            if self.gated:
                a, b = out.chunk(2, dim=1)
                out = skip(self.drop(torch.tanh(a) * torch.sigmoid(b)))
                total = total + out
            else:
                out = skip(self.drop(torch.relu(out)))
            h = h + out
        return self.last((torch.relu(total) if self.gated else h)[:, :, -1])[:, 0]


class ParallelConvolutionalRecurrent(nn.Module):
    """An LSTM beside convolutions with squeeze and excitation; both are read together."""

    def __init__(self, features: int, length: int, units: int, dropout: float):
        super().__init__()
        self.rnn = nn.LSTM(features, units, batch_first=True)
        self.conv = nn.Sequential(
            nn.Conv1d(features, units, 5, padding=2), nn.ReLU(), nn.Conv1d(units, units, 3, padding=1), nn.ReLU()
        )
        self.excite = nn.Sequential(nn.Linear(units, units // 2), nn.ReLU(), nn.Linear(units // 2, units), nn.Sigmoid())
        self.last = nn.Sequential(nn.Dropout(dropout), nn.Linear(3 * units, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x.transpose(1, 2))
        h = h * self.excite(h.mean(dim=2))[:, :, None]
        return self.last(torch.cat([self.rnn(x)[0][:, -1], h.mean(dim=2), h[:, :, -1]], dim=1))[:, 0]


class ConvolutionTower(nn.Module):
    """Convolutions over the window, pooled: plain, with residual steps, or with several widths side by side."""

    def __init__(self, features: int, length: int, units: int, dropout: float, kind: str):
        super().__init__()
        self.kind = kind
        inputs = features
        self.layers = nn.ModuleList()
        for width in (7, 5, 3):
            kernels = (3, 5, 9) if kind == "inception" else (width,)
            part = max(4, units // len(kernels))
            self.layers.append(nn.ModuleList(nn.Conv1d(inputs, part, k, padding=k // 2) for k in kernels))
            inputs = part * len(kernels)
        self.short = nn.Conv1d(features, inputs, 1) if kind != "plain" else None
        self.norms = nn.ModuleList(nn.BatchNorm1d(inputs) for _ in range(3))
        self.last = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * inputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = first = x.transpose(1, 2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = torch.relu(norm(torch.cat([conv(h) for conv in layer.children()], dim=1)))
        if self.short is not None:
            h = torch.relu(h + self.short(first))
        return self.last(torch.cat([h.mean(dim=2), h[:, :, -1]], dim=1))[:, 0]


class RandomConvolutions(nn.Module):
    """Random convolutions of many widths and spacings: their highest value and how often they are positive; a line above."""

    def __init__(self, features: int, length: int, units: int, dropout: float):
        super().__init__()
        self.convs = nn.ModuleList()
        for number in range(8):
            width = (3, 5, 7)[number % 3]
            dilation = 2 ** (number % max(1, int(math.log2(max(2, (length - 1) // (width - 1) + 1)))))
            conv = nn.Conv1d(features, units, width, dilation=dilation, padding=(width - 1) * dilation // 2)
            with torch.no_grad():
                mask = torch.rand(units, features, 1) < min(1.0, 3.0 / features)
                weight = torch.randn(units, features, width) * mask
                conv.weight.copy_(weight - weight.mean(dim=2, keepdim=True) * (number % 2))
                if conv.bias is not None:
                    conv.bias.copy_(torch.rand(units) * 2 - 1)
            conv.requires_grad_(requires_grad=False)
            self.convs.append(conv)
        self.norm = nn.BatchNorm1d(8 * units * 2 + features)
        self.last = nn.Linear(8 * units * 2 + features, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(1, 2)
        pooled = [out for conv in self.convs for y in [conv(h)] for out in (y.amax(dim=2), (y > 0).float().mean(dim=2))]
        return self.last(self.norm(torch.cat([*pooled, x[:, -1]], dim=1)))[:, 0]
