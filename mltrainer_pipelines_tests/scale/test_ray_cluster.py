"""Trials on a real Ray cluster, with the lake on an object store and PostgreSQL on the network.

The cluster has a head without processors and one node, which is killed in the middle of a trial; then another one comes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.state_dir import lock_state_dir
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.validation import scheduling
from mltrainer_pipelines.trials.validation.quarters import FailedQuarter, QuarterPredictions
from mltrainer_pipelines.trials.validation.stored_quarters import write_quarter
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines_tests.ops.stack import environment
from mltrainer_pipelines_tests.scale.ray_cluster import RayCluster, ray_cluster
from mltrainer_pipelines_tests.servers.loopback_postgres import postgres_on_tcp
from mltrainer_pipelines_tests.servers.s3 import new_bucket, s3_server
from mltrainer_pipelines_tests.trials.planted import planted_market

pytestmark = pytest.mark.skipif(
    not (os.environ.get("MLTRAINER_CLUSTER") or os.environ.get("CI")), reason="a cluster takes a minute: set MLTRAINER_CLUSTER=1"
)
QUARTERS = [(date(2019, 10, 1), date(2020, 1, 1)), *((date(2020, month, 1), date(2020, month + 3, 1)) for month in (1, 4, 7))]
MARKET = {"MLTRAINER_HISTORY_START": "2018-01-02", "MLTRAINER_AS_OF": "2020-12-30T18:00:00-05:00"}
TRIAL = TrialConfig(model="lightgbm", params={"rounds": 500}, timeframe="short", train_sessions=378)


@dataclass(frozen=True)
class Site:
    """The cluster, the lake on the object store, Dagster's instance, and the environment of those who start runs."""

    cluster: RayCluster
    lake: Lake
    instance: dg.DagsterInstance
    control: dict[str, str]


