"""The one way from a request to a run: `RunLauncher.update` starts what waits and notes what Dagster's records say.

Whoever writes a request calls it at once, over the webserver; a sensor calls it every few seconds, over its own instance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.agent.jobs import JobError
from mltrainer_pipelines.agent.proposal_results import follow_requests
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.live_clock import read_clock
from mltrainer_pipelines.ops.dagster_client import FINISHED, DagsterClient, DagsterError, Run, partition_range
from mltrainer_pipelines.settings import NEW_YORK, Settings
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials import run_requests
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.quarters import predictable_quarters
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.run_requests import RunRequest
from mltrainer_pipelines.trials.validate_trial import validate_trial

REQUEST = "mltrainer/request"
"""Tag of a run: the id of the request it carries out."""
PROPOSAL = "mltrainer/proposal"
"""Tag of a run: the id of the proposal that it tries."""
STARTED_BY = "mltrainer/started_by"
"""Tag of a run: who asked for it. The agent's switch stops what `agent` asked for."""
REASON = "mltrainer/reason"
MOST_UNFINISHED = 50
"""Runs that may wait or run before no more are added."""


class TooManyRunsError(RuntimeError):
    """So many runs are unfinished that none is added: says how many and what to do."""


class DagsterRuns(Protocol):
    """Dagster's records, and how a run is added to them: a `DagsterClient`, or a sensor's instance.

    `reserves` is whether `launch` only asks the daemon for a run (and gives None), which is there a moment later.
    """

    @property
    def reserves(self) -> bool: ...
    def launch(self, job: str, tags: dict[str, str]) -> str | None: ...
    def runs(
        self,
        tags: dict[str, str] | None = None,
        ids: Sequence[str] | None = None,
        limit: int = 100,
        *,
        unfinished: bool = False,
    ) -> list[Run]: ...
    def failure(self, run_id: str) -> str: ...
    def finished_steps(self, run_id: str) -> tuple[list[str], str | None]: ...
    def add_partitions(self, definition: str, keys: Iterable[str]) -> None: ...
    def materialized_keys(self, asset: str, keys: Sequence[str]) -> set[str]: ...
    def cancel(self, run_id: str) -> None: ...


