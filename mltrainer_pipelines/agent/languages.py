"""German and French requests in English words, for the reader of wishes: what people ask for, not a translation."""

import re
from functools import lru_cache
from typing import Literal

from mltrainer_pipelines.agent.translations import FRENCH, GERMAN

Language = Literal["german", "french"]
_VERB = "\x01"
"""Before a word that is the verb of a request, until it stands where English has it."""

_POLITE = re.compile(
    r"\b(?:s'il (?:te|vous) pla[iî]t|svp|merci(?: d'avance)?|bitte(?! nicht)|danke|por favor)(?=[\s,.!?]|$)", re.I
)
_SHARED = frozenset(
    re.findall(
        r"\w+",
        "start test change propose combine signal budget agent horizon notifications regime score or a an on in was die des si"
        " man per war mal ensemble dit est pour fixe active",
    )
)
"""Words of these languages that are English ones as well."""
_OPENERS = re.compile(r"(?:(?:please|now|then|and|can you|let us|I want to)[\s,]+)*")
_JOINT = re.compile(r"(\s*[,:]\s+|\s+(?:and|then|but)\s+)")


def in_english(text: str, english: frozenset[str]) -> str:
    """A text in English words where it is German or French, else as it is; `english` are words of English requests.

    >>> in_english("Setze die Konfidenzschwelle auf 80 %", frozenset())
    'set the confidence threshold to 80 %'
    """
    text = _POLITE.sub("please", text.replace("’", "'"))
    words = set(re.findall(r"[a-z]+", text.lower()))
    found: list[tuple[int, Language]] = [(_marks(text, language), language) for language in ("german", "french")]
    most, language = max(found)
    if most <= len(words & english - _SHARED - {"please"}):
        return text
    return " ".join(_translated(one, language) for one in re.split(r"(?<=[.!?;\n])\s+", text))


def _marks(text: str, language: Language) -> int:
    """How many words of a text are words of a language."""
    marks = 0
    for pattern, _ in _table(language):
        marks += sum(match[0].lower() not in _SHARED for match in pattern.finditer(text))
        text = pattern.sub(lambda one: one[1] if one.re.groups else " ", text)
    return marks


def _translated(sentence: str, language: Language) -> str:
    # "dass du die Schwelle auf 80 % setzt": the verb's other endings count at the end of such a clause alone
    sentence = re.sub(r"(\bdass (?:du|sie|wir)\b.*\w)e?s?t(?=\s*[.!?]?$)", r"\1en", sentence, flags=re.I)
    for pattern, english in _table(language):
        sentence = pattern.sub(f"{english} ", sentence)
    if language == "german":
        sentence = re.sub(r"\b([1-9]\d{0,2}(?:\.\d{3})+)(?![\d,%])", lambda match: match[1].replace(".", ""), sentence)
    pieces = _JOINT.split(sentence)
    parts = pieces[:1]
    for joint, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if joint.strip() not in (",", ":") and not (_VERB in parts[-1] and _VERB in piece):
            parts[-1] += joint + piece  # "with A and B": one clause
        else:
            parts += [joint, piece]
    ordered = "".join(one if n % 2 else _ordered(one) for n, one in enumerate(parts))
    return re.sub(r"\s+(?=[\s,.;:!?]|$)", "", ordered).strip()


def _ordered(part: str) -> str:
    """A clause with its verb in front, and what denies it before that."""
    denied = re.search(r"\bNOT\b", part)
    if denied and not re.match(r"\s*but\b", part):
        part = "do not " + re.sub(r"\bNOT\b ?", "", part)
    part = part.replace("NOT", "not")
    opening = _OPENERS.match(part.removeprefix("do not "))
    assert opening is not None  # noqa: S101 - it matches the empty text
    begin = (7 if denied else 0) + opening.end()
    verb = re.search(rf"{_VERB}(turn on|turn off|screen the market|\w+)\s*", part)
    if verb and not re.match(r"(?:I|we|they|what|how|why|when|which|should we|if|maybe)\b", part[begin:]):
        part = part[:begin] + f"{verb[1]} " + part[begin : verb.start()] + part[verb.end() :]
    return part.replace(_VERB, "")


@lru_cache(maxsize=2)
def _table(language: Language) -> list[tuple[re.Pattern[str], str]]:
    table = []
    for line in (GERMAN if language == "german" else FRENCH).strip().splitlines():
        words, english = line.rsplit(" = ", 1)
        if language == "german" and english.startswith("!"):
            words = re.sub(r"en\?(?=\||$|\))", "e?n?", words)
        end = r"(?:(?<=')|(?<= )|(?![\w]))"
        table.append((re.compile(rf"(?<![\w-])(?:{words}){end}", re.I), english.replace("!", _VERB)))
    return table
