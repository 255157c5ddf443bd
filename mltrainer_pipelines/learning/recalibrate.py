"""Recalibration: correct a champion's probabilities by what became of the signals it made.

Not only recommendations count but every symbol's last signal of each session, so that the correction is not learnt from
the few that were chosen for being high. It is a correction of two numbers with a prior at "no correction": outcomes of
one holding period hang together, and ten thousand rows may be worth fifty. And it applies only once it would have helped: each
holding period is corrected by what had ended before it, and over all of them that has to beat no correction (Dawid 1984, The
Prequential Approach, Journal of the Royal Statistical Society A 147).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.market.listings import listings_of
from mltrainer_pipelines.models.log_odds import expit
from mltrainer_pipelines.signals.learned import Recalibration
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import Recalibration as RecalibrationRow
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.scoring.effective_sample import effective_rows, holding_blocks

INTERCEPT_PRIOR, SLOPE_PRIOR = 0.5, 0.35
"""Standard deviations, in log-odds, of what is thought possible before any outcome is seen."""
LEAST_SLOPE = 0.05
LEAST_PERIODS = 6
"""Holding periods that were corrected by what had ended before them, below which nobody can tell whether it helps."""
SURE = 2.0
"""Standard errors by which correcting has to have helped: chance alone does so in one look of forty."""
_MOST_PERIODS = 24
_STEPS = 50


@dataclass(frozen=True)
class Fitted:
    """A correction and what it rests on: the identity as long as correcting has not helped.

    `effective_observations` is how many independent outcomes the rows are worth. Brier scores are of the holding periods that
    could be corrected by what had ended before them: without and with that correction; None where there was none.
    """

    recalibration: Recalibration
    observations: int
    effective_observations: float
    brier_before: float | None
    brier_after: float | None


def fit_recalibration(forecasts: pl.DataFrame) -> Fitted:
    """Learn a correction: the mode of the posterior, each row counting for as much of an outcome as it is worth.

    It is none unless correcting has helped beyond chance over the holding periods (`SURE`, `LEAST_PERIODS` at least).

    `forecasts` has date (of the decision), exit_date, probability (before any correction) and label (0 or 1), no null.
    Rows are worth less than one outcome by Kish's design effect of holding periods: rows of one share its market. A
    thousand rows of one holding period are worth one outcome, and the correction stays at none.
    """
    if forecasts.is_empty():
        return Fitted(Recalibration(), 0, 0.0, None, None)
    correction, effective = _mode(forecasts)
    gains, before, after = _corrected_ahead(forecasts)
    helped = len(gains) >= LEAST_PERIODS and gains.mean() > SURE * gains.std(ddof=1) / np.sqrt(len(gains))
    return Fitted(correction if helped else Recalibration(), forecasts.height, effective, before, after)


def _corrected_ahead(forecasts: pl.DataFrame) -> tuple[np.ndarray, float | None, float | None]:
    """What correcting each holding period by what had ended before it saved of its squared errors; the Brier scores of both."""
    periods = forecasts.with_columns(period=pl.Series(holding_blocks(forecasts)))
    gains, before, after, rows = [], 0.0, 0.0, 0
    for number in periods["period"].unique().sort().to_list()[-_MOST_PERIODS:]:
        own = periods.filter(pl.col("period") == number)
        ended = forecasts.filter(pl.col("exit_date") < own["date"].min())
        if ended.is_empty():
            continue
        probability, label = own["probability"].to_numpy(), own["label"].to_numpy().astype(np.float64)
        corrected = _mode(ended)[0].apply(probability)
        losses = float(((probability - label) ** 2).sum()), float(((corrected - label) ** 2).sum())
        gains.append((losses[0] - losses[1]) / own.height)
        before, after, rows = before + losses[0], after + losses[1], rows + own.height
    return np.array(gains), before / rows if rows else None, after / rows if rows else None


def _mode(forecasts: pl.DataFrame) -> tuple[Recalibration, float]:
    """The mode of the posterior, and how many independent outcomes the rows are worth."""
    rows = forecasts.height
    probability = np.clip(forecasts["probability"].to_numpy().astype(np.float64), 1e-6, 1 - 1e-6)
    label = forecasts["label"].to_numpy().astype(np.float64)
    odds = np.log(probability / (1 - probability))
    blocks = np.unique(holding_blocks(forecasts), return_inverse=True)[1]
    surprises, variance = np.bincount(blocks, label - probability), float((probability * (1 - probability)).mean())
    effective = effective_rows(np.bincount(blocks), surprises, variance)
    weight = effective / rows

    # Newton's method on two numbers; the prior keeps the curvature away from zero.
    beta, prior = np.array([0.0, 1.0]), np.array([INTERCEPT_PRIOR, SLOPE_PRIOR]) ** -2.0
    design = np.column_stack([np.ones(rows), odds])
    for _ in range(_STEPS):
        fitted = expit(design @ beta)
        gradient = weight * design.T @ (label - fitted) - prior * (beta - np.array([0.0, 1.0]))
        curvature = weight * (design * (fitted * (1 - fitted))[:, None]).T @ design + np.diag(prior)
        step = np.linalg.solve(curvature, gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return Recalibration(float(beta[0]), float(max(beta[1], LEAST_SLOPE))), effective


def update_recalibrations(
    lake: Lake, engine: Engine, timeframes: Sequence[str], labels: pl.DataFrame, as_of: date
) -> list[dict[str, object]]:
    """Correct each champion by the outcomes of its own signals, and keep the corrections under `as_of`, for the sessions after.

    Returns timeframe, trial_id, intercept, slope and outcomes of each; nothing before the first signal.
    """
    listings = listings_of(lake)
    stored = [
        listings.companies(lake.read("signals", session)) for session in lake.partitions("signals") if session <= str(as_of)
    ]
    parts = [part for part in stored if "uncorrected_probability" in part.columns]
    if not parts:
        return []
    signals, rows = resolved_signals(pl.concat(parts, how="diagonal_relaxed"), labels, as_of), list[dict[str, object]]()
    for timeframe in timeframes:
        champion = records.champion_of(engine, timeframe)
        if champion is not None:
            own = signals.filter((pl.col("timeframe") == timeframe) & (pl.col("trial_id") == champion))
            fitted = fit_recalibration(own)
            record_recalibration(engine, as_of, timeframe, champion, fitted)
            correction = vars(fitted.recalibration)
            rows.append({"timeframe": timeframe, "trial_id": champion, **correction, "outcomes": fitted.observations})
    return rows


def record_recalibration(engine: Engine, as_of: date, timeframe: str, trial_id: str, fitted: Fitted) -> None:
    """Keep a correction under the session after which it was learnt; again replaces it. Refreshes of later sessions use it."""
    values = {"as_of": as_of, "timeframe": timeframe, "trial_id": trial_id, **vars(fitted.recalibration), **vars(fitted)}
    del values["recalibration"]
    statement = insert(RecalibrationRow).values(values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["as_of", "timeframe", "trial_id"], set_=values))


def resolved_signals(signals: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Each session's last signals, uncorrected, beside their outcomes known at the close of `as_of`.

    From signals (timestamp, date, symbol, timeframe, trial_id, uncorrected_probability) and labels (date, symbol, timeframe,
    exit_date, net_return, label): date, exit_date, symbol, timeframe, trial_id, probability, label, net_return.
    """
    newest = signals.filter(pl.col("timestamp") == pl.col("timestamp").max().over("date")).drop_nulls("uncorrected_probability")
    outcomes = labels.filter((pl.col("exit_date") <= as_of) & pl.col("label").is_not_null())
    joined = newest.join(
        outcomes.select("date", "symbol", "timeframe", "exit_date", "label", "net_return"), on=["date", "symbol", "timeframe"]
    )
    names = ("date", "exit_date", "symbol", "timeframe", "trial_id", "label", "net_return")
    return joined.select(*names, probability="uncorrected_probability").sort("date", "timeframe", "symbol")
