"""Reasons of failed runs, read over HTTP with the real schema of Dagster from a real instance."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster_graphql.schema import create_schema
from graphql import graphql_sync

from mltrainer_pipelines.ops.dagster_client import DagsterClient


@pytest.fixture
def client(tmp_path: Path) -> Iterator[tuple[DagsterClient, dg.DagsterInstance]]:
    """A client of a loopback server that answers by Dagster's own schema."""
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    schema = create_schema().graphql_schema
    context = SimpleNamespace(instance=instance, records_for_run_default_limit=1000, has_permission=lambda *_: True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            done = graphql_sync(schema, asked["query"], variable_values=asked["variables"], context_value=context)
            body = json.dumps(done.formatted).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield DagsterClient(f"http://127.0.0.1:{server.server_port}"), instance
        server.shutdown()


def test_the_reason_of_a_failure_is_found_behind_a_thousand_events(client: tuple[DagsterClient, dg.DagsterInstance]) -> None:
    dagster, instance = client

    @dg.op
    def busy(context: dg.OpExecutionContext) -> None:
        for place in range(1100):
            context.log.info(f"line {place}")
        raise ValueError("the file prices.csv has no column close; add it")

    @dg.job
    def long_job() -> None:
        busy()

    result = long_job.execute_in_process(instance=instance, raise_on_error=False)
    assert dagster.failure(result.run_id) == "busy: ValueError: the file prices.csv has no column close; add it"


def test_a_run_that_is_not_known_says_so(client: tuple[DagsterClient, dg.DagsterInstance]) -> None:
    assert "no log" in client[0].failure("00000000-0000-0000-0000-000000000000")
