"""Text from outside (symbols, company names, error messages, notes) on its way into a prompt or a table.

It is data there and nothing else: JSON strings of bounded length without control characters, in which
no `<` is left that could close the element it stands in.
"""

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from mltrainer_pipelines.redaction import redact

TEXT_AT_MOST = 300
"""Characters of a single text from outside that reach a prompt."""


def plain(value: object, text_at_most: int | None = None) -> Any:
    """A value that JSON and PostgreSQL's jsonb can hold, with its texts cleaned of secrets and, on request, cut.

    Control characters and lone surrogates become spaces; numbers that are not finite become None; floats keep six
    significant digits where texts are cut (a prompt has no use for more).
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | Decimal):
        number = float(value)
        if not math.isfinite(number):
            return None
        return float(f"{number:.6g}") if text_at_most is not None else number
    if isinstance(value, str):
        return _text(value, text_at_most)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_text(str(name), text_at_most): plain(item, text_at_most) for name, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item, text_at_most) for item in value]
    return _text(str(value), text_at_most)


def as_data(value: object, text_at_most: int = TEXT_AT_MOST) -> str:
    """One line of JSON for a prompt, made of `plain` values; it holds no `<` and no `>`."""
    line = json.dumps(plain(value, text_at_most), ensure_ascii=False, separators=(",", ":"))
    return line.replace("<", "\\u003c").replace(">", "\\u003e")


def _text(text: str, at_most: int | None) -> str:
    cleaned = "".join(
        " " if unicodedata.category(letter) in {"Cc", "Cs", "Cf"} and letter not in "\n\t" else letter for letter in redact(text)
    )
    if at_most is not None and len(cleaned) > at_most:
        return cleaned[: at_most - 1] + "…"
    return cleaned
