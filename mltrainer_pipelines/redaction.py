"""Secrets are hidden in every text that comes in from outside (answers, error messages, notes), however it spells them."""

import base64
import html
import re
from functools import lru_cache

HIDDEN = "***"
_SHORTEST = 8
"""A secret of fewer characters is a word of ordinary text as well, and is left alone."""
_LONGEST_WORD = 1000
_secrets: set[str] = set()


def protect(secret: str | None) -> None:
    """Hide a secret from now on in all that this process redacts; one that is too short to tell from a word is not."""
    if secret and len(secret) >= _SHORTEST and secret not in _secrets:
        _secrets.add(secret)
        _pattern.cache_clear()


def redact(text: str) -> str:
    r"""A text without the protected secrets, whether plain or escaped as in JSON, a URL, HTML or base64.

    >>> protect("key+with/signs")
    >>> redact(r"refused: key\u002bwith%2Fsigns")
    'refused: ***'
    """
    pattern = _pattern()
    return text if pattern is None else pattern.sub(HIDDEN, text)


class StreamRedactor:
    """Redacts a text that comes in pieces: a word is given on once it is whole, as a secret may lie across pieces."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be given on after one more piece."""
        self._held += piece
        if not _secrets:
            return self.rest()
        end = max(self._held.rfind(" "), self._held.rfind("\n")) + 1
        end = max(end, len(self._held) - _LONGEST_WORD)
        ready, self._held = self._held[:end], self._held[end:]
        return redact(ready)

    def rest(self) -> str:
        """What is left at the end."""
        ready, self._held = self._held, ""
        return redact(ready)


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str] | None:
    spelled = ["".join(_spellings(letter) for letter in secret) for secret in sorted(_secrets, key=len, reverse=True)]
    spelled += [re.escape(base64.b64encode(secret.encode()).decode().rstrip("=")) for secret in _secrets]
    return re.compile("|".join(spelled)) if spelled else None


def _spellings(letter: str) -> str:
    """One letter as it stands, or escaped: `\\u002b`, `\\x2b`, `%2B`, `&#43;`, `&#x2b;`."""
    code = ord(letter)
    hexadecimal = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{code:02x}")
    escaped = rf"\\+(?:u00|x){hexadecimal}|%(?:25)*{hexadecimal}|&#(?:0*{code}|[xX]0*{hexadecimal});"
    return (
        rf"(?:{letter}|{escaped})"
        if letter.isalnum()
        else rf"(?:\\*{re.escape(letter)}|{re.escape(html.escape(letter))}|{escaped})"
    )
