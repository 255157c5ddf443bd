"""How commands speak to a terminal: results on standard output, progress and errors on standard error."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer
from typer.core import TyperGroup

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output and nothing else.")]


class ReadableErrors(TyperGroup):
    """Turns an error that its author wrote for the user into one line and exit code 1; others keep their trace."""

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except (RuntimeError, ValueError, LookupError, OSError) as error:
            if not type(error).__module__.startswith("mltrainer_pipelines"):
                raise
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None


class Audit(Protocol):
    """What every audit of simulated markets returns."""

    @property
    def passed(self) -> bool: ...
    def as_dict(self) -> dict[str, object]: ...
    def text(self) -> str: ...


def print_result(result: object) -> None:
    """Print text as it is, a table as Rich draws it, and anything else as one JSON value."""
    from rich.table import Table

    if isinstance(result, Table):
        from rich.console import Console

        Console().print(result)
    else:
        sys.stdout.write((result if isinstance(result, str) else json.dumps(result, default=str)) + "\n")


def print_verdict(audit: Audit, as_json: bool) -> None:
    """Print an audit and exit with 0 where it passed, 1 where it failed."""
    print_result(audit.as_dict() if as_json else audit.text())
    raise typer.Exit(0 if audit.passed else 1)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error; gives the function to call with what is being done and which share of it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:  # a bar is drawn once, at its end, where it cannot be drawn over: lines tell more
        yield lambda doing, share: typer.echo(f"{what}: {share:4.0%} {doing}", err=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda doing, share: bar.update(task, completed=share, description=f"{what}: {doing}")
