"""Backtests from bars to signals on simulated markets, out of sample, with our own stages: for `mltrainer audit learning`.

Each quarter is scored as a refresh would score it: by an ensemble of trials fitted before the quarter, of which the one with
the highest weight is the champion and votes with its last refits; each member calibrated on the quarters before, its
interval by regime; weighted each session by the outcomes known before it.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.audits.simulated_market import COST_BPS, AuditMarket, simulated_history
from mltrainer_pipelines.features.regime.score import regime_scores
from mltrainer_pipelines.learning.drift import calibration_drift, feature_drift, prediction_drift
from mltrainer_pipelines.learning.weights import session_losses, weight_path
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.signals.rules import Thresholds, strong_buys
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.ensemble_fit import CHAMPION_REFITS
from mltrainer_pipelines.trials.registry.promotion import grade
from mltrainer_pipelines.trials.scoring.calibration import Calibrator
from mltrainer_pipelines.trials.scoring.score import score
from mltrainer_pipelines.trials.validation.calibrated_quarters import (
    calibrate_walk_forward,
    quarter_calibrators,
    regime_scores_of,
    with_outcomes,
)
from mltrainer_pipelines.trials.validation.quarters import FittedModel
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

FIRST, LAST = date(2019, 1, 2), date(2023, 12, 29)
TRIALS: tuple[Mapping[str, Any], ...] = (
    {"model": "logistic_l2"},
    {"model": "logistic_l2", "params": {"C": 0.0005}},
    {"model": "lightgbm"},
    {"model": "lightgbm", "params": {"num_leaves": 7, "rounds": 60}},
)
"""An ensemble whose members can disagree."""
LOOKS, LOOK_EVERY = 12, 20
"""Looks for drift over the last year of a market, a month apart."""
_WORKERS = 4
_FORECAST = ("probability", "probability_low", "probability_high", "expected_net_return")


@dataclass(frozen=True)
class SimulatedBacktest:
    """Outcome of a backtest: grades by trial id, `mixed_signals` of every session that has a calibrated forecast, and `alarms`:
    by kind of drift, whether each look for it crossed its threshold.
    """

    seed: int
    grades: Mapping[str, str]
    signals: pl.DataFrame
    alarms: Mapping[str, list[bool]]


def run_backtests(symbols: int, markets: Sequence[tuple[float, int]]) -> list[SimulatedBacktest]:
    """Backtest markets of (premium, seed), several at a time in processes of their own."""
    # Spawned, not forked: Polars has threads.
    with ProcessPoolExecutor(min(_WORKERS, os.cpu_count() or 1, len(markets)), get_context("spawn")) as pool:
        running = [pool.submit(run_backtest, symbols, premium, seed) for premium, seed in markets]
        return [backtest.result() for backtest in running]


def run_backtest(symbols: int, premium: float, seed: int) -> SimulatedBacktest:
    """Backtest one simulated market of so many companies; `premium` scales what can be predicted in it, 0 leaves nothing."""
    market = AuditMarket(seed, symbols, premium, FIRST, LAST)
    frames = market.frames()
    history = simulated_history(market, frames)
    labels = history.labels.filter(pl.col("timeframe") == "short")
    macro = known_macro(frames.observations, history.bars["date"].unique().sort().to_list())
    regime = regime_scores(history.bars, macro, history.universe)

    walks: dict[str, _CalibratedWalk] = {}
    grades: dict[str, str] = {}
    sharpes: list[float] = []
    for number, trial in enumerate(TRIALS):
        config = TrialConfig.parse({"timeframe": "short", **trial})
        walks[config.trial_id] = own = _walk_forward(config, history.features, labels, regime)
        card = score(config, own.calibrated, labels, history.bars, sharpes, number + 1, COST_BPS).scorecard
        grades[config.trial_id] = grade(card)
        sharpes += [card.daily_sharpe] if card.daily_sharpe is not None else []

    outcomes = labels.select("date", "symbol", "label", "net_return", known_on="exit_date")
    forecasts = {name: own.calibrated.drop_nulls("probability") for name, own in walks.items()}
    resolved = pl.concat(
        rows.join(outcomes, on=["date", "symbol"]).with_columns(trial_id=pl.lit(name)) for name, rows in forecasts.items()
    )
    resolved = resolved.drop_nulls("label").rename({"date": "decided", "known_on": "date"})
    weights = _weights(resolved, sorted(walks), forecasts)
    members = pl.concat(_with_refits(walks, weights, regime))
    signals = mixed_signals(members, weights, regime, Thresholds()).join(outcomes, on=["date", "symbol"])
    one = resolved.filter(pl.col("trial_id") == sorted(walks)[0])
    return SimulatedBacktest(seed, grades, signals.sort("date", "symbol"), _drift_alarms(history.features, one))


def mixed_signals(forecasts: pl.DataFrame, weights: pl.DataFrame, regime: pl.DataFrame, thresholds: Thresholds) -> pl.DataFrame:
    """The signals of a refresh at each close: as `ChampionEnsemble.predict` mixes its members, and the thresholds.

    `forecasts` has a row a member: date, symbol, trial_id, probability, probability_low, probability_high, expected_net_return.
    `weights` (date, trial_id, weight) are of the trials, each spread evenly over its members. Of the result's columns
    profit_probability, agreement and confidence are new, and regime_score, strong_buy and reason those of the rules.
    """
    members = forecasts.join(weights, on=["date", "trial_id"]).with_columns(
        share=pl.col("weight") / pl.len().over("date", "symbol", "trial_id")
    )
    share = pl.col("share") / pl.col("share").sum()
    mixed = members.group_by("date", "symbol").agg(
        profit_probability=(share * pl.col("probability")).sum(),
        probability_low=(share * pl.col("probability_low")).sum(),
        probability_high=(share * pl.col("probability_high")).sum(),
        expected_net_return=(share * pl.col("expected_net_return")).sum(),
        agreement=(share * (pl.col("probability") >= thresholds.min_probability)).sum(),
    )
    width = pl.col("probability_high") - pl.col("probability_low")
    # Prices are not what is asked here: every symbol has one.
    priced = {"price_source": pl.lit("close"), "entry_price": pl.lit(1.0), "target_price": pl.lit(1.1), "stop_loss": pl.lit(0.9)}
    ready = mixed.join(regime.select("date", regime_score="score"), on="date", how="left").with_columns(
        confidence=pl.col("agreement") * (1 - width), **priced
    )
    return strong_buys(ready, thresholds).drop(*priced).sort("date", "symbol")


@dataclass(frozen=True)
class _CalibratedWalk:
    """A trial's walk: its models by quarter, and what it predicted, calibrated on the quarters before."""

    walk: WalkForward
    fits: Mapping[tuple[date, date], FittedModel]
    calibrators: Mapping[tuple[date, date], Calibrator | None]
    calibrated: pl.DataFrame
    labels: pl.DataFrame


