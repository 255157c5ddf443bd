"""Calibration: from a model's score to the probability of a profit, how well that is known, and the return to expect.

Everything is learnt from earlier out-of-sample predictions whose outcome was already known. Two facts about
these rows shape the method. Labels of neighbouring sessions overlap, so that n rows carry the information of
about n / holding sessions; and a rise of the curve over a few rows is one event seen many times, so that scores
are put into bins of hundreds of rows before a curve is fitted.

References
----------
Vovk, Petej, Fedorova (2015), Large-scale probabilistic predictors with and without guarantees of validity, NIPS:
    inductive Venn–Abers predictors, and p1 / (1 − p0 + p1) as the log-loss minimax merge of an interval.
Oron, Flournoy (2017), Centered isotonic regression, Statistics in Biopharmaceutical Research 9(3).
López de Prado (2018), Advances in Financial Machine Learning, ch. 4: average uniqueness of overlapping labels.
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
        Outcomes that do not overlap: `rows` times the average uniqueness.
    base_rate : float
        Share of profitable rows.
    """

    scores: np.ndarray
    low: np.ndarray
    high: np.ndarray
    return_scores: np.ndarray
    returns: np.ndarray
    rows: int
    effective_rows: float
    base_rate: float

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


def fit_calibrator(scores: np.ndarray, labels: np.ndarray, net_returns: np.ndarray, uniqueness: float = 1.0) -> Calibrator:
    """Fit on out-of-sample scores whose outcome is known.

    Parameters
    ----------
    scores : (rows,) array
        Raw model scores.
    labels : (rows,) array of 0 and 1
        Whether the net return at exit was above zero.
    net_returns : (rows,) array
        Net return at exit, as a fraction.
    uniqueness : float
        Average share of a row's holding period that no other row of its symbol covers, in (0, 1]: how much of
        an observation a row is. Narrow intervals need many rows that do not overlap.

    Raises
    ------
    TooFewCalibrationRowsError
        Below `MIN_CALIBRATION_ROWS` rows.
    """
    from scipy.optimize import isotonic_regression

    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    net_returns = np.asarray(net_returns, dtype=np.float64)
    rows = len(scores)
    if not rows == len(labels) == len(net_returns):
        raise ValueError(f"{rows} scores, {len(labels)} labels and {len(net_returns)} net returns: give one of each a row")
    if rows < MIN_CALIBRATION_ROWS:
        raise TooFewCalibrationRowsError(
            f"{rows} known outcomes; a calibrator takes {MIN_CALIBRATION_ROWS}: run earlier quarters first"
        )
    if not 0.0 < uniqueness <= 1.0:
        raise ValueError(f"uniqueness is {uniqueness}; give a share in (0, 1]")
    if not (np.isfinite(scores).all() and np.isfinite(labels).all() and np.isfinite(net_returns).all()):
        raise ValueError("scores, labels and net returns must be finite; leave rows without an outcome out")

    centres, count, hits, gains = _binned(scores, labels, net_returns)
    weight = count * uniqueness
    low, high = np.empty(len(centres)), np.empty(len(centres))
    for bin_, rate in enumerate(hits):
        for label, curve in ((0.0, low), (1.0, high)):
            rates, weights = hits.copy(), weight.copy()
            weights[bin_] += 1.0
            rates[bin_] = (rate * weight[bin_] + label) / weights[bin_]
            curve[bin_] = isotonic_regression(rates, weights=weights).x[bin_]

    isotonic = isotonic_regression(gains, weights=count)
    starts = isotonic.blocks[:-1]
    block_rows = np.add.reduceat(count, starts)
    return Calibrator(
        scores=centres,
        low=np.maximum.accumulate(low),
        high=np.maximum.accumulate(high),
        return_scores=np.add.reduceat(centres * count, starts) / block_rows,
        returns=np.add.reduceat(gains * count, starts) / block_rows,
        rows=rows,
        effective_rows=rows * uniqueness,
        base_rate=float(labels.mean()),
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
    return fit_calibrator(scores, hits, returns, average_uniqueness(known))


def average_uniqueness(labels: pl.DataFrame) -> float:
    """Average share of a holding period that is a row's own, where a symbol is decided on at every session.

    Parameters
    ----------
    labels : DataFrame
        date and exit_date, no null.
    """
    holding = np.busday_count(labels["date"].to_numpy(), labels["exit_date"].to_numpy())
    return float((1.0 / np.maximum(holding, 1)).mean())


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


def _binned(
    scores: np.ndarray, labels: np.ndarray, net_returns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bins of about equally many rows in order of the score: mean score, rows, hit rate and mean net return of each.

    Equal scores share a bin, so that centres increase strictly and rows of one score mean the same.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    bins = int(np.clip(len(scores) // ROWS_PER_BIN, 1, MAX_BINS))
    edges = (np.arange(1, bins) * len(scores)) // bins
    edges = np.searchsorted(ordered, ordered[edges], side="left")  # move to where the score changes
    starts = np.unique(np.concatenate([[0], edges]))
    count = np.diff(np.append(starts, len(scores))).astype(np.float64)
    centres, hits, gains = (np.add.reduceat(values, starts) / count for values in (ordered, labels[order], net_returns[order]))
    return centres, count, hits, gains
