"""Keys are hidden in every text from outside, however they are spelled there."""

import base64
import html
import json
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote, quote_plus

import pytest
from pydantic import SecretStr

from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.agent.sanitize import as_data, plain
from mltrainer_pipelines.agent.tracing import Traces
from mltrainer_pipelines.redaction import HIDDEN, StreamRedactor, protect, redact
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.run_requests import finish, get_request, request_run
from mltrainer_pipelines_tests.servers.anthropic import Said, anthropic_server

KEY = "sk-ant/Zx9+q7=Rt&w_2~N"
SPELLINGS = {
    "plain": KEY,
    "JSON": json.dumps(KEY).strip('"'),
    "JSON, escaped": KEY.replace("+", "\\u002b").replace("&", "\\u0026").replace("/", "\\/"),
    "JSON in JSON": KEY.replace("+", "\\\\u002B"),
    "URL": quote(KEY, safe=""),
    "URL of a URL": quote(quote(KEY, safe=""), safe=""),
    "form": quote_plus(KEY),
    "HTML": html.escape(KEY).replace("+", "&#43;"),
    "every letter": "".join(f"\\u{ord(letter):04x}" for letter in KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
}


@pytest.fixture(autouse=True)
def _protected() -> None:
    protect(KEY)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_hidden_however_it_is_spelled(spelling: str) -> None:
    text = redact(f"invalid x-api-key: {SPELLINGS[spelling]}; get another")
    assert text.startswith(f"invalid x-api-key: {HIDDEN}")
    assert text.endswith("; get another")


def test_what_goes_into_a_prompt_or_a_table_holds_no_key_not_even_a_part_that_was_cut() -> None:
    assert KEY not in json.dumps(plain({"error": f"bad {KEY}", KEY: [KEY]}))
    assert KEY[:6] not in as_data("x" * 295 + KEY, 300)


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_a_key_that_comes_in_pieces_is_hidden(size: int) -> None:
    text = f"The key is {KEY} and it is refused.\nGood bye {KEY}"
    stream = StreamRedactor()
    pieces = [stream.feed(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join([*pieces, stream.rest()]) == text.replace(KEY, HIDDEN)


def test_other_text_stays_as_it_is_and_short_secrets_are_no_secrets() -> None:
    protect("risk")
    text = "The risk of sk-ant/Zx9 is 5 % & more."
    assert redact(text) == text


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_people_write_about_a_trial_goes_into_its_tags_without_the_key(spelling: str) -> None:
    config = TrialConfig(model="lightgbm", timeframe="short", rationale=f"as they wrote: {SPELLINGS[spelling]}")
    assert config.rationale.rstrip("=") == f"as they wrote: {HIDDEN}"


def test_an_error_of_a_run_is_kept_and_a_run_is_tagged_without_the_key(database: Database) -> None:
    with database.engine.begin() as connection:
        number = request_run(connection, "refresh_signals", "api", f"asked with {SPELLINGS['JSON, escaped']}")
        finish(connection, get_request(connection, number), "failed", f"the vendor answered 401: {SPELLINGS['URL']}")
        kept = get_request(connection, number)
    assert (kept.reason, kept.message) == (f"asked with {HIDDEN}", f"the vendor answered 401: {HIDDEN}")


def test_a_trace_holds_no_key(database: Database) -> None:
    class Kept(Traces):
        spans: ClassVar[list[str]] = []

        def begin(self, name: str, inputs: Mapping[str, object]) -> None:
            self.spans.append(json.dumps(inputs))

    asked = [{"role": "user", "content": [{"type": "text", "text": f"my key is {SPELLINGS['JSON in JSON']}"}]}]
    with anthropic_server([Said("fine")]) as server:
        claude = Claude(database.engine, "claude-sonnet-5-5", SecretStr(KEY), server.url, traces=Kept(None))
        claude.complete("summary", prompt("summarise"), asked, 100)
    (span,) = Kept.spans
    assert f"my key is {HIDDEN}" in span
