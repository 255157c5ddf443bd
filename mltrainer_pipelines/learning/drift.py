r"""Drift: whether the market that a champion scores is still the one it was made for.

Three checks, each with a threshold that the champion's own past sets, so that its false-alarm rate is known without any
assumption on how features hang together:

- **features**: the population stability index of each feature, recent sessions against the reference; the largest counts.
- **predictions**: the Kolmogorov–Smirnov distance between recent and earlier probabilities.
- **calibration**: a CUSUM (Page 1954, Continuous inspection schemes, Biometrika 41) on each session's Brier score above
  what the forecasts themselves promise, Σ p(1 − p)/n, which needs no reference value from a luckier time.

The past is cut into blocks as long as the recent window, and each block is measured against the half year before it as
the recent one is. In a market that keeps its ways the recent block is one more of these, and the chance that it ranks
among the k highest of B is k/B (the argument of conformal prediction: Vovk, Gammerman & Shafer 2005, Algorithmic Learning
in a Random World). A check crosses where that p-value is at most `FALSE_ALARM_RATE`: without drift that happens to at most
1 window in 20, and where there are fewer than 20 blocks never. `mltrainer audit learning` measures the rate on a market
without any premium.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

FALSE_ALARM_RATE = 0.05
RECENT_SESSIONS = 20
COMPARED_BLOCKS = 6
"""Blocks before one that it is measured against: half a year."""
MOST_BLOCKS = 60
"""Blocks that are measured: five years."""
BINS = 10
_FLOOR = 1e-4
"""Share of an empty bin: a logarithm needs one."""


@dataclass(frozen=True)
class Check:
    """One check for drift, of the kind `features`, `predictions` or `calibration`; the subject is what drifts most.

    The statistic is the recent window's, the threshold the lowest that would have crossed: infinite where there are too few
    blocks to tell. Of the `blocks` measured, the recent one among them, a share `p_value` has at least its statistic.
    """

    kind: str
    subject: str
    statistic: float
    threshold: float
    p_value: float
    blocks: int
    crossed: bool
    advice: str


def feature_drift(features: pl.DataFrame, recent_sessions: int = RECENT_SESSIONS) -> Check | None:
    """Whether the features of the newest sessions come from where the earlier ones come from.

    `features` has date, symbol and feature columns: the reference and, last, the recent sessions. None where there are fewer
    than two blocks before the recent one.
    """
    names = [name for name in features.columns if name not in ("date", "symbol")]
    blocks = _blocks(features, recent_sessions)
    measured = range(COMPARED_BLOCKS, len(blocks))
    if len(measured) < 2:
        return None
    counts = _binned([block.select(names) for block in blocks])
    scores = np.array([_psi(counts[number - COMPARED_BLOCKS : number].sum(axis=0), counts[number]) for number in measured])
    # A feature that never varies across the universe moves as a whole; it counts by how it usually does.
    usual = np.maximum(np.median(scores[:-1], axis=0), 1e-3)
    relative = scores / usual
    subject = names[int(np.argmax(relative[-1]))]
    return _check("features", f"{subject} (of {len(names)} features)", relative.max(axis=1), "train champion_model anew")


def prediction_drift(forecasts: pl.DataFrame, recent_sessions: int = RECENT_SESSIONS) -> Check | None:
    """Whether the newest probabilities of one model (date, probability) are spread as the earlier ones are."""
    from scipy.stats import ks_2samp

    blocks = [block["probability"].drop_nulls().to_numpy() for block in _blocks(forecasts, recent_sessions)]
    measured = range(COMPARED_BLOCKS, len(blocks))
    if len(measured) < 2:
        return None
    earlier = [np.concatenate(blocks[n - COMPARED_BLOCKS : n]) for n in measured]
    scores = [float(ks_2samp(blocks[n], rest, method="asymp").statistic) for n, rest in zip(measured, earlier, strict=True)]
    return _check("predictions", "the champion's probabilities", np.array(scores), "train champion_model anew")


def calibration_drift(forecasts: pl.DataFrame, recent_sessions: int = RECENT_SESSIONS) -> Check | None:
    """Whether resolved forecasts of one model have come to be worse than they promise.

    `forecasts` has date (on which the outcome was known), probability and label.
    """
    excess = (pl.col("probability") - pl.col("label")) ** 2 - pl.col("probability") * (1 - pl.col("probability"))
    daily = forecasts.drop_nulls(["probability", "label"]).group_by("date").agg(excess=excess.mean()).sort("date")
    values = daily["excess"].to_numpy()
    count = len(values) // recent_sessions
    if count < 3:
        return None
    parts = values[len(values) - count * recent_sessions :].reshape(count, recent_sessions)
    slack = np.median(parts.mean(axis=1)) + 0.5 * parts.mean(axis=1).std()
    scores = np.array([cusum(part - slack).max() for part in parts])
    remedy = "recalibrate, retrain, or roll back to the version before"
    return _check("calibration", "Brier score above its promise", scores, remedy)


def cusum(excess: np.ndarray) -> np.ndarray:
    """Page's sum after each value: the sum so far, never below 0."""
    path, total = np.empty(len(excess)), 0.0
    for number, value in enumerate(excess):
        total = max(0.0, total + value)
        path[number] = total
    return path


