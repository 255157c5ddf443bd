"""Services for the length of a command: those that run already, or ones of its own on free ports."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from mltrainer_pipelines.ops import state_dir
from mltrainer_pipelines.ops.installation_token import share_token
from mltrainer_pipelines.ops.process_group import die_with_parent
from mltrainer_pipelines.ops.supervisor import READY_SECONDS, STOP_SECONDS, ServiceStartError, free_port, is_free
from mltrainer_pipelines.settings import Settings


@dataclass(frozen=True)
class Services:
    """Services by name (`dagster`, `mlflow`, `exchange`), which answer; `owned` ones are stopped with this command.

    `wait_for` returns once a service that was allowed to come up late answers.
    """

    addresses: dict[str, str]
    owned: bool
    start_seconds: float
    wait_for: Callable[[str], None] = field(default=lambda _: None, repr=False)


@contextmanager
def services_up(
    settings: Settings, console: Console, *, with_pages: bool = False, late: Collection[str] = ()
) -> Iterator[Services]:
    """The services of this home for the length of a command.

    Uses the services of a running `mltrainer up` on the same home and leaves them running. Otherwise starts
    `mltrainer up` on free ports and stops it at the end, also when this process is killed. A `ServiceStartError` has the last
    line that `mltrainer up` wrote. `with_pages` serves the API and the pages too, on the ports of `mltrainer up` where those
    are free. Services in `late` may still be starting; `Services.wait_for` waits for them.
    """
    begin = time.monotonic()
    share_token(settings, os.environ)
    holder = state_dir.lock_holder(settings)
    if holder and holder.ready:
        console.print(f"Using the services that run already: {holder.addresses['dagster']}")
        yield Services(holder.addresses, owned=False, start_seconds=0.0)
        return
    state_dir.require_unlocked(settings)
    errors = state_dir.log_file(settings).with_name("up.err")
    # A command has no use for the API and the pages, and does itself what is to be done.
    overrides = {"MLTRAINER_SERVE_APP": str(with_pages), "MLTRAINER_AUTOMATION": "false"}
    for name in ("dagster", "mlflow", "exchange", *(("api", "app") if with_pages else ())):
        port: int = getattr(settings, f"{name}_port")
        overrides[f"MLTRAINER_{name.upper()}_PORT"] = str(port if with_pages and is_free(port) else free_port())
    # What is recorded links to where the installation will be found, not to a port that is gone with the command.
    overrides |= {"MLTRAINER_DAGSTER_URL": settings.dagster_link, "MLTRAINER_MLFLOW_URL": settings.mlflow_link}
    with open(errors, "w") as err:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mltrainer_pipelines.cli", "up"],
            env=os.environ | overrides,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            with console.status("Starting PostgreSQL, the exchange, MLflow and Dagster …"):
                addresses = _ready(settings, process, errors, lambda starting: set(starting) <= set(late))

            def wait_for(name: str) -> None:
                _ready(settings, process, errors, lambda starting: name not in starting)

            yield Services(addresses, True, round(time.monotonic() - begin, 1), wait_for)
        finally:
            with console.status("Stopping the services …"):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_SECONDS + 40)
                except subprocess.TimeoutExpired:
                    process.kill()


def _ready(
    settings: Settings, process: subprocess.Popen[bytes], errors: Path, enough: Callable[[list[str]], bool]
) -> dict[str, str]:
    """Addresses of the services once `enough`, given the names of those that are still starting, says yes."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = [line for line in errors.read_text().splitlines() if line.strip()]
            reason = lines[-1].removeprefix("Error: ") if lines else f"`mltrainer up` ended with code {process.returncode}"
            raise ServiceStartError(reason)
        holder = state_dir.lock_holder(settings)
        if holder and holder.addresses and enough(holder.starting):
            return holder.addresses
        time.sleep(0.1)
    raise ServiceStartError(f"the services did not come up within {READY_SECONDS} s; see {state_dir.logs(settings) / 'up.log'}")
