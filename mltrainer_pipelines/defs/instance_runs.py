"""Dagster's runs as its own processes see them: read from the instance, started by the daemon for a sensor."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from mltrainer_pipelines.ops.dagster_client import UNFINISHED, Run


class InstanceRuns:
    """The `DagsterRuns` of a sensor: what it launches are the run requests of its tick."""

    reserves = True

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance
        self.requested: list[dg.RunRequest] = []

    def find(self, tags: dict[str, str]) -> str | None:
        found = self.instance.get_run_records(dg.RunsFilter(tags=tags), limit=1)
        return found[0].dagster_run.run_id if found else None

    def launch(self, job: str, tags: dict[str, str], key: str) -> str | None:
        self.requested.append(dg.RunRequest(run_key=key, job_name=job, tags=tags))
        return None

    def runs(self, ids: Sequence[str]) -> dict[str, Run]:
        return {run.run_id: run for run in self._runs(dg.RunsFilter(run_ids=list(ids)))}

    def failure(self, run_id: str) -> str:
        failed = self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
        failed = failed or self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE, limit=1).records
        if not failed:
            return "no reason recorded; see its log in the UI"
        event = failed[0].event_log_entry.get_dagster_event()
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None and error.cause is not None:
            error = error.cause
        return (error.message if error is not None else event.message or "it failed").strip()

    def doing(self, run: Run) -> str:
        if run.status not in ("STARTED", "STARTING"):
            return f"{run.job} waits for its turn"
        steps = self.instance.get_run_step_stats(run.run_id)
        now = [step.step_key for step in steps if step.status is not None and step.status.value == "IN_PROGRESS"]
        done = sum(step.status is not None and step.status.value == "SUCCESS" for step in steps)
        return f"{run.job}: {now[-1] if now else f'{done} steps done'}"

    def add_partition(self, definition: str, key: str) -> None:
        self.instance.add_dynamic_partitions(definition, [key])

    def materialized(self, asset: str, keys: Sequence[str]) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(asset)) & set(keys)

    def unfinished(self, most: int, tags: dict[str, str] | None = None) -> list[Run]:
        statuses = [dg.DagsterRunStatus(status) for status in UNFINISHED]
        return self._runs(dg.RunsFilter(statuses=statuses, tags=tags or {}), most)

    def cancel(self, run_id: str) -> None:
        raise NotImplementedError("a sensor cancels nothing")

    def _runs(self, chosen: dg.RunsFilter, limit: int | None = None) -> list[Run]:
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
