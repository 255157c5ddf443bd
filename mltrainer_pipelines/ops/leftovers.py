"""What a killed `mltrainer up` leaves running, and the process (this module, run) that waits to stop it.

Every process of an installation has `MARK` in its environment: the state folder, and which start of it. The kernel stops the
services of a supervisor that is killed; this stops what does not obey, runs that they had forked, and PostgreSQL.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "MLTRAINER_INSTALLATION"
_GRACE_SECONDS = 5.0


def stop_leftovers(mark: str) -> list[int]:
    """Stop the processes whose mark begins with this one, politely at first; the ids of those that were there."""
    import psutil

    def marked(process: "psutil.Process") -> bool:
        try:
            return process.pid != os.getpid() and str(process.environ().get(MARK, "")).startswith(mark)
        except (psutil.Error, OSError):
            return False

    found = [process for process in psutil.process_iter() if marked(process)]
    for process in found:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(found, _GRACE_SECONDS)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, 5)
    return [process.pid for process in found]


@contextmanager
def swept_afterwards(mark: str, postgres: Path | None) -> Iterator[None]:
    """However this process ends, what carries the mark ends with it, and the PostgreSQL in `postgres` where nobody holds it."""
    command = [sys.executable, "-P", "-m", "mltrainer_pipelines.ops.leftovers", mark, str(postgres or "")]
    ours, theirs = os.pipe()
    sweeper = subprocess.Popen(command, stdin=ours, start_new_session=True)  # noqa: S603
    os.close(ours)
    try:
        yield
    finally:
        with suppress(BrokenPipeError):
            os.write(theirs, b"done")  # without a word the pipe breaks when this process does
        os.close(theirs)
        sweeper.wait()


def main() -> None:
    mark, postgres = sys.argv[1:]
    if sys.stdin.buffer.read():
        return
    stop_leftovers(mark)
    if postgres:
        from mltrainer_pipelines.store.embedded import EmbeddedPostgres

        EmbeddedPostgres(Path(postgres)).stop_unheld()


if __name__ == "__main__":
    main()
