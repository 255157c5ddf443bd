"""`mltrainer agent status`, `chat`, `stop` and `resume`: the agent from a terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from mltrainer_pipelines.agent import commands, ledger, queries, stopping
from mltrainer_pipelines.agent.autonomy import halt
from mltrainer_pipelines.agent.intents import Lookup
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.ops.agent import provided_agent
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store import runtime_settings


def status(settings: Settings) -> dict[str, Any]:
    """What the agent may do and has cost today, its actions, its model and the spending of each day."""
    with provided_agent(settings) as agent:
        days = [vars(day) for day in ledger.spending_by_day(agent.system.engine)]
        model = settings.mltrainer_agent_model if agent.claude else None
        answer: dict[str, Any] = plain({**queries.status(agent.system), "model": model, "spending": days})
        return answer


def status_text(settings: Settings) -> str:
    """The same for a reader."""
    with provided_agent(settings) as agent:
        return commands.answer(agent.system, Lookup("status"))[0]


def chat(settings: Settings, session: str, messages: Sequence[str] | None) -> None:
    """Say the messages, or what is typed until the input ends, and print the answers as they come."""
    for event in _events(settings, session, messages):
        match event.kind:
            case "text" | "notice":
                typer.echo(event.data["text"], nl=event.kind == "notice")
            case "tool":
                typer.echo(f"  [{event.data['name']}]")
            case "action":
                state = event.data.get("progress") or event.data["summary"]
                typer.echo(f"  action {event.data['id']}, {event.data['status']}: {state}")
            case "result" if settings.anthropic_api_key is not None:
                typer.echo(event.data["text"])
            case "done":
                typer.echo("")


def chat_events(settings: Settings, session: str, messages: Sequence[str] | None) -> list[dict[str, Any]]:
    """Say the messages and return every event of the answers."""
    return [
        {"event" if "kind" in event.data else "kind": event.kind, **event.data} for event in _events(settings, session, messages)
    ]


def stop(settings: Settings, reason: str) -> Any:
    """Switch the agent off and stop everything it started; what was stopped, as `agent.autonomy.halt` returns it."""
    with provided_agent(settings) as agent:
        return halt(agent.system.engine, agent.system.launcher, "user", reason, agent.system.clock())


def stop_action(settings: Settings, action_id: int) -> Any:
    """Stop one running action; it as it is then. Raises `ActionStateError`."""
    with provided_agent(settings) as agent:
        return stopping.stop(agent.system, action_id, "user")


def resume(settings: Settings) -> None:
    """Switch the agent on again."""
    with provided_agent(settings) as agent:
        runtime_settings.put(agent.system.engine, "agent_enabled", True, "user", "resumed by hand")


def _events(settings: Settings, session: str, messages: Sequence[str] | None) -> Iterator[Any]:
    with provided_agent(settings) as agent:
        for text in messages or _typed():
            yield from agent.chat(session, text)
            yield from agent.follow(session)


def _typed() -> Iterator[str]:
    while True:
        try:
            yield input("you> ")
        except EOFError:
            return