@dataclass(frozen=True)
class RunLauncher:
    """Launches requests and follows their runs; the agent's `JobLauncher`. The lake says what is predicted."""

    dagster: DagsterRuns
    engine: Engine
    lake: Lake
    settings: Settings

    def update(self) -> list[RunRequest]:
        """Start what waits, note what has ended, and ask for the scorecards that are missing; returns what was started.

        Any number of callers may do so at once: each request becomes one run. Raises `JobError` if Dagster does not answer:
        everything waits as it is.
        """
        try:
            started = self._launch_waiting()
            self._follow()
            if run_requests.request_missing_scores(self.engine, self.lake, self.quarters):
                started += self._launch_waiting()
        except DagsterError as error:
            raise JobError(str(error)) from None
        follow_requests(self.engine)
        return started

    def require_room(self) -> None:
        """Raise `TooManyRunsError` if `MOST_UNFINISHED` runs are unfinished."""
        waiting = len(self.dagster.runs(limit=MOST_UNFINISHED, unfinished=True))
        if waiting >= MOST_UNFINISHED:
            raise TooManyRunsError(f"{waiting} runs are unfinished already; wait for some, or cancel them in Dagster")

    def cancel(self, run_ids: Sequence[str]) -> None:
        try:
            for run_id in run_ids:
                self.dagster.cancel(run_id)
        except DagsterError as error:
            raise JobError(str(error)) from None

    def cancel_all(self) -> list[str]:
        try:
            mine = [run.run_id for run in self.dagster.runs({STARTED_BY: "agent"}, limit=200, unfinished=True)]
        except DagsterError as error:
            raise JobError(str(error)) from None
        self.cancel(mine)
        return mine

    @property
    def quarters(self) -> list[date]:
        """First days of the quarters that a trial is predicted over, in order."""
        return quarters_of(self.settings)

    def validate(self, config: TrialConfig) -> None:
        """Refuse a trial that the history is too short for; raises `InvalidTrialError`."""
        validate_trial(config, self.quarters, self.settings.mltrainer_history_start)

    def _launch_waiting(self) -> list[RunRequest]:
        started: list[RunRequest] = []
        last = 0
        with_agent = bool(runtime_settings.get(self.engine, "agent_enabled"))
        while request := run_requests.next_waiting(self.engine, last, with_agent, self.dagster.reserves):
            last = request.id
            try:
                self._prepare(request)
            except InvalidTrialError as error:
                with self.engine.begin() as connection:
                    run_requests.finish(connection, request, "failed", plain(str(error), 1000))
                continue
            # The row stays locked until its run is noted: who looks at the same moment passes it by.
            with self.engine.begin() as connection:
                if run_requests.take(connection, request.id, self.dagster.reserves) and self._launch(connection, request):
                    started.append(run_requests.get_request(connection, request.id))
        return started

    def _prepare(self, request: RunRequest) -> None:
        """Record a trial before there is a run of it: a run whose launcher ends finds what it is to compute."""
        if request.job == "walk_forward":
            config = TrialConfig.from_record(request.params["config"])
            config.require_today()
            self.validate(config)
            records.register(self.engine, config)
            self.dagster.add_partitions("trials", [config.trial_id])

    def _launch(self, connection: Connection, request: RunRequest) -> bool:
        """Start the run of a request, unless it is there: whoever launched it may have ended before he noted it."""
        launched = self.dagster.runs({REQUEST: str(request.id)}, limit=1)
        run_id = launched[0].run_id if launched else None
        if run_id is None:
            tags = self._partition_tags(connection, request)
            if tags is None:
                run_requests.finish(connection, request, "succeeded", "every quarter is predicted already")
                return False
            tags |= {REQUEST: str(request.id), STARTED_BY: request.requested_by}
            tags |= {REASON: request.reason} if request.reason else {}
            tags |= {PROPOSAL: str(request.proposal_id)} if request.proposal_id else {}
            run_id = self.dagster.launch(request.job, tags)
        if run_id is None:
            run_requests.reserve(connection, request.id)
        else:
            run_requests.mark_launched(connection, request.id, run_id)
        return True

    def _partition_tags(self, connection: Connection, request: RunRequest) -> dict[str, str] | None:
        """The partitions of a request's run; None where a trial has none that is not predicted."""
        if request.job == "promote_champion" and not request.params.get("partition"):
            first, *_, last = TIMEFRAMES
            return partition_range(first, last)
        if request.job == "screen_factors":
            self.dagster.add_partitions("factors", [request.params["partition"]])
        if request.job != "walk_forward" or request.trial_id is None:
            partition = request.trial_id or request.params.get("partition")
            return {"dagster/partition": partition} if partition else {}
        keys = [f"{quarter}|{request.trial_id}" for quarter in self.quarters]
        done = self.dagster.materialized_keys("trial_predictions", keys)
        missing = [key for key in keys if key not in done]
        if not missing:
            if not run_requests.is_scored(connection, request.trial_id):
                run_requests.request_scoring(connection, request.trial_id, f"request-{request.id}")
            return None
        return partition_range(missing[0], missing[-1])

    def _follow(self) -> None:
        """Note of launched requests and of running trials what Dagster's records say of their runs."""
        launched = run_requests.unfinished_requests(self.engine)
        running = run_requests.trials_under_way(self.engine)
        ids = sorted(filter(None, {*(request.run_id for request in launched), *running.values()}))
        runs = {run.run_id: run for run in self.dagster.runs(ids=ids, limit=len(ids))} if ids else {}
        for request in launched:
            self._follow_request(request, runs.get(request.run_id or ""))
        for trial_id, run_id in running.items():
            run = runs.get(run_id or "")
            if run is None or run.status in FINISHED:
                cancelled = run is not None and run.status == "CANCELED"
                with self.engine.begin() as connection:
                    run_requests.stop_trial(connection, trial_id, run_id, "cancelled" if cancelled else "failed")

    def _follow_request(self, request: RunRequest, run: Run | None) -> None:
        with self.engine.begin() as connection:
            if run is None:
                run_requests.finish(connection, request, "failed", f"its run {request.run_id} is gone from Dagster's records")
            elif run.status not in FINISHED:
                run_requests.note_progress(connection, request, plain(self._doing(request, run), 300))
            elif run.status == "SUCCESS":
                run_requests.finish(connection, request, "succeeded", seconds=run.seconds or 0.0)
            elif run.status == "CANCELED":
                run_requests.finish(connection, request, "cancelled", "it was cancelled", run.seconds or 0.0)
            else:
                reason = plain(self.dagster.failure(run.run_id), 1000)
                run_requests.finish(connection, request, "failed", reason, run.seconds or 0.0)

    def _doing(self, request: RunRequest, run: Run) -> str:
        if request.job == "walk_forward" and run.status == "STARTED":
            there = sum(self.lake.exists("trial_predictions", f"{request.trial_id}/{quarter}") for quarter in self.quarters)
            return f"{there} of {len(self.quarters)} quarters predicted"
        if run.status not in ("STARTED", "STARTING"):
            return f"{run.job} waits for its turn"
        done, step = self.dagster.finished_steps(run.run_id)
        return f"{run.job}: {step or f'{len(done)} steps done'}"


def launcher_of(settings: Settings, engine: Engine, dagster: DagsterClient, lake: Lake | None = None) -> RunLauncher:
    """A launcher over the webserver."""
    from mltrainer_pipelines.features.discovered import follow

    lake = lake or Lake(settings.lake_url)
    follow(lake)
    return RunLauncher(dagster, engine, lake, settings)


def quarters_of(settings: Settings) -> list[date]:
    """First days of the quarters that a trial of this installation is predicted over, in order."""
    # A pinned clock stands at the end of its day; otherwise today is not over.
    clock = read_clock(settings.state)
    pinned = settings.mltrainer_as_of if clock is None else None
    last = pinned.date() if pinned else ((clock.moment if clock else datetime.now(NEW_YORK)).date() - timedelta(days=1))
    return predictable_quarters(settings.mltrainer_history_start, last, settings.mltrainer_training_days)
