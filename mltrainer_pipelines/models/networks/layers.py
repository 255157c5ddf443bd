"""Architectures in torch. Imported by the networks when they are fitted, never before.

A network of single rows maps (rows, features) to log-odds (rows,); one of sequences maps (rows, sessions, features), the
last session being the row's own. The last feature says whether a session is known: 1, or 0 where it is padding.
"""

import itertools
import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch program gives it
from torch import Tensor, nn


def _dense(inputs: int, units: int, layers: int, dropout: float, outputs: int = 1) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout)]
        inputs = units
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


class Perceptron(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.net = _dense(features, units, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


class TwoTimeframes(nn.Module):
    """A trunk that both timeframes' outcomes are told from, each by a head of its own; `other` is the other one's log-odds."""

    other: Tensor

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.trunk = nn.Sequential(_dense(features, units, layers, dropout, units), nn.ReLU(), nn.Dropout(dropout))
        self.heads = nn.ModuleList(_dense(units, max(4, units // 2), 1, dropout) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        shared = self.trunk(x)
        own, self.other = (head(shared)[:, 0] for head in self.heads)
        return own


class ResidualPerceptron(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.first = nn.Linear(features, units)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(units), nn.Linear(units, 2 * units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * units, units)
            )
            for _ in range(layers)
        )
        self.last = nn.Sequential(nn.LayerNorm(units), nn.ReLU(), nn.Linear(units, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)[:, 0]


class SelfNormalizing(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        parts: list[nn.Module] = []
        for number in range(layers):
            parts += [nn.Linear(features if number == 0 else units, units), nn.SELU(), nn.AlphaDropout(dropout / 2)]
        self.net = nn.Sequential(*parts, nn.Linear(units, 1))
        for part in self.net:
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=1 / math.sqrt(part.in_features))
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


class CrossNetwork(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.crosses = nn.ModuleList(nn.Linear(features, features) for _ in range(layers))
        self.deep = _dense(features, units, layers, dropout, units)
        self.last = nn.Linear(features + units, 1)

    def forward(self, x: Tensor) -> Tensor:
        crossed = x
        for cross in self.crosses:
            crossed = x * cross(crossed) + crossed
        return self.last(torch.cat([crossed, self.deep(x)], dim=1))[:, 0]


class FactorizationMachine(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float, deep: bool = False):
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.factors = nn.Parameter(torch.randn(features, max(2, units // 8)) * 0.05)
        self.deep = _dense(features * self.factors.shape[1], units, layers, dropout) if deep else None

    def forward(self, x: Tensor) -> Tensor:
        pairs = 0.5 * ((x @ self.factors) ** 2 - (x**2) @ (self.factors**2)).sum(dim=1)
        out = self.linear(x)[:, 0] + pairs
        if self.deep is not None:
            out = out + self.deep((x[:, :, None] * self.factors).flatten(1))[:, 0]
        return out


class WideAndDeep(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.wide = nn.Linear(features, 1)
        self.deep = _dense(features, units, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return (self.wide(x) + self.deep(x))[:, 0]


class FeatureTransformer(nn.Module):
    """Each feature a token; a class token reads them all."""

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        width = max(8, units // 4 // 4 * 4)
        self.scale = nn.Parameter(torch.randn(features, width) * 0.3)
        self.shift = nn.Parameter(torch.randn(features, width) * 0.3)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.3)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, max(1, layers - 1), enable_nested_tensor=False)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.scale + self.shift
        read = self.encoder(torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1))
        return self.last(read[:, 0])[:, 0]


class MixtureOfExperts(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float, experts: int = 4):
        super().__init__()
        self.gate = nn.Linear(features, experts)
        self.experts = nn.ModuleList(_dense(features, units // 2, layers, dropout) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.softmax(self.gate(x), dim=1)
        said = torch.cat([expert(x) for expert in self.experts], dim=1)
        # experts that are never asked never learn: the mean share of each is kept near even
        self.penalty = 0.1 * len(self.experts) * (shares.mean(dim=0) ** 2).sum()
        return (shares * said).sum(dim=1)


class DenoisingAutoencoder(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        code = max(4, units // 4)
        self.encode = _dense(features, units, layers, dropout, code)
        self.decode = _dense(code, units, 1, 0.0, features)
        self.last = _dense(code, units // 2, 1, dropout)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encode(x + 0.3 * torch.randn_like(x) if self.training else x)
        if self.training:
            self.penalty = 0.3 * F.mse_loss(self.decode(code), x)
        return self.last(code)[:, 0]


class AdditiveNetwork(nn.Module):
    """A small network for each feature alone; their outputs add up."""

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        width = max(4, units // 8)
        self.first = nn.Conv1d(features, features * width, 1, groups=features)
        self.second = nn.Conv1d(features * width, features * width, 1, groups=features)
        self.last = nn.Conv1d(features * width, features, 1, groups=features)
        self.drop, self.level = nn.Dropout(dropout), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(torch.tanh(self.first(x[:, :, None])))
        shapes = self.last(torch.relu(self.second(h)))[:, :, 0]
        self.penalty = 1e-3 * (shapes**2).mean()
        return shapes.sum(dim=1) + self.level


class ObliviousTrees(nn.Module):
    """Soft trees that ask the same question at every node of a level."""

    bits: Tensor

    def __init__(self, features: int, units: int, layers: int, dropout: float, depth: int = 4):
        super().__init__()
        self.choice = nn.Parameter(torch.randn(features, units * depth) * 0.3)
        self.threshold = nn.Parameter(torch.randn(units, depth) * 0.5)
        self.leaves = nn.Parameter(torch.randn(units, 2**depth) * 0.1)
        bits = torch.tensor([[leaf >> level & 1 for level in range(depth)] for leaf in range(2**depth)], dtype=torch.float32)
        self.register_buffer("bits", bits)
        self.units, self.depth = units, depth

    def forward(self, x: Tensor) -> Tensor:
        chosen = (x @ torch.softmax(3 * self.choice, dim=0)).view(len(x), self.units, self.depth)
        right = torch.sigmoid(3 * (chosen - self.threshold))
        paths = right[:, :, None, :] * self.bits + (1 - right[:, :, None, :]) * (1 - self.bits)
        return (paths.prod(dim=3) * self.leaves).sum(dim=2).mean(dim=1) * math.sqrt(self.units)


class KolmogorovArnold(nn.Module):
    """A learnt curve on every edge: sums of radial bumps."""

    centers: Tensor

    def __init__(self, features: int, units: int, layers: int, dropout: float, bumps: int = 6):
        super().__init__()
        sizes = [features, max(4, units // 8), 1]
        self.register_buffer("centers", torch.linspace(-2, 2, bumps))
        self.curves = nn.ParameterList(
            nn.Parameter(torch.randn(a * bumps, b) * 0.3 / math.sqrt(a)) for a, b in itertools.pairwise(sizes)
        )
        self.lines = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for curve, line in zip(self.curves, self.lines, strict=True):
            bumps = torch.exp(-((x[:, :, None] - self.centers) ** 2) / 0.6).flatten(1)
            x = bumps @ curve + line(F.silu(x))
        return x[:, 0]


class PeriodicEmbedding(nn.Module):
    """Each feature as sines and cosines of learnt frequencies, a linear map of its own, then a perceptron."""

    def __init__(self, features: int, units: int, layers: int, dropout: float, waves: int = 8, width: int = 6):
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(features, waves) * 0.3)
        self.mix = nn.Parameter(torch.randn(features, 2 * waves, width) / math.sqrt(2 * waves))
        self.net = _dense(features * width, units, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * math.pi * x[:, :, None] * self.frequency
        waves = torch.cat([angle.sin(), angle.cos()], dim=2)
        return self.net(torch.relu(torch.einsum("bfw,fwd->bfd", waves, self.mix)).flatten(1))[:, 0]


class GatedUnits(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        sizes = [features] + [units] * layers
        self.layers = nn.ModuleList(nn.Linear(a, 2 * b) for a, b in itertools.pairwise(sizes))
        self.drop, self.last = nn.Dropout(dropout), nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.drop(F.glu(layer(x), dim=1))
        return self.last(x)[:, 0]


class StochasticGates(nn.Module):
    """A noisy gate before each feature, pushed shut unless the feature pays."""

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.gate = nn.Parameter(torch.full((features,), 0.5))
        self.net = _dense(features, units, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        noise = 0.5 * torch.randn_like(x[:1]) if self.training else 0.0
        self.penalty = 0.1 * (0.5 * (1 + torch.erf((self.gate + 0.5) / (0.5 * math.sqrt(2))))).mean()
        return self.net(x * torch.clamp(self.gate + 0.5 + noise, 0, 1))[:, 0]


class BayesianPerceptron(nn.Module):
    """A normal posterior for every weight, learnt by its variational bound; prediction by the mean weights' moments."""

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        sizes = [features] + [units] * layers + [1]
        pairs = list(itertools.pairwise(sizes))
        self.mean = nn.ParameterList(nn.Parameter(torch.randn(a, b) / math.sqrt(a)) for a, b in pairs)
        self.log_scale = nn.ParameterList(nn.Parameter(torch.full((a, b), -4.0)) for a, b in pairs)
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(b)) for _, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        divergence = x.new_zeros(())
        for number, (mean, log_scale, bias) in enumerate(zip(self.mean, self.log_scale, self.bias, strict=True)):
            scale = log_scale.exp()
            out = x @ mean + bias
            if self.training:  # local reparametrization: noise on the sums instead of on the weights
                out = out + torch.sqrt((x**2) @ scale**2 + 1e-9) * torch.randn_like(out)
                divergence = divergence + (0.5 * (scale**2 + mean**2 - 1) - log_scale).sum()
            x = torch.relu(out) if number < len(self.mean) - 1 else out
        self.penalty = 1e-5 * divergence
        return x[:, 0]


class SessionAttention(nn.Module):
    """Rows of one session attend to each other: (sessions, rows, features) and which rows are real, to (sessions, rows)."""

    by_session = True

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        width = max(8, units // 2 // 4 * 4)
        self.first = nn.Linear(features, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, max(1, layers - 1), enable_nested_tensor=False)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        return self.last(self.encoder(self.first(x), src_key_padding_mask=~real))[:, :, 0]


# Sequences


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


class ConvolutionalRecurrent(nn.Module):
    def __init__(self, features: int, length: int, units: int, dropout: float):
        super().__init__()
        self.conv = nn.Sequential(CausalConvolution(features, units, 3), nn.ReLU(), nn.Dropout(dropout))
        self.rnn = Recurrent(units + 1, length, units, dropout, "LSTM")

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(torch.cat([self.conv(x.transpose(1, 2)).transpose(1, 2), x[:, :, -1:]], dim=2))


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


def _places(length: int, width: int) -> Tensor:
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
            self.register_buffer("place", _places(count, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2 if tokens == "sessions" else 1, enable_nested_tensor=False)
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
        self.blocks = nn.ModuleList(_dense(size * width, units, 2, dropout, size * width + 1) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        rest = self.mix(x).transpose(1, 2)
        total = x.new_zeros(len(x))
        for block, pool in zip(self.blocks, self.pools, strict=True):
            pooled = F.avg_pool1d(F.pad(rest, (-self.length % pool, 0)), pool) if pool > 1 else rest
            said = block(pooled.flatten(1))
            total = total + said[:, 0]
            back = said[:, 1:].reshape(len(x), rest.shape[1], -1)
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


class ConvolutionTower(nn.Module):
    """Convolutions over the window, pooled: plain, with residual steps, or with several widths side by side."""

    def __init__(self, features: int, length: int, units: int, dropout: float, kind: str):
        super().__init__()
        self.kind = kind
        widths = (3, 5, 9) if kind == "inception" else (5,)
        inputs = features
        self.layers = nn.ModuleList()
        for number in range(3):
            kernels = widths if kind == "inception" else ((7, 5, 3)[number],)
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
    """A drawn recurrent network that is never trained, near the edge of forgetting; only its reading is learnt."""

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


class RandomConvolutions(nn.Module):
    """Drawn convolutions of many widths and spacings: their highest value and how often they are positive; a line above."""

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
        found = [out for conv in self.convs for y in [conv(h)] for out in (y.amax(dim=2), (y > 0).float().mean(dim=2))]
        return self.last(self.norm(torch.cat([*found, x[:, -1]], dim=1)))[:, 0]


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
