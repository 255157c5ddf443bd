"""Requests by what they are about: proposals, settings, new trials, signals, ensembles, screenings, models to run."""

import re
from typing import Any

from mltrainer_pipelines.agent.action_kinds import Kind
from mltrainer_pipelines.agent.clauses import RUN, VERBS
from mltrainer_pipelines.agent.names import UnknownModelNameError, feature_set_in, letters_of, model_named, models_in
from mltrainer_pipelines.agent.quantities import NUMBER, Text, read_bars, read_params, read_timeframe, read_train_sessions
from mltrainer_pipelines.agent.setting_wishes import ASKS_BACK, CHANGE, RequestedAction, settings_asked, starts
from mltrainer_pipelines.agent.vocabulary import FILLER, VOCABULARY

_SCREENING = (
    r"\bmomentum[\s-]+(?:stock[\s-]+)?(?:screen(?:ing)?|analysis|scan|search|analyses)\b"
    r"|\bscreen(?:ing)? (?:the )?(?:market|stocks|universe|symbols)\b"
    r"|\bscreen for\b.*\bmomentum\b|\b(?:find|look for|search for|scan)\b.*\bmomentum (?:stocks|candidates|symbols|names|plays)\b"
    r"|\bscan (?:the )?(?:market|stocks|universe|symbols|names)\b|\bscan\b.*\bmomentum\b|\bmomentum run\b"
    r"|\bscreen(?:ing)?\b(?! (?:results?|page|candidates))"
)


def requested_actions(text: Text, asked: bool) -> list[RequestedAction]:
    """The actions that a clause asks for; `asked` where it begins as requests do. What of it is used is blanked."""
    if re.match(r"\s*(?:leave|keep)\b", text.rest, re.I):
        return []
    begins = asked or re.match(rf"\s*(?:{VERBS}|{CHANGE}|{DECIDE})\b", text.rest, re.I)
    works = re.search(_SCREENING, text.rest, re.I) or models_in(text.rest, VOCABULARY)
    for recognise in (_proposals, settings_asked, _trials_proposed, _refresh, _ensemble, _screening, _trials):
        left = Text(text.rest)
        if recognise is settings_asked and works and not re.match(rf"\s*(?:{ASKS_BACK})\b", text.rest, re.I):
            continue  # "momentum screening with a minimum confidence of 80 %"
        # Without a verb it is a request where nothing else is said: "the momentum screening takes long" is none.
        if (requests := recognise(left)) and (begins or not (STATED.search(left.rest) or unused_words(left.rest))):
            vars(text).update(vars(left))
            return requests
    return []


STATED = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|does|did|it|its|they|he|she|you|i|we|seems?|looks?|works?|takes?|needs?|than|there)\b"
    r"|[<>]|'s\b",
    re.I,
)
"""Words of a clause that states something."""
DECIDE = (
    r"approve(?: of)?|accept|confirm|take|ok(?:ay)?|green-?light|say yes to|yes to|go (?:ahead )?with|reject|decline"
    r"|refuse|dismiss"
    r"|turn down|say no to|no to|throw out|discard"
)
NUMBERS = r"\s*((?:(?:number|no\.?|nr\.?|#|and|&|,|\s)*\d{1,9}(?!\d|[.,]\d|\s*%))+)"


def _asked(kind: Kind, params: dict[str, Any], text: Text) -> RequestedAction:
    return RequestedAction(kind, params, text.problems, text.question)


def _proposals(text: Text) -> list[RequestedAction]:
    match = re.match(rf"\s*(?:i )?({DECIDE})\s+(?:the\s+)?(?:trials? of\s+)?(?:the )?proposals?{NUMBERS}", text.rest, re.I)
    if match is None:
        every = re.match(
            rf"\s*(?:{DECIDE})\s+(?:all|every|both|each|the|these|those|of|open|pending|waiting|\s)*proposals?\b",
            text.rest,
            re.I,
        )
        if every is None:
            return []
        text.blank(every.start(), every.end())
        ask = 'which proposals? "proposals" lists them; say for example "approve proposals 3 and 4".'
        return [RequestedAction("decide_proposal", {}, question=ask)]
    text.blank(match.start(), match.end())
    refused = re.match(r"(?:reject|decline|refuse|dismiss|turn down|say no to|no to|throw out|discard)", match[1], re.I)
    ids = [int(one) for one in re.findall(r"\d+", match[2])]
    decision = "reject" if refused else "approve"
    return [RequestedAction("decide_proposal", {"proposal_id": one, "decision": decision}) for one in ids]


def _trials_proposed(text: Text) -> list[RequestedAction]:
    verbs = (
        r"propose|suggest|ask(?: \w+)? for|come up with|generate|request|find|think (?:of|up)|get|make|create|give"
        r"|have|let|prepare|design"
    )
    what = r"(?:trials?|experiments?|ideas?|proposals?|hypothes[ei]s|suggestions?)\b"
    match = re.match(rf"\s*(?:{verbs})\b((?:\s+[\w-]+){{0,7}}?)\s+{what}(?:\s+to (?:try|run))?", text.rest, re.I)
    if match is None or models_in(match[1], VOCABULARY):
        return []
    words = match[1].lower().split()
    new = {"new", "next", "more", "other", "fresh", "further", "another", "some", "few", "trial", "proposer"} & set(words)
    if not new and not re.match(r"\s*(?:propose|suggest|come up|think)", text.rest, re.I):
        return []
    text.blank(match.start(), match.end())
    return [RequestedAction("propose_trials", {})]


