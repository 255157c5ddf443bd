"""Start every service of mlTrainer, wait until each answers, stop all of them together (`mltrainer up`)."""

import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from mltrainer_pipelines.ops import code_server, databases, state_dir
from mltrainer_pipelines.ops.leftovers import MARK, stop_leftovers, swept_afterwards
from mltrainer_pipelines.ops.process_group import Process, ProcessGroup, RotatingLog
from mltrainer_pipelines.ops.wait_for import answers
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.alerts import raise_alert
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.postgres_programs import EmbeddedPostgresError

HOST = "127.0.0.1"
READY_SECONDS = 180
STOP_SECONDS = 20
_POSTGRES_LOOK_SECONDS = 1.0
_ALERT_SECONDS = 2.0


class PortInUseError(RuntimeError):
    """A service cannot have its port: names the port, who has it, and the variable that moves it."""


class ServiceStartError(RuntimeError):
    """A service ended, or did not answer in time, while the others were starting."""


@dataclass(frozen=True)
class Service:
    """One supervised process: `url` answers once it is up, and the environment's `port_variable` moves its port."""

    name: str
    command: list[str] = field(repr=False)
    url: str | None = None
    port: int | None = None
    port_variable: str = ""


def services(settings: Settings) -> list[Service]:
    """The services of an installation, in the order in which they are shown."""
    python = [sys.executable, "-m"]
    wait_for = [*python, "mltrainer_pipelines.ops.wait_for"]
    running: list[Service] = []

    def serve(name: str, path: str, *command: str) -> None:
        port: int = getattr(settings, f"{name}_port")
        running.append(Service(name, [*command], f"http://{HOST}:{port}{path}", port, f"MLTRAINER_{name.upper()}_PORT"))

    if settings.uses_local_exchange:
        serve("exchange", "/healthz", *python, "mltrainer_pipelines.cli", "exchange", "--port", str(settings.exchange_port))
    if settings.mlflow_tracking_uri is None:
        mlflow = [*python, "mlflow", "server", "--host", HOST, "--port", str(settings.mlflow_port), "--workers", "1"]
        # uvicorn would import from the folder that the user stands in
        options = ["--no-proxy-headers", "--app-dir", str(state_dir.dagster_home(settings))]
        mlflow += ["--app-name", "mltrainer", "--uvicorn-opts", shlex.join(options)]
        artifacts = settings.state / "artifacts"
        # A command on a new home needs Dagster first: MLflow, which makes its tables, leaves it the processors.
        wait = not settings.mltrainer_serve_app and not artifacts.exists()
        first = [*wait_for, f"http://{HOST}:{settings.dagster_port}/server_info"] if wait else []
        serve("mlflow", "/health", *first, *mlflow, "--artifacts-destination", str(artifacts))
    code = str(code_server.socket_of(settings))
    running.append(Service("code", [*python, "mltrainer_pipelines.ops.code_server", code], f"unix:{code}"))
    workspace = str(state_dir.served_workspace(settings))
    webserver = [*python, "mltrainer_pipelines.ops.webserver", "--host", HOST, "--port", str(settings.dagster_port)]
    serve("dagster", "/server_info", *wait_for, f"unix:{code}", *webserver, "--workspace", workspace)
    daemon = [f"{os.path.dirname(sys.executable)}/dagster-daemon", "run", "-w", workspace]
    running.append(Service("daemon", [*wait_for, str(running[-1].url), *daemon]))
    if settings.mltrainer_serve_app:
        serve("api", "/health", *python, "mltrainer_pipelines.api.server", "--port", str(settings.api_port))
        app = [*python, "mltrainer_pipelines.app", "--port", str(settings.app_port)]
        app += ["--api", f"http://{HOST}:{settings.api_port}", "--token-file", str(settings.state / "api-token")]
        serve("app", "/_stcore/health", *app)
    return running


def require_startable(settings: Settings, sweep: bool = True) -> None:
    """Raise `AlreadyRunningError` or `PortInUseError` where `run_up` could not start the services.

    What an installation that was killed left running on this home is stopped first, unless `sweep` is False.
    """
    state_dir.require_unlocked(settings)
    if sweep:
        stop_leftovers(f"{settings.state}#")
    for service in services(settings):
        _require_free(service)


