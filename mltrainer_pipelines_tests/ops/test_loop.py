"""The main job on the real stack: Dagster, PostgreSQL, MLflow and the exchange, as processes of their own."""

import json
import time
from collections.abc import Iterator
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import func, select, text

from mltrainer_pipelines.learning.point_in_time import PointInTime, WalkForwardEnsemble
from mltrainer_pipelines.learning.recent_sessions import running_quarter
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines.ops import state_dir
from mltrainer_pipelines.ops.dagster_client import DagsterError
from mltrainer_pipelines.ops.run_launcher import launcher_of
from mltrainer_pipelines.portfolio.replay import DecisionState
from mltrainer_pipelines.signals.champions import Champions
from mltrainer_pipelines.signals.recommendations import STAND_IN
from mltrainer_pipelines.store.tables import LearningReport, PortfolioPerformance, Recommendation, Trial
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.factors import library
from mltrainer_pipelines.trials.joint_requests import request_jointly
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.tracking import Tracking
from mltrainer_pipelines.trials.run_requests import Outcome, RunRequest, get_request, outcome, request_trial
from mltrainer_pipelines_tests.ops.stack import Stack, finished_demo, kill, mltrainer, running_stack

STAGES = {
    "start",
    "daily_bars",
    "corporate_actions, macro_series",
    "universe, features, labels, regime",
    "waiting for MLflow",
    "trials",
    "scorecards, leaderboard",
    "champions",
    "the last 60 sessions",
    "signals, recommendations, virtual positions",
    "learning",
    "stop",
    "total",
}
ASSETS = {
    "listings",
    *("daily_bars", "corporate_actions", "macro_series", "universe", "bar_corrections", "features", "labels", "regime"),
    *("trial_predictions", "trial_scorecard", "leaderboard", "champion_model", "market_skill"),
    *("delayed_quotes", "signals", "recommendations", "virtual_positions", "portfolio_performance"),
    *("outcomes", "model_weights", "drift", "learning_report", "trial_proposals"),
    *("factor_proposals", "factor_screening", "discovered_factors"),
}


@pytest.fixture(scope="module")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return finished_demo(tmp_path_factory)


@pytest.fixture(scope="module")
def demo_home(_demo: tuple[Path, dict[str, Any]]) -> Path:
    return _demo[0]


