import threading
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, SecretStr

from mltrainer_pipelines.agent import ledger
from mltrainer_pipelines.agent.failures import (
    AgentOffError,
    ClaudeCutShortError,
    ClaudeDeclinedError,
    ClaudeLostError,
    ClaudeMalformedError,
    ClaudeRejectsUsError,
    ClaudeUnavailableError,
)
from mltrainer_pipelines.agent.ledger import DailyBudgetError
from mltrainer_pipelines.agent.messages import Answer, Claude
from mltrainer_pipelines.agent.prices import Usage, dollars
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import AgentCall
from mltrainer_pipelines_tests.servers.anthropic import Fault, Said, anthropic_server

ASKED = [{"role": "user", "content": [{"type": "text", "text": "How many models are there?"}]}]
TOOL = {"name": "list_models", "description": "All models.", "input_schema": {"type": "object", "properties": {}}}
KEY = "sk-ant-very-secret"


class Count(BaseModel):
    models: int


def claude(database: Database, url: str, **options) -> Claude:
    return Claude(database.engine, "claude-sonnet-5-5", SecretStr(KEY), url, **({"timeout_s": 5.0} | options))


def recorded(database: Database) -> list[sa.Row]:
    with database.engine.connect() as connection:
        return list(connection.execute(sa.select(AgentCall.__table__).order_by(AgentCall.id)))


def streamed(client: Claude, **options) -> tuple[str, Answer]:
    *pieces, answer = client.stream("chat", prompt("chat"), ASKED, 1000, **options)
    assert isinstance(answer, Answer)
    return "".join(pieces), answer


def test_a_structured_answer_is_parsed_and_recorded_with_its_cost(database: Database) -> None:
    with anthropic_server([Said('{"models": 2}')]) as server:
        parsed, answer = claude(database, server.url).parse("propose", prompt("propose"), ASKED, Count, 1000)
    assert parsed == Count(models=2)
    (request,) = server.requests
    assert request["output_config"]["format"]["type"] == "json_schema"
    assert request["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert "temperature" not in request
    assert "tool_choice" not in request
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    (row,) = recorded(database)
    assert (row.purpose, row.stop_reason, row.error, row.prompt_version) == ("propose", "end_turn", None, "propose-1")
    assert (row.id, row.output_tokens) == (answer.call_id, answer.usage.output)
    assert row.dollars == pytest.approx(Decimal(answer.usage.input * 2 + answer.usage.output * 10) / 1_000_000)
    assert row.request["messages"][0]["content"][0]["text"] == ASKED[0]["content"][0]["text"]
    assert row.response["content"][0]["text"] == '{"models": 2}'
    assert KEY not in str(row)


def test_text_streams_in_pieces_and_the_whole_answer_comes_last(database: Database) -> None:
    with anthropic_server([Said("There are two models in the catalogue.", thinking="hm")]) as server:
        text, answer = streamed(claude(database, server.url))
    assert text == answer.text == "There are two models in the catalogue."
    assert [block["type"] for block in answer.content] == ["thinking", "text"]
    assert answer.tool_calls == []
    assert recorded(database)[0].output_tokens == answer.usage.output > 1


def test_tool_calls_come_with_their_input(database: Database) -> None:
    with anthropic_server([Said("Let me look.", [("list_models", {"family": "boosting"})])]) as server:
        _, answer = streamed(claude(database, server.url), tools=[TOOL])
    (call,) = answer.tool_calls
    assert (call["name"], call["input"]) == ("list_models", {"family": "boosting"})


def test_a_tool_call_cut_off_by_max_tokens_does_not_count(database: Database) -> None:
    said = Said("Let me look.", [("change_setting", '{"name": "autonomy", "value": "budg')], stop_reason="max_tokens")
    with anthropic_server([said]) as server:
        _, answer = streamed(claude(database, server.url), tools=[TOOL])
    assert answer.stop_reason == "max_tokens"
    assert answer.tool_calls == []


@pytest.mark.parametrize(
    ("turn", "error", "says"),
    [
        (Fault(401, "invalid x-api-key"), ClaudeRejectsUsError, "ANTHROPIC_API_KEY is refused"),
        (Fault(404, "model: claude-sonnet-9"), ClaudeRejectsUsError, "MLTRAINER_AGENT_MODEL"),
        (Fault(400, "max_tokens: too big"), ClaudeRejectsUsError, "max_tokens: too big"),
        (Fault(429, "slow down", {"retry-after": "3600"}), ClaudeUnavailableError, "slow down"),
        (Fault(529, "Overloaded", {"retry-after": "0.01"}), ClaudeUnavailableError, "529: Overloaded"),
        (Fault(500, "oops", {"retry-after": "0.01"}), ClaudeUnavailableError, "500: oops"),
        (Fault(silent_s=30), ClaudeLostError, "in time"),
        (Fault(body=b"<html>a proxy</html>"), ClaudeMalformedError, "JSON"),
        (
            Said("I will not.", stop_reason="refusal", stop_details={"type": "refusal", "explanation": "policy"}),
            ClaudeDeclinedError,
            "policy",
        ),
        (Said('{"models": ', stop_reason="max_tokens"), ClaudeCutShortError, "max_tokens"),
        (Said('{"models": "many"}'), ClaudeMalformedError, "schema"),
        (Said("two"), ClaudeMalformedError, "schema"),
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "status", "")) if isinstance(value, Fault | Said) else None,
)
def test_every_failure_has_a_name_and_is_recorded(database: Database, turn: Fault | Said, error: type, says: str) -> None:
    with anthropic_server([turn]) as server, pytest.raises(error, match=says) as caught:
        claude(database, server.url, timeout_s=0.5 if getattr(turn, "silent_s", 0) else 30).parse(
            "propose", prompt("propose"), ASKED, Count, 1000
        )
    (row,) = recorded(database)
    assert says in row.error
    assert KEY not in str(caught.value)
    assert KEY not in str(row)
    assert (row.dollars == 0) == isinstance(turn, Fault) or error is ClaudeLostError


