"""Requests become runs, each once, and stand where Dagster's records say: with PostgreSQL, over runs that a test moves on."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.agent.jobs import JobError
from mltrainer_pipelines.ops.dagster_client import UNFINISHED, DagsterError, Run
from mltrainer_pipelines.ops.run_launcher import REQUEST, STARTED_BY, RunLauncher
from mltrainer_pipelines.settings import NEW_YORK, Settings
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import RunRequest as Row
from mltrainer_pipelines.store.tables import Trial
from mltrainer_pipelines.trials import joint_requests, run_requests
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.run_requests import Outcome, RequestWithdrawnError, RunRequest
from mltrainer_pipelines.trials.validation.stored_quarters import write_quarter

SETTINGS = Settings(mltrainer_history_start=date(2021, 6, 1), mltrainer_as_of=datetime(2024, 3, 28, 18, 0, tzinfo=NEW_YORK))
QUARTERS = ["2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01"]
TRIAL = TrialConfig(model="logistic_l2", timeframe="short")


@dataclass
class Records:
    """Dagster's records, which a test changes as Dagster would."""

    reserves: bool = False
    known: dict[str, Run] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    predicted: set[str] = field(default_factory=set)
    dies_after: str = ""
    away: bool = False

    def launch(self, job: str, tags: dict[str, str]) -> str | None:
        self._answer()
        if self.reserves:
            self.asked.append((tags[REQUEST], job))
            return None
        run_id = f"run-{len(self.known) + 1}"
        self.known[run_id] = Run(run_id, job, "QUEUED", tags, datetime.now(UTC))
        if self.dies_after == job:
            raise KeyboardInterrupt
        return run_id

    def end(self, run_id: str, status: str) -> None:
        begin = datetime.now(UTC)
        self.known[run_id] = replace(self.known[run_id], status=status, started_at=begin, ended_at=begin + timedelta(seconds=7))

    def runs(
        self,
        tags: dict[str, str] | None = None,
        ids: Sequence[str] | None = None,
        limit: int = 100,
        *,
        unfinished: bool = False,
    ) -> list[Run]:
        self._answer()
        return [
            run
            for run in self.known.values()
            if (tags or {}).items() <= run.tags.items()
            and (ids is None or run.run_id in ids)
            and (run.status in UNFINISHED or not unfinished)
        ]

    def failure(self, run_id: str) -> str:
        return "ran out of memory"

    def finished_steps(self, run_id: str) -> tuple[list[str], str | None]:
        return [], None

    def add_partitions(self, definition: str, keys: Iterable[str]) -> None:
        self._answer()

    def materialized_keys(self, asset: str, keys: Sequence[str]) -> set[str]:
        return self.predicted & set(keys)

    def cancel(self, run_id: str) -> None:
        self.end(run_id, "CANCELED")

    def _answer(self) -> None:
        if self.away:
            raise DagsterError("Dagster does not answer")


@pytest.fixture
def dagster() -> Records:
    return Records()


@pytest.fixture
def launcher(dagster: Records, database: Database, tmp_path: Path) -> RunLauncher:
    return RunLauncher(dagster, database.engine, Lake(str(tmp_path)), SETTINGS)


def ask(launcher: RunLauncher, config: TrialConfig = TRIAL, by: str = "api") -> int:
    with launcher.engine.begin() as connection:
        return run_requests.request_trial(connection, config, by)


def look(launcher: RunLauncher, number: int) -> tuple[RunRequest, Outcome]:
    with launcher.engine.connect() as connection:
        request = run_requests.get_request(connection, number)
        return request, run_requests.outcome(connection, request)


def predict(launcher: RunLauncher, config: TrialConfig = TRIAL, run_id: str = "run-1") -> None:
    """What the asset does for a trial: its quarters, and its own word that it is predicted."""
    records.register(launcher.engine, config)
    for quarter in QUARTERS:
        write_quarter(launcher.lake, config, quarter, pl.DataFrame({"score": [0.5]}), None)
    records.set_status(launcher.engine, config.trial_id, "predicted", run_id)


def trial_status(launcher: RunLauncher) -> Any:
    with launcher.engine.connect() as connection:
        return connection.scalar(sa.select(Trial.status).where(Trial.trial_id == TRIAL.trial_id))


def test_twenty_callers_at_once_ask_for_one_trial_and_start_one_run(launcher: RunLauncher, dagster: Records) -> None:
    begun = threading.Barrier(20)

    def call(_: int) -> int:
        begun.wait(30)
        number = ask(launcher)
        launcher.update()
        return number

    with ThreadPoolExecutor(20) as callers:
        numbers = set(callers.map(call, range(20)))
    assert len(numbers) == 1
    (run,) = dagster.known.values()
    assert (run.job, run.tags[REQUEST], run.tags[STARTED_BY]) == ("walk_forward", str(numbers.pop()), "api")
    assert run.tags["dagster/asset_partition_range_start"] == f"{QUARTERS[0]}|{TRIAL.trial_id}"
    assert run.tags["dagster/asset_partition_range_end"] == f"{QUARTERS[-1]}|{TRIAL.trial_id}"


