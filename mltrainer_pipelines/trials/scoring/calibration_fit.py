"""How the calibrated curves of `calibration` are fitted, and on what.

Everything is learnt from earlier outcomes that were already known. Two questions are answered apart, because of so
different an amount of evidence. **Which symbol is ahead of which** is decided anew in every session: a score counts by its
percentile among the scores of its session, and an outcome as its difference from the outcomes of its time, so that a bull
or a bear market drops out. **How many trades end in profit at all** is a matter of the market, of which a few years hold a
few dozen independent holding periods: that level comes from every outcome known, whether it was predicted or not, and
leans towards one half as long as the evidence is thin.

A rise of the curve over a few rows is one event seen many times, so scores are put into bins before a curve is
fitted; the bins lean towards the straight line through normal scores; and the whole curve is shrunk towards the level
by how steadily its slope held from one holding period to the next. Venn–Abers intervals are as wide as the number of
independent outcomes makes them, not the number of rows.

Intervals are fitted for each regime apart: how well a curve is known in a crash is learnt from crashes. Outcomes of other
regimes count there too, but each for `OTHER_REGIMES` of one, and for at most `LINE_ROWS` a bin, so that a regime that
was seldom seen has a wide interval and one that never was the widest. The curve itself is one for all regimes: on
twelve simulated markets with a premium, curves of their own were no better (Brier score 0.2464 for 0.2462).

References
----------
Vovk, Petej, Fedorova (2015), Large-scale probabilistic predictors with and without guarantees of validity, NIPS:
    inductive Venn–Abers predictors, and p1 / (1 − p0 + p1) as the log-loss minimax merge of an interval.
Oron, Flournoy (2017), Centered isotonic regression, Statistics in Biopharmaceutical Research 9(3).
James, Stein (1961), Estimation with quadratic loss, Berkeley Symposium 4: shrinkage by what chance alone would show.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mltrainer_pipelines.trials.scoring.calibration import REGIME_EDGES, Calibrator, Level, RegimeInterval, regime_numbers
from mltrainer_pipelines.trials.scoring.effective_sample import effective_rows

MIN_CALIBRATION_ROWS = 500
"""Rows with a known outcome below which no calibrator is fitted."""
ROWS_PER_BIN = 200
MAX_BINS = 20
MIN_BLOCKS = 4
"""Holding periods below which nobody can tell whether a curve holds: every score then means the level."""
LINE_ROWS = 20.0
"""Independent outcomes that the straight line is worth to each bin: with fewer of its own, a bin follows the line."""
OTHER_REGIMES = 0.25
"""What an outcome of one regime is worth for how well the curve is known in another: set in advance, not fitted."""
_NORMAL = NormalDist()


class TooFewCalibrationRowsError(ValueError):
    """A calibrator was asked for with too few known outcomes: says how many there are and how many it takes."""


def fit_calibrator(
    scores: np.ndarray,
    labels: np.ndarray,
    net_returns: np.ndarray,
    blocks: np.ndarray | None = None,
    level: Level | None = None,
    regime_scores: np.ndarray | None = None,
) -> Calibrator:
    """Fit on out-of-sample scores whose outcome is known; TooFewCalibrationRowsError below `MIN_CALIBRATION_ROWS` of them.

    Scores are percentiles within their sessions, or mean the same at any time; labels are 1 where the net return at exit was
    above zero. `blocks` number the spans of time, in order, whose outcomes hang together (a holding period each): without them
    rows count as independent, nothing is shrunk and no line is leant on. `level` is where the curve lies, by default the means
    of these rows. With `regime_scores` (0 to 100 at each decision, NaN where unknown) each regime has an interval of its own.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    net_returns = np.asarray(net_returns, dtype=np.float64)
    rows = len(scores)
    if not rows == len(labels) == len(net_returns):
        raise ValueError(f"{rows} scores, {len(labels)} labels and {len(net_returns)} net returns: give one of each a row")
    if rows < MIN_CALIBRATION_ROWS:
        raise TooFewCalibrationRowsError(
            f"{rows} known outcomes; a calibrator takes {MIN_CALIBRATION_ROWS}: run earlier quarters first"
        )
    if not (np.isfinite(scores).all() and np.isfinite(labels).all() and np.isfinite(net_returns).all()):
        raise ValueError("scores, labels and net returns must be finite; leave rows without an outcome out")

    bins, centres = _bins(scores)
    count = np.bincount(bins).astype(np.float64)
    effective = float(rows)
    if blocks is None:
        rise, return_rise = (
            _Rise(np.bincount(bins, weights=values) / count - values.mean(), 1.0) for values in (labels, net_returns)
        )
    else:
        cells = np.unique(blocks, return_inverse=True)[1] * len(centres) + bins
        size = (cells.max() // len(centres) + 1) * len(centres)
        block_rows, hits, gains = (
            np.bincount(cells, values, minlength=size).reshape(-1, len(centres)) for values in (None, labels, net_returns)
        )
        base_rate = float(labels.mean())
        of_block = block_rows.sum(axis=1)
        effective = effective_rows(of_block, hits.sum(axis=1) - base_rate * of_block, base_rate * (1.0 - base_rate))
        rise, return_rise = (_rise(block_rows.astype(np.float64), sums, effective) for sums in (hits, gains))
    if level is None:
        level = Level(float(labels.mean()), float(net_returns.mean()), effective)
    weights = count * (effective / rows)
    low, high = _interval(level.rate, rise, weights)
    return_scores, returns = _centred_isotonic(centres, count, return_rise.curve)
    return Calibrator(
        scores=centres,
        low=low,
        high=high,
        return_scores=return_scores,
        returns=level.net_return + return_rise.share * returns,
        rows=rows,
        effective_rows=effective,
        base_rate=level.rate,
        slope=rise.share,
        return_slope=return_rise.share,
        regimes=() if regime_scores is None else _regimes(level.rate, rise, weights, bins, regime_scores),
    )


@dataclass(frozen=True)
class _Rise:
    """A curve over the bins as differences from its mean, and the share of it that is kept."""

    curve: np.ndarray
    share: float


def _rise(rows: np.ndarray, sums: np.ndarray, effective: float) -> _Rise:
    """How outcomes rise over the bins: each bin's own mean and the line through all of them, by what either is worth.

    `rows` and `sums` of outcomes are (blocks, bins); all rows are worth `effective` independent outcomes.
    """
    blocks, count = rows.sum(axis=1, keepdims=True), rows.sum(axis=0)
    # outcomes as differences from those of their own time
    apart = sums - rows * (sums.sum(axis=1, keepdims=True) / blocks)
    below = np.cumsum(count) - 0.5 * count
    place = np.array([_NORMAL.inv_cdf(share) for share in below / count.sum()])
    centred = place[None, :] - (rows * place).sum(axis=1, keepdims=True) / blocks
    spread, product = (rows * centred**2).sum(axis=1), (centred * apart).sum(axis=1)
    total = float(spread.sum())
    slope = float(product.sum()) / total if total > 0.0 else 0.0
    line = slope * (place - float((count * place).sum() / count.sum()))
    weights = count * (effective / count.sum())
    curve = (weights * (apart.sum(axis=0) / count) + LINE_ROWS * line) / (weights + LINE_ROWS)
    return _Rise(curve, _steady_share(product, spread, slope))


def _steady_share(product: np.ndarray, spread: np.ndarray, slope: float) -> float:
    """Share of a slope that is more than chance, by how it varies over blocks: 1 − E[t²] / t², as James and Stein shrink.

    0 for a falling line, where fewer than `MIN_BLOCKS` blocks tell, and where t is no larger than chance would have it.
    """
    degrees = len(product) - 1
    if len(product) < MIN_BLOCKS or slope <= 0.0:
        return 0.0
    residual = float(((product - slope * spread) ** 2).sum()) * len(product) / degrees
    by_chance = degrees / (degrees - 2)  # the mean of t² where there is no slope
    return max(0.0, 1.0 - by_chance * residual / (slope * float(spread.sum())) ** 2)


def _interval(level: float, rise: _Rise, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Venn–Abers interval of each bin, shrunk to that of the level as the curve is; `weights` are independent outcomes."""
    low, high = _venn_abers(np.clip(level + rise.curve, 0.0, 1.0), weights)
    effective = float(weights.sum())
    level_low = level * effective / (effective + 1.0)
    level_high = level_low + 1.0 / (effective + 1.0)
    return level_low + rise.share * (low - level_low), level_high + rise.share * (high - level_high)


def _regimes(
    level: float, rise: _Rise, weights: np.ndarray, bins: np.ndarray, regime_scores: np.ndarray
) -> tuple[RegimeInterval, ...]:
    """The interval of each regime, by its own outcomes and by what those of the others are worth there."""
    numbers, count = regime_numbers(regime_scores), np.bincount(bins)
    intervals = []
    for number in range(len(REGIME_EDGES) + 1):
        rows = np.bincount(bins[numbers == number], minlength=len(count))
        own = weights * rows / count
        low, high = _interval(level, rise, own + np.minimum(OTHER_REGIMES * (weights - own), LINE_ROWS))
        intervals.append(RegimeInterval(low, high, int(rows.sum()), float(own.sum())))
    return tuple(intervals)


def _venn_abers(rates: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Isotonic value of each bin once with one more loss in it, and once with one more gain."""
    from scipy.optimize import isotonic_regression

    curves = np.empty((2, len(rates)))
    for bin_, rate in enumerate(rates):
        for label in (0, 1):
            changed, heavier = rates.copy(), weights.copy()
            heavier[bin_] += 1.0
            changed[bin_] = (rate * weights[bin_] + label) / heavier[bin_]
            curves[label, bin_] = isotonic_regression(changed, weights=heavier).x[bin_]
    low, high = np.maximum.accumulate(curves, axis=1)  # increasing but for rounding
    return low, high


def _centred_isotonic(centres: np.ndarray, count: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the isotonic curve: each block of equal values at its mean score."""
    from scipy.optimize import isotonic_regression

    starts = isotonic_regression(values, weights=count).blocks[:-1]
    rows = np.add.reduceat(count, starts)
    return np.add.reduceat(centres * count, starts) / rows, np.add.reduceat(values * count, starts) / rows


def _bins(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each row, about equally many rows in each, in order of the score; and the mean score of each bin.

    Equal scores share a bin, so that centres increase strictly and rows of one score mean the same.
    """
    bins = int(np.clip(len(scores) // ROWS_PER_BIN, 1, MAX_BINS))
    ordered = np.sort(scores)
    edges = np.unique(ordered[(np.arange(1, bins) * len(scores)) // bins])
    numbers = np.searchsorted(edges, scores, side="right")
    present, numbers = np.unique(numbers, return_inverse=True)
    return numbers, np.bincount(numbers, weights=scores, minlength=len(present)) / np.bincount(numbers)
