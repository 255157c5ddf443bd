"""Calibration: from a model's score to the probability of a profit, how well that is known, and the return to expect.

Everything is learnt from earlier out-of-sample predictions whose outcome was already known. Three facts about
these rows shape the method. A rise of the curve over a few rows is one event seen many times, so scores are put into
bins of hundreds of rows before a curve is fitted. Outcomes of one holding period hang together, across sessions by
their overlap and across symbols by the market, so that a hundred thousand rows may be worth a hundred: the
Venn–Abers interval is as wide as those few make it. And a curve that one year shows is often gone in the next: it is
shrunk towards the base rate by what held in time it was not fitted on.

References
----------
Vovk, Petej, Fedorova (2015), Large-scale probabilistic predictors with and without guarantees of validity, NIPS:
    inductive Venn–Abers predictors, and p1 / (1 − p0 + p1) as the log-loss minimax merge of an interval.
Oron, Flournoy (2017), Centered isotonic regression, Statistics in Biopharmaceutical Research 9(3).
Copas (1983), Regression, prediction and shrinkage, JRSS B 45(3); van Houwelingen, le Cessie (1990), Predictive value
    of statistical models, Statistics in Medicine 9(11): shrinkage by the slope on held-out data.
Kish (1965), Survey Sampling: the design effect of clustered observations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from mltrainer_pipelines.trials.windows import EMBARGO_SESSIONS, Window, quarter_window, quarters_between

MIN_CALIBRATION_ROWS = 500
"""Matured rows below which no calibrator is fitted."""
LOOKBACK_SESSIONS = 504
"""Two years of decisions: older scores came from models that learnt from another market."""
ROWS_PER_BIN = 200
MAX_BINS = 40
MIN_BLOCKS = 5
"""Holding periods below which nobody can tell whether a curve holds: every score then means the base rate."""
FOLDS = 8


class TooFewCalibrationRowsError(ValueError):
    """A calibrator was asked for with too few known outcomes: says how many there are and how many it takes."""


@dataclass(frozen=True)
class CalibratedScores:
    """What scores mean, each array as long as the scores.

    Parameters
    ----------
    probability : array of float64
        That the net return at exit is above zero.
    low, high : array of float64
        The Venn–Abers interval around it.
    expected_net_return : array of float64
        Fraction of the entry's value, after costs.
    """

    probability: np.ndarray
    low: np.ndarray
    high: np.ndarray
    expected_net_return: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Curves over the score, precomputed at a few knots and interpolated between them; flat beyond the outermost.

    Parameters
    ----------
    scores : (bins,) array
        Mean score of each bin, strictly increasing.
    low, high : (bins,) array
        Venn–Abers interval at these scores, both non-decreasing.
    return_scores, returns : (blocks,) array
        Centred isotonic regression of the net return on the score.
    rows : int
        Outcomes learnt from.
    effective_rows : float
        How many independent outcomes they are worth.
    base_rate : float
        Share of profitable rows.
    slope, return_slope : float
        Share of the fitted curve's rise that held in time it was not fitted on, from 0 (every score means the base
        rate) to 1 (kept as it is).
    """

    scores: np.ndarray
    low: np.ndarray
    high: np.ndarray
    return_scores: np.ndarray
    returns: np.ndarray
    rows: int
    effective_rows: float
    base_rate: float
    slope: float
    return_slope: float

    def apply(self, scores: np.ndarray) -> CalibratedScores:
        """What each score means; NaN in, NaN out."""
        scores = np.asarray(scores, dtype=np.float64)
        low, high = np.interp(scores, self.scores, self.low), np.interp(scores, self.scores, self.high)
        return CalibratedScores(
            probability=high / (1.0 - low + high),
            low=low,
            high=high,
            expected_net_return=np.interp(scores, self.return_scores, self.returns),
        )