def test_a_busy_server_is_asked_again_when_it_says_and_only_then(database: Database) -> None:
    with anthropic_server([Fault(429, "wait", {"retry-after": "0.2"}), Said('{"models": 2}')]) as server:
        began = time.monotonic()
        parsed, _ = claude(database, server.url).parse("propose", prompt("propose"), ASKED, Count, 1000)
        assert time.monotonic() - began >= 0.2
    assert parsed.models == 2
    assert len(server.requests) == 2
    assert [row.error for row in recorded(database)] == [None]


def test_an_unreachable_server_is_named(database: Database) -> None:
    with anthropic_server([Said("x")]) as server:
        pass
    with pytest.raises(ClaudeUnavailableError, match="ANTHROPIC_BASE_URL"):
        claude(database, server.url, retries=0).parse("propose", prompt("propose"), ASKED, Count, 1000)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Said("A long answer that is cut.", cut_after=4), ClaudeLostError),
        (Said("A long answer that stalls.", silent_after=4), ClaudeLostError),
        (Said("A long answer that fails.", error_after=4), ClaudeLostError),
        (Said("Wait.", [("list_models", '{"family": nonsense}')]), ClaudeMalformedError),
        (Said("No.", stop_reason="refusal"), ClaudeDeclinedError),
        (Said("x", cut_after=0), ClaudeLostError),
    ],
)
def test_a_broken_stream_is_named_after_what_went_wrong_and_never_gives_an_answer(
    database: Database, said: Said, error: type
) -> None:
    with anthropic_server([said]) as server, pytest.raises(error):
        streamed(claude(database, server.url, timeout_s=0.5 if said.silent_after is not None else 30), tools=[TOOL])
    (row,) = recorded(database)
    assert error.__name__ in row.error
    assert row.dollars > 0


def test_a_day_never_costs_more_than_its_dollars_even_when_many_ask_at_once(database: Database) -> None:
    runtime_settings.put(database.engine, "daily_dollars", 0.05, "user", "test")
    outcomes: list[str] = []

    def ask(client: Claude) -> None:
        try:
            client.parse("propose", prompt("propose"), ASKED, Count, 2000)
            outcomes.append("answered")
        except DailyBudgetError:
            outcomes.append("refused")

    with anthropic_server(lambda _: Said('{"models": ' + "2" * 4000 + "}")) as server:
        client = claude(database, server.url)
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes.count("answered") == len(server.requests) >= 1
    assert outcomes.count("refused") >= 1
    assert ledger.spent(database.engine, client.clock()).dollars <= Decimal("0.05")
    assert ledger.spending_by_day(database.engine)[0].calls == len(server.requests)


def test_a_switched_off_agent_asks_nothing(database: Database) -> None:
    runtime_settings.put(database.engine, "agent_enabled", False, "user", "test")
    with anthropic_server([Said("x")]) as server, pytest.raises(AgentOffError, match="agent_enabled"):
        claude(database, server.url).parse("propose", prompt("propose"), ASKED, Count, 1000)
    assert server.requests == []
    assert recorded(database) == []


def test_a_reader_who_leaves_in_the_middle_leaves_a_record(database: Database) -> None:
    with anthropic_server([Said("A long answer that nobody reads to its end.")]) as server:
        answer = claude(database, server.url).stream("chat", prompt("chat"), ASKED, 1000)
        next(answer)
        answer.close()
    (row,) = recorded(database)
    assert "GeneratorExit" in row.error
    assert row.dollars > 0


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-sonnet-4-6", "claude-haiku-5-5", "gpt-99"])
def test_a_cost_is_charged_for_any_model(model: str) -> None:
    assert dollars(model, Usage(input=1_000_000)) > 0
    assert dollars("gpt-99", Usage(output=1_000_000)) >= dollars(model, Usage(output=1_000_000))


def test_the_prompts_have_versions() -> None:
    make: Callable = prompt
    for name in ("propose", "chat", "summarise"):
        assert make(name).version.startswith(f"{name}-")
        assert "version" not in make(name).text[:20]
