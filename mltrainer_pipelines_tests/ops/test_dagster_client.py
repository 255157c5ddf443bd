"""Reasons of failed runs, read with the real schema of Dagster from a real instance."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster_graphql.schema import create_schema

from mltrainer_pipelines.ops.dagster_client import DagsterClient


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DagsterClient, dg.DagsterInstance]:
    """A client whose queries the schema answers in this process."""
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    schema = create_schema().graphql_schema

    def query(self: DagsterClient, text: str, **variables: Any) -> dict[str, Any]:
        from graphql import graphql_sync

        context = SimpleNamespace(instance=instance, records_for_run_default_limit=1000, has_permission=lambda *_: True)
        done = graphql_sync(schema, text, variable_values=variables, context_value=context)
        assert not done.errors, done.errors
        return dict(done.data or {})

    monkeypatch.setattr(DagsterClient, "query", query)
    return DagsterClient("http://127.0.0.1:1"), instance


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
