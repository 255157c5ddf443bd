"""`mltrainer audit learning`: simulated markets on which the right answer is known, lived through with our own stages.

- **flip**: a premium that rewards one model's feature for half of the time and another's after it. The ensemble's
  weights have to follow, and its Brier score of the second half has to be close to the better model's.
- **null**: the simulated market without any premium: features, labels, trials, scorecards and signals as everywhere else.
  Nothing may be graded proven, and next to nothing may be recommended. Drift is looked for at every span.
- **planted**: the same market with its premium: of what has any confidence, precision has to rise with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.features.barriers import Barriers
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.labels import compute_labels
from mltrainer_pipelines.features.regime import regime_scores
from mltrainer_pipelines.features.timeframes import SHORT
from mltrainer_pipelines.learning.drift import FALSE_ALARM_RATE, calibration_drift, feature_drift, prediction_drift
from mltrainer_pipelines.learning.weights import session_losses, weight_path
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.universe import universe_of
from mltrainer_pipelines.services.simulated_market import simulated_frames
from mltrainer_pipelines.signals.rules import Thresholds, strong_buys
from mltrainer_pipelines.trials.calibration import calibrate_walk_forward
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.promotion import grade
from mltrainer_pipelines.trials.scorecard import score
from mltrainer_pipelines.trials.walk_forward import WalkForward

FOLLOWS_WITHIN_SESSIONS = 40
WITHIN_OF_THE_BETTER = 1.05
MOST_RECOMMENDED = 0.005
COST_BPS = 10.0
_FIRST, _LAST = date(2019, 1, 2), date(2023, 12, 29)
_SEED = 11
_MARKETS = 3
"""Planted markets that are pooled: outcomes of one market hang together, and a few hundred rows of it are worth a few dozen."""
_TRIALS = (
    {"model": "logistic_l2"},
    {"model": "logistic_l2", "params": {"C": 0.0005}},
    {"model": "lightgbm"},
    {"model": "lightgbm", "params": {"num_leaves": 7, "rounds": 60}},
)
"""An ensemble whose members can disagree."""


def audit(symbols: int = 60) -> dict[str, Any]:
    """All three, with `passed` for each and for all."""
    parts = {"flip": flip(symbols), "null": null(symbols), "planted": planted(symbols)}
    return {"passed": all(part["passed"] for part in parts.values()), **parts}


def flip(symbols: int = 60, sessions: int = 800, seed: int = 5, strength: float = 0.0025) -> dict[str, Any]:
    """A premium that flips from one feature to another halfway.

    Daily returns are noise, a market factor, and `strength` × the leading feature (standard normal across the market,
    keeping 98 % of itself a session). Prices go through our own barriers and labels. Each model is a logistic regression
    on one of the features, fitted on a time of its own before.
    """
    from sklearn.linear_model import LogisticRegression

    training = [_panel(symbols, 500, seed + number, strength, lead=[number] * 500) for number in (1, 2)]
    models = [
        LogisticRegression().fit(rows.select(f"feature_{number}").to_numpy(), rows["label"].to_numpy())
        for number, rows in enumerate(training, start=1)
    ]
    half = sessions // 2
    rows = _panel(symbols, sessions, seed, strength, lead=[1] * half + [2] * (sessions - half))
    names = ["model_1", "model_2"]
    told = [
        rows.select("decided", "date", "label").with_columns(
            trial_id=pl.lit(name), probability=pl.Series(model.predict_proba(rows.select(f"feature_{number}").to_numpy())[:, 1])
        )
        for number, (name, model) in enumerate(zip(names, models, strict=True), start=1)
    ]
    known_on, losses = session_losses(pl.concat(told), names)
    path = weight_path(losses)
    days = sorted(rows["decided"].unique().to_list())
    flipped = days[half]
    # Before each decision: what had matured on the sessions before it.
    at = np.searchsorted(np.array(known_on, dtype="datetime64[D]"), np.array(days, dtype="datetime64[D]"))
    weights = np.vstack([path.before, path.last])[at]
    leads = [number for number, day in enumerate(days) if day >= flipped and weights[number, 1] > 0.5]
    follows_after = leads[0] - half if leads else None
    by_day = pl.DataFrame({"decided": days, "w1": weights[:, 0], "w2": weights[:, 1]})
    forecast = (
        told[0].select("decided", "label", p1="probability").with_columns(p2=told[1]["probability"]).join(by_day, on="decided")
    )
    second = forecast.filter(pl.col("decided") >= flipped).with_columns(
        mix=pl.col("w1") * pl.col("p1") + pl.col("w2") * pl.col("p2")
    )
    brier = {name: float(((second[name] - second["label"]) ** 2).mean()) for name in ("p1", "p2", "mix")}  # type: ignore[arg-type]
    ratio = brier["mix"] / min(brier["p1"], brier["p2"])
    return {
        "passed": follows_after is not None and follows_after <= FOLLOWS_WITHIN_SESSIONS and ratio <= WITHIN_OF_THE_BETTER,
        "sessions_until_weights_follow": follows_after,
        "allowed_sessions": FOLLOWS_WITHIN_SESSIONS,
        "weight_of_the_right_model_first_half": float(weights[half // 2 : half, 0].mean()),
        "weight_of_the_right_model_second_half": float(weights[half + FOLLOWS_WITHIN_SESSIONS :, 1].mean()),
        "brier_second_half": {"model_1": brier["p1"], "model_2": brier["p2"], "ensemble": brier["mix"]},
        "ensemble_over_better": ratio,
        "allowed_ratio": WITHIN_OF_THE_BETTER,
    }


def null(symbols: int = 60) -> dict[str, Any]:
    """The simulated market without a premium."""
    lived = _lived(symbols, premium=0.0)
    recommended = lived.signals["strong_buy"].mean()
    alarms = _alarms(lived)
    return {
        "passed": "proven" not in lived.grades.values() and float(recommended or 0.0) <= MOST_RECOMMENDED,  # type: ignore[arg-type]
        "grades": lived.grades,
        "symbol_sessions": lived.signals.height,
        "recommended": int(lived.signals["strong_buy"].sum()),
        "recommended_share": float(recommended or 0.0),  # type: ignore[arg-type]
        "allowed_share": MOST_RECOMMENDED,
        "drift_alarms": alarms,
        "stated_false_alarm_rate": FALSE_ALARM_RATE,
    }


def planted(symbols: int = 60) -> dict[str, Any]:
    """Simulated markets with their premium: precision over five groups by confidence, all markets together.

    Most signals have no member's vote and so a confidence of 0: they are the first group, the others are cut into four
    of equal size. Passed where precision rises with the group (rank correlation above 0.5) and lies above the first
    group's in each of the others.
    """
    markets = [_lived(symbols, 1.0, _SEED + number) for number in range(_MARKETS)]
    signals = pl.concat(market.signals for market in markets)
    known = signals.drop_nulls(["confidence", "label"]).sort("confidence", "date", "symbol")
    silent, voted = known.filter(pl.col("confidence") <= 0), known.filter(pl.col("confidence") > 0)
    bounds = np.linspace(0, voted.height, 5).astype(int)
    groups = [silent, *(voted[low:high] for low, high in pairwise(bounds))]
    precision = [float(group["label"].mean()) if group.height else float("nan") for group in groups]  # type: ignore[arg-type]
    ranks = np.argsort(np.argsort(precision))
    rise = float(np.corrcoef(np.arange(5), ranks)[0, 1])
    return {
        "passed": bool(rise > 0.5 and min(precision[1:]) > precision[0]),
        "precision_by_confidence": precision,
        "confidence": [float(group["confidence"].mean()) for group in groups],  # type: ignore[arg-type]
        "rows": [group.height for group in groups],
        "rank_correlation": rise,
        "markets": _MARKETS,
        "grades": [market.grades for market in markets],
        "recommended_share": float(signals["strong_buy"].mean()),  # type: ignore[arg-type]
    }


def shown(found: dict[str, Any]) -> str:
    """The audit as lines for a terminal."""
    flipped, nothing, rich = found["flip"], found["null"], found["planted"]
    verdict = {True: "holds", False: "FAILS"}
    precision = ", ".join(f"{value:.1%}" for value in rich["precision_by_confidence"])
    return "\n".join(
        [
            f"{verdict[flipped['passed']]}: after a flip the weights follow in {flipped['sessions_until_weights_follow']} "
            f"sessions (allowed {flipped['allowed_sessions']}); the ensemble's Brier score is "
            f"{flipped['ensemble_over_better']:.4f} of the better model's (allowed {flipped['allowed_ratio']})",
            f"{verdict[nothing['passed']]}: without a premium {nothing['recommended']} of {nothing['symbol_sessions']} "
            f"symbol-sessions are recommended ({nothing['recommended_share']:.3%}, allowed {nothing['allowed_share']:.1%}); "
            f"grades: {', '.join(sorted(set(nothing['grades'].values())))}",
            f"  drift alarms there: {nothing['drift_alarms']} (stated rate {nothing['stated_false_alarm_rate']:.0%})",
            f"{verdict[rich['passed']]}: precision over five groups by confidence: {precision}",
        ]
    )


@dataclass(frozen=True)
class _Lived:
    grades: dict[str, str]
    signals: pl.DataFrame
    features: pl.DataFrame
    forecasts: pl.DataFrame


def _lived(symbols: int, premium: float, seed: int = _SEED) -> _Lived:
    """A simulated market from bars to signals: out of sample, with the trials' weights as learnt by then."""
    frames = simulated_frames(seed, symbols, _FIRST, _LAST, premium)
    bars = adjusted(frames.bars, frames.actions)
    first = sessions_between(_FIRST, _LAST)[0]
    months = sorted({day.replace(day=1) for day in sessions_between(first, _LAST)})
    members = pl.concat([universe_of(month, frames.bars, frames.reference, symbols) for month in months])
    macro = known_macro(frames.observations, bars["date"].unique().sort().to_list())
    features = compute_features(bars, members, macro, first, _LAST)
    labels = compute_labels(bars, members, SHORT, Barriers(), COST_BPS, first, _LAST)
    regime = regime_scores(bars, macro, members)
    configs = [TrialConfig.parse({"timeframe": "short", **trial}) for trial in _TRIALS]
    calibrated: dict[str, pl.DataFrame] = {}
    grades: dict[str, str] = {}
    sharpes: list[float] = []
    for number, config in enumerate(configs):
        walk = WalkForward(config, features, labels)
        predictions = pl.concat(walk.predict_quarter(*quarter).predictions for quarter in walk.quarters())
        calibrated[config.trial_id] = calibrate_walk_forward(predictions, labels)
        card = score(config, calibrated[config.trial_id], labels, bars, sharpes, number + 1, COST_BPS).scorecard
        grades[config.trial_id] = grade(card)
        sharpes += [card.daily_sharpe] if card.daily_sharpe is not None else []
    signals, forecasts = _signals(calibrated, labels, regime)
    return _Lived(grades, signals, features, forecasts)


