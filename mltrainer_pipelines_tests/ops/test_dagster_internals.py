"""Dagster's storage as mlTrainer keeps it, and canaries for every private part of Dagster that is replaced."""

import inspect
from datetime import datetime

import dagster as dg
import sqlalchemy as sa
from dagster._cli.api import grpc_command
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._core.storage.dagster_run import DagsterRun
from dagster._grpc.server import DagsterApiServer
from dagster_graphql.schema import create_schema
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_webserver.webserver import DagsterWebserver

from mltrainer_pipelines.ops.dagster_internals import RunWideCheckStorage
from mltrainer_pipelines.ops.dagster_storage import MarketStorage

days = dg.DailyPartitionsDefinition("2024-01-01", "2024-03-01")


@dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
def prices() -> None: ...


@dg.asset_check(asset=prices)
def good() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def test_a_check_of_a_range_of_partitions_is_planned_and_evaluated_as_one(postgres):
    storage = MarketStorage(postgres.url("dagster"))
    assert isinstance(storage.event_log_storage, RunWideCheckStorage)
    with dg.instance_for_test() as instance:
        job = dg.Definitions(assets=[prices], asset_checks=[good]).resolve_implicit_global_asset_job_def()
        tags = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-02-29"}
        run: DagsterRun = instance.create_run_for_job(job, tags=tags)
        planned = [
            record.event_log_entry
            for record in instance.get_records_for_run(run.run_id).records
            if record.event_log_entry.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
        ]
    assert planned[0].dagster_event.asset_check_planned_data.partitions_subset is not None
    storage.event_log_storage.store_event(planned[0])
    with storage.event_log_storage.index_connection() as connection:
        query = sa.text("SELECT partition, check_name FROM asset_check_executions WHERE run_id = :run")
        assert connection.execute(query, {"run": run.run_id}).fetchall() == [(None, "good")]


def test_connections_are_kept(postgres):
    storage = MarketStorage(postgres.url("dagster")).event_log_storage
    with storage.index_connection() as connection:
        first = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar()
    with storage.index_connection() as connection:
        assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar() == first


# Canaries: what the overrides stand on. A failure's message says what an upgrade of Dagster changed, and what to do.


def overrides(base: type, method: str) -> None:
    assert callable(getattr(base, method, None)), f"{base.__name__}.{method} is gone: our override of it is never called"


def test_dagster_still_plans_checks_and_keeps_its_event_log_where_the_storage_replaces_them():
    overrides(PostgresEventLogStorage, "_store_asset_check_evaluation_planned")
    overrides(PostgresEventLogStorage, "optimize_for_webserver")
    source = inspect.getsource(DagsterPostgresStorage)
    assert "self._event_log_storage" in source, "DagsterPostgresStorage keeps its event log elsewhere: ours is not used"


def test_dagster_still_retries_steps_where_the_executor_decides_on_it():
    overrides(StepDelegatingExecutor, "log_failure_or_retry_event_after_error")
    calls = inspect.getsource(StepDelegatingExecutor).count("self.log_failure_or_retry_event_after_error(")
    assert calls, "StepDelegatingExecutor no longer asks whether a lost step begins again: LostStepRestartExecutor has no effect"
    assert "_step_handler" in inspect.getsource(StepDelegatingExecutor.__init__), "the step handler has another name now"


def test_dagster_still_starts_runs_from_the_context_that_the_code_server_replaces():
    assert "self._mp_ctx.Process(" in inspect.getsource(DagsterApiServer), (
        "DagsterApiServer no longer starts runs from _mp_ctx: runs of `mltrainer up` import everything anew, seconds each"
    )
    serve = inspect.getsource(grpc_command.callback)
    assert "from dagster._grpc.server import DagsterApiServer" in serve, (
        "the code server takes its DagsterApiServer from elsewhere: ForkingApiServer is never used"
    )


def test_dagster_still_takes_the_next_session_for_a_holiday_and_resolves_backfills_where_ours_refuses_it():
    sessions = dg.DailyPartitionsDefinition(
        "2024-01-01",
        "2024-02-01",
        exclusions=["0 0 * * 6", "0 0 * * 0", datetime(2024, 1, 15)],  # noqa: DTZ001
    )
    taken = sessions.subset_with_partition_keys(["2024-01-15"]).get_partition_keys()
    assert list(taken) == ["2024-01-16"], "Dagster no longer replaces a holiday: drop unknown_keys if it refuses one by itself"
    overrides(DagsterWebserver, "build_graphql_schema")
    mutations = create_schema().graphql_schema.mutation_type.fields
    assert mutations["launchPartitionBackfill"].resolve, "launchPartitionBackfill is resolved elsewhere: ours refuses nothing"


def test_dagster_still_asks_where_ours_tells_mutations_apart():
    overrides(DagsterWebserver, "execute_graphql_request")
    asked = "self.execute_graphql_request(" in inspect.getsource(DagsterWebserver.graphql_http_endpoint)
    assert asked, "GraphQL is executed without execute_graphql_request: any program may change anything"
