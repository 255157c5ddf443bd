"""Dagster's storage as mlTrainer keeps it: checks are planned once a run, and connections are kept."""

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.dagster_run import DagsterRun

from mltrainer_pipelines.ops.dagster_storage import MarketEventLogStorage, MarketStorage

days = dg.DailyPartitionsDefinition("2024-01-01", "2024-03-01")


@dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
def prices() -> None: ...


@dg.asset_check(asset=prices)
def good() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def test_a_check_of_a_range_of_partitions_is_planned_and_evaluated_as_one(postgres):
    storage = MarketStorage(postgres.url("dagster"))
    assert isinstance(storage.event_log_storage, MarketEventLogStorage)
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
