"""What sets learning off: closed positions, drift and failed runs, on an instance of Dagster and a PostgreSQL that are real."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.defs.learning.automation import alert_on_failure, learn_from_closed_positions, retrain_on_drift
from mltrainer_pipelines.defs.learning.jobs import learn
from mltrainer_pipelines.defs.trials.jobs import promote_champion
from mltrainer_pipelines.learning.outcomes import record_outcomes
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.settings import now
from mltrainer_pipelines.store.alerts import alerts
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import DriftCheck
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, bars_of, recommend

DAYS = sessions_between(date(2015, 3, 2), date(2015, 3, 31))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@dg.job(executor_def=dg.in_process_executor)
def refresh_like() -> None:
    @dg.op
    def score() -> None:
        raise ValueError("the snapshot holds no price\nand more")

    score()


@dg.job(executor_def=dg.in_process_executor)
def fine() -> None:
    @dg.op
    def nothing() -> None: ...

    nothing()


def test_what_fails_raises_one_alert_a_day_that_says_which_step_failed_and_why(
    instance: dg.DagsterInstance, database: Database
) -> None:
    found = dg.Definitions(jobs=[refresh_like, fine], sensors=[alert_on_failure], resources={"database": database})
    repository = found.get_repository_def()
    cursor = None

    def tick() -> None:
        nonlocal cursor
        context = dg.build_sensor_context(
            instance, cursor, repository_def=repository, sensor_name="alert_on_failure", resources={"database": database}
        )
        cursor = repository.get_sensor_def("alert_on_failure").evaluate_tick(context).cursor

    tick()  # the first one only notes where the log stands
    failed = repository.get_job("refresh_like").execute_in_process(instance=instance, raise_on_error=False)
    repository.get_job("fine").execute_in_process(instance=instance)
    repository.get_job("refresh_like").execute_in_process(instance=instance, raise_on_error=False)
    for _ in range(3):
        tick()
    (alert,) = alerts(database.engine)
    assert (alert["kind"], alert["severity"], alert["run_id"]) == ("run_failure", "error", failed.run_id)
    assert alert["message"] == "refresh_like failed in score: ValueError: the snapshot holds no price"
    assert alert["details"]["reason"].endswith("and more")
    assert alert["details"]["url"].endswith(f"/runs/{failed.run_id}")
    for number in ("7", "8"):  # what a person asked for fails for itself
        repository.get_job("refresh_like").execute_in_process(
            instance=instance, raise_on_error=False, tags={"mltrainer/request": number}
        )
    for _ in range(3):
        tick()
    assert len(alerts(database.engine)) == 3


def test_positions_that_closed_set_learning_off_once_and_no_more_when_it_is_done(
    instance: dg.DagsterInstance, database: Database
) -> None:
    def tick() -> dg.RunRequest | dg.SkipReason:
        return learn_from_closed_positions(dg.build_sensor_context(instance, resources={"database": database}))

    recommend(database.engine, DAYS[0], "WIN")
    recommend(database.engine, DAYS[0], "FLAT")
    open_positions(database.engine, 10.0)
    assert isinstance(tick(), dg.SkipReason)
    prices = [(100.0,) * 4] * 2 + [(120.0,) * 4]
    bars = pl.concat([bars_of("WIN", DAYS, prices), bars_of("FLAT", DAYS, [(100.0,) * 4] * 3)])
    settle(database.engine, adjusted(bars, NO_ACTIONS), DAYS[2])
    asked, again = tick(), tick()
    assert learn_from_closed_positions.job_name == learn.name
    assert asked.run_key == again.run_key  # Dagster launches a key once
    assert asked.tags["mltrainer/closed_positions"] == "1"
    assert record_outcomes(database.engine) == 1
    assert "is recorded" in tick().skip_message


def test_drift_asks_for_a_champion_trained_anew_at_most_every_two_weeks(instance: dg.DagsterInstance, database: Database) -> None:
    today = now().date()

    def looked(timeframe: str, day: date, crossed: bool, kind: str = "calibration") -> None:
        values = {
            "as_of": day, "timeframe": timeframe, "kind": kind, "trial_id": "t", "subject": "Brier score", "statistic": 5.0,
            "threshold": 4.0, "p_value": 0.01, "false_alarm_rate": 0.05, "crossed": crossed, "advice": "train it anew",
        }  # fmt: skip
        with database.engine.begin() as connection:
            connection.execute(sa.insert(DriftCheck).values(values))

    cursor = None

    def tick() -> list[dg.RunRequest]:
        nonlocal cursor
        found = retrain_on_drift(dg.build_sensor_context(instance, cursor, resources={"database": database}))
        if isinstance(found, dg.SkipReason):
            return []
        cursor = found.cursor
        return list(found.run_requests)

    assert tick() == []
    looked("short", today - timedelta(days=10), crossed=True)
    looked("long", today - timedelta(days=10), crossed=False)
    (request,) = tick()
    assert retrain_on_drift.job_name == promote_champion.name
    assert request.partition_key == "short"
    assert request.tags["mltrainer/drift"] == f"calibration of {today - timedelta(days=10)}"
    looked("short", today - timedelta(days=3), crossed=True, kind="features")
    assert tick() == []
    looked("long", today, crossed=True)
    assert [request.partition_key for request in tick()] == ["long"]