def _walk_forward(config: TrialConfig, features: pl.DataFrame, labels: pl.DataFrame, regime: pl.DataFrame) -> _CalibratedWalk:
    walk = WalkForward(config, features, labels)
    fits = {quarter: walk.fit(walk.window(*quarter)) for quarter in walk.quarters()}
    predictions = pl.concat(walk.predict_with(fit, *quarter).predictions for quarter, fit in fits.items())
    calibrators = quarter_calibrators(with_outcomes(predictions, labels, regime), labels)
    return _CalibratedWalk(walk, fits, calibrators, calibrate_walk_forward(predictions, labels, regime=regime), labels)


def _weights(resolved: pl.DataFrame, names: list[str], forecasts: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """date, trial_id, weight of each session with a forecast, learnt from what was resolved on the sessions before."""
    known_on, losses = session_losses(resolved, names)
    path = weight_path(losses)
    days = pl.concat(rows.select("date") for rows in forecasts.values())["date"].unique().sort()
    at = np.searchsorted(np.array(known_on, dtype="datetime64[D]"), days.to_numpy())
    wide = pl.DataFrame(np.vstack([path.before, path.last])[at], schema=names).with_columns(date=days)
    return wide.unpivot(names, index="date", variable_name="trial_id", value_name="weight")


def _with_refits(walks: Mapping[str, _CalibratedWalk], weights: pl.DataFrame, regime: pl.DataFrame) -> Sequence[pl.DataFrame]:
    """The members' forecasts: one fit of each trial, and the earlier refits of the quarter's champion."""
    columns = ("date", "symbol", "trial_id", *_FORECAST)
    members = [
        own.calibrated.drop_nulls("probability").with_columns(trial_id=pl.lit(name)).select(columns)
        for name, own in walks.items()
    ]
    for quarter in sorted({quarter for own in walks.values() for quarter in own.fits}):
        inside = weights.filter(pl.col("date").is_between(*quarter, closed="left"))
        if inside.is_empty():
            continue
        first_day = inside.filter(pl.col("date") == pl.col("date").min())
        champion = first_day.sort("weight", "trial_id", descending=[True, False])["trial_id"][0]
        own = walks[champion]
        calibrator = own.calibrators.get(quarter)
        if calibrator is None:
            continue
        earlier = [fit for when, fit in sorted(own.fits.items()) if when < quarter][1 - CHAMPION_REFITS :]
        for fit in earlier:
            rows = with_outcomes(own.walk.predict_with(fit, *quarter).predictions, own.labels, regime)
            calibrated = calibrator.apply(rows["percentile"].to_numpy(), regime_scores_of(rows))
            forecast = rows.select("date", "symbol", trial_id=pl.lit(champion)).with_columns(
                probability=calibrated.probability,
                probability_low=calibrated.low,
                probability_high=calibrated.high,
                expected_net_return=calibrated.expected_net_return,
            )
            members.append(forecast.select(columns))
    return members


def _drift_alarms(features: pl.DataFrame, resolved: pl.DataFrame) -> dict[str, list[bool]]:
    """Whether each look for drift crosses its threshold, of one trial, over the last year of the market."""
    days = features["date"].unique().sort().to_list()
    crossed: dict[str, list[bool]] = {"features": [], "predictions": [], "calibration": []}
    for day in days[-LOOKS * LOOK_EVERY :: LOOK_EVERY]:
        looks = (
            feature_drift(features.filter(pl.col("date") <= day)),
            prediction_drift(resolved.select("probability", date="decided").filter(pl.col("date") <= day)),
            calibration_drift(resolved.filter(pl.col("date") <= day)),
        )
        for look in looks:
            if look is not None:
                crossed[look.kind].append(look.crossed)
    return crossed