def _refresh(text: Text) -> list[RequestedAction]:
    verbs = (
        r"refresh|update|re-?score|score|re-?compute|re-?calculate|compute|calculate|renew|re-?run|run|reload|redo|re-?generate"
        r"|get|fetch|give|bring|make|pull"
    )
    match = re.match(
        rf"\s*(?:{verbs})\s+(?:(?:all|the|our|my|me|us|live|current|trading|delayed|fresh|new|newest|latest|today's|of)\s+)*"
        rf"(?:signals?|market|scores?|scoring|quotes|recommendations|picks|everything)\b(?: again| up to date| anew)?",
        text.rest,
        re.I,
    ) or re.match(r"\s*(?:the )?(?:signals?|market|scores)\s+(?:refresh|update|re-?score)\b", text.rest, re.I)
    if match is None:
        match = re.match(
            r"\s*(?:re-?)?scor(?:e|ing) (?:(?:all|the|every|our)\s+)*(?:symbols?|stocks|names|universe)\b", text.rest, re.I
        )
    if match is None or (
        re.match(r"\s*(?:run|get|fetch|give|bring|make|pull)\b", match[0], re.I)
        and not re.search(r"\b(?:signals?|scores?|scoring)\b|\b(?:fresh|new) ", match[0], re.I)
    ):
        return []
    text.blank(match.start(), match.end())
    text.take(r"\bon (?:the )?(?:current|delayed|latest|newest|live|today's) (?:quotes|prices|data)\b")
    return [RequestedAction("refresh_signals", {})]


def _ensemble(text: Text) -> list[RequestedAction]:
    mixes = re.match(r"\s*(?:combine|blend|stack|mix|ensemble|merge|average|pool|join)\b", text.rest, re.I)
    named = [model for model, *_ in models_in(text.rest, VOCABULARY)]
    word = re.search(r"\bensembles?\b", text.rest, re.I)
    if mixes is None and (word is None or any("ensemble" in model for model in named)):
        return []
    if mixes is None and starts(text, RUN) is None and not named:
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
    starts(text, f"{RUN}|{VERBS}")
    text.take(
        r"\b(?:momentum[\s-]+(?:stock[\s-]+)?(?:screen(?:ing)?|analysis|scan|search|analyses|run|stocks"
        r"|candidates|symbols|names|plays))\b"
    )
    bars, timeframe = read_bars(text), read_timeframe(text)
    return [_asked("momentum_screening", {"models": _models(text), "timeframe": timeframe} | bars, text)]


def _trials(text: Text) -> list[RequestedAction]:
    """Models that are to be run; other words after "run" mean something else."""
    verb = starts(text, RUN)
    features = feature_set_in(text.rest)
    if features:
        text.blank(features[1], features[2])
    marked = re.search(r"\b(?:model|trial|walk-?forward|back-?test|test|run|experiment)\b", text.rest, re.I)
    named = _to_run(text.rest)
    for _, begin, end in named:
        text.blank(begin, end)
    sessions, timeframe = read_train_sessions(text), read_timeframe(text, "")
    models = list(dict.fromkeys(model for model, *_ in named))
    if not models:
        _models(text if marked and verb else Text(""))
        return [_asked("submit_trial", {"model": "", "timeframe": timeframe or "short"}, text)] if text.problems else []
    more: dict[str, Any] = {"feature_set": features[0]} if features else {}
    more |= {"train_sessions": sessions} if sessions else {}
    given = _params(text, named)
    if verb is None and not (marked or timeframe or more or any(given.values())):
        return []
    return [
        _asked(
            "submit_trial",
            {"model": one, "timeframe": timeframe or "short", **({"params": given[one]} if given[one] else {}), **more},
            text,
        )
        for one in models
    ]


def _to_run(text: str) -> list[tuple[str, int, int]]:
    """The models before "with", "on", "over" and "for"; where there are none, those after them."""
    head = re.split(r"\b(?:with|on|over|for)\b", text, maxsplit=1)[0]
    return models_in(head, VOCABULARY) or models_in(text, VOCABULARY)


def _params(text: Text, named: list[tuple[str, int, int]]) -> dict[str, dict[str, Any]]:
    """Each model's parameters: those after its name; those after the last name are every model's that has none of its own."""
    if len({model for model, *_ in named}) == 1:
        return {named[0][0]: read_params(text, named[0][0])}
    given: dict[str, dict[str, Any]] = {}
    for place, (model, _, begin) in enumerate(named):
        end = named[place + 1][1] if place + 1 < len(named) else len(text.rest)
        part = Text(" " * begin + text.rest[begin:end])
        given[model] = given.get(model, {}) | read_params(part, model)
        last = place + 1 == len(named)
        if last and not any(given[one] for one, *_ in named[:-1]):
            for other, *_ in named[:-1]:
                shared = Text(" " * begin + text.rest[begin:end])
                given[other] = read_params(shared, other)
                part.problems += shared.problems
        text.rest = text.rest[:begin] + part.rest[begin:end] + text.rest[end:]
        text.problems += part.problems
    return given


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


def unused_words(rest: str) -> list[str]:
    words = re.findall(r"[^\s,;:.!?()\"'`]+", rest)
    return [word for word in words if (letters_of(word) and letters_of(word) not in FILLER and word.lower() not in FILLER)]