def fit_calibrator(
    scores: np.ndarray, labels: np.ndarray, net_returns: np.ndarray, blocks: np.ndarray | None = None
) -> Calibrator:
    """Fit on out-of-sample scores whose outcome is known.

    Parameters
    ----------
    scores : (rows,) array
        Raw model scores.
    labels : (rows,) array of 0 and 1
        Whether the net return at exit was above zero.
    net_returns : (rows,) array
        Net return at exit, as a fraction.
    blocks : (rows,) array of int, optional
        Numbers of the spans of time, in order, whose outcomes hang together (a holding period each). Without them
        rows count as independent, and nothing is shrunk.

    Raises
    ------
    TooFewCalibrationRowsError
        Below `MIN_CALIBRATION_ROWS` rows.
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
    hits, gains = np.bincount(bins, weights=labels), np.bincount(bins, weights=net_returns)
    base_rate, mean_return = float(labels.mean()), float(net_returns.mean())
    effective, slope, return_slope = float(rows), 1.0, 1.0
    if blocks is not None:
        cells = np.unique(blocks, return_inverse=True)[1] * len(centres) + bins

        def per_block(values: np.ndarray | None) -> np.ndarray:
            return np.bincount(cells, values, minlength=(cells.max() // len(centres) + 1) * len(centres)).reshape(
                -1, len(centres)
            )

        block_rows, block_hits = per_block(None), per_block(labels)
        effective = _effective_rows(block_rows.sum(axis=1), block_hits.sum(axis=1))
        slope = _held_out_slope(centres, block_rows, block_hits)
        return_slope = _held_out_slope(centres, block_rows, per_block(net_returns))

    low, high = _venn_abers(hits / count, count * (effective / rows))
    pooled_low = base_rate * effective / (effective + 1.0)
    pooled_high = pooled_low + 1.0 / (effective + 1.0)
    return_scores, returns = _centred_isotonic(centres, count, gains / count)
    return Calibrator(
        scores=centres,
        low=pooled_low + slope * (low - pooled_low),
        high=pooled_high + slope * (high - pooled_high),
        return_scores=return_scores,
        returns=mean_return + return_slope * (returns - mean_return),
        rows=rows,
        effective_rows=effective,
        base_rate=base_rate,
        slope=slope,
        return_slope=return_slope,
    )


def fit_calibrator_for(rows: pl.DataFrame, window: Window) -> Calibrator:
    """Fit on the rows whose outcome was known before a window.

    Parameters
    ----------
    rows : DataFrame
        date, symbol, score, exit_date, barrier, net_return, label: out-of-sample predictions with their labels.
    window : Window
        Only rows that it may learn from are used, whatever else is given.

    Raises
    ------
    TooFewCalibrationRowsError
        If there are fewer than `MIN_CALIBRATION_ROWS` of them.
    """
    known = rows.filter(window.trains)
    if known.height < MIN_CALIBRATION_ROWS:
        raise TooFewCalibrationRowsError(
            f"{known.height} out-of-sample predictions have an outcome known before {window.cutoff}; "
            f"a calibrator takes {MIN_CALIBRATION_ROWS}: run earlier quarters of the trial first"
        )
    scores, hits, returns = (known[name].to_numpy() for name in ("score", "label", "net_return"))
    return fit_calibrator(scores, hits, returns, holding_blocks(known))


def holding_blocks(labels: pl.DataFrame) -> np.ndarray:
    """Number of the span of time that each row was decided in; a span is as long as the longest usual holding period.

    Parameters
    ----------
    labels : DataFrame
        date and exit_date, no null.
    """
    holding = np.busday_count(labels["date"].to_numpy(), labels["exit_date"].to_numpy())
    length = max(1, int(np.quantile(holding, 0.9)))
    return (labels["date"].rank("dense").to_numpy().astype(np.int64) - 1) // length


def calibrate_walk_forward(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    sessions: Sequence[date] | None = None,
    lookback_sessions: int = LOOKBACK_SESSIONS,
    embargo: int = EMBARGO_SESSIONS,
) -> pl.DataFrame:
    """Calibrate each quarter of a trial by the quarters before it.

    The calibrator of a quarter is fitted on predictions of earlier quarters whose exit session lies before the
    quarter's first session, less the embargo: nothing that happened later changes a row.

    Parameters
    ----------
    predictions : DataFrame
        date, symbol, score: the out-of-sample predictions of a trial, any number of quarters.
    labels : DataFrame
        date, symbol, exit_date, barrier, net_return, label of the trial's timeframe.
    sessions : sequence of date, optional
        Sessions in order; those of XNYS by default.
    lookback_sessions : int
        How many sessions of decisions before the quarter are learnt from.
    embargo : int
        Sessions left out before the quarter.

    Returns
    -------
    DataFrame
        date, symbol, score, probability, probability_low, probability_high, expected_net_return, sorted by date and
        symbol; the last four are null in quarters with fewer than `MIN_CALIBRATION_ROWS` known outcomes before them.
    """
    rows = with_outcomes(predictions, labels)
    if rows.is_empty():
        raise ValueError("no predictions to calibrate; materialize trial_predictions of the trial first")
    first, last = rows["date"][0], rows["date"][-1]
    if sessions is None:
        from mltrainer_pipelines.market.sessions import sessions_between

        sessions = sessions_between(first - timedelta(days=30), last)
    quarters = []
    for start, end in quarters_between(first, last):
        quarter = rows.filter(pl.col("date").is_between(start, end, closed="left"))
        if quarter.is_empty():
            continue
        earlier = rows.filter(pl.col("date") < start)
        calibrated = None
        if earlier.height >= MIN_CALIBRATION_ROWS:
            window = quarter_window(start, end, sessions, lookback_sessions, embargo)
            if earlier.select(window.trains.sum()).item() >= MIN_CALIBRATION_ROWS:
                calibrated = fit_calibrator_for(earlier, window).apply(quarter["score"].to_numpy())
        quarters.append(quarter.select("date", "symbol", "score").with_columns(_columns(calibrated, quarter.height)))
    return pl.concat(quarters)


def with_outcomes(predictions: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Predictions with their labels: date, symbol, score, exit_date, barrier, net_return, label, sorted by date and symbol.

    Outcomes are null where they are not known.
    """
    missing = [name for name in ("date", "symbol", "score") if name not in predictions.columns]
    if missing:
        raise ValueError(f"predictions have the columns {predictions.columns}; they lack {', '.join(missing)}")
    if "timeframe" in labels.columns and labels["timeframe"].n_unique() > 1:
        raise ValueError("labels of more than one timeframe; keep those of the trial's timeframe only")
    outcomes = labels.select("date", "symbol", "exit_date", "barrier", "net_return", "label")
    joined = predictions.select("date", "symbol", "score").join(outcomes, on=["date", "symbol"], how="left")
    if joined.height != predictions.height:
        raise ValueError("labels hold a (date, symbol) twice; materialize labels of that month again")
    return joined.sort("date", "symbol")


