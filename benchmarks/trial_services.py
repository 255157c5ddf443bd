"""What Dagster, PostgreSQL, the lake and MLflow add to a trial, and whether a trial gets slower as trials add up.

A home of its own over the recording of `benchmarks.peers.BARS` is filled by the demo, and its services stay up. Run in a
process of its own by `benchmarks.trials`: it sets the environment.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.peers import BARS, ROOT
from mltrainer_pipelines.commands.benchmark import Row

AROUND, LOGGING, GROWTH = 0.10, 0.03, 1.25
QUICK_QUARTERS = 4
LONG_TRIAL = {
    "model": "lightgbm", "timeframe": "short", "feature_set": "alpha158",
    "params": {"rounds": 200, "learning_rate": 0.05, "num_leaves": 31, "feature_fraction": 0.5, "min_data_in_leaf": 100,
               "lambda_l2": 0.0, "max_bin": 63},
}  # fmt: skip
_OURS = ("MLTRAINER_", "DAGSTER_", "MLFLOW_", "POLYGON_", "FRED_", "ANTHROPIC_")


def measured(trials: int) -> list[Row]:
    """Rows: the services around a long trial, MLflow's share of it, and quick trials one after another."""
    with tempfile.TemporaryDirectory(prefix="mltrainer-bench-") as home:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            del os.environ[name]
        os.environ |= {
            "MLTRAINER_HOME": home,
            "MLTRAINER_EXCHANGE": f"replay:{BARS}",
            "MLTRAINER_HISTORY_START": "2009-11-02",
            "MLTRAINER_AS_OF": "2015-10-30T18:00:00-04:00",
        }
        demo = subprocess.run(
            [sys.executable, "-m", "mltrainer_pipelines.cli", "demo", "--json"], cwd=ROOT, capture_output=True, text=True
        )
        if demo.returncode:
            raise RuntimeError(demo.stderr[-2000:])
        return _with_services(trials)


def _with_services(trials: int) -> list[Row]:
    from rich.console import Console

    from mltrainer_pipelines.ops.state_dir import dagster_home
    from mltrainer_pipelines.ops.temporary_services import services_up
    from mltrainer_pipelines.settings import Settings

    settings, console = Settings(), Console(stderr=True)
    with services_up(settings, console) as services:
        os.environ |= {"MLFLOW_TRACKING_URI": services.addresses["mlflow"], "DAGSTER_HOME": str(dagster_home(settings))}
        return [*_long(settings, console, services.addresses["dagster"]), _quick(trials)]


def _long(settings: Any, console: Any, dagster: str) -> list[Row]:
    """A trial through everything, from its submission to its scorecard, beside the same computing in one process."""
    from mltrainer_pipelines.commands.trial import submit_trial
    from mltrainer_pipelines.ops.dagster_client import DagsterClient

    begin = time.perf_counter()
    submitted = submit_trial(settings, json.dumps(LONG_TRIAL), console, wait=True)
    through = time.perf_counter() - begin
    own = _own_computing(submitted["trial_id"])
    added = through / own - 1
    quarters = submitted["scorecard"]["quarters"]
    name = f"a trial of {quarters} quarters through Dagster, PostgreSQL, lake and MLflow: {added:+.1%} on {own:.1f} s of its own"
    logged = _mlflow_seconds(DagsterClient.of(settings, dagster), submitted["trial_id"])
    share = logged / through
    return [
        Row(name, through, f"at most {AROUND:.0%} more", added <= AROUND, "in memory", own),
        Row(f"MLflow logging, {share:.1%} of that trial", logged, f"under {LOGGING:.0%}", share < LOGGING),
    ]


def _mlflow_seconds(dagster: Any, trial_id: str) -> float:
    found = dagster.query(
        """query Logged($partitions: [String!]) { assetNodeOrError(assetKey: {path: ["trial_scorecard"]}) { ... on AssetNode {
             assetMaterializations(partitions: $partitions, limit: 1) { metadataEntries { label
               ... on FloatMetadataEntry { floatValue } } } } } }""",
        partitions=[trial_id],
    )["assetNodeOrError"]["assetMaterializations"][0]["metadataEntries"]
    return next(entry["floatValue"] for entry in found if entry["label"] == "mlflow_seconds")


