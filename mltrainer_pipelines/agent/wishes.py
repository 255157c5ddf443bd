"""What a message asks for: actions with their parameters, what of it was not used, and what to ask back."""

import re
from dataclasses import dataclass, field
from typing import Any

from mltrainer_pipelines.agent.action_kinds import Kind
from mltrainer_pipelines.agent.clauses import VERBS, Mood, clauses
from mltrainer_pipelines.agent.names import UnknownModelNameError, feature_set_in, letters_of, model_named, models_in
from mltrainer_pipelines.agent.quantities import (
    NUMBER,
    Text,
    number,
    read_bars,
    read_params,
    read_timeframe,
    read_train_sessions,
    share,
    with_digits,
)
from mltrainer_pipelines.agent.vocabulary import FILLER, VOCABULARY, spelled
from mltrainer_pipelines.store.runtime_settings import SETTINGS

MOST = 6
"""Actions of one message."""


@dataclass(frozen=True)
class RequestedAction:
    """An action that a text asks for: `problems` are parts of it that cannot be done, `question` is to"
    " be answered before it can."""

    kind: Kind
    params: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    question: str = ""


@dataclass(frozen=True)
class Wishes:
    """What a message asks for; `unsure` are actions that it may ask for, `unused` words that were not"
    " used, `others` other clauses."""

    actions: list[RequestedAction] = field(default_factory=list)
    unsure: list[RequestedAction] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    moods: set[Mood] = field(default_factory=set)


_RUN = (
    r"(?:re-?)?(?:run|start|initiate|launch|execute|begin|perform|do|try|train|test|fit|submit|evaluate"
    r"|backtest|conduct|queue|use|make|give)"
    r"|kick off|fire up|spin up|carry out|set off"
)
_CHANGE = (
    r"set|increase|raise|lift|decrease|lower|reduce|drop|cut|change|put|move|bring|adjust|turn|switch|make|have|enable|disable"
)
_SCREENING = (
    r"\bmomentum[\s-]+(?:stock[\s-]+)?(?:screen(?:ing)?|analysis|scan|search|analyses)\b"
    r"|\bscreen(?:ing)? (?:the )?(?:market|stocks|universe|symbols)\b"
    r"|\bscreen for\b.*\bmomentum\b|\b(?:find|look for|search for|scan)\b.*\bmomentum (?:stocks|candidates|symbols|names|plays)\b"
    r"|\bscan\b.*\bmomentum\b"
)
_NAMED = {
    "min_confidence": r"(?:min(?:imum|imal)?[\s_]+)?confidence",
    "min_profit_probability": r"(?:min(?:imum|imal)?[\s_]+)?(?:profit[\s_]+)?probability",
    "min_regime_score": r"(?:min(?:imum|imal)?[\s_]+)?regime",
    "daily_trials": r"(?:daily[\s_]+trials?|trials?[\s_]+(?:a|per)[\s_]+day)",
    "daily_dollars": r"(?:daily[\s_]+(?:dollars?|budget|spend(?:ing)?)|dollars?[\s_]+(?:a|per)[\s_]+day)",
    "daily_compute_minutes": r"(?:daily[\s_]+)?comput(?:e|ing)[\s_]+(?:minutes|time)",
}
_KIND_OF = r"(?:[\s_]*(?:threshold|score|bar|level|gate|limit|minimum|budget|setting))*"
_EXCLUDED = re.compile(
    r"\b(?:instead of|rather than|and not|but not|not|without|except(?: for)?|excluding)\b.*?(?=,|\bbut\b"
    r"|\bwith\b|\bfor\b|\bon\b|\band (?:then|also)\b|$)",
    re.I,
)


def wishes(text: str) -> Wishes:
    """What a message of the user asks for, in its order.

    >>> [one.kind for one in wishes("Don't run lightgbm, refresh the signals instead").actions]
    ['refresh_signals']
    """
    read = Wishes()
    for clause in clauses(with_digits(text[:8000])):
        read.moods.add(clause.mood)
        if clause.mood not in ("wish", "unsure"):
            read.others.append(clause.text)
            continue
        words = Text(_EXCLUDED.sub(" ", spelled(clause.text)))
        requests = _requested(words)
        if not requests:
            read.others.append(clause.text)
        elif clause.mood == "unsure":
            read.unsure.extend(requests)
        else:
            if clause.corrects:
                read.actions.clear()
            read.actions.extend(one for one in requests if one not in read.actions)
            read.unused.extend(_unused(words.rest))
    del read.actions[MOST:]
    return read


