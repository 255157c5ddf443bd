"""What a message asks for: actions with their parameters, what of it was not used, and what to ask back."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from mltrainer_pipelines.agent.action_kinds import Kind
from mltrainer_pipelines.agent.clauses import VERBS, Mood, clauses
from mltrainer_pipelines.agent.names import UnknownModelNameError, feature_set_in, letters_of, model_named, models_in
from mltrainer_pipelines.agent.quantities import (
    NUMBER,
    Text,
    read_bars,
    read_params,
    read_timeframe,
    read_train_sessions,
    with_digits,
)
from mltrainer_pipelines.agent.setting_wishes import CHANGE, NAMED, THRESHOLDS, RequestedAction, settings_asked, starts
from mltrainer_pipelines.agent.vocabulary import FILLER, VOCABULARY, spelled

MOST = 6
"""Actions of one message."""


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
    r"|kick off|fire up|spin up|carry out|set off|go with|go for|have a (?:go|try) (?:at|with)"
)
_SCREENING = (
    r"\bmomentum[\s-]+(?:stock[\s-]+)?(?:screen(?:ing)?|analysis|scan|search|analyses)\b"
    r"|\bscreen(?:ing)? (?:the )?(?:market|stocks|universe|symbols)\b"
    r"|\bscreen for\b.*\bmomentum\b|\b(?:find|look for|search for|scan)\b.*\bmomentum (?:stocks|candidates|symbols|names|plays)\b"
    r"|\bscan\b.*\bmomentum\b|\bscreen(?:ing)?\b(?! (?:results?|page|candidates))"
)
_AFTER = "with|using|for|at|on|over|of|in|targeting|please|now|again"
_ADJECTIVES = r"(?:(?:an?|the|another|new|quick|full|fresh|long|short|long-term|short-term|\d+(?:-\d+)?[\s-]days?)(?:[\s-]+|$))*"
_AGENT = re.compile(r"(?:please )?(stop|pause|halt|resume|restart|continue) (?:the )?agent(?: please| now)?[.!]*")
_HEDGE = re.compile(
    r"^(?:(?:maybe|perhaps|possibly|so|then|just)[\s,]+|(?:i|we|you) (?:could|might|would|may|will)\s+"
    r"|(?:if|when|once|should)\b[^,]*,\s*)+",
    re.I,
)
_EXCLUDED = re.compile(
    r"\b(?:instead of|rather than|and not|but not|not|without|except(?: for)?|excluding)\b\s+\S+.*?(?=,|\bbut\b"
    r"|\bwith\b|\bfor\b|\bon\b|\band (?:then|also)\b|$)",
    re.I,
)


def wishes(text: str) -> Wishes:
    """What a message of the user asks for, in its order.

    >>> [one.kind for one in wishes("Don't run lightgbm, refresh the signals instead").actions]
    ['refresh_signals']
    """
    read, unwanted, about = Wishes(), set[str](), ""
    if match := _AGENT.fullmatch(text.strip().lower()):
        on = match[1] in ("resume", "restart", "continue")
        return Wishes([RequestedAction("change_setting", {"name": "agent_enabled", "value": on})], moods={"wish"})
    for clause in clauses(with_digits(text[:8000])):
        read.moods.add(clause.mood)
        text = clause.text
        if about and re.match(rf"(?:{CHANGE}) (?:it|that)\b", text, re.I):  # "don't raise the threshold, lower it"
            text = re.sub(r"\b(?:it|that)\b", about, text, count=1, flags=re.I)
        about = next((name for name in THRESHOLDS if re.search(rf"\b{NAMED[name]}\b", text, re.I)), about)
        if clause.mood not in ("wish", "unsure"):
            if clause.mood == "question":
                read.others.append(clause.text)
            if clause.mood == "refusal":
                unwanted |= {model for model, *_ in models_in(clause.text, VOCABULARY)}
            continue
        if clause.mood == "unsure":
            text = _HEDGE.sub("", text)
        words = Text(_EXCLUDED.sub(" ", spelled(text)))
        requests = _requested(words)
        if not requests:
            read.others.extend([] if re.match(r"(?:leave|keep)\b", text, re.I) else [text])
        elif clause.mood == "unsure":
            read.unsure.extend(requests)
        else:
            if clause.corrects:
                read.actions.clear()
            read.actions.extend(one for one in requests if one not in read.actions)
            read.unused.extend(_unused(words.rest))
    read.actions[:] = [_without(one, unwanted) for one in read.actions[:MOST]]
    return read


def _without(request: RequestedAction, models: set[str]) -> RequestedAction:
    """A request for several models, less those that the message refuses."""
    if not models or "models" not in request.params:
        return request
    left = [model for model in request.params["models"] if model not in models]
    return replace(request, params=request.params | {"models": left}, without=frozenset(models))


def is_own_setting(text: str) -> bool:
    """Whether a message asks for a setting that Claude has no tool for, such as its own budget, and for nothing else."""
    read = wishes(text)
    own = [one for one in read.actions if one.kind == "change_setting" and one.params["name"] not in THRESHOLDS]
    return bool(own) and own == read.actions and not (read.others or read.unused)


def _requested(text: Text) -> list[RequestedAction]:
    for recognise in (_proposals, settings_asked, _trials_proposed, _refresh, _ensemble, _screening, _trials):
        if requests := recognise(text):
            return requests
    return []


def _asked(kind: Kind, params: dict[str, Any], text: Text) -> RequestedAction:
    return RequestedAction(kind, params, text.problems, text.question)


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
    if mixes is None and starts(text, _RUN + "|build|create|go for") is None:
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
    verb = re.match(rf"(?:{_RUN}|{VERBS})\b", text.rest.strip(), re.I)
    # Without a verb it is a request where nothing is said of it: "the momentum screening takes long" is none.
    alone = re.match(rf"\s*(?:$|[,.!]|(?:{_AFTER})\b)", text.rest[match.end() :], re.I)
    if verb is None and (alone is None or len(before) > 60 or not re.fullmatch(_ADJECTIVES, before, re.I)):
        return []
    starts(text, f"{_RUN}|{VERBS}")
    text.take(
        r"\b(?:momentum[\s-]+(?:stock[\s-]+)?(?:screen(?:ing)?|analysis|scan|search|analyses|stocks"
        r"|candidates|symbols|names|plays))\b"
    )
    bars, timeframe = read_bars(text), read_timeframe(text)
    return [_asked("momentum_screening", {"models": _models(text), "timeframe": timeframe} | bars, text)]


def _trials(text: Text) -> list[RequestedAction]:
    """Models that are to be run; other words after "run" mean something else."""
    verb = starts(text, _RUN)
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
    listed_models = models_in(text.rest, VOCABULARY)
    for _, begin, end in reversed(listed_models):
        text.blank(begin, end)
    listed = re.search(r"\b(?:with|using|of|through|model|trial of|trial with)\s+(.+)", text.rest, re.I)
    unknown = listed[1] if listed else "" if listed_models else text.rest
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
    return list(dict.fromkeys(model for model, *_ in listed_models))


def _unused(rest: str) -> list[str]:
    words = re.findall(r"[^\s,;:.!?()\"'`]+", rest)
    return [word for word in words if letters_of(word) and letters_of(word) not in FILLER]
