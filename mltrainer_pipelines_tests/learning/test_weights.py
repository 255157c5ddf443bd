from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mltrainer_pipelines.learning.weights import FORECAST_COLUMNS, SHARE, regret_bound, update_weights, weight_path
from mltrainer_pipelines.signals.learned import weights_before
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import ModelWeight

START = date(2015, 1, 5)
NOTHING = pl.DataFrame(
    schema={"timeframe": pl.String, "trial_id": pl.String, "date": pl.Date, "probability": pl.Float64, "label": pl.Int8}
)


def forecasts(
    trial_id: str, probabilities: list[float], labels: list[int], first: int = 0, timeframe: str = "short"
) -> pl.DataFrame:
    rows = [
        ("short", trial_id, START + timedelta(days=first + n), p, y)
        for n, (p, y) in enumerate(zip(probabilities, labels, strict=True))
    ]
    return pl.DataFrame(rows, schema=NOTHING.schema, orient="row")


def suffered(losses: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> float:
    before = weight_path(losses).before
    return float((((before * probabilities).sum(axis=1) - labels) ** 2).sum())


def best_sequence(losses: np.ndarray, switches: int) -> float:
    """Least loss of a sequence of experts that changes at most so often."""
    rounds, experts = losses.shape
    best = np.full((switches + 1, experts), 0.0)
    for t in range(rounds):
        new = best.copy()
        for changed in range(1, switches + 1):
            new[changed] = np.minimum(best[changed], best[changed - 1].min())
        best = new + losses[t]
    return float(best.min())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 10_000), st.booleans(), st.integers(0, 3), st.floats(0.01, 1.0))
