import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mltrainer_pipelines.learning.weights import MATURED_COLUMNS, exponential_weights, regret_bound, update_weights
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


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 6), st.integers(0, 10_000), st.booleans())
def test_the_ensemble_never_loses_more_to_the_best_model_in_hindsight_than_the_bound(
    rounds: int, experts: int, seed: int, adversarial: bool
) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.random((rounds, experts))
    ensemble = np.empty(rounds)
    losses = np.zeros((0, experts))
    for n in range(rounds):
        ensemble[n] = exponential_weights(losses) @ probabilities[n]
        # The worst a market can do is to turn against the ensemble each time.
        label = float(ensemble[n] < 0.5) if adversarial else float(rng.random() < 0.5)
        losses = np.vstack([losses, (probabilities[n] - label) ** 2])
        ensemble[n] = (ensemble[n] - label) ** 2
    assert ensemble.sum() - losses.sum(axis=0).min() <= regret_bound(rounds, experts) + 1e-9
    assert regret_bound(rounds, experts) == pytest.approx(2 * math.log(experts))


def test_a_hedge_with_its_tuned_rate_keeps_the_bound_of_bounded_losses() -> None:
    rounds, experts = 400, 3
    rate = math.sqrt(8 * math.log(experts) / rounds)
    losses = np.random.default_rng(0).random((rounds, experts))
    suffered = sum(exponential_weights(losses[:n], rate) @ losses[n] for n in range(rounds))
    tuned = math.log(experts) / rate + rate * rounds / 8
    assert tuned == pytest.approx(math.sqrt(rounds * math.log(experts) / 2))
    assert suffered - losses.sum(axis=0).min() <= tuned


def test_weights_are_the_exponentials_of_the_losses_however_large_they_get() -> None:
    losses = np.array([[0.25, 0.04], [0.25, 0.04]])
    expected = np.exp(-0.5 * losses.sum(axis=0))
    np.testing.assert_allclose(exponential_weights(losses), expected / expected.sum())
    huge = np.column_stack([np.ones(50_000), np.zeros(50_000)])
    np.testing.assert_allclose(exponential_weights(huge), [0.0, 1.0])


@pytest.mark.parametrize("losses", [np.array([[0.5, 1.5]]), np.array([[0.5, np.nan]]), np.array([[-0.1]]), np.zeros((3, 0))])
def test_impossible_losses_are_refused(losses: np.ndarray) -> None:
    with pytest.raises(ValueError, match="losses must be"):
        exponential_weights(losses)


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
    matured = pl.concat([good, poor])
    first = update_weights(database.engine, matured, {"short": ["good", "poor"]})
    assert [w.trial_id for w in first] == ["good", "poor"]
    assert first[0].weight == pytest.approx(1 / (1 + math.exp(-0.5 * 60 * (0.36 - 0.09))))
    assert (first[0].observations, first[0].brier) == (60, pytest.approx(0.09))
    assert (
        update_weights(database.engine, matured.sample(fraction=1.0, shuffle=True, seed=1), {"short": ["good", "poor"]}) == first
    )
    with database.engine.connect() as connection:
        assert len(connection.execute(select(ModelWeight.trial_id)).all()) == 2


def test_a_model_gains_nothing_by_sitting_out_a_bad_time(database: Database) -> None:
    both_saw = [1] * 10
    steady = forecasts("steady", [0.6] * 10 + [0.9] * 20, both_saw + [0] * 20)
    absent = forecasts("absent", [0.6] * 10, both_saw)
    weights = update_weights(database.engine, pl.concat([steady, absent]), {"short": ["steady", "absent"]})
    assert {w.weight for w in weights} == {0.5}
    assert {w.observations for w in weights} == {10}


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
    assert set(MATURED_COLUMNS) == set(NOTHING.columns)
