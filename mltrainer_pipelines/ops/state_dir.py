"""The state folder of one market: its lock, its Dagster instance, and the environment that its processes share."""

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

from mltrainer_pipelines.live_clock import remove_clock
from mltrainer_pipelines.ops.databases import embedded, provided_databases
from mltrainer_pipelines.ops.installation_token import share_token
from mltrainer_pipelines.settings import PROJECT_ROOT, Settings


class HomeError(RuntimeError):
    """The home of a market cannot be used: says which folder, why, and what to do."""


class AlreadyRunningError(HomeError):
    """Another process runs this home already."""


@dataclass(frozen=True)
class LockHolder:
    """The process that holds a state folder, and the `addresses` of its services; those in `starting` do not answer yet."""

    pid: int | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    starting: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether every service answers."""
        return bool(self.addresses) and not self.starting


def dagster_home(settings: Settings) -> Path:
    return settings.state / "dagster"


def logs(settings: Settings) -> Path:
    return settings.state / "logs"


def log_file(settings: Settings) -> Path:
    """The file that takes the output of the services; its folder is made, or `HomeError` raised."""
    _make_folders(settings)
    return logs(settings) / "up.log"


def served_workspace(settings: Settings) -> Path:
    """The workspace file of `mltrainer up`, which leads to its code server; other Dagster commands take the project's own."""
    return dagster_home(settings) / "workspace.yaml"


@contextmanager
def lock_state_dir(settings: Settings) -> Iterator[dict[str, str]]:
    """Make the home, lock it for this process, start its databases; yields the environment for its processes.

    Raises `HomeError` if the folder cannot be written, `AlreadyRunningError` if another process holds it, `OtherMarketError` if
    the lake is another market's, and `DatabaseUnavailableError` or `EmbeddedPostgresError` if there is no database.
    """
    from mltrainer_pipelines.store.lake import Lake

    _make_folders(settings)
    Lake(settings.lake_url).assert_owner(settings.market_id)
    with _lock(settings), provided_databases(settings) as urls:
        remove_clock(settings.state)  # one that a killed `mltrainer live` left
        shutil.copyfile(PROJECT_ROOT / "dagster.yaml", dagster_home(settings) / "dagster.yaml")
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(dagster_home(settings)),
            "MLTRAINER_DAGSTER_DATABASE_URL": urls["dagster"],
            "MLFLOW_BACKEND_STORE_URI": urls["mlflow"],  # by name, so that no password shows among the processes
            "MLTRAINER_HOME": str(settings.mltrainer_home.expanduser().resolve()),
            "MLTRAINER_EXCHANGE": settings.mltrainer_exchange,
            "MLFLOW_TRACKING_URI": settings.tracking_uri,
            # One INSERT for 200 events instead of one each: a run over 1,479 sessions stores them in a third of the time.
            "DAGSTER_EVENT_BATCH_SIZE": os.environ.get("DAGSTER_EVENT_BATCH_SIZE", "200"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",  # a file in the folder that the user stands in is not imported in place of a library
        }
        share_token(settings, environment)
        yield environment


def lock_holder(settings: Settings) -> LockHolder | None:
    """The process that holds the home, or None when nobody does."""
    try:
        with open(settings.state / "up.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except BlockingIOError:
        note = settings.state / "up.json"
        return LockHolder(**json.loads(note.read_text())) if note.is_file() else LockHolder()


def require_unlocked(settings: Settings) -> None:
    """Raise `AlreadyRunningError`, naming the holder, if another process holds the home."""
    holder = lock_holder(settings)
    if holder is not None:
        who = f"process {holder.pid}" if holder.pid else "another process"
        raise AlreadyRunningError(
            f"mlTrainer already runs on {settings.state} ({who}); stop it first, or set MLTRAINER_HOME to another folder"
        )


def announce(settings: Settings, addresses: dict[str, str], starting: Iterable[str] = ()) -> None:
    """Leave a note for other commands on who holds the home and where its services answer, or will (`starting`)."""
    draft = settings.state / f".{uuid4().hex}.part"
    draft.write_text(json.dumps(asdict(LockHolder(os.getpid(), addresses, list(starting)))))
    draft.replace(settings.state / "up.json")


def _make_folders(settings: Settings) -> None:
    os.umask(0o077)  # what this process and its children write is for this user alone
    try:
        home = settings.mltrainer_home.expanduser().resolve()
        for folder in (home, settings.state, dagster_home(settings), logs(settings)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (home, settings.state):
            _close_to_others(folder, settings)
        probe = settings.state / f".{uuid4().hex}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise HomeError(
            f"MLTRAINER_HOME={settings.mltrainer_home} cannot be written ({error.strerror}); set it to a folder that can be"
        ) from error


def _close_to_others(folder: Path, settings: Settings) -> None:
    """Take everybody else's rights to a home away; as root the embedded PostgreSQL's user keeps that of passing through."""
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWOTH | stat.S_ISVTX):
        return  # another user's, or one that everybody shares, as /tmp
    passing = os.geteuid() == 0 and settings.mltrainer_database_url is None
    if passing:
        os.chown(folder, -1, embedded(settings).programs.user().pw_gid)
    folder.chmod(0o710 if passing else 0o700)


@contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    with open(settings.state / "up.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            require_unlocked(settings)
            raise
        announce(settings, {})
        try:
            yield
        finally:
            (settings.state / "up.json").unlink(missing_ok=True)
