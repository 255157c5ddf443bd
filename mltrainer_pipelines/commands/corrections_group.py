"""`mltrainer corrections`: its subcommands, each a call of one function."""

from datetime import datetime
from typing import Annotated

import typer

from mltrainer_pipelines.commands.terminal import AsJson, print_result

corrections_app = typer.Typer(help="Overrule what a vendor says: a split, a dividend, a closure, a rename, a bar that is right.")


@corrections_app.command("list", epilog="Example: mltrainer corrections list --json")
def corrections_list(as_json: AsJson = False) -> None:
    """Show the corrections, and what is in quarantine."""
    from mltrainer_pipelines.commands import corrections
    from mltrainer_pipelines.settings import get_settings

    overview = corrections.overview(get_settings())
    print_result(overview if as_json else corrections.text(overview))


@corrections_app.command(
    "add",
    epilog="Examples: mltrainer corrections add split 2024-06-10 NVDA 10 --reason '10 for 1' · "
    "mltrainer corrections add closure 2025-01-09 · mltrainer corrections add bar 2024-03-04 GME · "
    "mltrainer corrections add rename 2022-06-09 META FB",
)
def corrections_add(
    kind: Annotated[str, typer.Argument(help="split, dividend, no_action, closure, bar or rename.")],
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The day that it is about.")],
    symbol: Annotated[str | None, typer.Argument(help="Left out for a closure.")] = None,
    value: Annotated[str | None, typer.Argument(help="New shares for one old; dollars a share; the older symbol.")] = None,
    reason: Annotated[str, typer.Option(help="Kept with it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Record what you know better; the next ingestion uses it, and what depends on it is computed again."""
    from mltrainer_pipelines.commands import corrections
    from mltrainer_pipelines.settings import get_settings

    added = corrections.add(get_settings(), kind, day.date(), symbol, value, reason)
    print_result(added if as_json else f"correction {added['id']}: {corrections.sentence(added)}")


@corrections_app.command("revoke", epilog="Example: mltrainer corrections revoke 3")
def corrections_revoke(number: Annotated[int, typer.Argument(help="The correction's number.")], as_json: AsJson = False) -> None:
    """Take a correction back."""
    from mltrainer_pipelines.commands import corrections
    from mltrainer_pipelines.settings import get_settings

    corrections.revoke(get_settings(), number)
    print_result({"revoked": number} if as_json else f"correction {number} holds no longer")