def run_up(
    settings: Settings,
    log: RotatingLog,
    on_ready: Callable[[dict[str, str]], None],
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Run all services until Ctrl-C, SIGTERM or SIGHUP; returns the exit code.

    `log` takes the services' own output, line by line; `on_ready` is called with the addresses once all of them answer; `say`
    takes a sentence whenever a service has died and is started again, or is given up. Raises `PortInUseError`, or what
    `lock_state_dir` does, before anything is started, and `ServiceStartError` when a service ends or stays silent while
    starting; the others are stopped again.
    """
    require_startable(settings)
    supervised = services(settings)
    mark = f"{settings.state}#{uuid4().hex}"
    own_postgres = settings.mltrainer_database_url is None
    postgres = settings.state / "postgres" if own_postgres else None
    with state_dir.lock_state_dir(settings) as environment, swept_afterwards(mark, postgres):
        _fail_orphaned_runs(environment)
        code_server.write_workspace(settings, state_dir.served_workspace(settings))
        news = _News(settings, log, say)
        group = ProcessGroup(STOP_SECONDS, news.tell)
        if own_postgres:
            group.add(_Postgres(databases.embedded(settings)))
        for service in supervised:
            group.add(Process(service.name, service.command, environment | {MARK: mark}, log, service.port is not None))
        startup = _Startup(settings, supervised, group, on_ready)
        startup.start()
        group.loop(news.pass_on)
        startup.join()
        if startup.failure or not (startup.ready or group.received):
            raise ServiceStartError(startup.failure or group.first_end)
        return 0


class _Postgres:
    """The embedded PostgreSQL as one of the services. Whoever holds it stops it: a group that ends only lets go of it."""

    name = "postgresql"

    def __init__(self, server: EmbeddedPostgres):
        self.server = server
        self._looked = 0.0
        self._let_go = False

    def start(self) -> None:
        self.server.revive()

    def ended(self) -> str | None:
        if self._let_go:
            return "let go"
        if time.monotonic() - self._looked < _POSTGRES_LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        self.server.trim_log()
        return None if self.server.running else "its server is gone"

    def last_line(self) -> str:
        lines = self.server.log.read_text(errors="replace")[-2000:].splitlines() if self.server.log.is_file() else []
        return lines[-1].strip() if lines else ""

    def stop(self, how: signal.Signals) -> None:
        self._let_go = True


class _News:
    """What has died and what is done about it: on the terminal, in the log, and as alerts, once the database takes them."""

    def __init__(self, settings: Settings, log: RotatingLog, say: Callable[[str], None]):
        self.settings, self.log, self.say = settings, log, say
        self._waiting: list[tuple[str, str, Literal["warning", "error"]]] = []
        self._tried = 0.0

    def tell(self, name: str, sentence: str, severity: Literal["warning", "error"]) -> None:
        self.log.write(sentence)
        with suppress(OSError):  # the terminal may be gone
            self.say(sentence)
        # one alert an hour for each service, and one more when it is given up
        self._waiting.append((f"service:{name}:{severity}:{datetime.now(UTC):%Y-%m-%dT%H}", sentence, severity))

    def pass_on(self) -> None:
        if not self._waiting or time.monotonic() - self._tried < _ALERT_SECONDS:
            return
        self._tried = time.monotonic()
        try:
            database = Database(databases.database_url(self.settings, "mltrainer"))
            for key, sentence, severity in self._waiting:
                raise_alert(database.engine, key, "service", severity, sentence)
            database.dispose()
            self._waiting.clear()
        except (SQLAlchemyError, EmbeddedPostgresError) as error:
            self.log.write(f"the alert has to wait: {type(error).__name__}")


class _Startup(threading.Thread):
    """Watches the services come up beside the group's loop, which has the main thread for its signals."""

    def __init__(
        self, settings: Settings, supervised: list[Service], group: ProcessGroup, on_ready: Callable[[dict[str, str]], None]
    ):
        super().__init__(name="startup", daemon=True)
        self.settings, self.supervised, self.group, self.on_ready = settings, supervised, group, on_ready
        self.ready = False
        self.failure: str | None = None

    def run(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        addresses = {service.name: f"http://{HOST}:{service.port}" for service in self.supervised if service.port}
        waiting = {service.name: service.url for service in self.supervised if service.url}
        while waiting:
            if self.group.stopping:
                return
            if time.monotonic() > deadline:
                self.failure = f"{', '.join(waiting)} did not answer within {READY_SECONDS} s; stopped everything again"
                self.group.terminate()
                return
            before, waiting = waiting, {name: url for name, url in waiting.items() if not answers(url)}
            if len(waiting) < len(before):
                state_dir.announce(self.settings, addresses, waiting)
            time.sleep(0.1)
        self.ready = self.group.restarting = True
        self.on_ready(addresses)


def free_port() -> int:
    """A port of loopback that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a service could have this port of loopback right now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _require_free(service: Service) -> None:
    if service.port is not None and not is_free(service.port):
        raise PortInUseError(
            f"port {service.port} of {service.name} is in use{_owner(service.port)}; "
            f"stop that program, or set {service.port_variable} to another port"
        )


def _owner(port: int) -> str:
    import psutil

    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
            return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def _fail_orphaned_runs(environment: dict[str, str]) -> None:
    """Mark runs as failed that a killed installation left "started": nobody else can be running them now."""
    from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

    os.environ["MLTRAINER_DAGSTER_DATABASE_URL"] = environment["MLTRAINER_DAGSTER_DATABASE_URL"]
    with DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        unfinished = RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
        for run in instance.get_runs(unfinished):
            instance.report_run_failed(run, "Its process ended with the installation that started it; launch it again to resume.")
