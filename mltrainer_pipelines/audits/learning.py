"""`mltrainer audit learning`: our own stages on simulated markets on which the right answer is known.

- **flip**: a premium that rewards one model's feature for half of the time and another's after it. The ensemble's
  weights have to follow, and its Brier score of the second half has to be close to the better model's.
- **null**: simulated markets without any premium: features, labels, trials, scorecards and signals as everywhere else.
  Nothing may be graded proven, and next to nothing may be recommended. Drift is looked for month by month.
- **planted**: the same with their premium: of what has any confidence, precision has to rise with it.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.audits.simulated_backtests import SimulatedBacktest, run_backtests
from mltrainer_pipelines.audits.simulated_market import COST_BPS
from mltrainer_pipelines.contracts.timeframes import SHORT
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.learning.drift import FALSE_ALARM_RATE
from mltrainer_pipelines.learning.weights import session_losses, weight_path
from mltrainer_pipelines.market.sessions import sessions_between

FOLLOWS_WITHIN_SESSIONS = 40
WITHIN_OF_THE_BETTER = 1.05
MOST_RECOMMENDED = 0.005
LEAST_RANK_CORRELATION = 0.9
"""Of the precision of five groups with their order: at most one pair of neighbours swapped, 1 chance in 24 without a relation."""
GROUPS = 5
HOLDING_SESSIONS = 12
"""Outcomes of one market within so many sessions hang together: they are one cluster of the standard errors."""
_SEED = 11
NULL_MARKETS, PLANTED_MARKETS = 6, 12
"""Markets that are pooled: a few hundred recommendations of one market are worth a few dozen."""


def audit(symbols: int = 60, seed: int = _SEED) -> dict[str, object]:
    """All three, with `passed` for each and for all."""
    markets = [(0.0, seed + n) for n in range(NULL_MARKETS)] + [(1.0, seed + n) for n in range(PLANTED_MARKETS)]
    backtests = run_backtests(symbols, markets)
    parts = {"flip": flip(symbols), "null": null(backtests[:NULL_MARKETS]), "planted": planted(backtests[NULL_MARKETS:])}
    return {"passed": all(part["passed"] for part in parts.values()), **parts}


def flip(symbols: int = 60, sessions: int = 800, seed: int = 5, strength: float = 0.0025) -> dict[str, object]:
    """A premium that flips from one feature to another halfway.

    Daily returns are noise, a market factor, and `strength` × the leading feature (standard normal across the market,
    keeping 98 % of itself a session). Prices go through our own barriers and labels. Each model is a logistic regression
    on one of the features, fitted on a time of its own before.
    """
    from sklearn.linear_model import LogisticRegression

    training = [_premium_panel(symbols, 500, seed + number, strength, lead=[number] * 500) for number in (1, 2)]
    models = [
        LogisticRegression().fit(rows.select(f"feature_{number}").to_numpy(), rows["label"].to_numpy())
        for number, rows in enumerate(training, start=1)
    ]
    half = sessions // 2
    rows = _premium_panel(symbols, sessions, seed, strength, lead=[1] * half + [2] * (sessions - half))
    names = ["model_1", "model_2"]
    forecasts = [
        rows.select("decided", "date", "label").with_columns(
            trial_id=pl.lit(name), probability=pl.Series(model.predict_proba(rows.select(f"feature_{number}").to_numpy())[:, 1])
        )
        for number, (name, model) in enumerate(zip(names, models, strict=True), start=1)
    ]
    known_on, losses = session_losses(pl.concat(forecasts), names)
    path = weight_path(losses)
    days = sorted(rows["decided"].unique().to_list())
    flipped = days[half]
    # Before each decision: what was resolved on the sessions before it.
    at = np.searchsorted(np.array(known_on, dtype="datetime64[D]"), np.array(days, dtype="datetime64[D]"))
    weights = np.vstack([path.before, path.last])[at]
    leads = [number for number, day in enumerate(days) if day >= flipped and weights[number, 1] > 0.5]
    follows_after = leads[0] - half if leads else None
    by_day = pl.DataFrame({"decided": days, "w1": weights[:, 0], "w2": weights[:, 1]})
    one, two = forecasts
    both = one.select("decided", "label", p1="probability").with_columns(p2=two["probability"]).join(by_day, on="decided")
    second = both.filter(pl.col("decided") >= flipped).with_columns(mix=pl.col("w1") * pl.col("p1") + pl.col("w2") * pl.col("p2"))
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


def null(markets: Sequence[SimulatedBacktest]) -> dict[str, Any]:
    """Simulated markets without a premium: what is recommended there, and how often drift is reported."""
    signals = pl.concat(market.signals for market in markets)
    recommended = int(signals["strong_buy"].sum())
    share = recommended / signals.height
    grades = [grade for market in markets for grade in market.grades.values()]
    looks = {kind: [crossed for market in markets for crossed in market.alarms[kind]] for kind in markets[0].alarms}
    return {
        "passed": "proven" not in grades and share <= MOST_RECOMMENDED,
        "seeds": [market.seed for market in markets],
        "trials": len(grades),
        "proven": grades.count("proven"),
        "symbol_sessions": signals.height,
        "recommended": recommended,
        "recommended_share": share,
        "recommended_share_by_market": [float(market.signals["strong_buy"].mean() or 0.0) for market in markets],  # type: ignore[arg-type]
        "allowed_share": MOST_RECOMMENDED,
        "drift_looks": {kind: len(alarms) for kind, alarms in looks.items()},
        "drift_alarms": {kind: sum(alarms) / len(alarms) if alarms else 0.0 for kind, alarms in looks.items()},
        "stated_false_alarm_rate": FALSE_ALARM_RATE,
    }


def planted(markets: Sequence[SimulatedBacktest]) -> dict[str, object]:
    """Simulated markets with their premium: precision over five groups by confidence, all markets together.

    Most signals have no member's vote and so a confidence of 0, which ranks nothing among them: they are listed apart, as
    what the five groups are compared with. The groups are the quintiles of the others; equal confidences share a group.
    Passed where precision rises with the group (`LEAST_RANK_CORRELATION`) and lies in each above that of the silent.
    """
    signals = pl.concat(market.signals.with_columns(seed=pl.lit(market.seed)) for market in markets)
    signals = signals.drop_nulls(["confidence", "label"])
    silent, voted = signals.filter(pl.col("confidence") <= 0), signals.filter(pl.col("confidence") > 0)
    confidence = voted["confidence"].to_numpy()
    edges = np.quantile(confidence, np.arange(1, GROUPS) / GROUPS) if voted.height else np.empty(0)
    number = np.searchsorted(edges, confidence, side="left")
    groups = [voted.filter(number == group) for group in range(GROUPS)]
    measured = [_precision(group) for group in (silent, *groups)]
    precision = [value for value, _ in measured[1:]]
    recommended = signals.filter(pl.col("strong_buy"))
    rise = None  # where equal confidences leave a group empty there are no quintiles
    if all(group.height for group in groups):
        rise = round(float(np.corrcoef(np.arange(GROUPS), np.argsort(np.argsort(precision)))[0, 1]), 6)
    return {
        "passed": rise is not None and rise >= LEAST_RANK_CORRELATION and min(precision) > measured[0][0],
        "precision_by_confidence": precision,
        "standard_errors": [error for _, error in measured[1:]],
        "confidence": [float(group["confidence"].mean() or 0.0) for group in groups],  # type: ignore[arg-type]
        "rows": [group.height for group in groups],
        "rank_correlation": rise,
        "least_rank_correlation": LEAST_RANK_CORRELATION,
        "share_without_a_vote": silent.height / signals.height,
        "precision_without_a_vote": measured[0][0],
        "seeds": [market.seed for market in markets],
        "recommended_share": recommended.height / signals.height,
        "precision_of_recommended": _precision(recommended)[0],
    }


def _precision(rows: pl.DataFrame) -> tuple[float, float]:
    """Share of profitable rows and its standard error, outcomes of a market's holding period taken for one cluster; 0 of none."""
    if rows.is_empty():
        return 0.0, 0.0
    precision = float(rows["label"].mean())  # type: ignore[arg-type]
    period = pl.col("date").dt.epoch("d") * 5 // 7 // HOLDING_SESSIONS
    surprises = rows.group_by("seed", period.alias("period")).agg(total=(pl.col("label") - precision).sum())
    return precision, float((surprises["total"] ** 2).sum()) ** 0.5 / rows.height


