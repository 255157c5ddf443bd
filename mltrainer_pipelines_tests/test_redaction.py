"""Keys are hidden in every text from outside, however they are spelled there."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from mltrainer_pipelines.agent.sanitize import as_data, plain
from mltrainer_pipelines.redaction import HIDDEN, StreamRedactor, protect, redact

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