def _own_computing(trial_id: str) -> float:
    """Seconds of the trial's own work: the features that the lake does not hold, the walk-forward, calibration and score."""
    import polars as pl

    from mltrainer_pipelines.defs.partitions import quarters
    from mltrainer_pipelines.features.engine import compute_features, look_back
    from mltrainer_pipelines.market.history import adjusted_history
    from mltrainer_pipelines.market.sessions import last_closed_session
    from mltrainer_pipelines.settings import get_settings, now
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.trials.config import TrialConfig
    from mltrainer_pipelines.trials.scoring.score import score
    from mltrainer_pipelines.trials.validation import lake_tables
    from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward
    from mltrainer_pipelines.trials.validation.scheduling import predict_quarters, quarters_at_once
    from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

    config, lake = TrialConfig.parse(LONG_TRIAL), Lake(get_settings().lake_url)
    if config.trial_id != trial_id:
        raise RuntimeError(f"{trial_id} was run, {config.trial_id} was asked for")
    spans = [quarters.time_window_for_partition_key(key) for key in quarters.get_partition_keys()]
    labels = lake_tables.trial_labels(lake, config, last_closed_session(now()), get_settings().cost_bps)
    members, regimes = lake_tables.universe(lake), lake.read("regime")
    days = lake.scan("features").select(first=pl.col("date").min(), last=pl.col("date").max()).collect()
    bars = adjusted_history(lake, days["first"][0], last_closed_session(now()), look_back=look_back(config.feature_set))
    begin = time.perf_counter()
    features = compute_features(bars, members, None, days["first"][0], days["last"][0], config.feature_set)
    walk = WalkForward(config, features, labels, universe=members)
    ended: Sequence[Any] = list(
        predict_quarters(walk, [(span.start.date(), span.end.date()) for span in spans], quarters_at_once())
    )
    calibrated = calibrate_walk_forward(pl.concat(quarter.predictions for quarter in ended), labels)
    score(config, calibrated, labels, bars, regimes=regimes, universe=members)
    return time.perf_counter() - begin


def _quick(trials: int) -> Row:
    """Quick trials over four quarters, each with its scorecard and a refresh of the leaderboard, as Dagster runs them."""
    import dagster as dg

    from mltrainer_pipelines.defs.partitions import quarters
    from mltrainer_pipelines.defs.resources import RESOURCES
    from mltrainer_pipelines.defs.trials.assets import leaderboard, trial_predictions, trial_scorecard
    from mltrainer_pipelines.ops.databases import database_url
    from mltrainer_pipelines.settings import get_settings
    from mltrainer_pipelines.store.database import Database
    from mltrainer_pipelines.trials.config import TrialConfig
    from mltrainer_pipelines.trials.registry import records

    keys = quarters.get_partition_keys()[-QUICK_QUARTERS:]
    database = Database(database_url(get_settings(), "mltrainer"))
    seconds = []
    with dg.DagsterInstance.get() as instance:
        for number in range(trials):
            config = TrialConfig(model="logistic_l2", timeframe="short", params={"C": 1.0 + number}, train_sessions=252)
            begin = time.perf_counter()
            records.register(database.engine, config)
            instance.add_dynamic_partitions("trials", [config.trial_id])
            span = {"start": keys[0], "end": keys[-1]}
            tags = {f"dagster/asset_partition_range_{end}": f"{quarter}|{config.trial_id}" for end, quarter in span.items()}
            dg.materialize([trial_predictions], instance=instance, resources=RESOURCES, tags=tags)
            dg.materialize([trial_scorecard, leaderboard], instance=instance, resources=RESOURCES, partition_key=config.trial_id)
            seconds.append(time.perf_counter() - begin)
    part = max(1, trials // 10)
    first, last = (statistics.median(some) for some in (seconds[1 : 1 + part], seconds[-part:]))
    name = f"quick trial after {trials - part} others; the first ones {first:.2f} s"
    return Row(name, last, f"at most {GROWTH:g} times the first", last <= GROWTH * first)