def text(audit: dict[str, Any]) -> str:
    """The audit as lines for a terminal."""
    flipped, nothing, rich = audit["flip"], audit["null"], audit["planted"]
    verdict = {True: "holds", False: "FAILS"}
    precision = ", ".join(f"{value:.1%}" for value in rich["precision_by_confidence"])
    alarms = ", ".join(f"{kind} {rate:.1%} of {nothing['drift_looks'][kind]}" for kind, rate in nothing["drift_alarms"].items())
    return "\n".join(
        [
            f"{verdict[flipped['passed']]}: after a flip the weights follow in {flipped['sessions_until_weights_follow']} "
            f"sessions (allowed {flipped['allowed_sessions']}); the ensemble's Brier score is "
            f"{flipped['ensemble_over_better']:.4f} of the better model's (allowed {flipped['allowed_ratio']})",
            f"{verdict[nothing['passed']]}: without a premium {nothing['recommended']} of {nothing['symbol_sessions']} "
            f"symbol-sessions are recommended ({nothing['recommended_share']:.3%}, allowed {nothing['allowed_share']:.1%}); "
            f"{nothing['proven']} of {nothing['trials']} trials are proven",
            f"  drift alarms there: {alarms} looks (stated rate {nothing['stated_false_alarm_rate']:.0%})",
            f"{verdict[rich['passed']]}: precision over the quintiles of confidence: {precision}; "
            f"{rich['share_without_a_vote']:.0%} of signals have no vote "
            f"and a precision of {rich['precision_without_a_vote']:.1%}",
        ]
    )


def _premium_panel(symbols: int, sessions: int, seed: int, strength: float, lead: Sequence[int]) -> pl.DataFrame:
    """decided, date (when resolved), symbol, feature_1, feature_2, label of a market whose premium rewards feature `lead[t]`."""
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
    inputs = pl.DataFrame(
        {"date": days[index], "symbol": names * total, "feature_1": features[0].ravel(), "feature_2": features[1].ravel()}
    )
    return (
        labels.drop_nulls("label")
        .join(inputs, on=["date", "symbol"])
        .select("symbol", "feature_1", "feature_2", "label", decided="date", date="exit_date")
        .sort("decided", "symbol")
    )
