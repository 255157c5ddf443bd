"""`mltrainer up`: every service of an installation until Ctrl-C."""

import typer

from mltrainer_pipelines.commands.preflight import look
from mltrainer_pipelines.ops import state_dir
from mltrainer_pipelines.ops.process_group import RotatingLog
from mltrainer_pipelines.ops.supervisor import require_startable, run_up
from mltrainer_pipelines.settings import Settings


def serve_all(settings: Settings) -> int:
    """Start the services, print their addresses and wait until they are stopped; the exit code.

    Raises `RuntimeError` if they cannot start here: says what is in the way.
    """

    def ready(addresses: dict[str, str]) -> None:
        width = max(map(len, addresses))
        typer.echo("\nmlTrainer is up" + (" on a simulated market" if settings.market_kind == "simulated" else ""))
        for name, address in addresses.items():
            typer.echo(f"  {name:<{width}}  {address}")
        typer.echo(f"  logs: {state_dir.logs(settings) / 'up.log'}\nCtrl-C stops everything.")

    require_startable(settings)
    if settings.plan_key and settings.data_plan is None:  # `mltrainer demo` has looked already
        for line in look(settings).lines:
            typer.echo(line, err=True)
    settings = settings.in_its_plan()
    typer.echo(f"Starting mlTrainer in {settings.state} …", err=True)
    log = RotatingLog(state_dir.log_file(settings))
    return run_up(settings, log, ready, lambda sentence: typer.echo(sentence, err=True))