def test_a_caller_that_dies_before_it_launches_leaves_a_row_that_the_next_look_launches(
    launcher: RunLauncher, dagster: Records
) -> None:
    number = ask(launcher)
    assert dagster.known == {}
    launcher.update()
    launcher.update()
    assert [run.tags[REQUEST] for run in dagster.known.values()] == [str(number)]


def test_a_launcher_that_dies_before_it_notes_the_run_leaves_one_that_the_next_look_finds(
    launcher: RunLauncher, dagster: Records
) -> None:
    number = ask(launcher)
    dagster.dies_after = "walk_forward"
    with pytest.raises(KeyboardInterrupt):
        launcher.update()
    assert look(launcher, number)[0].status == "waiting"
    assert records.config_of(launcher.engine, TRIAL.trial_id) == TRIAL  # for the run that is there
    launcher.update()
    assert list(dagster.known) == ["run-1"]
    assert (look(launcher, number)[0].status, look(launcher, number)[0].run_id) == ("launched", "run-1")


def test_what_the_sensor_gave_to_the_daemon_is_not_launched_by_another_and_computes_once(
    launcher: RunLauncher, dagster: Records
) -> None:
    number = ask(launcher)
    sensor = replace(launcher, dagster=Records(reserves=True))
    assert len(sensor.update()) == 1
    sensor.update()
    assert sensor.dagster.asked == [(str(number), "walk_forward")] * 2  # one key: the daemon starts it once
    launcher.update()
    assert dagster.known == {}
    run_requests.require_current(launcher.engine, number, "run-of-the-daemon")
    with pytest.raises(RequestWithdrawnError, match="is carried out by run run-of-the-daemon"):
        run_requests.require_current(launcher.engine, number, "another")


@pytest.mark.parametrize(
    ("ends", "status", "message"),
    [
        ("CANCELED", "cancelled", "it was cancelled"),
        ("FAILURE", "failed", "ran out of memory"),
        (None, "failed", "its run run-1 is gone from Dagster's records"),
    ],
)
def test_a_trial_stands_where_its_run_stands(
    launcher: RunLauncher, dagster: Records, ends: str | None, status: str, message: str
) -> None:
    number = ask(launcher)
    launcher.update()
    records.set_status(launcher.engine, TRIAL.trial_id, "running", "run-1")
    launcher.update()
    assert (trial_status(launcher), look(launcher, number)[1].status) == ("running", "running")
    if ends is None:
        del dagster.known["run-1"]
    else:
        dagster.end("run-1", ends)
    launcher.update()
    request, outcome = look(launcher, number)
    assert (request.status, outcome.status, outcome.message) == (status, "failed", message)
    assert trial_status(launcher) == status
    # there is room for another try, which has a run of its own
    again = ask(launcher)
    launcher.update()
    assert (again != number, look(launcher, again)[0].status) == (True, "launched")


def test_a_run_that_nobody_requested_does_not_leave_its_trial_running(launcher: RunLauncher, dagster: Records) -> None:
    records.register(launcher.engine, TRIAL)
    dagster.known["backfill"] = Run("backfill", "__ASSET_JOB", "STARTED", {}, datetime.now(UTC))
    records.set_status(launcher.engine, TRIAL.trial_id, "running", "backfill")
    launcher.update()
    assert trial_status(launcher) == "running"
    dagster.end("backfill", "CANCELED")
    launcher.update()
    assert trial_status(launcher) == "cancelled"


def test_what_is_predicted_is_scored_whoever_predicted_it_once_for_each_run(launcher: RunLauncher, dagster: Records) -> None:
    predict(launcher, run_id="backfill")
    launcher.update()
    (scoring,) = dagster.known.values()
    assert (scoring.job, scoring.tags["dagster/partition"]) == ("score_trials", TRIAL.trial_id)
    dagster.end(scoring.run_id, "FAILURE")
    for _ in range(3):
        launcher.update()
    assert len(dagster.known) == 1, "what cannot be scored is not tried for ever"
    records.set_status(launcher.engine, TRIAL.trial_id, "predicted", "another run")
    launcher.update()
    assert len(dagster.known) == 2


def test_a_trial_with_a_quarter_left_is_not_scored(launcher: RunLauncher, dagster: Records) -> None:
    predict(launcher)
    launcher.lake.delete("trial_predictions", f"{TRIAL.trial_id}/{QUARTERS[1]}")
    launcher.update()
    assert dagster.known == {}