def test_the_ensemble_never_loses_more_than_the_bound_to_any_choice_in_hindsight(
    rounds: int, experts: int, seed: int, adversarial: bool, switches: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    probabilities = 0.5 + spread * (rng.random((rounds, experts)) - 0.5)
    losses, labels = np.zeros((0, experts)), np.zeros(rounds)
    for n in range(rounds):
        ensemble = weight_path(losses).last @ probabilities[n]
        # The worst a market can do is to turn against the ensemble each time.
        labels[n] = float(ensemble < 0.5) if adversarial else float(rng.random() < 0.5)
        losses = np.vstack([losses, (probabilities[n] - labels[n]) ** 2])
    switches = min(switches, rounds - 1)
    regret = suffered(losses, probabilities, labels) - best_sequence(losses, switches)
    assert regret <= regret_bound(weight_path(losses), switches) + 1e-9


def test_after_a_flip_the_better_model_leads_within_forty_rounds() -> None:
    rng = np.random.default_rng(3)
    gap = np.where(np.arange(600) < 300, -0.01, 0.01) + rng.normal(0, 0.01, 600)
    path = weight_path(np.column_stack([0.25 + gap / 2, 0.25 - gap / 2]))
    assert path.before[250, 0] > 0.9
    assert (path.before[340:, 1] > 0.5).mean() > 0.95


def test_a_weight_never_falls_below_its_share_and_so_can_always_come_back() -> None:
    path = weight_path(np.column_stack([np.ones(5_000), np.zeros(5_000)]))
    assert path.last.min() >= SHARE / 2
    assert path.last.sum() == pytest.approx(1.0)


def test_a_model_without_a_forecast_neither_gains_nor_loses() -> None:
    losses = np.array([[0.2, 0.3, np.nan]] * 30)
    path = weight_path(losses)
    assert path.losses[0, 2] == pytest.approx(0.25)
    assert path.last[0] > path.last[2] > path.last[1]


@pytest.mark.parametrize("losses", [np.array([[0.5, 1.5]]), np.array([[np.nan, np.nan]]), np.array([[-0.1]]), np.zeros((3, 0))])
def test_impossible_losses_are_refused(losses: np.ndarray) -> None:
    with pytest.raises(ValueError, match="losses must be"):
        weight_path(losses)


def test_before_any_outcome_the_weights_are_equal_and_say_so(database: Database) -> None:
    weights = update_weights(database.engine, NOTHING, {"short": ["a", "b"], "long": ["c"]})
    assert [(w.timeframe, w.trial_id, w.weight, w.observations, w.brier) for w in weights] == [
        ("long", "c", 1.0, 0, None),
        ("short", "a", 0.5, 0, None),
        ("short", "b", 0.5, 0, None),
    ]


def test_the_better_model_becomes_the_heavier_and_again_changes_nothing(database: Database) -> None:
    labels = [n % 3 == 0 for n in range(60)]
    good = forecasts("good", [0.7 if y else 0.3 for y in labels], list(map(int, labels)))
    poor = forecasts("poor", [0.4 if y else 0.6 for y in labels], list(map(int, labels)))
    both = pl.concat([good, poor])
    first = update_weights(database.engine, both, {"short": ["good", "poor"]})
    assert [w.trial_id for w in first] == ["good", "poor"]
    assert first[0].weight > 0.95
    assert (first[0].observations, first[0].brier) == (60, pytest.approx(0.09))
    assert update_weights(database.engine, both.sample(fraction=1.0, shuffle=True, seed=1), {"short": ["good", "poor"]}) == first
    with database.engine.connect() as connection:
        assert len(connection.execute(select(ModelWeight.trial_id)).all()) == 2


def test_a_model_gains_nothing_by_sitting_out_a_bad_time(database: Database) -> None:
    both_saw = [1] * 10
    steady = forecasts("steady", [0.6] * 10 + [0.9] * 20, both_saw + [0] * 20)
    absent = forecasts("absent", [0.6] * 10, both_saw)
    weights = update_weights(database.engine, pl.concat([steady, absent]), {"short": ["steady", "absent"]})
    assert {w.weight for w in weights} == {0.5}
    assert {w.trial_id: w.observations for w in weights} == {"steady": 30, "absent": 10}


def test_a_refresh_takes_the_weights_learnt_before_its_session(database: Database) -> None:
    labels = [n % 3 == 0 for n in range(60)]
    good = forecasts("good", [0.7 if y else 0.3 for y in labels], list(map(int, labels)))
    poor = forecasts("poor", [0.4 if y else 0.6 for y in labels], list(map(int, labels)))
    day, experts = START + timedelta(days=59), {"short": ["good", "poor"]}
    update_weights(database.engine, pl.concat([good, poor]), experts, START)
    update_weights(database.engine, pl.concat([good, poor]), experts, day)
    update_weights(database.engine, pl.concat([good, poor]), experts, day)
    assert weights_before(database.engine, START, "short") == {}
    early = weights_before(database.engine, day, "short")
    late = weights_before(database.engine, day + timedelta(days=1), "short")
    assert 0.5 < early["good"] < late["good"] < 1
    update_weights(database.engine, NOTHING, {"long": ["new"]}, day)
    assert weights_before(database.engine, day + timedelta(days=1), "long") == {}  # rests on nothing


def test_forecasts_that_are_not_known_yet_do_not_count(database: Database) -> None:
    known = forecasts("a", [0.6], [1])
    unknown = forecasts("a", [0.6], [1], first=1).with_columns(label=pl.lit(None, pl.Int8))
    (weight,) = update_weights(database.engine, pl.concat([known, unknown]), {"short": ["a"]})
    assert weight.observations == 1


def test_a_trial_that_left_the_ensemble_loses_its_weight(database: Database) -> None:
    update_weights(database.engine, NOTHING, {"short": ["a", "b"]})
    update_weights(database.engine, NOTHING, {"short": ["b", "c"]})
    with database.engine.connect() as connection:
        assert set(connection.scalars(select(ModelWeight.trial_id))) == {"b", "c"}


def test_bad_forecasts_are_named(database: Database) -> None:
    with pytest.raises(ValueError, match="lack the columns probability"):
        update_weights(database.engine, NOTHING.drop("probability"))
    with pytest.raises(ValueError, match=r"outside of \[0, 1\]"):
        update_weights(database.engine, forecasts("a", [1.2], [1]), {"short": ["a"]})
    assert set(FORECAST_COLUMNS) == set(NOTHING.columns)
