"""Settings that a message asks to change, and what a requested action is."""

import re
from dataclasses import dataclass, field
from typing import Any

from mltrainer_pipelines.agent.action_kinds import Kind
from mltrainer_pipelines.agent.quantities import NUMBER, Text, number, share
from mltrainer_pipelines.store.runtime_settings import SETTINGS

CHANGE = (
    r"set|increase|raise|lift|decrease|lower|reduce|drop|cut|change|put|move|bring|adjust|turn|switch|make|have|enable|disable"
)
NAMED = {
    "min_confidence": r"(?:min(?:imum|imal)?[\s_]+)?confidence",
    "min_profit_probability": r"(?:min(?:imum|imal)?[\s_]+)?(?:profit[\s_]+)?probability",
    "min_regime_score": r"(?:min(?:imum|imal)?[\s_]+)?regime",
    "daily_trials": r"(?:daily[\s_]+trials?|trials?[\s_]+(?:a|per)[\s_]+day|trials?[\s_]+budget)",
    "daily_dollars": r"(?:daily[\s_]+(?:dollars?|budget|spend(?:ing)?)|dollars?[\s_]+(?:a|per)[\s_]+day)",
    "daily_compute_minutes": r"(?:daily[\s_]+)?comput(?:e|ing)[\s_]+(?:minutes|time)",
}
THRESHOLDS = ("min_confidence", "min_profit_probability", "min_regime_score")
_KIND_OF = r"(?:[\s_]*(?:threshold|score|bar|level|gate|limit|minimum|budget|setting))*"


@dataclass(frozen=True)
class RequestedAction:
    """An action that a text asks for: `problems` are parts of it that cannot be done, `question` is to"
    " be answered before it can."""

    kind: Kind
    params: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    question: str = ""
    without: frozenset[str] = frozenset()
    """Models that are not wanted."""


def starts(text: Text, verbs: str) -> re.Match[str] | None:
    """One of some verbs at the beginning of a text, blanked."""
    match = re.match(rf"\s*(?:{verbs})\b", text.rest, re.I)
    if match is not None:
        text.blank(match.start(), match.end())
    return match


def settings_asked(text: Text) -> list[RequestedAction]:
    """Changes of settings that a clause asks for."""
    before = text.rest
    verb = starts(text, CHANGE)
    if verb is None and not re.match(
        rf"\s*(?:the\s+)?(?:{'|'.join(NAMED.values())}){_KIND_OF}\s*(?:=|:|to be\b|to\b)", text.rest, re.I
    ):
        return []
    found: list[RequestedAction] = []
    for name, choice in (("autonomy", SETTINGS["autonomy"].choices), ("proposer", SETTINGS["proposer"].choices)):
        if match := text.take(rf"\b(?:the )?{name}\b(?: mode)?\s*(?:to|=|:|on|is|be)*\s*({'|'.join(choice)})\b"):
            found.append(RequestedAction("change_setting", {"name": name, "value": match[1].lower()}))
    if match := text.take(
        r"\b(?:the agent|agent_enabled|agent enabled)\b\s*(?:to|=|:)?\s*(on|off|true|false)\b|\b(on|off)\b\s+the agent\b"
    ):
        value = (match[1] or match[2]).lower() in ("on", "true")
        found.append(RequestedAction("change_setting", {"name": "agent_enabled", "value": value}))
    for name, word in NAMED.items():
        to = r"\s*(?:(?:up|down|back)\s+)?(?:to be|to|at|=|:|of|be|is|as)?\s*\$?"
        match = text.take(rf"\b(?:the )?{word}{_KIND_OF}{to}({NUMBER})(?![-\w]|[.,]\d)\s*(%|percent|per cent|dollars?|\$)?")
        if match is None:
            continue
        given = share(match[1], match[2]) if SETTINGS[name].high == 1.0 else number(match[1])
        whole = SETTINGS[name].kind == "integer" and given == int(given)
        found.append(RequestedAction("change_setting", {"name": name, "value": int(given) if whole else given}))
    named = next((name for name in THRESHOLDS if re.search(rf"\b{NAMED[name]}\b", text.rest, re.I)), None)
    if not found and verb is not None and named and verb[0].strip().lower() not in ("make", "have", "put", "turn"):
        ask = f'to which value do you want {named} set? Say for example "set {named} to {SETTINGS[named].default}".'
        return [RequestedAction("change_setting", {"name": named}, question=ask)]
    if not found and verb is not None:
        wanted = re.match(r"\s*(?:the\s+)?([a-z]+_[a-z_]+)\s+(?:to\s+|=\s*)?(\S+)", text.rest, re.I)
        if wanted and verb[0].strip().lower() in ("set", "change", "put"):
            text.blank(wanted.start(), wanted.end())
            return [RequestedAction("change_setting", {"name": wanted[1].lower(), "value": _plain_value(wanted[2])})]
        text.rest = before
    return found


def _plain_value(given: str) -> object:
    words = given.rstrip(".!").lower()
    if words in ("true", "on", "false", "off"):
        return words in ("true", "on")
    return float(words) if re.fullmatch(NUMBER, words) else words