def trial_tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Features, labels and universe of the planted market: its signal and noise, by the names of the stored feature set."""
    market = planted_market()
    names = [feature.name for feature in get_feature_set("momentum").features]
    noise = np.random.default_rng(1).standard_normal((len(names), market.features.height)).astype(np.float32)
    columns = {name: noise[number] for number, name in enumerate(names)} | {names[0]: market.features["signal"].to_numpy()}
    features = market.features.select("date", "symbol").with_columns(**columns)
    months = features.select(month=pl.col("date").dt.truncate("1mo")).unique().sort("month")
    symbols = features.select("symbol").unique().sort("symbol").with_row_index("rank", offset=1)
    return features, market.labels, months.join(symbols, how="cross")


@pytest.fixture(scope="module")
def site(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    homes = tmp_path_factory.mktemp("homes")
    with s3_server() as s3, postgres_on_tcp(postgres) as url:
        # A node has what is secret in its own environment, and a home of its own; all else comes with each step.
        outside = {**s3, "MLTRAINER_DATABASE_URL": url, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        # the patch is undone before the cluster puts the environment back
        with ray_cluster(environment(homes / "node", **outside)) as (cluster, client), pytest.MonkeyPatch.context() as patch:
            lake_url = new_bucket(s3["AWS_ENDPOINT_URL"])
            chosen = {"MLTRAINER_EXECUTOR": "ray", "MLTRAINER_RAY_ADDRESS": cluster.job_server, "MLTRAINER_LAKE_URL": lake_url}
            for name, value in environment(homes / "control", **outside, **client, **chosen, **MARKET).items():
                patch.setenv(name, value)
            settings = Settings()
            with lock_state_dir(settings) as control:
                patch.setenv("DAGSTER_HOME", control["DAGSTER_HOME"])
                patch.setenv("MLTRAINER_DAGSTER_DATABASE_URL", control["MLTRAINER_DAGSTER_DATABASE_URL"])
                lake = Lake(lake_url)
                features, labels, universe = trial_tables()
                for (month,), rows in features.group_by(pl.col("date").dt.truncate("1mo")):
                    lake.write("features", rows.sort("date", "symbol"), str(month))
                lake.write("labels", labels)
                lake.write("universe", universe)
                database = Database(database_url(settings, "mltrainer"))
                records.register(database.engine, TRIAL)
                database.dispose()
                with dg.DagsterInstance.get() as instance:
                    instance.add_dynamic_partitions("trials", [TRIAL.trial_id])
                    yield Site(cluster, lake, instance, control)


def predicted(lake: Lake) -> dict[str, bytes]:
    """Each quarter of the trial that is there, by its bytes."""
    files, _ = lake._files
    found = {}
    for name in lake.partitions("trial_predictions"):
        with files.open_input_file(lake._key("trial_predictions", name)) as source:
            found[name] = source.read()
    return found


def computed_here(folder: Path) -> dict[str, bytes]:
    """The same in this process, into a folder."""
    features, labels, universe = trial_tables()
    walk, lake = WalkForward(TRIAL, features, labels, universe=universe), Lake(str(folder))
    for ended in scheduling.predict_quarters(walk, QUARTERS):
        assert isinstance(ended, QuarterPredictions)
        write_quarter(lake, TRIAL, str(ended.quarter_start), ended.predictions, None)
    return predicted(lake)


def test_a_trial_whose_node_is_killed_ends_on_another_node_with_the_bytes_of_a_local_one(site: Site, tmp_path: Path) -> None:
    node = site.cluster.add_node(cpus=1)
    keys = [f"{start}|{TRIAL.trial_id}" for start, _ in QUARTERS]
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    job = ["job", "execute", "-m", "mltrainer_pipelines.definitions", "-j", "walk_forward", "--tags", json.dumps(tags)]
    log = tmp_path / "run.log"
    with open(log, "w") as out:
        run = subprocess.Popen([sys.executable, "-m", "dagster", *job], env=site.control, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 120
        while not predicted(site.lake) and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        site.cluster.kill_node(node)
        before = predicted(site.lake)
        assert 1 <= len(before) < len(QUARTERS), log.read_text()[-3000:]
        site.cluster.add_node(cpus=1)
        expected = computed_here(tmp_path / "local")
        assert run.wait(150) == 0, log.read_text()[-3000:]
    finally:
        run.kill()
    assert sorted(expected) == [f"{TRIAL.trial_id}/{start}" for start, _ in QUARTERS]
    assert before.items() <= expected.items()
    assert predicted(site.lake) == expected

    (finished,) = site.instance.get_run_records()
    assert finished.dagster_run.status == dg.DagsterRunStatus.SUCCESS
    happened = site.instance.get_records_for_run(finished.dagster_run.run_id).records
    told = [record.event_log_entry.dagster_event for record in happened if record.event_log_entry.dagster_event]
    assert sum(event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY for event in told) == 1
    assert sorted(event.partition for event in told if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION) == keys


def test_windows_as_tasks_of_the_cluster_give_the_bits_of_windows_one_after_the_other(site: Site) -> None:
    import ray

    from mltrainer_pipelines.trials.validation.ray_windows import predict_as_tasks

    features, labels, universe = trial_tables()
    walk = WalkForward(
        TrialConfig(model="logistic_l2", timeframe="short", train_sessions=378), features, labels, universe=universe
    )
    too_early = (date(2018, 1, 1), date(2018, 4, 1))
    expected = {ended.quarter_start: ended for ended in scheduling.predict_quarters(walk, QUARTERS)}
    ray.init(address=site.cluster.address, log_to_driver=False, configure_logging=False)
    try:
        found = {ended.quarter_start: ended for ended in predict_as_tasks(walk, [too_early, *QUARTERS])}
    finally:
        ray.shutdown()
    failed = found.pop(too_early[0])
    assert isinstance(failed, FailedQuarter)
    assert "nothing to train on" in failed.reason
    assert found.keys() == expected.keys()
    for quarter, ended in found.items():
        assert isinstance(ended, QuarterPredictions)
        assert_frame_equal(ended.predictions, expected[quarter].predictions, check_exact=True)
