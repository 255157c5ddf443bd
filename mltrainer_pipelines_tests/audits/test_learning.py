from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.audits.learning import FOLLOWS_WITHIN_SESSIONS, flip, planted, text
from mltrainer_pipelines.audits.simulated_backtests import SimulatedBacktest, mixed_signals
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.signals.rules import Thresholds


def test_the_weights_follow_a_premium_that_flips_and_the_ensemble_keeps_up() -> None:
    found = flip(symbols=40, sessions=500, seed=8)
    assert found["passed"]
    assert 0 < found["sessions_until_weights_follow"] <= FOLLOWS_WITHIN_SESSIONS
    assert found["ensemble_over_better"] <= 1.05
    assert found["weight_of_the_right_model_first_half"] > 0.8


def test_the_audit_says_in_words_what_holds_and_what_does_not() -> None:
    nothing = {
        "passed": False,
        "recommended": 9,
        "symbol_sessions": 100,
        "recommended_share": 0.09,
        "allowed_share": 0.005,
        "trials": 4,
        "proven": 0,
        "drift_looks": {"features": 12},
        "drift_alarms": {"features": 0.0},
        "stated_false_alarm_rate": 0.05,
    }
    flipped = {
        "passed": True,
        "sessions_until_weights_follow": 19,
        "allowed_sessions": 40,
        "ensemble_over_better": 1.01,
        "allowed_ratio": 1.05,
    }
    rich = {
        "passed": True,
        "precision_by_confidence": [0.5, 0.6],
        "share_without_a_vote": 0.9,
        "precision_without_a_vote": 0.45,
    }
    report = text({"flip": flipped, "null": nothing, "planted": rich})
    assert "holds: after a flip the weights follow in 19 sessions (allowed 40)" in report
    assert "FAILS: without a premium 9 of 100 symbol-sessions are recommended (9.000%, allowed 0.5%)" in report
    assert "0 of 4 trials are proven" in report
    assert "50.0%, 60.0%; 90% of signals have no vote and a precision of 45.0%" in report


def test_the_audit_mixes_its_members_as_an_ensemble_does() -> None:
    day, names = date(2020, 1, 2), ["date", "symbol", "trial_id", "probability", "probability_low", "probability_high"]
    rows = [(day, "A", "champion", 0.70, 0.6, 0.8), (day, "A", "champion", 0.50, 0.4, 0.6), (day, "A", "other", 0.62, 0.6, 0.7)]
    forecasts = pl.DataFrame(rows, schema=names, orient="row").with_columns(expected_net_return=pl.lit(0.01))
    weights = pl.DataFrame({"date": [day] * 2, "trial_id": ["champion", "other"], "weight": [0.6, 0.4]})
    (found,) = mixed_signals(forecasts, weights, pl.DataFrame({"date": [day], "score": [80.0]}), Thresholds()).to_dicts()
    # The champion's refits share its weight: 0.3 and 0.3; the second of them does not vote for a profit.
    assert found["profit_probability"] == pytest.approx(0.3 * 0.70 + 0.3 * 0.50 + 0.4 * 0.62)
    assert found["agreement"] == pytest.approx(0.7)
    assert found["confidence"] == pytest.approx(0.7 * (1 - (0.6 * 0.2 + 0.4 * 0.1)))
    assert not found["strong_buy"]


def backtest(rise: float, seed: int) -> SimulatedBacktest:
    """A market in which half of the signals have no vote, and precision rises by `rise` over the confidence of the others."""
    rng = np.random.default_rng(seed)
    days = sessions_between(date(2019, 1, 2), date(2022, 12, 30))
    confidence = np.round(rng.random((len(days), 40)), 2) * (rng.random((len(days), 40)) < 0.5)
    profit = rng.random(confidence.shape) < np.where(confidence > 0, 0.55 + rise * (confidence - 0.5), 0.48)
    keys = {"date": np.repeat(np.array(days, dtype="datetime64[D]"), 40), "symbol": [f"S{n}" for n in range(40)] * len(days)}
    columns = {"confidence": confidence.ravel(), "label": profit.ravel().astype(np.int8), "strong_buy": confidence.ravel() > 0.7}
    return SimulatedBacktest(seed, {}, pl.DataFrame(keys | columns), {})


def test_a_confidence_that_ranks_passes_and_one_that_says_nothing_or_the_opposite_fails() -> None:
    found = planted([backtest(0.15, 1), backtest(0.15, 2)])
    assert found["passed"]
    assert found["precision_by_confidence"] == sorted(found["precision_by_confidence"])
    assert found["share_without_a_vote"] == pytest.approx(0.5, abs=0.01)
    assert found["standard_errors"][0] == pytest.approx((0.25 / found["rows"][0]) ** 0.5, rel=0.25)  # rows are independent here
    assert not planted([backtest(-0.15, 3)])["passed"]
    assert sum(planted([backtest(0.0, seed)])["passed"] for seed in range(4, 24)) <= 3


def test_equal_confidences_are_in_one_group() -> None:
    market = backtest(0.15, 1)
    two = pl.when(pl.col("confidence") > 0).then(pl.when(pl.col("confidence") > 0.3).then(0.8).otherwise(0.2)).otherwise(0.0)
    found = planted([SimulatedBacktest(1, {}, market.signals.with_columns(confidence=two), {})])
    assert sorted(found["rows"])[:3] == [0, 0, 0]
    assert found["rank_correlation"] is None
    assert not found["passed"]