@pytest.fixture(scope="module")
def first_demo(_demo: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return _demo[1]


@pytest.fixture(scope="module")
def second_demo(demo_home: Path, first_demo: dict[str, Any]) -> dict[str, Any]:
    done = mltrainer(demo_home, "demo", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def stack(demo_home: Path, second_demo: dict[str, Any]) -> Iterator[Stack]:
    with running_stack(demo_home) as running:
        yield running


def test_the_demo_goes_from_bars_to_paper_trades_in_runs_of_dagster(first_demo: dict[str, Any]) -> None:
    assert first_demo["exchange"] == "simulated"
    assert first_demo["sessions"] == len(sessions_between(date(2021, 6, 1), date(2024, 3, 28)))
    assert len(first_demo["trials"]) == 4
    assert first_demo["trial_partitions"] == 4 * 4
    assert set(first_demo["champions"]) == {"short", "long"}
    assert all(champion["grade"] in {"proven", "candidate"} for champion in first_demo["champions"].values())
    assert first_demo["signals"] > 0
    assert first_demo["virtual_positions"] == len(first_demo["recommendations"])
    assert first_demo["dagster_runs"] >= 1 + 1 + 1 + 4 + 4 + 1 + 1
    assert set(first_demo["seconds"]) == set(first_demo["computing"]) == STAGES
    assert 0 < first_demo["computing"]["trials"] <= first_demo["seconds"]["trials"] + 0.1
    assert 0 < first_demo["overhead"] < first_demo["seconds"]["total"]


def test_a_second_demo_uses_what_is_there(first_demo: dict[str, Any], second_demo: dict[str, Any]) -> None:
    assert second_demo["dagster_runs"] == first_demo["dagster_runs"] + 1  # the refresh
    computed = {stage for stage, seconds in second_demo["computing"].items() if seconds}
    assert computed == {"signals, recommendations, virtual positions", "total"}
    assert second_demo["trials"] == first_demo["trials"]
    assert [row["id"] for row in second_demo["recommendations"]] == [row["id"] for row in first_demo["recommendations"]]


def test_the_last_60_sessions_are_relived_by_the_models_of_their_time(stack: Stack) -> None:
    newest = stack.lake.partitions("daily_bars")[-1]
    with stack.database.engine.connect() as connection:
        booked = list(connection.scalars(select(PortfolioPerformance.date).where(PortfolioPerformance.book == "user")))
        made = connection.execute(select(Recommendation.model_version, Recommendation.session)).all()
        reports = connection.scalar(select(func.count()).select_from(LearningReport))
    assert len(booked) >= 60
    assert reports
    assert {version for version, session in made if str(session) < newest} <= {"walk-forward"}


def test_a_session_is_decided_again_with_what_was_known_before_it(stack: Stack, tmp_path: Path) -> None:
    lake, engine, settings = stack.lake, stack.database.engine, stack.settings
    newest = date.fromisoformat(lake.partitions("daily_bars")[-1])
    session = sessions_between(date(2024, 1, 1), newest)[30]
    labels = lake.scan("labels").filter(pl.col("date") <= session).collect()
    later = pl.col("exit_date") >= session
    hidden = [
        pl.when(later).then(None).otherwise(pl.col(name)).alias(name) for name in ("exit_date", "net_return", "label", "barrier")
    ]
    running = running_quarter(lake, engine, newest, settings.cost_bps)
    assert running
    champions = Champions(Tracking("http://127.0.0.1:9"), tmp_path, engine)
    moment = datetime.combine(session, datetime.min.time(), NEW_YORK)

    def state(rows: pl.DataFrame) -> DecisionState:
        states = PointInTime(lake, engine, champions, settings.threshold_defaults, rows, session, session, running=running)
        return states(moment, session)

    known, knew = state(labels), state(labels.with_columns(hidden))
    assert known.champions.keys() == {"short", "long"}
    for timeframe, (ensemble, version) in known.champions.items():
        again, _ = knew.champions[timeframe]
        assert isinstance(ensemble, WalkForwardEnsemble)
        assert isinstance(again, WalkForwardEnsemble)
        assert version.version == STAND_IN
        assert again.weights == ensemble.weights
        for trial_id, forecast in ensemble.forecasts.items():
            assert_frame_equal(again.forecasts[trial_id], forecast)


def test_every_asset_can_be_materialized(stack: Stack) -> None:
    idea = {"ops": {"factor_proposals": {"config": {"expressions": ["-1 * Delta(close, 5) / close"]}}}}
    runs = [stack.dagster.launch(job) for job in ("learn", "propose_trials", "measure_skill")]
    stack.dagster.wait([*runs, stack.dagster.launch("propose_factors", config=idea)])
    (factor,) = library.factors(stack.database.engine)
    for job, partition in (("screen_factors", factor.factor_id), ("discover_factors", "short")):
        stack.dagster.wait([stack.dagster.launch(job, {"dagster/partition": partition})])
    assert library.get_factor(stack.database.engine, factor.factor_id).status in ("accepted", "rejected")
    query = "query { assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }"
    found = stack.dagster.query(query)["assetNodes"]
    assert {node["assetKey"]["path"][0] for node in found} == ASSETS
    assert [node["assetKey"]["path"][0] for node in found if not node["assetMaterializations"]] == []


def test_a_backfill_of_chosen_partitions_makes_exactly_these(stack: Stack) -> None:
    wanted = ["2023-03-01", "2023-04-01"]
    before = stack.lake.read("labels", wanted[0])
    for month in wanted:
        stack.lake.delete("labels", month)
    stack.dagster.wait_for_backfill(stack.dagster.backfill("labels", wanted, "two months again"))
    assert_frame_equal(stack.lake.read("labels", wanted[0]), before, rel_tol=1e-9)
    assert len(stack.lake.read("labels", wanted[1])) > 0


def test_a_tick_of_the_refresh_asks_for_a_run_in_the_session_and_skips_outside(stack: Stack) -> None:
    assert _tick(stack, "refresh_signals_schedule", "2024-03-27T15:00:00+00:00")["runRequests"]
    early_close = _tick(stack, "refresh_signals_schedule", "2023-11-24T19:00:00+00:00")
    assert not early_close["runRequests"]
    assert "13:00" in early_close["skipReason"]
    holiday = _tick(stack, "refresh_signals_schedule", "2024-03-29T15:00:00+00:00")
    assert "2024-03-29 is a holiday" in holiday["skipReason"]


def test_a_run_that_is_killed_resumes_where_it_stopped(stack: Stack) -> None:
    trial = TrialConfig(model="lightgbm", params={"rounds": 1000}, timeframe="short", seed=5)
    records.register(stack.database.engine, trial)
    stack.dagster.add_partitions("trials", [trial.trial_id])
    quarters = ["2023-04-01", "2023-07-01", "2023-10-01"]
    first, last = (f"{quarter}|{trial.trial_id}" for quarter in (quarters[0], quarters[-1]))
    run = stack.dagster.launch_range("walk_forward", first, last)

    def written() -> dict[str, int]:
        paths = {quarter: Path(stack.lake.path("trial_predictions", f"{trial.trial_id}/{quarter}")) for quarter in quarters}
        return {quarter: path.stat().st_mtime_ns for quarter, path in paths.items() if path.exists()}

    _until(lambda: len(written()) >= 1, "the first quarter is written")
    kill(_worker_of(run))
    before = written()
    assert len(before) < len(quarters), "the run was over before it could be killed"
    with pytest.raises(DagsterError, match=run):
        stack.dagster.wait([run])
    assert _parts_below(stack) == []

    stack.dagster.wait([stack.dagster.launch_range("walk_forward", first, last)])
    after = written()
    assert set(after) == set(quarters)
    assert {quarter: after[quarter] for quarter in before} == before
    undisturbed = TrialConfig(model="lightgbm", params={"rounds": 1000}, timeframe="short", seed=5, rationale="the same")
    assert undisturbed.trial_id == trial.trial_id


def test_a_holiday_asked_for_as_a_partition_is_refused_by_name(stack: Stack) -> None:
    with pytest.raises(DagsterError, match="2024-01-15"):
        stack.dagster.backfill("daily_bars", ["2024-01-15"], "Martin Luther King Jr. Day")
    by_range = {"assetKey": {"path": ["daily_bars"]}, "partitions": {"range": {"start": "2024-01-12", "end": "2024-01-15"}}}
    for params in (
        {"assetSelection": [{"path": ["daily_bars"]}], "partitionNames": ["2024-01-12", "2024-01-15"]},
        {"partitionsByAssets": [by_range]},
        {"assetSelection": [{"path": ["trial_predictions"]}], "partitionNames": ["2024-01-15|lightgbm-short-00000000"]},
    ):
        refused = stack.dagster.query(
            """mutation Raw($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
                 __typename ... on PartitionKeysNotFoundError { message partitionKeys } } }""",
            params=params,
        )["launchPartitionBackfill"]
        assert refused["__typename"] == "PartitionKeysNotFoundError"
        assert "2024-01-15" in refused["message"]
        assert "holidays" in refused["message"]
        assert [key[:10] for key in refused["partitionKeys"]] == ["2024-01-15"]
    run = stack.dagster.launch("ingest_session", {"dagster/partition": "2024-01-15"})
    with pytest.raises(DagsterError, match=r"2024-01-15.*not a trading session"):
        stack.dagster.wait([run])
    assert "2024-01-15" not in stack.lake.partitions("daily_bars")


def test_a_trial_nobody_submitted_fails_by_name_and_writes_nothing(stack: Stack) -> None:
    stack.dagster.add_partitions("trials", ["lightgbm-short-00000000"])
    run = stack.dagster.launch("walk_forward", {"dagster/partition": "2023-04-01|lightgbm-short-00000000"})
    with pytest.raises(DagsterError, match="no trial lightgbm-short-00000000"):
        stack.dagster.wait([run])
    assert not [key for key in stack.lake.partitions("trial_predictions") if "00000000" in key]


def test_the_launchpad_submits_a_trial_and_refuses_what_cannot_run(stack: Stack) -> None:
    def submitted(trial: dict[str, Any]) -> str:
        return stack.dagster.launch("submit_trial", config={"ops": {"submitted": {"config": {"trial": trial}}}})

    asked = {"model": "decision_tree", "timeframe": "short", "params": {"depth": 2}}
    trial = TrialConfig.parse(asked)

    def walks() -> list[str]:
        runs = [run for run in stack.dagster.runs() if run.job == "walk_forward"]
        return [
            run.run_id for run in runs if run.tags.get("dagster/asset_partition_range_end", "").endswith(f"|{trial.trial_id}")
        ]

    stack.dagster.wait([submitted(asked)])
    (run,) = walks()
    stack.dagster.wait([run])
    predicted = [key for key in stack.lake.partitions("trial_predictions") if key.startswith(trial.trial_id)]
    assert len(predicted) >= 4

    before = stack.dagster.run_count()
    stack.dagster.wait([submitted(asked)])
    with pytest.raises(DagsterError, match="integer from 1 to 12"):
        stack.dagster.wait([submitted(asked | {"params": {"depth": 2000}})])
    # neither what is there already nor what cannot run made a run of its own
    assert stack.dagster.run_count() == before + 2


def test_a_request_that_is_only_a_row_is_started_by_the_sensor_and_stands_as_cancelled_when_it_is(stack: Stack) -> None:
    trial = TrialConfig(model="lightgbm", params={"rounds": 1000}, timeframe="long", seed=6)
    with stack.database.engine.begin() as connection:  # and whoever wrote the row ends here: the sensor starts its run
        request = request_trial(connection, trial, "api")
    _until(lambda: _trial_status(stack, trial) == "running", "the trial runs")
    begun = _outcome(stack, request)[0]
    stack.dagster.cancel(str(begun.run_id))
    # nobody looks but the sensor
    _until(lambda: _trial_status(stack, trial) == "cancelled", "the trial stands as cancelled")
    ended, found = _outcome(stack, request)
    assert (ended.status, found.status, found.message) == ("cancelled", "failed", "it was cancelled")


def test_a_trial_whose_worker_is_killed_stands_as_failed(stack: Stack) -> None:
    trial = TrialConfig(model="lightgbm", params={"rounds": 1000}, timeframe="long", seed=7)
    request = _request(stack, trial)
    _until(lambda: _trial_status(stack, trial) == "running", "the trial runs")
    kill(_worker_of(str(_outcome(stack, request)[0].run_id)))
    _until(lambda: _trial_status(stack, trial) == "failed", "the trial stands as failed")
    assert _outcome(stack, request)[1].status == "failed"


def test_a_backfill_is_scored_though_the_sensor_is_off(stack: Stack) -> None:
    selector = {
        "repositoryLocationName": "mltrainer",
        "repositoryName": "__repository__",
        "sensorName": "launch_requested_runs",
    }
    state = stack.dagster.query(
        """query Sensor($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor {
             id sensorState { id status } } } }""",
        selector=selector,
    )["sensorOrError"]
    assert state["sensorState"]["status"] == "RUNNING"
    stack.dagster.query(
        "mutation Off($id: String!) { stopSensor(id: $id) { __typename ... on Error { message } } }",
        id=state["sensorState"]["id"],
    )
    try:
        trial = TrialConfig(model="decision_tree", params={"depth": 3}, timeframe="short")
        records.register(stack.database.engine, trial)
        stack.dagster.add_partitions("trials", [trial.trial_id])
        quarters = [f"{quarter}|{trial.trial_id}" for quarter in ("2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01")]
        stack.dagster.wait_for_backfill(stack.dagster.backfill("trial_predictions", quarters, "from the UI"))
        _until(lambda: _trial_status(stack, trial) == "scored", "the backfill's trial is scored")
        assert len([run for run in stack.dagster.runs() if run.tags.get("dagster/partition") == trial.trial_id]) == 1
    finally:
        stack.dagster.query(
            "mutation On($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }", selector=selector
        )


def test_screenings_and_ensembles_at_once_do_not_keep_their_own_trials_from_running(stack: Stack) -> None:
    depths = iter(range(4, 10))
    numbers = []
    with stack.database.engine.begin() as connection:
        for job, then, partition in (
            ("momentum_screening", "refresh_signals", None),
            ("ensemble", "promote_champion", "short"),
            ("momentum_screening", "refresh_signals", None),
        ):
            trials = [TrialConfig(model="decision_tree", params={"depth": next(depths)}, timeframe="short")]
            numbers.append(request_jointly(connection, job, trials, then, partition, "api", "at once"))  # type: ignore[arg-type]
    launcher = launcher_of(stack.settings, stack.database.engine, stack.dagster)
    launcher.update()
    _until(lambda: all(_outcome(stack, number)[1].status != "running" for number in numbers), "all three are done", 280)
    ended = [_outcome(stack, number) for number in numbers]
    assert [found.status for _, found in ended] == ["succeeded"] * 3, ended
    coordinating = [run for run in stack.dagster.runs() if run.job in ("momentum_screening", "ensemble")]
    spans = sorted((run.started_at, run.ended_at) for run in coordinating if run.started_at and run.ended_at)
    assert len(spans) == 3
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), "one at a time"


def test_signals_carry_levels_grades_and_reasons(stack: Stack) -> None:
    signals = stack.lake.read("signals", stack.lake.partitions("signals")[-1])
    assert signals["profit_probability"].is_between(0, 1).all()
    assert signals["confidence"].is_between(0, 1).all()
    assert set(signals["grade"]) <= {"proven", "candidate"}
    assert signals.filter(~pl.col("strong_buy") & (pl.col("reason") == "passes")).is_empty()
    levels = signals.filter(pl.col("volatility").is_not_null())
    assert (levels["stop_loss"] < levels["entry_price"]).all()
    assert (levels["entry_price"] < levels["target_price"]).all()


def test_tables_and_dagster_and_mlflow_live_in_one_postgresql(stack: Stack) -> None:
    with stack.database.engine.connect() as connection:
        names = set(connection.execute(text("SELECT datname FROM pg_database")).scalars())
    assert {"mltrainer", "dagster", "mlflow"} <= names


def test_no_key_shows_in_the_logs_of_the_services(stack: Stack) -> None:
    from mltrainer_pipelines.settings import LOCAL_EXCHANGE_KEY

    for log in state_dir.logs(stack.settings).iterdir():
        assert LOCAL_EXCHANGE_KEY not in log.read_text(errors="replace"), log


def _request(stack: Stack, trial: TrialConfig) -> int:
    """Ask for a trial as any caller does, and start it at once."""
    with stack.database.engine.begin() as connection:
        number = request_trial(connection, trial, "api")
    launcher_of(stack.settings, stack.database.engine, stack.dagster).update()
    return number


def _outcome(stack: Stack, number: int) -> tuple[RunRequest, Outcome]:
    with stack.database.engine.connect() as connection:
        request = get_request(connection, number)
        return request, outcome(connection, request)


def _trial_status(stack: Stack, trial: TrialConfig) -> str | None:
    with stack.database.engine.connect() as connection:
        return connection.scalar(select(Trial.status).where(Trial.trial_id == trial.trial_id))


def _tick(stack: Stack, schedule: str, moment: str) -> dict[str, Any]:
    answer = stack.dagster.query(
        """mutation Tick($selector: ScheduleSelector!, $timestamp: Float) {
             scheduleDryRun(selectorData: $selector, timestamp: $timestamp) { __typename
               ... on DryRunInstigationTick { evaluationResult { skipReason runRequests { runKey } error { message } } } } }""",
        selector={"repositoryLocationName": "mltrainer", "repositoryName": "__repository__", "scheduleName": schedule},
        timestamp=datetime.fromisoformat(moment).timestamp(),
    )["scheduleDryRun"]
    assert answer["__typename"] == "DryRunInstigationTick", answer
    result = answer["evaluationResult"]
    assert not result["error"], result["error"]
    return result


def _worker_of(run_id: str) -> int:
    """The process that executes a run: the parent of those that follow its compute log."""
    for process in psutil.process_iter(["ppid", "cmdline"]):
        if any(run_id in part for part in process.info["cmdline"] or []):
            return process.info["ppid"]
    raise AssertionError(f"no process belongs to run {run_id}")


def _parts_below(stack: Stack) -> list[str]:
    return [path.name for path in Path(stack.settings.lake_url).rglob("*.parquet") if path.stat().st_size == 0]


def _until(condition: Any, what: str, timeout_s: float = 400) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(0.05)
