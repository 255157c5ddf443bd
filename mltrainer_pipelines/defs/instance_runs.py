"""Dagster's runs as its own processes see them: read from the instance, started by the daemon for a sensor."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import dagster as dg

from mltrainer_pipelines.ops.dagster_client import UNFINISHED, Run


class InstanceRuns:
    """The `DagsterRuns` of a sensor: what it launches are the run requests of its tick."""

    reserves = True

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance
        self.requested: list[dg.RunRequest] = []

    def launch(self, job: str, tags: dict[str, str]) -> str | None:
        from mltrainer_pipelines.ops.run_launcher import REQUEST

        self.requested.append(dg.RunRequest(run_key=f"request-{tags[REQUEST]}", job_name=job, tags=tags))
        return None

    def runs(
        self,
        tags: dict[str, str] | None = None,
        ids: Sequence[str] | None = None,
        limit: int = 100,
        *,
        unfinished: bool = False,
    ) -> list[Run]:
        statuses = [dg.DagsterRunStatus(status) for status in UNFINISHED] if unfinished else None
        chosen = dg.RunsFilter(tags=tags or {}, run_ids=ids, statuses=statuses)
        return [
            Run(
                record.dagster_run.run_id,
                record.dagster_run.job_name,
                record.dagster_run.status.value,
                dict(record.dagster_run.tags),
                record.create_timestamp,
                *(datetime.fromtimestamp(at, UTC) if at else None for at in (record.start_time, record.end_time)),
            )
            for record in self.instance.get_run_records(chosen, limit=limit)
        ]

    def failure(self, run_id: str) -> str:
        failed = self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
        failed = failed or self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE, limit=1).records
        if not failed:
            return "its process ended without an error: it was killed, or the machine stopped"
        event = failed[0].event_log_entry.get_dagster_event()
        return (innermost_message(event) if event.is_step_failure else None) or (event.message or "it failed").strip()

    def finished_steps(self, run_id: str) -> tuple[list[str], str | None]:
        steps = {step.step_key: step.status.value for step in self.instance.get_run_step_stats(run_id) if step.status}
        running = [key for key, status in steps.items() if status == "IN_PROGRESS"]
        return [key for key, status in steps.items() if status == "SUCCESS"], running[-1] if running else None

    def add_partitions(self, definition: str, keys: Iterable[str]) -> None:
        self.instance.add_dynamic_partitions(definition, list(keys))

    def materialized_keys(self, asset: str, keys: Sequence[str]) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(asset)) & set(keys)

    def cancel(self, run_id: str) -> None:
        raise NotImplementedError("a sensor cancels nothing")


def innermost_message(failure: dg.DagsterEvent) -> str | None:
    """What went wrong in a step, in the words of the code that failed; Dagster wraps it in an error of its own."""
    error = failure.step_failure_data.error
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else None


def unfinished_run(instance: dg.DagsterInstance, job: str) -> str | None:
    """Id of a run of a job that waits or is under way."""
    unfinished = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus(status) for status in UNFINISHED])
    return next((run.run_id for run in instance.get_runs(unfinished, limit=1)), None)
