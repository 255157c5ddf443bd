"""A client of the Dagster webserver's GraphQL API: what a user does in the UI, for a program."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from mltrainer_pipelines.http_client import NoAnswerError, send
from mltrainer_pipelines.ops.installation_token import load_token, token_file
from mltrainer_pipelines.settings import Settings

LOCATION = "mltrainer"
REPOSITORY = "__repository__"
FINISHED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
UNFINISHED = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
ANY_ASSETS = "__ASSET_JOB"
"""Dagster's own job of all assets."""
_REPOSITORY_SELECTOR = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY}


class DagsterError(RuntimeError):
    """Dagster refused a request, or a run did not succeed: says which, why, and where to look."""


@dataclass(frozen=True)
class Run:
    """A run of a job as Dagster's UI shows it, with its tags (the partitions among them); times are None until they come."""

    run_id: str
    job: str
    status: str
    tags: dict[str, str]
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """What it took, once it has ended."""
        return (self.ended_at - self.started_at).total_seconds() if self.started_at and self.ended_at else None


@dataclass(frozen=True)
class DagsterClient:
    """Talks to the webserver at `url`, for example `http://127.0.0.1:3000`, with the installation's `token`."""

    url: str
    timeout_s: float = 60.0
    token: str | None = field(default=None, repr=False)
    reserves: ClassVar[bool] = False
    """A run that it launches is there when `launch` returns."""

    @classmethod
    def of(cls, settings: Settings, url: str | None = None, timeout_s: float = 60.0) -> Self:
        """A client of an installation's webserver, at its own address unless another one is given."""
        url = url or f"http://127.0.0.1:{settings.dagster_port}"
        return cls(url, timeout_s, load_token(token_file(settings)))

    def query(self, text: str, **variables: object) -> dict[str, Any]:
        """Answer of one GraphQL request; raises `DagsterError` if the webserver does not answer or refuses it."""
        content = {"query": text, "variables": variables}
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else None
        try:
            response = send(f"{self.url}/graphql", method="POST", content=content, headers=headers, timeout_s=self.timeout_s)
        except NoAnswerError as error:
            raise DagsterError(f"Dagster at {self.url} does not answer ({error}); start it with `mltrainer up`") from None
        if response.status >= 300:
            raise DagsterError(f"Dagster at {self.url} refused a request: {response.status} {response.body[:300]!r}")
        answer = response.json()
        if answer.get("errors"):
            raise DagsterError(f"Dagster at {self.url}: {answer['errors'][0]['message'][:500]}")
        data: dict[str, Any] = answer["data"]
        return data

    def require_loaded(self) -> None:
        """Raise with the import error if the code location did not load."""
        answer = self.query(
            "query { workspaceOrError { __typename ... on Workspace { locationEntries { name loadStatus "
            "locationOrLoadError { __typename ... on PythonError { message } } } } ... on PythonError { message } } }"
        )["workspaceOrError"]
        if answer["__typename"] != "Workspace":
            raise DagsterError(f"Dagster's workspace does not load: {answer['message'][:1000]}")
        for entry in answer["locationEntries"]:
            result = entry["locationOrLoadError"]
            if result and result["__typename"] == "PythonError":
                raise DagsterError(f"the code location {entry['name']} does not load: {result['message'][:1000]}")

    def launch(
        self,
        job: str,
        tags: dict[str, str] | None = None,
        config: dict[str, object] | None = None,
        assets: Sequence[str] | None = None,
    ) -> str:
        """Launch a job, or `assets` alone of it; returns the run's id."""
        chosen = {"assetSelection": [{"path": [name]} for name in assets]} if assets else {}
        answer = self.query(
            """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
                 ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
                 ... on RunConfigValidationInvalid { errors { message } } ... on Error { message } } }""",
            params={
                "selector": {**_REPOSITORY_SELECTOR, "jobName": job, **chosen},
                "runConfigData": config or {},
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
            },
        )["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            reason = answer.get("message") or "; ".join(error["message"] for error in answer.get("errors", []))
            raise DagsterError(f"{job} was not launched: {reason[:500]}")
        return str(answer["run"]["runId"])

    def launch_range(self, job: str, first: str, last: str, tags: dict[str, str] | None = None) -> str:
        """Launch one run of a job over the partitions from `first` to `last`, both included."""
        return self.launch(job, partition_range(first, last) | (tags or {}))

    def launch_assets(self, assets: Sequence[str], first: str | None, last: str | None) -> str:
        """Launch one run of assets over their partitions from `first` to `last`, both included; None where they have none."""
        return self.launch(ANY_ASSETS, partition_range(first, last) if first and last else {}, assets=assets)

    def backfill(self, asset: str, partitions: Sequence[str], title: str) -> str:
        """Submit a backfill of an asset; the daemon launches its runs. Returns the backfill's id.

        Raises `DagsterError` if the asset has no such partition; `ops.webserver` refuses it by name.
        """
        answer = self.query(
            """mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
                 __typename ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }""",
            params={"assetSelection": [{"path": [asset]}], "partitionNames": list(partitions), "title": title},
        )["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise DagsterError(f"the backfill of {asset} was refused: {answer.get('message', answer['__typename'])[:500]}")
        return str(answer["backfillId"])

    def add_partitions(self, definition: str, keys: Iterable[str]) -> None:
        """Add keys to a dynamic partition set; those it has already stay."""
        for key in keys:
            answer = self.query(
                """mutation Add($repository: RepositorySelector!, $name: String!, $key: String!) {
                     addDynamicPartition(repositorySelector: $repository, partitionsDefName: $name, partitionKey: $key) {
                       __typename ... on PythonError { message } ... on UnauthorizedError { message } } }""",
                repository=_REPOSITORY_SELECTOR,
                name=definition,
                key=key,
            )["addDynamicPartition"]
            if answer["__typename"] not in {"AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"}:
                raise DagsterError(f"{key} was not added to {definition}: {answer.get('message', answer['__typename'])}")

    def runs(
        self,
        tags: dict[str, str] | None = None,
        ids: Sequence[str] | None = None,
        limit: int = 100,
        *,
        job: str | None = None,
        unfinished: bool = False,
    ) -> list[Run]:
        """Runs with all these tags, with these ids, of a job, not ended: newest first."""
        chosen: dict[str, Any] = {"pipelineName": job} if job else {}
        if tags:
            chosen["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        if ids is not None:
            chosen["runIds"] = list(ids)
        if unfinished:
            chosen["statuses"] = UNFINISHED
        answer = self.query(
            """query Runs($filter: RunsFilter, $limit: Int) { runsOrError(filter: $filter, limit: $limit) { __typename
                 ... on Runs { results { runId jobName status creationTime startTime endTime tags { key value } } }
                 ... on Error { message } } }""",
            filter=chosen,
            limit=limit,
        )["runsOrError"]
        if answer["__typename"] != "Runs":
            raise DagsterError(f"Dagster at {self.url} did not list its runs: {answer.get('message')}")
        return [
            Run(
                run["runId"],
                run["jobName"],
                run["status"],
                {tag["key"]: tag["value"] for tag in run["tags"]},
                datetime.fromtimestamp(run["creationTime"], UTC),
                *(datetime.fromtimestamp(run[end], UTC) if run[end] else None for end in ("startTime", "endTime")),
            )
            for run in answer["results"]
        ]

    def cancel(self, run_id: str) -> None:
        """Stop a run, also one that has not begun; one that has ended stays as it is."""
        self.query("mutation Stop($id: String!) { terminateRun(runId: $id) { __typename ... on Error { message } } }", id=run_id)

    def run_count(self) -> int:
        """How many runs the instance holds."""
        return int(self.query("query { runsOrError { ... on Runs { count } } }")["runsOrError"]["count"])

    def failure(self, run_id: str) -> str:
        """Why a run failed: the step, its partitions, and the innermost error of the first step that failed.

        Dagster gives the events of a run in pages; a failure is on the last ones.
        """
        reasons: list[str] = []
        ends: list[str] = []
        cursor, more = None, True
        while more and not reasons:
            page = self.query(
                """query Logs($id: ID!, $after: String) { logsForRun(runId: $id, afterCursor: $after, limit: 1000) { __typename
                     ... on EventConnection { cursor hasMore events { __typename
                       ... on MessageEvent { message stepKey }
                       ... on ExecutionStepFailureEvent { error { message className cause { message } causes { message } } }
                       ... on RunFailureEvent { error { message causes { message } } } } }
                     ... on Error { message } } }""",
                id=run_id,
                after=cursor,
            )["logsForRun"]
            if page["__typename"] != "EventConnection":
                return f"Dagster has no log of it ({page.get('message', page['__typename'])})"
            cursor, more = page["cursor"], page["hasMore"]
            for event in page["events"]:
                if event["__typename"] == "ExecutionStepFailureEvent" and event.get("error"):
                    reasons.append(f"{event['stepKey']}: {_innermost(event['error'])}")
                elif event["__typename"] == "RunFailureEvent":
                    ends.append(_innermost(event["error"]) if event.get("error") else event["message"])
        return next(iter([*reasons, *ends]), "its process ended without an error: it was killed, or the machine stopped")

    def wait(
        self, run_ids: Sequence[str], on_poll: Callable[[list[Run]], None] = lambda _: None, poll_s: float = 0.5
    ) -> list[Run]:
        """Wait until all runs are finished; a `DagsterError` names one that did not succeed, its partitions, and why."""
        while True:
            runs = self.runs(ids=run_ids, limit=len(run_ids))
            on_poll(runs)
            if all(run.status in FINISHED for run in runs) and len(runs) == len(run_ids):
                break
            time.sleep(poll_s)
        for run in runs:
            if run.status != "SUCCESS":
                raise DagsterError(
                    f"the run of {run.job}{_partitions(run.tags)} ended as {run.status}: {self.failure(run.run_id)} "
                    f"(`mltrainer up` shows the log of the run {run.run_id} in Dagster)"
                )
        return runs

    def wait_for_backfill(
        self, backfill_id: str, on_poll: Callable[[list[Run]], None] = lambda _: None, poll_s: float = 0.5
    ) -> None:
        """Wait until the runs of a backfill have started and are finished; `DagsterError` if it or one of them fails."""
        while not (runs := self.runs(tags={"dagster/backfill": backfill_id})):
            answer = self.query(
                """query Backfill($id: String!) { partitionBackfillOrError(backfillId: $id) {
                     ... on PartitionBackfill { status error { message } } } }""",
                id=backfill_id,
            )["partitionBackfillOrError"]
            if answer["status"] in {"FAILED", "COMPLETED_FAILED", "CANCELED"}:
                raise DagsterError(
                    f"the backfill {backfill_id} ended as {answer['status']}: {(answer['error'] or {}).get('message')}"
                )
            on_poll([])
            time.sleep(poll_s)
        self.wait([run.run_id for run in runs], on_poll, poll_s)

    def finished_steps(self, run_id: str) -> tuple[list[str], str | None]:
        """Steps of a run that have succeeded, and the one that runs now (None between steps)."""
        answer = self.query(
            "query Steps($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { stepKey status } } } }", id=run_id
        )["runOrError"]["stepStats"]
        running = [step["stepKey"] for step in answer if step["status"] == "IN_PROGRESS"]
        return [step["stepKey"] for step in answer if step["status"] == "SUCCESS"], running[-1] if running else None

    def last_materializations(self) -> dict[str, datetime]:
        """By asset, when it was last materialized (aware, UTC); those never materialized are left out."""
        answer = self.query("query { assetNodes { assetKey { path } assetMaterializations(limit: 1) { timestamp } } }")
        return {
            node["assetKey"]["path"][-1]: datetime.fromtimestamp(float(event["timestamp"]) / 1000, UTC)
            for node in answer["assetNodes"]
            for event in node["assetMaterializations"]
        }

    def materialized_keys(self, asset: str, keys: Sequence[str]) -> set[str]:
        """Which of these partitions of an asset are materialized. Multi-partition keys are `quarter|trial`."""
        answer = self.query(
            """query Status($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename ... on AssetNode {
                 assetPartitionStatuses { __typename
                   ... on TimePartitionStatuses { ranges { status startKey endKey } }
                   ... on DefaultPartitionStatuses { materializedPartitions }
                   ... on MultiPartitionStatuses { primaryDimensionName ranges { primaryDimStartKey primaryDimEndKey
                     secondaryDim { ... on DefaultPartitionStatuses { materializedPartitions }
                                    ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } } } } }""",
            key={"path": [asset]},
        )["assetNodeOrError"]
        if answer["__typename"] != "AssetNode":
            raise DagsterError(f"Dagster knows no asset {asset}")
        return {key for key in keys if _is_materialized(answer["assetPartitionStatuses"], key)}


def _innermost(error: dict[str, Any]) -> str:
    return str(([cause["message"] for cause in error.get("causes") or []] or [error["message"]])[-1]).strip()


def _partitions(tags: dict[str, str]) -> str:
    """What of an asset a run was about, for a message."""
    if one := tags.get("dagster/partition"):
        return f" of {one}"
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return f" of {first} to {last}" if first and last else ""


def partition_range(first: str, last: str) -> dict[str, str]:
    """Tags of one run over the partitions from `first` to `last`, both included."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def _is_materialized(statuses: dict[str, Any], key: str) -> bool:
    if "materializedPartitions" in statuses:
        return key in statuses["materializedPartitions"]
    if statuses["__typename"] == "TimePartitionStatuses":
        return any(part["status"] == "MATERIALIZED" and part["startKey"] <= key <= part["endKey"] for part in statuses["ranges"])
    quarter, trial = key.split("|", 1)
    primary, secondary = (quarter, trial) if statuses["primaryDimensionName"] == "quarter" else (trial, quarter)
    return any(
        part["primaryDimStartKey"] <= primary <= part["primaryDimEndKey"] and _is_materialized(part["secondaryDim"], secondary)
        for part in statuses["ranges"]
    )
