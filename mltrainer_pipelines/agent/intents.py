"""Lookups by their keywords: "what is the regime?", "explain AAPL"."""

import re
from dataclasses import dataclass, field
from typing import Any

from mltrainer_pipelines.agent.vocabulary import plain_english
from mltrainer_pipelines.models.registry import list_models


@dataclass(frozen=True)
class Lookup:
    """Something that a text asks to look up; `query` is a key of `commands.QUERIES`, or `help`."""

    query: str
    arguments: dict[str, Any] = field(default_factory=dict)


def lookup(text: str) -> Lookup | None:
    """What a user's message asks to look up, by its keywords; None where it is nothing of that kind."""
    text = plain_english(text)
    words = " ".join(text.lower().split()).strip(" ?.!")
    symbol = re.match(
        r"^(?:explain|why)\s+(?:the\s+)?(?:recommendation\s+)?(?:of\s+|for\s+|is\s+|was\s+|did you (?:pick"
        r"|recommend)\s+)?\$?(?P<what>#?[\w.\-]+)",
        text.strip(),
        re.I,
    )
    if symbol:
        what = symbol["what"].lstrip("#").rstrip(".?!")
        if what.isdigit():
            return Lookup("explain", {"recommendation_id": int(what)})
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9.\-]{0,11}", what) and what.lower() not in _NO_SYMBOLS:
            return Lookup("explain", {"symbol": what.upper()})
    trial = re.search(r"\b([a-z0-9-]+-(?:short|long)-[0-9a-f]{8})\b", words)
    if trial and re.search(r"\b(?:saved|stored|kept)\b", words):
        return Lookup("saved", {"trial_id": trial[1]})
    if trial:
        return Lookup("trial", {"trial_id": trial[1]})
    timeframe = (
        {"timeframe": "long"}
        if re.search(r"\b(?:long|(?:50|55|60|65|70)[- ]*(?:day|session)s?)\b", words)
        else {"timeframe": "short"}
        if re.search(r"\bshort\b", words)
        else {}
    )
    if re.search(_DEEPER, words):
        best = re.search(r"\b(?:top|best) (\d{1,2})\b", words)
        return Lookup("deeper", timeframe | ({"top": int(best[1])} if best else {}))
    further = re.search(r"\bfrom (\d{1,6})\b", words)
    offset = {"offset": max(0, int(further[1]) - 1)} if further else {}
    for query, pattern in _LOOKUPS:
        if re.search(pattern, words):
            paged: dict[str, Any] = offset if query in _PAGED else {}
            if query == "models":
                families = sorted({spec.family for spec in list_models()})
                paged = paged | next(({"family": one} for one in families if one in words.split()), {})
            return Lookup(query, {**(timeframe if query in ("leaderboard", "candidates") else {}), **paged})
    return None


_DEEPER = (
    r"\b(?:deeper|closer|detailed|further|in-depth) (?:analysis|look)\b|\b(?:analy[sz]e|examine|dig (?:deeper )?into"
    r"|look into) the (?:top|best)\b"
    r"|\bdig deeper\b|\b(?:top|best) \d{1,2}\b.*\b(?:in depth|in detail|deeper|closer)\b"
)
_PAGED = ("models", "leaderboard", "candidates", "portfolio", "proposals", "saved")
_NO_SYMBOLS = (
    "did",
    "do",
    "does",
    "not",
    "are",
    "was",
    "were",
    "would",
    "should",
    "you",
    "it",
    "what",
    "how",
    "that",
    "this",
    "they",
)
_LOOKUPS: tuple[tuple[str, str], ...] = (
    ("help", r"^(?:help|commands|what can you do)\b"),
    ("saved", r"\b(?:saved|stored|kept|my) results?\b"),
    ("regime", r"\bregime\b"),
    ("leaderboard", r"\b(?:leaderboard|best trials?|champions?|ranking)\b"),
    ("models", r"\b(?:models|catalogue|catalog)\b"),
    ("proposals", r"\bproposals?\b"),
    ("performance", r"\b(?:performance|equity|drawdown|hit rate)\b"),
    ("portfolio", r"\b(?:portfolio|positions|paper trades?)\b"),
    ("candidates", r"\b(?:candidates|screening|screen|recommendations?|strong buys?|signals)\b"),
    ("report", r"\b(?:report|learned|learnt|(?:do|did|can|have) (?:we|you|i) learn)\b"),
    ("settings", r"\b(?:settings?|thresholds?|autonomy|budget)\b"),
    ("status", r"\b(?:status|health|running|progress|how are things)\b"),
)
