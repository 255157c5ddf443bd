"""Calibration quarter by quarter: what may be learnt from at each quarter's start, and how the market paid until then.

`calibration` says how a curve is fitted; here is which outcomes it is fitted on.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.ranks import session_percentiles
from mltrainer_pipelines.trials.quarters import quarters_between
from mltrainer_pipelines.trials.scoring.calibration import CalibratedScores, Calibrator, Level
from mltrainer_pipelines.trials.scoring.calibration_fit import (
    MIN_CALIBRATION_ROWS,
    TooFewCalibrationRowsError,
    fit_calibrator,
)
from mltrainer_pipelines.trials.scoring.effective_sample import effective_rows, holding_blocks
from mltrainer_pipelines.trials.validation.windows import EMBARGO_SESSIONS, Window, quarter_window

LOOKBACK_SESSIONS = 2520
"""Ten years of decisions: percentiles within a session mean the same for as long as a model's kind of signal lasts."""
LEVEL_PRIOR, LEVEL_PRIOR_ROWS = 0.5, 20.0
"""Share of profitable trades before anything is known, and the independent outcomes that belief is worth.

Fitted to history: on 200 liquid companies, 2003 to 2018, the share of profits among all outcomes known at a quarter's start had
the lowest Brier score (0.0501 `short`, 0.0557 `long`, of a session's share) with a prior of 20. With one of 500 it stayed near
one half for a decade (0.0502, 0.0583); the last one to five years alone chase the market (0.0505 to 0.0517, 0.0588 to 0.0662).
"""


def fit_level(outcomes: pl.DataFrame, window: Window) -> Level:
    """How the market paid at all, from every outcome known before a window, leaning to one half and to a return of zero.

    Outcomes are those of one timeframe: date, exit_date, barrier, net_return, label.
    """
    resolved = outcomes.filter(window.resolved)
    if resolved.is_empty():
        return Level(LEVEL_PRIOR, 0.0, 0.0)
    blocks = np.unique(holding_blocks(resolved), return_inverse=True)[1]
    labels = resolved["label"].cast(pl.Float64).to_numpy()
    rate = float(labels.mean())
    effective = effective_rows(np.bincount(blocks), np.bincount(blocks, weights=labels - rate), rate * (1.0 - rate))
    share = effective / (effective + LEVEL_PRIOR_ROWS)
    return Level(
        rate=LEVEL_PRIOR + share * (rate - LEVEL_PRIOR),
        net_return=share * float(resolved["net_return"].to_numpy().mean()),
        effective_rows=effective,
    )


def fit_calibrator_for(rows: pl.DataFrame, window: Window, level: Level) -> Calibrator:
    """Fit on the rows of `with_outcomes` that a window may learn from, with the level of the same window; or too few rows."""
    resolved = rows.filter(window.trains)
    if resolved.height < MIN_CALIBRATION_ROWS:
        raise TooFewCalibrationRowsError(
            f"{resolved.height} out-of-sample predictions have an outcome known before {window.cutoff}; "
            f"a calibrator takes {MIN_CALIBRATION_ROWS}: run earlier quarters of the trial first"
        )
    percentiles, hits, returns = (resolved[name].to_numpy() for name in ("percentile", "label", "net_return"))
    return fit_calibrator(percentiles, hits, returns, holding_blocks(resolved), level, regime_scores_of(resolved))


