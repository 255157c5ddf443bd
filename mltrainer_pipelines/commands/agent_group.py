"""`mltrainer agent`: its subcommands, each a call of one function."""

from pathlib import Path
from typing import Annotated

import typer

from mltrainer_pipelines.commands.terminal import AsJson, print_result, progress_bar

agent_app = typer.Typer(help="The agent that proposes trials: talk to it, see what it may do, stop it.", no_args_is_help=True)


@agent_app.command("status", epilog="Example: mltrainer agent status --json | jq .budget")
def agent_status(as_json: AsJson = False) -> None:
    """Show what the agent may do and has cost today, and which of its actions wait or run."""
    from mltrainer_pipelines.commands import agent
    from mltrainer_pipelines.settings import get_settings

    print_result(agent.status(get_settings()) if as_json else agent.status_text(get_settings()))


@agent_app.command("chat", epilog="Example: mltrainer agent chat 'start momentum analysis' yes")
def agent_chat(
    messages: Annotated[
        list[str] | None, typer.Argument(help="What to say, one message after the other; none: a conversation.")
    ] = None,
    session: Annotated[str, typer.Option(help="Name of the conversation; the same name goes on where it ended.")] = "terminal",
    as_json: AsJson = False,
) -> None:
    """Talk to the agent. Without ANTHROPIC_API_KEY it understands commands; `help` lists them."""
    from mltrainer_pipelines.commands import agent
    from mltrainer_pipelines.settings import get_settings

    if as_json:
        print_result(agent.chat_events(get_settings(), session, messages))
    else:
        agent.chat(get_settings(), session, messages)


@agent_app.command("stop", epilog="Example: mltrainer agent stop --action 12")
def agent_stop(
    reason: Annotated[str, typer.Option(help="Kept with the change.")] = "stopped by hand",
    action: Annotated[int | None, typer.Option(min=1, help="Stop this running action alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Switch the agent off and stop everything it started; `agent resume` switches it on again. Or stop one action."""
    from mltrainer_pipelines.commands import agent
    from mltrainer_pipelines.settings import get_settings

    if action is not None:
        stopped = agent.stop_action(get_settings(), action)
        print_result(vars(stopped) if as_json else f"Action {stopped.id} is {stopped.status}.")
        return
    halted = agent.stop(get_settings(), reason)
    done = f"{len(halted.proposals)} proposals and {len(halted.actions)} actions rejected, {len(halted.jobs)} jobs cancelled"
    print_result(vars(halted) if as_json else f"The agent is off: {done}.")


@agent_app.command("resume", epilog="Example: mltrainer agent resume")
def agent_resume() -> None:
    """Switch the agent on again."""
    from mltrainer_pipelines.commands import agent
    from mltrainer_pipelines.settings import get_settings

    agent.resume(get_settings())
    print_result("The agent is on.")


@agent_app.command("compare", epilog="Example: mltrainer agent compare --trials 24 --seeds 3 --plot proposers.png --json")
def agent_compare(
    trials: Annotated[int, typer.Option(min=1, help="For each proposer and seed.")] = 24,
    batch: Annotated[int, typer.Option(min=1, help="Trials proposed at once, before their results are known.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, each from nothing.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="Draw the courses into this file (.png, .svg, .pdf).")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the proposers on a small simulated market: the best score out of sample against the number of trials."""
    from mltrainer_pipelines.audits.proposer_comparison import text
    from mltrainer_pipelines.commands.compare_proposers import compare_proposers
    from mltrainer_pipelines.settings import get_settings

    with progress_bar("Trials") as progress:
        comparison = compare_proposers(get_settings(), trials, batch, seeds, plot, progress)
    print_result(comparison if as_json else text(comparison))
