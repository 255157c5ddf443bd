"""Networks of single rows, (rows, features) to log-odds (rows,), and of a session's rows together; in torch."""

import itertools
import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch program gives it
from torch import Tensor, nn

from mltrainer_pipelines.models.networks.blocks import dense, transformer


class Perceptron(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.net = dense(features, units, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


class TwoTimeframes(nn.Module):
    """A trunk that predicts both timeframes' outcomes, each by its own head; `other` is the other one's log-odds."""

    other: Tensor

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.trunk = nn.Sequential(dense(features, units, layers, dropout, units), nn.ReLU(), nn.Dropout(dropout))
        self.heads = nn.ModuleList(dense(units, max(4, units // 2), 1, dropout) for _ in range(2))

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
        for inputs in [features] + [units] * (layers - 1):
            parts += [nn.Linear(inputs, units), nn.SELU(), nn.AlphaDropout(dropout / 2)]
        self.net = nn.Sequential(*parts, nn.Linear(units, 1))
        for linear in self.net[::3]:
            nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features))
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


class CrossNetwork(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.crosses = nn.ModuleList(nn.Linear(features, features) for _ in range(layers))
        self.deep = dense(features, units, layers, dropout, units)
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
        self.deep = dense(features * self.factors.shape[1], units, layers, dropout) if deep else None

    def forward(self, x: Tensor) -> Tensor:
        pairs = 0.5 * ((x @ self.factors) ** 2 - (x**2) @ (self.factors**2)).sum(dim=1)
        out = self.linear(x)[:, 0] + pairs
        return out if self.deep is None else out + self.deep((x[:, :, None] * self.factors).flatten(1))[:, 0]


class WideAndDeep(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.wide = nn.Linear(features, 1)
        self.deep = dense(features, units, layers, dropout)

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
        self.encoder = transformer(width, max(1, layers - 1), dropout)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.scale + self.shift
        read = self.encoder(torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1))
        return self.last(read[:, 0])[:, 0]


class MixtureOfExperts(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float, experts: int = 4):
        super().__init__()
        self.gate = nn.Linear(features, experts)
        self.experts = nn.ModuleList(dense(features, units // 2, layers, dropout) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.softmax(self.gate(x), dim=1)
        outputs = torch.cat([expert(x) for expert in self.experts], dim=1)
        # experts that are never asked never learn: the mean share of each is kept near even
        self.penalty = 0.1 * len(self.experts) * (shares.mean(dim=0) ** 2).sum()
        return (shares * outputs).sum(dim=1)


class DenoisingAutoencoder(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        code = max(4, units // 4)
        self.encode = dense(features, units, layers, dropout, code)
        self.decode = dense(code, units, 1, 0.0, features)
        self.last = dense(code, units // 2, 1, dropout)

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
        pairs = list(itertools.pairwise([features, max(4, units // 8), 1]))
        self.register_buffer("centers", torch.linspace(-2, 2, bumps))
        self.curves = nn.ParameterList(nn.Parameter(torch.randn(a * bumps, b) * 0.3 / math.sqrt(a)) for a, b in pairs)
        self.lines = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)

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
        self.net = dense(features * width, units, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * math.pi * x[:, :, None] * self.frequency
        waves = torch.cat([angle.sin(), angle.cos()], dim=2)
        return self.net(torch.relu(torch.einsum("bfw,fwd->bfd", waves, self.mix)).flatten(1))[:, 0]


class GatedUnits(nn.Module):
    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, 2 * units) for a in [features] + [units] * (layers - 1))
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
        self.net = dense(features, units, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        noise = 0.5 * torch.randn_like(x[:1]) if self.training else 0.0
        self.penalty = 0.1 * (0.5 * (1 + torch.erf((self.gate + 0.5) / (0.5 * math.sqrt(2))))).mean()
        return self.net(x * torch.clamp(self.gate + 0.5 + noise, 0, 1))[:, 0]


class BayesianPerceptron(nn.Module):
    """A normal posterior for every weight, learnt by its variational bound; prediction by the mean weights' moments."""

    def __init__(self, features: int, units: int, layers: int, dropout: float):
        super().__init__()
        pairs = list(itertools.pairwise([features] + [units] * layers + [1]))
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
        self.encoder = transformer(width, max(1, layers - 1), dropout)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        return self.last(self.encoder(self.first(x), src_key_padding_mask=~real))[:, :, 0]