def calibrate_walk_forward(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    sessions: Sequence[date] | None = None,
    lookback_sessions: int = LOOKBACK_SESSIONS,
    embargo: int = EMBARGO_SESSIONS,
    regime: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Calibrate each quarter of a trial by the quarters before it.

    The calibrator of a quarter is fitted on predictions of `lookback_sessions` before it whose exit session lies before the
    quarter's first session, less the embargo: nothing that happened later changes a row. Predictions are date, symbol, score,
    out of sample; give every symbol of a session, since a score means what its percentile among them means. Labels (date,
    symbol, exit_date, barrier, net_return, label) are the timeframe's; those of before the first prediction tell how the market
    paid then. Sessions are those of XNYS by default. With `regime` (date, score from 0 to 100, as known at the close) intervals
    are those of each session's regime.

    Returns date, symbol, score, probability, probability_low, probability_high, expected_net_return, sorted by date and symbol;
    the last four are null in quarters with fewer than `MIN_CALIBRATION_ROWS` known outcomes before them.
    """
    rows = with_outcomes(predictions, labels, regime)
    quarters = []
    for (start, end), calibrator in quarter_calibrators(rows, labels, sessions, lookback_sessions, embargo).items():
        quarter = rows.filter(pl.col("date").is_between(start, end, closed="left"))
        percentiles = quarter["percentile"].to_numpy()
        calibrated = None if calibrator is None else calibrator.apply(percentiles, regime_scores_of(quarter))
        quarters.append(quarter.select("date", "symbol", "score").with_columns(**_columns(calibrated)))
    return pl.concat(quarters)


def quarter_calibrators(
    rows: pl.DataFrame,
    labels: pl.DataFrame,
    sessions: Sequence[date] | None = None,
    lookback_sessions: int = LOOKBACK_SESSIONS,
    embargo: int = EMBARGO_SESSIONS,
) -> dict[tuple[date, date], Calibrator | None]:
    """The calibrator of each quarter that has predictions, as known at its start; None where too few outcomes were.

    Rows are those of `with_outcomes`, the rest is as for `calibrate_walk_forward`.
    """
    if rows.is_empty():
        raise ValueError("no predictions to calibrate; materialize trial_predictions of the trial first")
    first, last = rows["date"][0], rows["date"][-1]
    if sessions is None:
        from mltrainer_pipelines.market.sessions import sessions_between

        sessions = sessions_between(first - timedelta(days=30), last)
    outcomes = labels.select("date", "exit_date", "barrier", "net_return", "label")
    calibrators: dict[tuple[date, date], Calibrator | None] = {}
    for start, end in quarters_between(first, last):
        if rows.filter(pl.col("date").is_between(start, end, closed="left")).is_empty():
            continue
        calibrators[start, end] = None
        earlier = rows.filter(pl.col("date") < start)
        if earlier.height >= MIN_CALIBRATION_ROWS:
            window = quarter_window(start, end, sessions, lookback_sessions, embargo)
            if earlier.select(window.trains.sum()).item() >= MIN_CALIBRATION_ROWS:
                calibrators[start, end] = fit_calibrator_for(earlier, window, fit_level(outcomes, window))
    return calibrators


def with_outcomes(predictions: pl.DataFrame, labels: pl.DataFrame, regime: pl.DataFrame | None = None) -> pl.DataFrame:
    """Predictions with their labels, sorted by date and symbol; outcomes are null where they are not known.

    Returns date, symbol, score, percentile (of the score within its session, 0 to 1), exit_date, barrier, net_return, label,
    and, where `regime` (date, score) is given, regime_score.
    """
    missing = [name for name in ("date", "symbol", "score") if name not in predictions.columns]
    if missing:
        raise ValueError(f"predictions have the columns {predictions.columns}; they lack {', '.join(missing)}")
    if "timeframe" in labels.columns and labels["timeframe"].n_unique() > 1:
        raise ValueError("labels of more than one timeframe; keep those of the trial's timeframe only")
    outcomes = labels.select("date", "symbol", "exit_date", "barrier", "net_return", "label")
    scored = predictions.select("date", "symbol", "score").sort("date", "symbol")
    percentiles = session_percentiles(scored["score"].to_numpy(), scored["date"].to_physical().to_numpy())
    joined = scored.with_columns(percentile=percentiles).join(outcomes, on=["date", "symbol"], how="left", maintain_order="left")
    if joined.height != predictions.height:
        raise ValueError("labels hold a (date, symbol) twice; materialize labels of that month again")
    if regime is None:
        return joined
    return joined.join(regime.select("date", regime_score="score"), on="date", how="left", maintain_order="left")


def regime_scores_of(rows: pl.DataFrame) -> np.ndarray | None:
    """The rows' `regime_score`, NaN where unknown; None without that column."""
    if "regime_score" not in rows.columns:
        return None
    return rows["regime_score"].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _columns(calibrated: CalibratedScores | None) -> dict[str, pl.Series | pl.Expr]:
    c, names = calibrated, ("probability", "probability_low", "probability_high", "expected_net_return")
    if c is None:
        return {name: pl.lit(None, pl.Float64) for name in names}
    return dict(zip(names, map(pl.Series, (c.probability, c.low, c.high, c.expected_net_return)), strict=True))
