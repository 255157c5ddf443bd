"""The agent of an installation, in conversation: with Claude where there is a key, by commands where there is none."""

from mltrainer_pipelines.agent.chat import ChatAgent
from mltrainer_pipelines.api.context import Context
from mltrainer_pipelines.ops.agent import claude_of, system_of
from mltrainer_pipelines.ops.run_launcher import launcher_of


def chat_agent(context: Context) -> ChatAgent:
    """The agent of an installation; it has runs started through Dagster."""
    launcher = launcher_of(context.settings, context.engine, context.dagster, context.lake)
    return ChatAgent(system_of(context.settings, context.engine, launcher), claude_of(context.settings, context.engine))