def population_stability(reference: np.ndarray, recent: np.ndarray, bins: int = BINS) -> float:
    """PSI of two samples over the quantile bins of the first; unknown values are a bin of their own.

    >>> sample = np.arange(1000.0)
    >>> population_stability(sample, sample)
    0.0
    >>> round(population_stability(sample, sample + 100.0), 2)
    0.76
    """
    counts = _binned([pl.DataFrame({"x": part}) for part in (reference, recent)], bins, edges_of=[0])
    return float(_psi(counts[0], counts[1])[0])


def _blocks(rows: pl.DataFrame, length: int) -> list[pl.DataFrame]:
    """Rows in blocks of `length` sessions, counted back from the newest; what is left over at the start is dropped."""
    sessions = rows["date"].unique().sort()
    count = min(len(sessions) // length, MOST_BLOCKS + COMPARED_BLOCKS)
    kept = sessions.tail(count * length)
    number = pl.DataFrame({"date": kept, "_block": np.repeat(np.arange(count), length)})
    parts = rows.join(number, on="date").partition_by("_block", as_dict=True, include_key=False)
    return [parts[(block,)] for block in range(count)]


def _binned(blocks: Sequence[pl.DataFrame], bins: int = BINS, edges_of: Sequence[int] | None = None) -> np.ndarray:
    """Rows in each bin: (blocks, columns, bins + 1), the last bin for unknown values; bins are quantiles of the reference."""
    chosen = range(len(blocks) - 1) if edges_of is None else edges_of
    values = [block.select(pl.all().cast(pl.Float64)).fill_null(float("nan")).to_numpy() for block in blocks]
    reference = np.concatenate([values[number] for number in chosen])
    counts = np.zeros((len(blocks), values[0].shape[1], bins + 1))
    for column in range(values[0].shape[1]):
        present = reference[:, column][~np.isnan(reference[:, column])]
        edges = np.unique(np.quantile(present, np.arange(1, bins) / bins)) if len(present) else np.empty(0)
        for number, block in enumerate(values):
            place = np.where(np.isnan(block[:, column]), bins, np.searchsorted(edges, block[:, column], side="right"))
            counts[number, column] = np.bincount(place, minlength=bins + 1)
    return counts


def _psi(reference: np.ndarray, recent: np.ndarray) -> np.ndarray:
    """PSI of each column, from rows in each bin, (columns, bins) each."""
    there, here = (np.maximum(part / part.sum(axis=1, keepdims=True), _FLOOR) for part in (reference, recent))
    return np.asarray(((here - there) * np.log(here / there)).sum(axis=1))


def _check(kind: str, subject: str, scores: np.ndarray, remedy: str) -> Check:
    """The newest block's rank among all: a check crosses where it is among the highest `FALSE_ALARM_RATE` of them."""
    blocks = len(scores)
    p_value = float((scores >= scores[-1]).mean())
    allowed = int(FALSE_ALARM_RATE * blocks + 1e-9)
    threshold = float(np.sort(scores[:-1])[-allowed]) if allowed else float("inf")
    crossed = p_value <= FALSE_ALARM_RATE
    advice = f"{subject} is outside the range of its {blocks - 1} earlier periods: {remedy}" if crossed else "nothing to do"
    return Check(kind, subject, float(scores[-1]), threshold, p_value, blocks, crossed, advice)