def _columns(calibrated: CalibratedScores | None, rows: int) -> list[pl.Series]:
    fields = {
        "probability": "probability",
        "probability_low": "low",
        "probability_high": "high",
        "expected_net_return": "expected_net_return",
    }
    return [
        pl.Series(name, [None] * rows if calibrated is None else getattr(calibrated, field), dtype=pl.Float64)
        for name, field in fields.items()
    ]


def _effective_rows(rows: np.ndarray, hits: np.ndarray) -> float:
    """How many independent outcomes the rows of all blocks are worth: rows over the design effect of a shared block.

    Parameters
    ----------
    rows, hits : (blocks,) array
        Rows of each block, and how many of them were profitable.
    """
    total, base_rate = float(rows.sum()), float(hits.sum() / rows.sum())
    within = total * base_rate * (1.0 - base_rate)
    between = float(((hits - base_rate * rows) ** 2).sum())
    return float(np.clip(total * within / between if between > 0.0 else total, min(len(rows), total), total))


def _held_out_slope(centres: np.ndarray, rows: np.ndarray, sums: np.ndarray) -> float:
    """How much of the curve holds in time that it was not fitted on, in [0, 1]; 0 where there is too little time to tell.

    Least-squares slope of held-out outcomes on the curve, both as differences from the mean of the rows fitted on.

    Parameters
    ----------
    centres : (bins,) array
    rows, sums : (blocks, bins) array
        Rows, and the sum of their outcomes.
    """
    blocks = len(rows)
    if blocks < MIN_BLOCKS:
        return 0.0
    explained = total = 0.0
    for part in np.array_split(np.arange(blocks), min(FOLDS, blocks // 2)):
        # a neighbouring block shares outcomes with the ones held out
        fitted = np.r_[0 : max(part[0] - 1, 0), min(part[-1] + 2, blocks) : blocks]
        count, outcome = rows[fitted].sum(axis=0), sums[fitted].sum(axis=0)
        known = count > 0
        curve = _centred_isotonic(centres[known], count[known], outcome[known] / count[known])
        mean = outcome.sum() / count.sum()
        forecast = np.interp(centres, *curve) - mean
        held_rows, held_sums = rows[part].sum(axis=0), sums[part].sum(axis=0)
        explained += float(forecast @ (held_sums - mean * held_rows))
        total += float(forecast**2 @ held_rows)
    return float(np.clip(explained / total, 0.0, 1.0)) if total > 0.0 else 0.0


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
