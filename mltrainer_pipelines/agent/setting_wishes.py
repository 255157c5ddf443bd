"""Settings that a message asks to change, and what a requested action is."""

import re
from dataclasses import dataclass, field
from typing import Any

from mltrainer_pipelines.agent.action_kinds import Kind
from mltrainer_pipelines.agent.quantities import NUMBER, Text, number, share
from mltrainer_pipelines.store.runtime_settings import SETTINGS

CHANGE = (
    r"set|increase|raise|lift|decrease|lower|reduce|drop|cut|change|put|move|bring|adjust|turn|switch|make|have|enable|disable"
    r"|bump|cap|limit|allow|restrict|tighten|loosen|relax|let|modify|push|pull|dial|crank|nudge|mute|pause|resume|shut|stop"
    r"|halt|restart|use|take|update|give|activate|deactivate|wake"
)
NAMED = {
    "min_confidence": r"(?:min(?:imum|imal)?[\s_]+)?confidence",
    "min_profit_probability": r"(?:min(?:imum|imal)?[\s_]+)?(?:profit[\s_]+)?probability",
    "min_regime_score": r"(?:min(?:imum|imal)?[\s_]+)?regime",
    "daily_trials": r"(?:daily[\s_]+trials?|trials?[\s_]+(?:(?:a|per|each)[\s_]+day|daily)|trials?[\s_]+budget)",
    "daily_compute_minutes": (
        r"(?:daily[\s_]+)?comput(?:e|ing|ation)(?:[\s_]+(?:minutes|time|budget|limit))*|(?:minutes"
        r"|hours) of comput\w+"
    ),
    "daily_dollars": (
        r"(?:dollars\b(?=.*\b(?:a|per) day)|daily[\s_]+(?:dollars?|budget|spend(?:ing)?|costs?|limit)"
        r"|dollars?[\s_]+(?:a|per)[\s_]+day"
        r"|(?:claude|agent|api)(?:'s|s')? (?:daily )?(?:spending|costs?|budget|bill)|(?:budget|spending)(?: for| of) claude)"
    ),
}
THRESHOLDS = ("min_confidence", "min_profit_probability", "min_regime_score")
_KIND_OF = r"(?:[\s_]*(?:threshold|score|bar|level|gate|limit|minimum|budget|setting|cut-?off|floor)\b)*"
ASKS_BACK = "set|increase|raise|lift|decrease|lower|reduce|drop|cut|change|adjust|bump|modify"
"""Verbs that are of settings alone: where the value is missing, it is asked for."""
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<by>(?:by|from)\s+)?(?P<to>(?:to at most|to|at|[<>]?=|>|:|of|up to"
    rf"|at most)\s*)?\$?\s*(?P<value>{NUMBER})(?![-\w]|[.,]\d)\s*"
    r"(?P<unit>%|dollars?|\$|usd|hours?|h\b|minutes?|min\b)?(?:\s*points?)?",
    re.I,
)
_DOLLARS_A_DAY = re.compile(
    rf"(?:\$\s*{NUMBER}|{NUMBER}\s*(?:dollars?|usd|\$))\s*(?:a|per|each|every)\s+day|(?:\$\s*{NUMBER}|{NUMBER}\s*dollars?) daily",
    re.I,
)
_BARE = r"threshold|bar|gate|level|min(?:imum|imal)?|daily|per day|a day|[<>]?=|[>:]"
"""What tells a setting that is named without a verb from a number that is only spoken of."""
_NOTIFIED = {
    "notify_recommendations": "recommendations?|picks?",
    "notify_levels": "levels?|targets?|stops?",
    "notify_failures": "failures?|errors?|what fails",
    "notify_drift": "drift(?:s|ing)?",
    "notify_champion": "champions?",
    "notify_proposals": "proposals?",
}
_OFF = r"\b(?:off|disable|mute|stop|deactivate|down|pause|halt|out|false|no)\b"


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
    actions = _switched(text, before, verb is not None) or _numbers(text, verb, before)
    if not actions and verb is not None:
        wanted = re.match(r"\s*(?:the\s+)?([a-z]+_[a-z_]+)\s+(?:to\s+|=\s*)?(\S+)", text.rest, re.I)
        if wanted and verb[0].strip().lower() in ("set", "change", "put"):
            text.blank(wanted.start(), wanted.end())
            return [_setting(wanted[1].lower(), _plain_value(wanted[2]))]
    if not actions:
        text.rest = before
    return actions


def _setting(name: str, value: object) -> RequestedAction:
    return RequestedAction("change_setting", {"name": name, "value": value})


def _switched(text: Text, before: str, asked: bool) -> list[RequestedAction]:
    """Settings that are a choice or a switch."""
    alone = r"\s*(?:{})\b"
    for name in ("autonomy", "proposer"):
        choice = "|".join(SETTINGS[name].choices)
        subject = rf"\b(?:{name}|propos(?:e|es|ing) (?:the |new )?trials)\b" if name == "proposer" else r"\b(?:autonomy|agent)\b"
        if re.search(subject, text.rest, re.I) and (match := re.search(rf"\b({choice})\b(?: search)?", text.rest, re.I)):
            if name == "autonomy" and not re.search(r"\bautonomy\b", text.rest, re.I) and match[1].lower() == "off":
                continue
            if not asked and not re.match(alone.format(f"(?:the )?{subject}"), before, re.I):
                continue
            text.blank(match.start(), match.end())
            text.take(rf"(?:\b(?:the|in|into|to|on|as)\s+)*{subject}(?: mode)?")
            text.take(r"\bautonomy\b")
            return [_setting(name, match[1].lower())]
        if name == "autonomy" and asked and re.search(r"\bautonomy\b", text.rest, re.I) and re.search(_OFF, before, re.I):
            text.take(r"\bautonomy\b")
            return [_setting(name, "off")]
    off = re.search(_OFF, before, re.I) is not None
    if asked and text.take(r"\b(?:notif\w+|alerts?|alerting)\b"):
        kinds = [name for name, words in _NOTIFIED.items() if text.take(rf"\b(?:{words})\b")]
        text.take(r"\b(?:on|off|true|false)\b")
        if kinds:
            return [_setting(name, not off) for name in kinds]
        return [RequestedAction("change_setting", {}, question=f"which notifications do you mean: {', '.join(_NOTIFIED)}?")]
    switch = r"(?:on|off|true|false|down|up)"
    spoken = re.search(
        rf"\bagent(?:[\s_]enabled)?\b\s*(?:to|=|:|back|again)*\s*{switch}\b|\b{switch}\s+(?:the )?agent\b", text.rest, re.I
    )
    if spoken is None and re.match(
        r"\s*(?:enable|disable|pause|resume|stop|halt|restart|activate|deactivate|wake)\b", before, re.I
    ):
        spoken = re.fullmatch(r"\s*(?:the )?agent\b[\s.!]*(?:please|now|again|up)?[\s.!]*", text.rest, re.I)
    if asked and spoken:
        text.blank(spoken.start(), spoken.end())
        return [_setting("agent_enabled", not off)]
    return []


def _numbers(text: Text, verb: re.Match[str] | None, before: str) -> list[RequestedAction]:
    """Settings that are numbers: each takes the number after its name, or the one before where numbers come first."""
    whole = text.rest
    names = [
        (match, name) for name, word in NAMED.items() for match in re.finditer(rf"\b(?:the )?(?:{word})\b{_KIND_OF}", whole, re.I)
    ]
    mentions = [match for match, _ in names]
    if money := _DOLLARS_A_DAY.search(whole):
        names = [(match, name) for match, name in names if name != "daily_dollars"]
        names += [(money, "daily_dollars")]
    names.sort(key=lambda one: one[0].start())
    if not names or (verb is None and not re.search(_BARE, whole, re.I)):
        return []
    numbers = [match for match in _NUMBER.finditer(whole) if not match["by"]]
    first = numbers[0].start() < names[0][0].start() if numbers else False
    found, used = [], list[re.Match[str]]()
    for place, (match, name) in enumerate(names):
        begin = (names[place - 1][0].end() if place else 0) if first else match.start()
        end = match.end() if first else names[place + 1][0].start() if place + 1 < len(names) else len(whole)
        near = [one for one in numbers if begin <= one.start("value") < end]
        if near:
            given = next((one for one in near if one["to"]), near[-1] if first else near[0])
            used.append(given)
            found.append(_setting(name, _number_of(name, given)))
    if not found:
        named = next((name for _, name in names if name in THRESHOLDS), None)
        if named is None or verb is None or not re.fullmatch(ASKS_BACK, verb[0].strip(), re.I):
            return []
        ask = f'to which value do you want {named} set? Say for example "set {named} to {SETTINGS[named].default}".'
        return [RequestedAction("change_setting", {"name": named}, question=ask)]
    for part in [*mentions, *used, *_NUMBER.finditer(whole)]:
        text.blank(part.start(), part.end())
    text.take(r"\b(?:up|down|back)\b")
    return found


def _number_of(name: str, given: re.Match[str]) -> float | int:
    setting, unit = SETTINGS[name], (given["unit"] or "").lower()
    value = share(given["value"], unit if unit == "%" else None) if setting.high == 1.0 else number(given["value"])
    if name == "daily_compute_minutes" and unit.startswith("h"):
        value *= 60
    return int(value) if setting.kind == "integer" and value == int(value) else value


def _plain_value(given: str) -> object:
    words = given.rstrip(".!").lower()
    if words in ("true", "on", "false", "off"):
        return words in ("true", "on")
    return float(words) if re.fullmatch(NUMBER, words) else words