def is_own_setting(text: str) -> bool:
    """Whether a message asks for a setting that Claude has no tool for, such as its own budget, and for nothing else."""
    read = wishes(text)
    thresholds = ("min_profit_probability", "min_confidence", "min_regime_score")
    own = [one for one in read.actions if one.kind == "change_setting" and one.params["name"] not in thresholds]
    return bool(own) and own == read.actions and not (read.others or read.unused)


def _requested(text: Text) -> list[RequestedAction]:
    for recognise in (_proposals, _settings, _trials_proposed, _refresh, _ensemble, _screening, _trials):
        if requests := recognise(text):
            return requests
    return []


def _asked(kind: Kind, params: dict[str, Any], text: Text) -> RequestedAction:
    return RequestedAction(kind, params, text.problems, text.question)


def _starts(text: Text, verbs: str) -> re.Match[str] | None:
    match = re.match(rf"\s*(?:{verbs})\b", text.rest, re.I)
    if match is not None:
        text.blank(match.start(), match.end())
    return match


def _proposals(text: Text) -> list[RequestedAction]:
    match = re.match(
        r"\s*(approve|accept|confirm|take|reject|decline|refuse|dismiss"
        r"|turn down)\s+(?:the\s+)?proposals?\s*((?:(?:number|no\.?|nr\.?|#|and|,|\s)*\d{1,9})+)",
        text.rest,
        re.I,
    )
    if match is None:
        return []
    text.blank(match.start(), match.end())
    decision = "approve" if match[1].lower() in ("approve", "accept", "confirm", "take") else "reject"
    ids = [int(one) for one in re.findall(r"\d+", match[2])]
    return [RequestedAction("decide_proposal", {"proposal_id": one, "decision": decision}) for one in ids]


