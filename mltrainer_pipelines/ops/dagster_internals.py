"""Everything here that stands on private parts of Dagster 1.13, each with its reason.

`mltrainer_pipelines_tests/ops/test_dagster_internals.py` says in a sentence what an upgrade of Dagster changed under it.
"""

import multiprocessing
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from itertools import takewhile
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._serdes import ConfigurableClassData
from dagster._utils.schedules import schedule_execution_time_iterator
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage

from mltrainer_pipelines.ops.request_guard import MAY_CHANGE, REFUSAL

RUN_MODULES = ("dagster._core.execution.api", "dagster._grpc.impl")
"""What the process of a run imports of Dagster."""
_HEALTH_CHECK_SECONDS = 10
_SECONDS_BEFORE_RETRY = 2


class RunWideCheckStorage(PostgresEventLogStorage):
    """Dagster's event log that plans a check once a run, as it is evaluated, and not once a partition of the run.

    None of our checks is partitioned. Dagster 1.13 plans them by partition all the same: nine checks of a backfill over
    1,479 sessions are 13,311 rows that take half a minute and stay "planned" for ever.
    """

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        occurred = event.dagster_event
        if occurred and occurred.asset_check_planned_data.partitions_subset is not None:
            check = occurred.asset_check_planned_data.asset_check_key
            whole = AssetCheckEvaluationPlanned(asset_key=check.asset_key, check_name=check.name)
            event = event._replace(dagster_event=occurred._replace(event_specific_data=whole))
        super()._store_asset_check_evaluation_planned(event, event_id)


class PooledStorage(DagsterPostgresStorage):
    """Dagster's storage in PostgreSQL with `RunWideCheckStorage`, on connections that are kept; takes no configuration.

    Dagster opens a connection for each statement, three for each event: to keep one halves what a long run's events cost.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None):
        super().__init__(postgres_url, inst_data=inst_data)
        self._event_log_storage.dispose()
        self._event_log_storage = RunWideCheckStorage(postgres_url)
        self._event_log_storage.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: object) -> Self:
        return cls(cls.url(), inst_data=inst_data)

    @staticmethod
    def url() -> str:
        """Where the database is: for the class that dagster.yaml names to say."""
        raise NotImplementedError


class LostStepRestartExecutor(StepDelegatingExecutor):
    """dagster-ray's executor, for a cluster whose nodes come and go.

    A step whose node is gone begins again on another one, and finds what it had written. A step that failed by itself is
    left failed: it would fail again. (Dagster's `RetryPolicy` makes no difference between the two.)
    """

    def __init__(self, delegating: Any, attempts: int):
        super().__init__(
            delegating._step_handler,
            retries=RetryMode.ENABLED,
            check_step_health_interval_seconds=_HEALTH_CHECK_SECONDS,
            should_verify_step=True,
        )
        self._attempts = attempts

    def log_failure_or_retry_event_after_error(self, step_context: Any, err_info: Any, known_state: Any) -> dg.DagsterEvent:
        if known_state.get_retry_state().get_attempt_count(step_context.step.key) + 1 >= self._attempts:
            return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)
        retry = StepRetryData(error=err_info, seconds_to_wait=_SECONDS_BEFORE_RETRY)
        return dg.DagsterEvent.step_retry_event(step_context, retry)


def serve_code(socket: Path, module: str, location: str, preload: str) -> None:
    """Serve the definitions of `module` on a Unix socket, every run forked from a process that has imported `preload`.

    Dagster starts a run in a new Python process, which imports Dagster, the definitions, scikit-learn, LightGBM and Numba
    for some seconds before a refresh computes for half of one. With `multiprocessing`'s fork server every run gets a fresh
    copy of a process that has imported them and done nothing else; nothing of a run before is in it.
    """
    from dagster._cli.api import grpc_command
    from dagster._grpc import server

    class ForkingApiServer(server.DagsterApiServer):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([preload])
            forkserver.ensure_running()
            self._mp_ctx = context  # type: ignore[assignment]

    server.DagsterApiServer = ForkingApiServer  # type: ignore[misc]
    grpc_command.main(["--socket", str(socket), "--module-name", module, "--location-name", location])


def moments_due(schedule: dg.ScheduleDefinition, after: datetime, until: datetime) -> Iterator[datetime]:
    """When a schedule's clock strikes, later than `after` and not later than `until`."""
    times = schedule_execution_time_iterator(after.timestamp() + 1, schedule.cron_schedule, schedule.execution_timezone)
    return takewhile(lambda moment: moment <= until, times)


def schedule_context(
    instance: dg.DagsterInstance, tick: datetime, repository: dg.RepositoryDefinition
) -> dg.ScheduleEvaluationContext:
    """What a schedule is asked with at a tick. Dagster's own context would open another instance for every tick."""
    context = dg.build_schedule_context(instance, tick, repository_def=repository)
    context._instance = instance  # type: ignore[assignment]
    return context


def partitions_as_of(moment: datetime) -> AbstractContextManager[object]:
    """Within it, partitions are those that there are at `moment`, whatever the wall clock says."""
    return partition_loading_context(moment)


@contextmanager
def webserver_app(
    instance: dg.DagsterInstance, workspace: str, refused_keys: Callable[[Any, dict[str, Any]], Collection[str]], remedy: str
) -> Iterator[Any]:
    """Dagster's webserver as an ASGI app that refuses a backfill in which `refused_keys` finds any, and a mutation of whom
    `ops.request_guard`, which stands before it, did not mark as one who may change something.

    `refused_keys` is given the request's context, which knows the assets, and GraphQL's `LaunchBackfillParams`; `remedy` is
    what the refusal says besides the first five of these keys. Dagster's own validation does not do: it turns a day that is
    no session into the time window of the next session, in silence.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_graphql.schema.errors import GraphenePartitionKeysNotFoundError
    from dagster_webserver.version import __version__
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.responses import JSONResponse

    class CheckedWebserver(DagsterWebserver[Any, Any]):
        def build_graphql_schema(self) -> object:
            schema = super().build_graphql_schema()
            field = schema.graphql_schema.mutation_type.fields["launchPartitionBackfill"]
            launch = field.resolve

            def resolve(root: Any, info: Any, **arguments: Any) -> Any:
                refused = refused_keys(info.context, arguments["backfillParams"])
                if not refused:
                    return launch(root, info, **arguments)
                refusal = GraphenePartitionKeysNotFoundError(set(refused))
                refusal.message = f"no such partition: {', '.join(sorted(refused)[:5])}; {remedy}"
                return refusal

            field.resolve = resolve
            return schema

        async def execute_graphql_request(self, request: Any, query: str, *arguments: Any, **more: Any) -> Any:
            if _is_change(query):
                if request.method != "POST":
                    return JSONResponse({"detail": "a mutation is sent by POST"}, 405, {"Allow": "POST"})
                if not request.scope.get(MAY_CHANGE):
                    return JSONResponse({"detail": REFUSAL}, 401)
            return await super().execute_graphql_request(request, query, *arguments, **more)

    with WorkspaceProcessContext(instance, WorkspaceFileTarget(paths=[workspace]), version=__version__) as context:
        yield CheckedWebserver(context).create_asgi_app()


def _is_change(query: object) -> bool:
    """Whether a GraphQL document holds anything but queries. One that cannot be read is left to Dagster, which refuses it."""
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    try:
        document = parse(query) if isinstance(query, str) else None
    except (GraphQLError, RecursionError):
        return False
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)] if document else []
    return any(operation.operation is not OperationType.QUERY for operation in operations)
