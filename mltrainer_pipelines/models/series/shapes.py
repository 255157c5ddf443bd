"""What a window says by itself, or by its likeness to others: forecasts of a series without an estimated process.

A window is a row of Z as in `filters`. These stay our own: the libraries' bootstrap (`arch.bootstrap`), variance ratio
(`arch.unitroot`) and autoregressions take one series at a time, where one expression here answers for all windows; none of the
libraries has singular spectrum analysis.
"""

from collections.abc import Mapping

import numpy as np

from mltrainer_pipelines.models.libraries import sklearn
from mltrainer_pipelines.models.series.estimation import Dynamics, Sample
from mltrainer_pipelines.models.series.filters import filled, price

PATTERN, EMBEDDED = 6, 12
"""Steps of a pattern; steps of a piece of the price whose shape is given by its leading components."""
DRAWS = 300


def own_autoregression(Z: np.ndarray) -> np.ndarray:
    """The next two returns by the window's own slope of one return on the one before, shrunk towards 0 where values are few."""
    F = filled(Z)
    slope = (F[:, 1:] * F[:, :-1]).sum(axis=1) / ((F[:, :-1] ** 2).sum(axis=1) + 4.0)
    return slope * F[:, -1] * (1 + slope)


def bootstrap(Z: np.ndarray, steps: int) -> np.ndarray:
    """Log-odds that the sum of steps drawn in blocks from the window is above 0; the draws are the same for every row."""
    draws = np.random.default_rng(0).integers(0, Z.shape[1] - steps + 1, DRAWS)
    sums = filled(Z)[:, draws[:, None] + np.arange(steps)].sum(axis=2)
    share = ((sums > 0).sum(axis=1) + 0.5 * (sums == 0).sum(axis=1) + 1.0) / (DRAWS + 2.0)
    return np.log(share / (1 - share))


def learn_patterns(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """Shapes of six steps of the training windows and, in the last column, what the two after them summed to."""
    F = filled(sample.windows)
    pieces = np.lib.stride_tricks.sliding_window_view(F, PATTERN + 2, axis=1)[:, ::4].reshape(-1, PATTERN + 2)
    examples = np.column_stack([pieces[:, :PATTERN], pieces[:, PATTERN:].sum(axis=1)])
    return Dynamics(examples[:: max(1, len(examples) // 3000)])


def patterns(Z: np.ndarray, examples: np.ndarray, neighbours: int) -> np.ndarray:
    """What followed on the most similar patterns: its mean in standard errors."""
    count = min(neighbours, len(examples))
    nearest = sklearn.neighbors.NearestNeighbors(n_neighbors=count, algorithm="brute").fit(examples[:, :-1])
    outcomes = examples[nearest.kneighbors(filled(Z)[:, -PATTERN:], return_distance=False), -1]
    return outcomes.mean(axis=1) / (outcomes.std(axis=1) + 0.1) * np.sqrt(count)


def learn_spectrum(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """The linear recurrence of the leading components of pieces of the price, pooled over windows."""
    pieces = np.lib.stride_tricks.sliding_window_view(price(sample.windows), EMBEDDED, axis=1)[:, ::4].reshape(-1, EMBEDDED)
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(pieces.T @ pieces)
    U = vectors[:, ::-1][:, : int(params["components"])]
    last = U[-1]
    return Dynamics((U[:-1] @ last) / max(1 - float(last @ last), 0.05))


def spectrum(Z: np.ndarray, recurrence: np.ndarray, steps: int) -> np.ndarray:
    """How far the recurrence carries the price."""
    P = price(Z)[:, -len(recurrence) :]
    center = P.mean(axis=1, keepdims=True)
    last_price, window = P[:, -1] - center[:, 0], P - center
    for _ in range(steps):
        window = np.column_stack([window[:, 1:], window @ recurrence])
    return window[:, -1] - last_price


def reversion(Z: np.ndarray) -> np.ndarray:
    """Minus the s-score: how far the price is from the level that its autoregression tends to."""
    P = price(Z)
    x, y = P[:, :-1], P[:, 1:]
    mx, my = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    b = np.clip(((x - mx) * (y - my)).sum(axis=1) / (((x - mx) ** 2).sum(axis=1) + 1e-9), 0.01, 0.99)
    a = my[:, 0] - b * mx[:, 0]
    error = y - a[:, None] - b[:, None] * x
    return (a / (1 - b) - P[:, -1]) / np.sqrt(error.var(axis=1) / (1 - b**2) + 1e-9)


def variance_ratio(Z: np.ndarray, span: int) -> np.ndarray:
    """The last steps' return, followed where sums of so many steps vary more than steps alone, faded where less."""
    F = filled(Z)
    one = F.var(axis=1) + 1e-9
    sums = np.lib.stride_tricks.sliding_window_view(F, span, axis=1).sum(axis=2)
    return (sums.var(axis=1) / (span * one) - 1.0) * F[:, -span:].sum(axis=1) / np.sqrt(span * one)
