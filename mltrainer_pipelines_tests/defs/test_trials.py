"""The trials' assets as Dagster runs them."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from sqlalchemy import select

from mltrainer_pipelines.defs.trials.assets import trial_predictions
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.models import registry
from mltrainer_pipelines.models.estimator import ProbabilityClassifier
from mltrainer_pipelines.models.spec import ModelSpec
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import Trial
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines_tests.trials.planted import planted_market

QUARTERS = ["2022-10-01", "2023-01-01", "2023-04-01", "2023-07-01"]
NAMES = [feature.name for feature in get_feature_set("momentum").features]


class Brittle(ProbabilityClassifier):
    """The first feature's rank; NaN where it is unknown for a whole table, an error where the second one is."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        pass

    def _positive(self, X: np.ndarray) -> np.ndarray:
        if not X[:, 1].any():
            raise ArithmeticError("a matrix that cannot be inverted")
        return X[:, 0] + 0.5 if X[:, 0].any() else np.full(len(X), np.nan)


BRITTLE = ModelSpec(
    id="brittle", family="rules", core=False, source="this test", summary="fails where a feature is unknown", cost="fast",
    gpu=False, handles_missing=True, search_space={}, builder=lambda params, seed, threads: Brittle(seed),
)  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two and a half years of a planted market under the names of the feature set `momentum`."""
    market = planted_market(symbols=30, first=date(2021, 1, 4), last=date(2023, 9, 29))
    planted = market.features.select("date", "symbol", *(pl.col("signal").alias(name) for name in NAMES))
    unknown = {
        NAMES[0]: pl.col("date").is_between(date(2023, 1, 1), date(2023, 3, 31)),
        NAMES[1]: pl.col("date").is_between(date(2023, 4, 1), date(2023, 6, 30)),
    }
    features = planted.with_columns(pl.when(~where).then(pl.col(name)).alias(name) for name, where in unknown.items())
    months = features.select("symbol", month=pl.col("date").dt.truncate("1mo")).unique().with_columns(rank=pl.lit(1))
    found = Lake(str(tmp_path / "lake"))
    for asset, frame in (("features", features), ("labels", market.labels), ("universe", months)):
        found.write(asset, frame, "2021-01-01")
    return found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def _run(instance: dg.DagsterInstance, lake: Lake, database: Database, config: TrialConfig) -> Any:
    records.register(database.engine, config)
    instance.add_dynamic_partitions("trials", [config.trial_id])
    span = {"start": QUARTERS[0], "end": QUARTERS[-1]}
    return dg.materialize(
        [trial_predictions],
        instance=instance,
        resources={"lake": lake, "database": database},
        tags={f"dagster/asset_partition_range_{end}": f"{quarter}|{config.trial_id}" for end, quarter in span.items()},
        raise_on_error=False,
    )


def test_a_quarter_that_fails_says_why_and_leaves_the_others(
    lake: Lake, database: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = MappingProxyType({**registry._by_id(), "brittle": BRITTLE})
    monkeypatch.setattr(registry, "_by_id", lambda: models)
    config = TrialConfig(model="brittle", timeframe="short")
    done = _run(instance, lake, database, config)

    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    reason = failure.step_failure_data.error.cause.message
    assert "2 quarters failed, 2 others were written" in reason
    assert "2023-01-01: " in reason
    assert "predictions are not probabilities, the first is nan for S001 on 2023-01-03" in reason
    assert f"{config.trial_id} 2023-04-01: ArithmeticError: a matrix that cannot be inverted" in reason
    kept = [f"{config.trial_id}/{quarter}" for quarter in (QUARTERS[0], QUARTERS[3])]
    assert lake.partitions("trial_predictions") == kept
    materialized = instance.get_materialized_partitions(dg.AssetKey("trial_predictions"))
    assert materialized == {f"{QUARTERS[0]}|{config.trial_id}", f"{QUARTERS[3]}|{config.trial_id}"}
    with database.engine.connect() as connection:
        assert connection.scalar(select(Trial.status)) == "failed"
    assert records.trials_run(database.engine) == 1


def test_the_quarters_of_a_trial_are_written_with_what_moved_the_score(
    lake: Lake, database: Database, instance: dg.DagsterInstance
) -> None:
    config = TrialConfig(model="lightgbm", timeframe="short")
    done = _run(instance, lake, database, config)
    assert done.success
    assert lake.partitions("trial_predictions") == [f"{config.trial_id}/{quarter}" for quarter in QUARTERS]
    moved = lake.read("trial_importances", f"{config.trial_id}/{QUARTERS[0]}")
    assert moved["feature"].to_list() == NAMES
    assert (moved["importance"] > 0).any()
