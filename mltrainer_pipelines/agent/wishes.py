"""What a message asks for: actions with their parameters, what of it was not used, and what to ask back."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from mltrainer_pipelines.agent.clauses import RUN, VERBS, Mood, clauses
from mltrainer_pipelines.agent.names import feature_set_in, models_in
from mltrainer_pipelines.agent.quantities import (
    Text,
    read_bars,
    read_params,
    read_timeframe,
    read_train_sessions,
    with_digits,
)
from mltrainer_pipelines.agent.request_kinds import DECIDE, NUMBERS, STATED, requested_actions, unused_words
from mltrainer_pipelines.agent.setting_wishes import CHANGE, NAMED, THRESHOLDS, RequestedAction, starts
from mltrainer_pipelines.agent.vocabulary import VOCABULARY, plain_english

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
    read, unwanted, about = Wishes(), set[str](), _About()
    text = with_digits(plain_english(text[:8000]))
    if match := _AGENT.fullmatch(text.strip().lower()):
        on = match[1] in ("resume", "restart", "continue")
        return Wishes([RequestedAction("change_setting", {"name": "agent_enabled", "value": on})], moods={"wish"})
    for clause in clauses(text):
        read.moods.add(clause.mood)
        text = about.named_in(clause.text)
        if clause.mood not in ("wish", "unsure"):
            if clause.mood == "question":
                read.others.append(clause.text)
            if clause.mood == "refusal":
                unwanted |= {model for model, *_ in models_in(clause.text, VOCABULARY)}
            continue
        if clause.mood == "unsure":
            text = _HEDGE.sub("", text)
        words = Text(
            re.sub(rf"^((?:{VERBS})) (?:then|now|also|just|again|quickly|maybe)\b", r"\1", _EXCLUDED.sub(" ", text), flags=re.I)
        )
        requests = requested_actions(words, clause.requested)
        further = clause.mood == "wish" and read.actions and (not requests or requests[0].kind == "change_setting")
        if further and (more := _continued(read.actions[-1], text)):
            read.actions[-1] = more
        elif not requests:
            read.others.extend([] if re.match(r"(?:leave|keep)\b", text, re.I) else [text])
        elif clause.mood == "unsure":
            read.unsure.extend(requests)
        else:
            if clause.corrects:
                read.actions.clear()
            said_again = [one for one in read.actions if any(_refines(new, one) for new in requests)]
            read.actions[:] = [one for one in read.actions if one not in said_again]
            read.actions.extend(one for one in requests if one not in read.actions)
            read.unused.extend(unused_words(words.rest))
    read.actions[:] = [_without(one, unwanted) for one in read.actions[:MOST]]
    return read


def _refines(new: RequestedAction, before: RequestedAction) -> bool:
    """Whether a request says again, with more, what was asked for before ("make that lightgbm: run lightgbm with 100 rounds")."""
    return new != before and new.kind == before.kind == "submit_trial" and before.params.items() <= new.params.items()


@dataclass
class _About:
    """What a message spoke of last, for "it" and "them"."""

    threshold: str = ""
    models: str = ""
    proposals: str = ""

    def named_in(self, text: str) -> str:
        """A clause with the names of what its "it", "that" or "them" mean; what it names itself is remembered."""
        them = r"(?:it|that(?: one)?|them|this(?: one)?|these|those|both)\b(?! \w+_)"
        for name, verbs in ((self.threshold, CHANGE), (self.proposals, DECIDE), (self.models, RUN)):
            if name and (match := re.match(rf"((?:{verbs}) ){them}", text, re.I)) and not models_in(text, VOCABULARY):
                text = match[1] + name + text[match.end() :]
        self.threshold = next((name for name in THRESHOLDS if re.search(rf"\b{NAMED[name]}\b", text, re.I)), self.threshold)
        self.models = " and ".join(model for model, *_ in models_in(text, VOCABULARY)) or self.models
        proposals = re.search(rf"\bproposals?{NUMBERS}", text, re.I)
        self.proposals = proposals[0] if proposals else self.proposals
        return text


def _continued(last: RequestedAction, text: str) -> RequestedAction | None:
    """The action asked for before with what a further clause says of it ("run lightgbm. Use 300 rounds."), if it says no more."""
    words = Text(text)
    starts(words, f"{RUN}|{CHANGE}")
    more: dict[str, Any] = {}
    if last.kind == "submit_trial":
        if features := feature_set_in(words.rest):
            words.blank(features[1], features[2])
            more["feature_set"] = features[0]
        if sessions := read_train_sessions(words):
            more["train_sessions"] = sessions
        if params := read_params(words, last.params["model"]):
            more["params"] = last.params.get("params", {}) | params
    elif last.kind == "momentum_screening" and not re.search(rf"\b(?:{CHANGE}|threshold|gate|setting)\b|min_", text, re.I):
        more |= read_bars(words)
    if last.kind in ("submit_trial", "momentum_screening", "ensemble"):
        timeframe = read_timeframe(words, "")
        more |= {"timeframe": timeframe} if timeframe else {}
    if not more or words.problems or words.question or unused_words(words.rest) or STATED.search(words.rest):
        return None
    return replace(last, params=last.params | more)


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
