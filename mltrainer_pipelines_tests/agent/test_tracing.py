"""Traces never stand in the way: not where no server listens, and not where one accepts and says nothing."""

import socket
import subprocess
import sys

from mltrainer_pipelines.agent.tracing import Traces
from mltrainer_pipelines_tests.servers.anthropic import Said, anthropic_server

ASKS = """
import sys
from pydantic import BaseModel, SecretStr
from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.agent.tracing import Traces
from mltrainer_pipelines.store.database import Database

class Count(BaseModel):
    models: int

database, claude, mlflow = sys.argv[1:]
asked = [{"role": "user", "content": [{"type": "text", "text": "how many?"}]}]
agent = Claude(Database(database).engine, "claude-sonnet-5-5", SecretStr("k"), claude, traces=Traces(mlflow))
agent.parse("propose", prompt("propose"), asked, Count, 500)
print(agent.parse("propose", prompt("propose"), asked, Count, 500)[0].models, flush=True)
"""


def test_without_a_server_there_is_no_trace_and_no_wait() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        traces = Traces(f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert traces.begin("claude.chat", {}) is None
        traces.end(None, {}, {})
    assert Traces(None).begin("claude.chat", {}) is None


def test_a_server_that_says_nothing_holds_neither_the_answer_nor_the_exit(database) -> None:
    with socket.socket() as silent, anthropic_server([Said('{"models": 2}')]) as server:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        mlflow = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", ASKS, database.url, server.url, mlflow], capture_output=True, text=True, timeout=60
        )
    assert done.stdout.strip().endswith("2"), done.stderr[-2000:]
    assert done.returncode == 0