def _settings(text: Text) -> list[RequestedAction]:
    before = text.rest
    verb = _starts(text, _CHANGE)
    if verb is None and not re.match(
        rf"\s*(?:the\s+)?(?:{'|'.join(_NAMED.values())}){_KIND_OF}\s*(?:=|:|to be\b|to\b)", text.rest, re.I
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
    for name, word in _NAMED.items():
        to = r"\s*(?:(?:up|down|back)\s+)?(?:to be|to|at|=|:|of|be|is|as)?\s*\$?"
        match = text.take(rf"\b(?:the )?{word}{_KIND_OF}{to}({NUMBER})(?![-\w]|[.,]\d)\s*(%|percent|per cent|dollars?|\$)?")
        if match is None:
            continue
        given = share(match[1], match[2]) if SETTINGS[name].high == 1.0 else number(match[1])
        whole = SETTINGS[name].kind == "integer" and given == int(given)
        found.append(RequestedAction("change_setting", {"name": name, "value": int(given) if whole else given}))
    if not found and verb is not None:
        wanted = re.match(r"\s*(?:the\s+)?([a-z]+_[a-z_]+)\s+(?:to\s+|=\s*)?(\S+)", text.rest, re.I)
        if wanted and verb[0].strip().lower() in ("set", "change", "put"):
            text.blank(wanted.start(), wanted.end())
            return [RequestedAction("change_setting", {"name": wanted[1].lower(), "value": _plain_value(wanted[2])})]
        text.rest = before
    return found


def _plain_value(given: str) -> Any:
    words = given.rstrip(".!").lower()
    if words in ("true", "on", "false", "off"):
        return words in ("true", "on")
    return float(words) if re.fullmatch(NUMBER, words) else words


def _trials_proposed(text: Text) -> list[RequestedAction]:
    verbs = r"propose|suggest|ask for|come up with|generate|request|find|think of|get"
    new = r"(?:\s+(?:me|us|some|a few|few|new|the|next|more|other|\d+))*\s+(?:trials|experiments|ideas|proposals|hypotheses)\b"
    match = re.match(rf"\s*(?:{verbs}){new}(?:\s+to (?:try|run))?", text.rest, re.I)
    if match is None:
        return []
    text.blank(match.start(), match.end())
    return [RequestedAction("propose_trials", {})]


def _refresh(text: Text) -> list[RequestedAction]:
    verbs = r"refresh|update|re-?score|score|recompute|renew|re-?run"
    match = re.match(
        rf"\s*(?:{verbs})\s+(?:(?:all|the|our|my|live|current|trading|delayed)\s+)*(?:signals?|market|scores?"
        rf"|quotes|recommendations)\b",
        text.rest,
        re.I,
    )
    if match is None:
        return []
    text.blank(match.start(), match.end())
    return [RequestedAction("refresh_signals", {})]


def _ensemble(text: Text) -> list[RequestedAction]:
    mixes = re.match(r"\s*(?:combine|blend|stack|mix|ensemble)\b", text.rest, re.I)
    named = [model for model, *_ in models_in(text.rest, VOCABULARY)]
    word = re.search(r"\bensembles?\b", text.rest, re.I)
    if mixes is None and (word is None or any("ensemble" in model for model in named)):
        return []
    if mixes is None and _starts(text, _RUN + "|build|create|go for") is None:
        return []
    if mixes:
        text.blank(mixes.start(), mixes.end())
    text.take(r"\b(?:into )?(?:an? |the )?ensembles?\b")
    models = _models(text)
    return [_asked("ensemble", {"models": models, "timeframe": read_timeframe(text)}, text)]


def _screening(text: Text) -> list[RequestedAction]:
    match = re.search(_SCREENING, text.rest, re.I)
    if match is None or re.search(r"\bmomentum\b.*\b(?:is|was|takes|works|has|did|does|needs)\b", text.rest, re.I):
        return []
    before = text.rest[: match.start()].strip()
    if before and not re.match(rf"(?:{_RUN}|{VERBS}|an?|the|another|new)\b", before, re.I):
        return []
    _starts(text, f"{_RUN}|{VERBS}")
    text.take(
        r"\b(?:momentum[\s-]+(?:stock[\s-]+)?(?:screen(?:ing)?|analysis|scan|search|analyses|stocks"
        r"|candidates|symbols|names|plays))\b"
    )
    bars, timeframe = read_bars(text), read_timeframe(text)
    return [_asked("momentum_screening", {"models": _models(text), "timeframe": timeframe} | bars, text)]


def _trials(text: Text) -> list[RequestedAction]:
    """Models that are to be run; other words after "run" mean something else."""
    verb = _starts(text, _RUN)
    if verb is None:
        return []
    features = feature_set_in(text.rest)
    if features:
        text.blank(features[1], features[2])
    marked = re.search(r"\b(?:model|trial|walk-?forward)\b", text.rest, re.I)
    head = re.split(r"\b(?:with|on|over|for)\b", text.rest, maxsplit=1)[0]
    named = models_in(head, VOCABULARY) or models_in(text.rest, VOCABULARY)
    for _, begin, end in named:
        text.blank(begin, end)
    sessions, timeframe = read_train_sessions(text), read_timeframe(text)
    models = list(dict.fromkeys(model for model, *_ in named))
    if not models:
        _models(text if marked else Text(""))
        return [_asked("submit_trial", {"model": "", "timeframe": timeframe}, text)] if text.problems else []
    more: dict[str, Any] = {"feature_set": features[0]} if features else {}
    more |= {"train_sessions": sessions} if sessions else {}
    requests = []
    for model in models:
        params = read_params(text, model) if len(models) == 1 else {}
        given = {"params": params} if params else {}
        requests.append(_asked("submit_trial", {"model": model, "timeframe": timeframe, **given, **more}, text))
    return requests


def _models(text: Text) -> list[str]:
    """Models that are listed; a name that no model has is a problem."""
    found = models_in(text.rest, VOCABULARY)
    for _, begin, end in reversed(found):
        text.blank(begin, end)
    listed = re.search(r"\b(?:with|using|of|through|model|trial of|trial with)\s+(.+)", text.rest, re.I)
    unknown = listed[1] if listed else "" if found else text.rest
    for part in re.split(r",|\+|&|/|\band\b|\bor\b", unknown)[:6]:
        name = re.split(
            rf"\b(?:models?|for|at|on|over|in|to|with|targeting)\b|[.?!;:()]|\s\+?{NUMBER}|^\+?{NUMBER}", part.strip(" '\"*`")
        )[0].strip()
        words = [word for word in name.split() if letters_of(word) not in FILLER]
        if words and len(name) <= 40:
            try:
                model_named(" ".join(words))
            except UnknownModelNameError as error:
                text.problems.append(str(error))
                text.rest = text.rest.replace(" ".join(words), " " * len(" ".join(words)))
    return list(dict.fromkeys(model for model, *_ in found))


def _unused(rest: str) -> list[str]:
    words = re.findall(r"[^\s,;:.!?()\"'`]+", rest)
    return [word for word in words if letters_of(word) and letters_of(word) not in FILLER]
