"""Starting Dagster's jobs and following them, over its GraphQL API."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy.engine import Engine

from mltrainer_pipelines.agent.jobs import Job, JobError, JobProgress
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.ops.dagster_client import FINISHED, DagsterClient, DagsterError, Run
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.validate_trial import validate_trial

MOST_UNFINISHED = 50
"""Runs that may wait or run before this API starts no more."""
_STARTED_BY = "mltrainer/started_by"
_REASON = "mltrainer/reason"
_PER_TIMEFRAME = tuple(TIMEFRAMES)


class TooManyRunsError(RuntimeError):
    """So many runs are unfinished that none is added: says how many and what to do."""


@dataclass(frozen=True)
class JobRun:
    """A run as Dagster knows it; times are None before they have come."""

    run_id: str
    job: str
    status: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    tags: dict[str, str]

    @property
    def seconds(self) -> float | None:
        """What it took, once it has ended."""
        return (self.ended_at - self.started_at).total_seconds() if self.started_at and self.ended_at else None


@dataclass(frozen=True)
class DagsterJobs:
    """The jobs of an installation; a `JobLauncher` of the agent.

    Parameters
    ----------
    dagster : DagsterClient
    engine : Engine
        Where trials are recorded.
    started_by : str
        Written on each run.
    lake : Lake, optional
        Where progress is looked up.
    """

    dagster: DagsterClient
    engine: Engine
    started_by: str = "api"
    lake: Lake | None = None

    def launch(self, job: str, reason: str = "", partition: str | None = None, last: str | None = None) -> str:
        """Start a run of a job, over a partition or from `partition` to `last`; returns its id.

        Raises
        ------
        TooManyRunsError
            If `MOST_UNFINISHED` runs are unfinished.
        DagsterError
            If Dagster does not answer or refuses.
        """
        self._require_room()
        tags = {_STARTED_BY: self.started_by} | ({_REASON: reason[:200]} if reason else {})
        if partition is not None and last is not None:
            return self.dagster.launch_range(job, partition, last, tags)
        return self.dagster.launch(job, tags | ({"dagster/partition": partition} if partition else {}))

    def submit(self, config: TrialConfig, reason: str = "") -> str | None:
        """Record a trial and run it over the quarters that are not predicted; None where none is missing.

        Raises
        ------
        InvalidTrialError
            If the history is too short for it.
        """
        self._require_room()
        quarters = self.quarters()
        validate_trial(config, [date.fromisoformat(quarter) for quarter in quarters], get_settings().mltrainer_history_start)
        records.register(self.engine, config)
        self.dagster.add_partitions("trials", [config.trial_id])
        keys = [f"{quarter}|{config.trial_id}" for quarter in quarters]
        done = self.dagster.materialized_keys("trial_predictions", keys)
        missing = [key for key in keys if key not in done]
        return self.launch("walk_forward", reason, missing[0], missing[-1]) if missing else None

    def quarters(self) -> list[str]:
        """The quarters that a trial is predicted over, oldest first."""
        node = self.dagster.query(
            """query { assetNodeOrError(assetKey: {path: ["trial_predictions"]}) { ... on AssetNode {
                 partitionKeysByDimension { name partitionKeys } } } }"""
        )["assetNodeOrError"]
        return next((found["partitionKeys"] for found in node["partitionKeysByDimension"] if found["name"] == "quarter"), [])

    def recent(self, limit: int = 20, job: str | None = None, unfinished: bool = False) -> list[JobRun]:
        """Runs, the newest first."""
        wanted: dict[str, Any] = {"pipelineName": job} if job else {}
        if unfinished:
            wanted["statuses"] = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
        found = self.dagster.query(
            """query Recent($filter: RunsFilter, $limit: Int) { runsOrError(filter: $filter, limit: $limit) { __typename
                 ... on Runs { results { runId jobName status creationTime startTime endTime tags { key value } } }
                 ... on PythonError { message } } }""",
            filter=wanted,
            limit=limit,
        )["runsOrError"]
        if found["__typename"] != "Runs":
            raise DagsterError(f"Dagster at {self.dagster.url} did not list its runs: {found.get('message', '')[:300]}")
        return [
            JobRun(
                run["runId"],
                run["jobName"],
                run["status"],
                _moment(run["creationTime"]),
                _moment(run["startTime"]) if run["startTime"] else None,
                _moment(run["endTime"]) if run["endTime"] else None,
                {tag["key"]: tag["value"] for tag in run["tags"]},
            )
            for run in found["results"]
        ]

    # what the agent asks for

    def start_trial(self, config: TrialConfig, reason: str) -> str:
        try:
            run_id = self.submit(config, reason)
            return run_id or self.launch("score_trials", reason, config.trial_id)
        except (DagsterError, TooManyRunsError, InvalidTrialError) as error:
            raise JobError(str(error)) from None

    def start_job(self, job: Job, reason: str, partition: str | None = None) -> str:
        try:
            if job == "promote_champion" and partition is None:
                return self.launch(job, reason, *_PER_TIMEFRAME)
            return self.launch(job, reason, partition)
        except (DagsterError, TooManyRunsError) as error:
            raise JobError(str(error)) from None

    def progress(self, job_id: str) -> JobProgress:
        try:
            found = self.dagster.runs(ids=[job_id], limit=1)
            if not found:
                raise JobError(f"Dagster knows no run {job_id}")
            (run,) = found
            if run.status == "SUCCESS":
                return JobProgress("succeeded", "predicted, to be scored" if run.job == "walk_forward" else "")
            if run.status in FINISHED:
                return JobProgress("failed", self.dagster.failure(job_id) if run.status == "FAILURE" else "it was cancelled")
            return JobProgress("running", self._doing(run))
        except DagsterError as error:
            raise JobError(str(error)) from None

    def cancel_all(self) -> list[str]:
        try:
            mine = [run for run in self.recent(200, unfinished=True) if run.tags.get(_STARTED_BY) == self.started_by]
            for run in mine:
                self.dagster.query(
                    "mutation Stop($id: String!) { terminateRun(runId: $id) { __typename ... on Error { message } } }",
                    id=run.run_id,
                )
        except DagsterError as error:
            raise JobError(str(error)) from None
        return [run.run_id for run in mine]

    def _doing(self, run: Run) -> str:
        first, last = (run.tags.get(f"dagster/asset_partition_range_{end}", "") for end in ("start", "end"))
        if run.job == "walk_forward" and "|" in first and self.lake is not None:
            trial_id = first.split("|", 1)[1]
            done = sum(key.startswith(f"{trial_id}/") for key in self.lake.partitions("trial_predictions"))
            return f"{done} quarters predicted, the last is {last.split('|', 1)[0]}"
        if run.status not in ("STARTED", "STARTING"):
            return f"{run.job} waits for its turn"
        done_steps, doing = self.dagster.finished_steps(run.run_id)
        return f"{run.job}: {doing or f'{len(done_steps)} steps done'}"

    def _require_room(self) -> None:
        waiting = len(self.recent(MOST_UNFINISHED, unfinished=True))
        if waiting >= MOST_UNFINISHED:
            raise TooManyRunsError(f"{waiting} runs are unfinished already; wait for some, or cancel them in Dagster")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