def _signals(
    calibrated: dict[str, pl.DataFrame], labels: pl.DataFrame, regime: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What a refresh at each close would have said, beside the outcomes; and the forecasts that matured."""
    names, thresholds = sorted(calibrated), Thresholds()
    outcomes = labels.select("date", "symbol", "label", "net_return", known_on="exit_date")
    told = [
        calibrated[name].drop_nulls("probability").join(outcomes, on=["date", "symbol"]).with_columns(trial_id=pl.lit(name))
        for name in names
    ]
    matured = pl.concat(told).drop_nulls("label").rename({"date": "decided", "known_on": "date"})
    known_on, losses = session_losses(matured, names)
    path = weight_path(losses)
    days = pl.concat(told)["date"].unique().sort()
    at = np.searchsorted(np.array(known_on, dtype="datetime64[D]"), days.to_numpy())
    weights = pl.DataFrame(np.vstack([path.before, path.last])[at], schema=names).with_columns(date=days)
    long_weights = weights.unpivot(names, index="date", variable_name="trial_id", value_name="weight")
    both = pl.concat(told).join(long_weights, on=["date", "trial_id"])
    share = pl.col("weight") / pl.col("weight").sum()

    def mean(name: str) -> pl.Expr:
        return (share * pl.col(name)).sum()

    mixed = both.group_by("date", "symbol").agg(
        profit_probability=mean("probability"),
        probability_low=mean("probability_low"),
        probability_high=mean("probability_high"),
        expected_net_return=mean("expected_net_return"),
        agreement=(share * (pl.col("probability") >= thresholds.min_probability)).sum(),
        label=pl.col("label").first(),
    )
    width = pl.col("probability_high") - pl.col("probability_low")
    ready = mixed.join(regime.select("date", regime_score="score"), on="date", how="left").with_columns(
        confidence=pl.col("agreement") * (1 - width),
        price_source=pl.lit("close"),
        entry_price=pl.lit(1.0),
        target_price=pl.lit(1.1),
        stop_loss=pl.lit(0.9),
    )
    return strong_buys(ready, thresholds).sort("date", "symbol"), matured


def _alarms(lived: _Lived) -> dict[str, float]:
    """Share of looks that raise an alarm, over the last year of the market, a look a month."""
    days = lived.features["date"].unique().sort().to_list()
    one = lived.forecasts.filter(pl.col("trial_id") == lived.forecasts["trial_id"][0])
    crossed: dict[str, list[bool]] = {"features": [], "predictions": [], "calibration": []}
    for day in days[-240::20]:
        looks = (
            feature_drift(lived.features.filter(pl.col("date") <= day)),
            prediction_drift(one.select("probability", date="decided").filter(pl.col("date") <= day)),
            calibration_drift(one.filter(pl.col("date") <= day)),
        )
        for look in looks:
            if look is not None:
                crossed[look.kind].append(look.crossed)
    return {kind: float(np.mean(found)) if found else 0.0 for kind, found in crossed.items()}


def _panel(symbols: int, sessions: int, seed: int, strength: float, lead: Sequence[int]) -> pl.DataFrame:
    """decided, date (when known), symbol, feature_1, feature_2, label of a market whose premium rewards feature `lead[t]`."""
    rng = np.random.default_rng(seed)
    warm, after = 70, 20
    total = warm + sessions + after
    days = np.array(sessions_between(date(2010, 1, 4), date(2020, 1, 1))[:total], dtype="datetime64[D]")
    features = np.zeros((2, total, symbols))
    features[:, 0] = rng.standard_normal((2, symbols))
    for t in range(1, total):
        features[:, t] = 0.98 * features[:, t - 1] + np.sqrt(1 - 0.98**2) * rng.standard_normal((2, symbols))
    leads = np.concatenate([np.full(warm, lead[0]), np.asarray(lead), np.full(after, lead[-1])]) - 1
    returns = 0.005 * rng.standard_normal((total, 1)) + 0.015 * rng.standard_normal((total, symbols))
    returns[1:] += strength * features[leads[1:], np.arange(total - 1)]
    close = 50 * np.exp(np.cumsum(returns, axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    spread = 0.004 * rng.random((2, total, symbols))
    index = np.repeat(np.arange(total), symbols)
    names = [f"S{number:03}" for number in range(symbols)]
    bars = pl.DataFrame(
        {
            "date": days[index],
            "symbol": names * total,
            "adj_open": opened.ravel(),
            "adj_high": (np.maximum(opened, close) * (1 + spread[0])).ravel(),
            "adj_low": (np.minimum(opened, close) * (1 - spread[1])).ravel(),
            "adj_close": close.ravel(),
        }
    )
    months = sorted({day.astype("datetime64[M]").astype("datetime64[D]").item() for day in days})
    universe = pl.DataFrame({"month": months}).join(pl.DataFrame({"symbol": names}), how="cross")
    first, last = days[warm].item(), days[warm + sessions - 1].item()
    labels = compute_labels(bars, universe, SHORT, Barriers(), COST_BPS, first, last)
    known = pl.DataFrame(
        {"date": days[index], "symbol": names * total, "feature_1": features[0].ravel(), "feature_2": features[1].ravel()}
    )
    return (
        labels.drop_nulls("label")
        .join(known, on=["date", "symbol"])
        .select("symbol", "feature_1", "feature_2", "label", decided="date", date="exit_date")
        .sort("decided", "symbol")
    )