def test_a_trial_is_over_when_it_is_scored(launcher: RunLauncher, dagster: Records) -> None:
    number = ask(launcher)
    launcher.update()
    predict(launcher)
    dagster.end("run-1", "SUCCESS")
    launcher.update()
    assert look(launcher, number)[1] == Outcome("running", "predicted, to be scored")
    dagster.end("run-2", "FAILURE")
    launcher.update()
    assert look(launcher, number)[1] == Outcome("failed", "ran out of memory")
    dagster.predicted = {f"{quarter}|{TRIAL.trial_id}" for quarter in QUARTERS}
    again = ask(launcher)  # nothing is left to predict: it is scored without a run of its own
    launcher.update()
    assert (look(launcher, again)[0].status, look(launcher, again)[0].run_id) == ("succeeded", None)
    assert [run.job for run in dagster.known.values()] == ["walk_forward", "score_trials", "score_trials"]
    records.set_status(launcher.engine, TRIAL.trial_id, "scored")
    assert look(launcher, again)[1].status == "succeeded"


def test_a_trial_that_cannot_run_fails_with_the_reason_and_no_run(launcher: RunLauncher, dagster: Records) -> None:
    number = ask(launcher, TrialConfig(model="logistic_l2", timeframe="short", train_sessions=5000))
    other = ask(launcher)
    launcher.update()
    request, outcome = look(launcher, number)
    assert (request.status, outcome.status) == ("failed", "failed")
    assert "train_sessions: 5000" in outcome.message
    assert look(launcher, other)[0].status == "launched"


def test_what_the_agent_asked_for_waits_while_it_is_switched_off(launcher: RunLauncher, dagster: Records) -> None:
    mine, agents = ask(launcher), ask(launcher, TrialConfig(model="lightgbm", timeframe="short"), by="agent")
    runtime_settings.put(launcher.engine, "agent_enabled", False, "user", "test")
    launcher.update()
    assert [run.tags[REQUEST] for run in dagster.known.values()] == [str(mine)]
    runtime_settings.put(launcher.engine, "agent_enabled", True, "user", "test")
    launcher.update()
    assert look(launcher, agents)[0].status == "launched"


def test_while_dagster_is_away_everything_waits(launcher: RunLauncher, dagster: Records) -> None:
    number = ask(launcher)
    dagster.away = True
    with pytest.raises(JobError, match="does not answer"):
        launcher.update()
    assert look(launcher, number)[0].status == "waiting"
    dagster.away = False
    launcher.update()
    assert look(launcher, number)[0].status == "launched"


def test_a_withdrawn_request_computes_nothing_though_its_run_begins(launcher: RunLauncher) -> None:
    number = ask(launcher, by="agent")
    with launcher.engine.begin() as connection:
        assert run_requests.withdraw(connection, "enough") == [number]
    with pytest.raises(RequestWithdrawnError, match="withdrawn before its run began"):
        run_requests.require_current(launcher.engine, number, "run-1")


def test_a_run_that_a_person_executes_again_takes_the_place_of_the_one_that_failed(
    launcher: RunLauncher, dagster: Records
) -> None:
    number = ask(launcher)
    launcher.update()
    dagster.end("run-1", "FAILURE")
    launcher.update()
    run_requests.require_current(launcher.engine, number, "again", parent_run_id="run-1")
    assert look(launcher, number)[0].run_id == "again"


def test_a_joint_request_asks_for_its_trials_and_then_for_what_follows_each_once(launcher: RunLauncher, dagster: Records) -> None:
    configs = [TRIAL, TrialConfig(model="lightgbm", timeframe="short")]
    with launcher.engine.begin() as connection:
        number = joint_requests.request_jointly(connection, "ensemble", configs, "promote_champion", "short", "agent", "")
    begun = threading.Barrier(6)

    def step(_: int) -> bool:
        begun.wait(30)
        return joint_requests.advance(launcher.engine, number)

    with ThreadPoolExecutor(6) as callers:
        assert not any(callers.map(step, range(6)))
        launcher.update()
        assert [run.job for run in dagster.known.values()] == ["ensemble", "walk_forward", "walk_forward"]
        for config, run_id in zip(configs, ("run-2", "run-3"), strict=True):
            records.set_status(launcher.engine, config.trial_id, "scored", run_id)
            dagster.end(run_id, "SUCCESS")
        launcher.update()
        assert not any(callers.map(step, range(6)))
    launcher.update()
    promotion = dagster.known["run-4"]
    assert (promotion.job, promotion.tags["dagster/partition"]) == ("promote_champion", "short")
    assert len(dagster.known) == 4
    dagster.end("run-4", "SUCCESS")
    launcher.update()
    assert joint_requests.advance(launcher.engine, number)


def test_a_trial_of_a_joint_request_that_fails_is_named_and_nothing_follows(launcher: RunLauncher, dagster: Records) -> None:
    with launcher.engine.begin() as connection:
        number = joint_requests.request_jointly(
            connection, "momentum_screening", [TRIAL], "refresh_signals", None, "agent", ""
        )  # fmt: skip
    joint_requests.advance(launcher.engine, number)
    launcher.update()
    dagster.end("run-2", "CANCELED")
    launcher.update()
    with pytest.raises(joint_requests.JointRequestError, match=f"{TRIAL.trial_id}: it was cancelled"):
        joint_requests.advance(launcher.engine, number)
    with launcher.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Row)) == 2
