"""The agent of an installation, in conversation: with Claude where there is a key, by commands where there is none."""

import threading

from mltrainer_pipelines.agent.actions import actions, advance
from mltrainer_pipelines.agent.chat import ChatAgent
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.api.context import Context
from mltrainer_pipelines.ops.agent import claude_of, system_of
from mltrainer_pipelines.ops.dagster_jobs import DagsterJobs
from mltrainer_pipelines.store.database import DatabaseUnavailableError

LOOK_SECONDS = 2.0
"""How often running actions are looked after while nobody asks."""


def chat_agent(context: Context) -> ChatAgent:
    """The agent of an installation; it starts jobs through Dagster."""
    launcher = DagsterJobs(context.dagster, context.engine, "agent", context.lake)
    return ChatAgent(system_of(context.settings, context.engine, launcher), claude_of(context.settings, context.engine))


class Caretaker(threading.Thread):
    """Looks after running actions, so that they go on while no page is open."""

    def __init__(self, system: System):
        super().__init__(name="caretaker", daemon=True)
        self.system = system
        self.stopped = threading.Event()

    def run(self) -> None:
        from sqlalchemy.exc import InterfaceError, OperationalError

        while not self.stopped.wait(LOOK_SECONDS):
            try:
                if actions(self.system, status="running", limit=1):
                    advance(self.system)
            except (OperationalError, InterfaceError, DatabaseUnavailableError):
                continue  # PostgreSQL comes back or the API ends; the actions wait

    def stop(self) -> None:
        self.stopped.set()
        self.join(5)
