from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.learning.drift import (
    FALSE_ALARM_RATE,
    calibration_drift,
    cusum,
    feature_drift,
    population_stability,
    prediction_drift,
)
from mltrainer_pipelines.learning.monitoring import crossed_checks, record_checks
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.store.database import Database

SYMBOLS = 30
DAYS = np.array(sessions_between(date(2015, 1, 2), date(2018, 12, 31))[:740], dtype="datetime64[D]")


def keeping(rng: np.random.Generator, columns: int, persistence: float) -> np.ndarray:
    values = np.zeros((len(DAYS), columns))
    for t in range(1, len(DAYS)):
        values[t] = persistence * values[t - 1] + np.sqrt(1 - persistence**2) * rng.standard_normal(columns)
    return values


def market(seed: int, shift: float = 0.0, doubt: float = 0.0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features and resolved forecasts of a market that keeps its ways, but for the last 20 sessions where told otherwise."""
    rng = np.random.default_rng(seed)
    last = (np.arange(len(DAYS)) >= len(DAYS) - 20)[:, None]
    columns = {f"f{n}": keeping(rng, SYMBOLS, p) + keeping(rng, 1, p) / 2 + shift * last for n, p in enumerate((0.5, 0.97))}
    columns["everywhere"] = np.repeat(keeping(rng, 1, 0.97), SYMBOLS, axis=1)
    probability = 1 / (1 + np.exp(-0.4 * columns["f1"]))
    label = rng.random(probability.shape) < np.where(last, probability - doubt, probability)
    keys = {"date": np.repeat(DAYS, SYMBOLS), "symbol": np.tile([f"S{n}" for n in range(SYMBOLS)], len(DAYS))}
    features = pl.DataFrame({**keys, **{name: values.ravel() for name, values in columns.items()}})
    return features, pl.DataFrame({**keys, "probability": probability.ravel(), "label": label.ravel().astype(np.int8)})


def test_a_market_that_keeps_its_ways_raises_no_more_alarms_than_stated() -> None:
    looks = [
        look
        for seed in range(20)
        for f, p in [market(seed)]
        for look in (feature_drift(f), prediction_drift(p), calibration_drift(p))
    ]
    # 60 looks at the stated rate of 5 %: more than 8 alarms would happen less than once in a hundred times.
    assert sum(look.crossed for look in looks) <= 8
    assert all(look.blocks >= 20 for look in looks)


def test_features_that_move_are_noticed_and_named() -> None:
    check = feature_drift(market(1, shift=4.0)[0])
    assert check.crossed
    assert check.p_value <= FALSE_ALARM_RATE
    assert check.statistic > check.threshold
    assert check.subject.startswith(("f0", "f1"))
    assert "train champion_model anew" in check.advice


def test_forecasts_that_have_become_worse_than_they_promise_are_noticed() -> None:
    _, forecasts = market(2, shift=4.0, doubt=0.4)
    assert calibration_drift(forecasts).crossed
    assert prediction_drift(forecasts).crossed


def test_with_too_little_past_nothing_crosses() -> None:
    features, forecasts = market(3, shift=4.0, doubt=0.4)
    late = pl.col("date") >= DAYS[-200]
    check = feature_drift(features.filter(late))
    assert not check.crossed
    assert check.threshold == float("inf")
    assert feature_drift(features.filter(pl.col("date") >= DAYS[-60])) is None
    assert prediction_drift(forecasts.head(0)) is None
    assert calibration_drift(forecasts.head(0)) is None


def test_the_stability_index_is_that_of_the_textbook() -> None:
    rng = np.random.default_rng(0)
    same = population_stability(rng.normal(size=20_000), rng.normal(size=20_000))
    moved = population_stability(rng.normal(size=20_000), rng.normal(1.0, 1.0, size=20_000))
    assert same < 0.01
    # Two normals a deviation apart: the divergence is 1, a little less in ten bins.
    assert moved == pytest.approx(1.0, abs=0.15)


def test_pages_sum_starts_again_at_zero() -> None:
    assert cusum(np.array([1.0, -3.0, 2.0, 2.0, -1.0])).tolist() == [1.0, 0.0, 2.0, 4.0, 3.0]


def test_looks_are_kept_once_a_session_and_those_that_crossed_are_found(database: Database) -> None:
    day = DAYS[-1].item()
    checks = [feature_drift(market(1, shift=4.0)[0]), prediction_drift(market(1)[1])]
    for _ in range(2):
        record_checks(database.engine, day, "short", "a", checks)
    found = crossed_checks(database.engine, day)
    assert [(check.kind, check.timeframe, check.trial_id) for check in found][:1] == [("features", "short", "a")]
    assert len(found) == sum(check.crossed for check in checks)
