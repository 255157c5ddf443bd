"""The agent's Dagster objects on a database of their own: proposals become runs, and runs report back."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import dagster as dg
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.agent.autonomy import halt
from mltrainer_pipelines.agent.proposals import approve, proposals
from mltrainer_pipelines.defs.agent.assets import trial_proposals
from mltrainer_pipelines.defs.agent.automation import launch_requested_runs
from mltrainer_pipelines.defs.instance_runs import InstanceRuns
from mltrainer_pipelines.defs.trials.assets import trial_predictions
from mltrainer_pipelines.ops.databases import provided_databases
from mltrainer_pipelines.ops.run_launcher import PROPOSAL, REQUEST, RunLauncher
from mltrainer_pipelines.settings import Settings, get_settings
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import Base, ProposalRun, Trial


@pytest.fixture
def installed(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database that the definitions find through the environment, empty."""
    monkeypatch.setenv("MLTRAINER_DATABASE_URL", postgres.url("mltrainer"))
    for name in ("ANTHROPIC_API_KEY", "POLYGON_API_KEY", "MLTRAINER_AS_OF"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    with provided_databases(Settings()) as urls:
        database = Database(urls["mltrainer"])
        with database.engine.begin() as connection:
            names = ", ".join(table.name for table in Base.metadata.sorted_tables)
            connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        yield database
        database.dispose()
    get_settings.cache_clear()


def materialized(database: Database, lake: Lake, **config: object) -> dict[str, object]:
    done = dg.materialize(
        [trial_proposals],
        resources={"database": database, "lake": lake},
        run_config={"ops": {"trial_proposals": {"config": config}}},
    )
    (event,) = done.asset_materializations_for_node("trial_proposals")
    return {name: value.value for name, value in event.metadata.items()}


def tick(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(instance=instance) as context:
        return launch_requested_runs(context)  # type: ignore[return-value]


def test_proposals_wait_are_launched_after_a_yes_and_count_once_their_run_is_there(installed: Database, tmp_path) -> None:
    shown = materialized(installed, Lake(str(tmp_path)), count=1)
    assert (shown["new"], shown["proposer"], shown["dollars"]) == (2, "tpe", 0.0)
    assert "ANTHROPIC_API_KEY" in str(shown["in_place_of"])
    with dg.instance_for_test() as instance:
        assert "no approved proposal" in str(tick(instance))
        first = proposals(installed.engine)[0]
        approve(installed.engine, first.id, "user")
        asked = tick(instance)
        assert isinstance(asked, dg.SensorResult)
        (request,) = asked.run_requests or []
        trial_id = first.proposal.config.trial_id
        assert request.tags[PROPOSAL] == str(first.id)
        assert request.tags["mltrainer/started_by"] == "agent"
        assert request.tags["dagster/asset_partition_range_start"].endswith(f"|{trial_id}")
        # asked again until Dagster has the run, with the key that keeps it from starting twice
        again = tick(instance)
        assert isinstance(again, dg.SensorResult)
        assert (again.run_requests or [])[0].run_key == request.run_key
        run = instance.add_run(dg.DagsterRun(job_name="walk_forward", tags=dict(request.tags)))
        assert "no approved proposal" in str(tick(instance))
        (launched,) = proposals(installed.engine, "launched")
        assert (launched.id, launched.run_id) == (first.id, run.run_id)
        with installed.engine.connect() as connection:
            assert connection.execute(sa.select(ProposalRun.proposal_id, ProposalRun.seconds)).all() == [(first.id, None)]


def test_the_budget_approves_at_the_sensor_too_and_the_switch_stops_it(installed: Database, tmp_path) -> None:
    materialized(installed, Lake(str(tmp_path)), count=3, proposer="random")
    runtime_settings.put(installed.engine, "daily_trials", 2, "user", "test")
    runtime_settings.put(installed.engine, "autonomy", "budgeted", "user", "test")
    with dg.instance_for_test() as instance:
        runtime_settings.put(installed.engine, "agent_enabled", False, "user", "test")
        assert "switched off" in str(tick(instance))
        assert proposals(installed.engine, "approved") == []
        runtime_settings.put(installed.engine, "agent_enabled", True, "user", "test")
        asked = tick(instance)
        assert isinstance(asked, dg.SensorResult)
        assert len(asked.run_requests or []) == 2
    assert len(proposals(installed.engine, "proposed")) == 4


def test_a_run_that_a_tick_asked_for_before_the_switch_computes_nothing_after_it(installed: Database, tmp_path) -> None:
    lake = Lake(str(tmp_path))
    materialized(installed, lake, count=1)
    first = proposals(installed.engine)[0]
    approve(installed.engine, first.id, "user")
    with dg.instance_for_test() as instance:
        asked = tick(instance)
        assert isinstance(asked, dg.SensorResult)
        (request,) = asked.run_requests or []
        halt(installed.engine, None, "user", "enough", datetime.now(UTC))
        trial_id = first.proposal.config.trial_id
        instance.add_dynamic_partitions("trials", [trial_id])
        done = dg.materialize(
            [trial_predictions, *(dg.AssetSpec(name) for name in ("features", "labels"))],
            instance=instance,
            partition_key=request.tags["dagster/asset_partition_range_end"],
            tags={PROPOSAL: request.tags[PROPOSAL]},
            resources={"database": installed, "lake": lake},
            raise_on_error=False,
        )
        (failed,) = done.get_step_failure_events()
    assert f"proposal {first.id} was rejected before its run began" in str(failed.event_specific_data)
    with installed.engine.connect() as connection:
        assert connection.scalar(sa.select(Trial.status).where(Trial.trial_id == trial_id)) != "running"


def test_sensors_that_note_a_launch_at_the_same_moment_do_not_trip_each_other(installed: Database, tmp_path) -> None:
    materialized(installed, Lake(str(tmp_path)), count=1)
    first = proposals(installed.engine)[0]
    approve(installed.engine, first.id, "user")
    begun = threading.Barrier(6)

    with dg.instance_for_test() as instance, ThreadPoolExecutor(6) as sensors:
        run = instance.add_run(dg.DagsterRun(job_name="walk_forward", tags={REQUEST: "1", PROPOSAL: str(first.id)}))

        def note() -> None:
            begun.wait(20)
            RunLauncher(InstanceRuns(instance), installed.engine, Lake(str(tmp_path)), get_settings()).update()

        for noted in [sensors.submit(note) for _ in range(6)]:
            noted.result()
    (launched,) = proposals(installed.engine, "launched")
    assert (launched.id, launched.run_id) == (first.id, run.run_id)


def test_an_agent_that_is_off_materializes_nothing_and_says_so(installed: Database, tmp_path) -> None:
    runtime_settings.put(installed.engine, "autonomy", "off", "user", "test")
    shown = materialized(installed, Lake(str(tmp_path)))
    assert (shown["new"], shown["off"]) == (0, "nothing is proposed: autonomy is off")
    assert proposals(installed.engine) == []
