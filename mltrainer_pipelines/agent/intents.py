"""Plain text that means an action: "initiate momentum screening with RandomForest", "yes", "explain AAPL".

What is recognised is only ever put before the user. A pattern approves nothing, with one exception: a
message of the user that is a yes and nothing else (`decision`).
"""

import re
from dataclasses import dataclass, field
from typing import Any

from mltrainer_pipelines.agent.action_kinds import ActionError, Kind, model_named
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.store.runtime_settings import SETTINGS


@dataclass(frozen=True)
class RequestedAction:
    """An action that a text asks for; `problems` are the parts of it that cannot be done."""

    kind: Kind
    params: dict[str, Any]
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lookup:
    """Something that a text asks to look up; `query` is a key of `commands.QUERIES`, or `help`."""

    query: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """A yes or a no; `ids` is empty where none is named, `everything` where all are meant."""

    yes: bool
    ids: tuple[int, ...] = ()
    everything: bool = False


_YES = (
    r"yes|y|yep|yeah|yes please|ok|okay|sure|go|go ahead|do it|run it|run|execute|execute it"
    r"|approve|approved|confirm|confirmed|proceed"
)
_NO = r"no|n|nope|no thanks|cancel|cancel it|dismiss|dismiss it|reject|stop|don'?t"
_DECISION = re.compile(
    rf"^(?:(?P<yes>{_YES})|(?P<no>{_NO}))(?:[,:]? (?:please|execute(?: it)?|do it|run it|go ahead))?"
    r"(?P<all> (?:all|everything|both))?(?P<ids>(?: (?:and |action |actions )*#?\d{1,9},?)*)[.!]*$"
)


def decision(text: str) -> Decision | None:
    """A message of the user as a yes or a no, None where it is anything else or anything more.

    >>> decision("execute 3 and 4")
    Decision(yes=True, ids=(3, 4), everything=False)
    >>> decision("yes, but with LightGBM instead") is None
    True
    """
    match = _DECISION.fullmatch(" ".join(text.lower().replace("’", "'").split()))
    if match is None:
        return None
    ids = tuple(dict.fromkeys(int(number) for number in re.findall(r"\d+", match["ids"])))
    return Decision(match["yes"] is not None, ids, match["all"] is not None)


_SENTENCE = re.compile(r"(?<=[!?;\n])\s*|(?<=\.)\s+")
_NEGATED = re.compile(
    r"\b(?:don'?t|do not|not|never|won'?t|wouldn'?t|shouldn'?t|cannot|can'?t|without|avoid|instead of|rather than|no need"
    r"|stop)\b",
    re.I,
)
_DO = (
    r"(?:initiate|initiating|start|starting|run|running|launch|launching|execute|executing|begin|perform|do|try|trying|kick off)"
)
_SCREENING = re.compile(rf"\b{_DO}\b[^.\n]{{0,40}}?\bmomentum[\s-]+(?:screening|screen|analysis|scan)\b", re.I)
_BARE_SCREENING = re.compile(r"^\W*momentum[\s-]+(?:screening|screen|analysis|scan)\b", re.I)
_ENSEMBLE = re.compile(r"\bensemble\s+(?:of|with|using|from)\s+(?P<names>.+)", re.I)
_THRESHOLD = re.compile(
    r"\b(?:increase|increasing|raise|raising|decrease|lower|lowering|reduce|set|setting|change|put)\b[^.\n]{0,30}?"
    r"\b(?P<which>confidence|profit probability|probability|regime)\b(?:[\s-]+(?:threshold|score|bar|level|gate))*\s+"
    r"(?:up |down )?(?:to|at)\s+(?P<value>\d+(?:\.\d+)?)\s*(?P<percent>%|percent|per cent)?",
    re.I,
)
_SETTING = re.compile(r"^\s*set\s+(?P<name>[a-z]+_[a-z_]+|autonomy|proposer)\s+(?:to\s+|=\s*)?(?P<value>\S+)\s*$", re.I)
_PROPOSAL = re.compile(r"\b(?P<what>approve|accept|reject)\s+(?:the\s+)?proposals?\s+#?(?P<id>\d+)\b", re.I)
_EXECUTE = re.compile(
    rf"\b(?:{_DO}|train|test|submit)\s+(?:a\s+|the\s+|another\s+)?(?:trial\s+(?:of|with)\s+|model\s+|walk-forward\s+(?:of|with)\s+)?"
    r"(?P<names>[A-Za-z][\w-]*(?:\s+(?:forest|regression|boosting|network))?)"
    r"(?P<marked>\s+(?:model|trial|walk-forward|on|for|over)\b)?",
    re.I,
)
_REFRESH = re.compile(r"\b(?:refresh(?:ing)?|update|rescore|score)\s+(?:the\s+)?(?:signals|market|scores)\b", re.I)
_PROPOSE = re.compile(r"\b(?:propose|suggest|ask for)\s+(?:some\s+|new\s+|the\s+next\s+|more\s+)*trials\b", re.I)
_WITH = re.compile(r"\b(?:with|using|of|through|on)\s+(?P<names>.+)", re.I)
_NAMES_END = re.compile(
    r"\b(?:models?|targeting|target|for|at|on|over|over the|in|to|against|walk-forward|and (?:see|then|list|show)|with|next"
    r"|today|now)\b"
    r"|[.?!;:()\n]|\s\+?\d",
    re.I,
)
_SHORT = re.compile(r"\bshort\b|\b(?:7|8|9|10|11|12)\s*(?:-|–|to)?\s*(?:\d+)?[\s-]*(?:day|session)s?\b", re.I)
_LONG = re.compile(r"\blong\b|\b(?:50|55|60|65|70)\s*(?:-|–|to)?\s*(?:\d+)?[\s-]*(?:day|session)s?\b", re.I)
_CONFIDENCE = re.compile(
    r"(?P<value>\d+(?:\.\d+)?)\s*(?:%|percent)\s*(?:\w+\s+)?confidence"
    r"|confidence\s+(?:of|above|over|at least)\s+(?P<after>\d+(?:\.\d+)?)\s*%",
    re.I,
)
_RETURN = re.compile(r"\+?(?P<value>\d+(?:\.\d+)?)\s*%\s*(?:expected\s+|net\s+)?returns?\b", re.I)


def requested_actions(text: str, by_user: bool) -> list[RequestedAction]:
    """Actions that a text of the agent or of the user asks for, in its order; at most four.

    Only a user's own words change settings by their names, or decide on a proposal.
    """
    requests: list[RequestedAction] = []
    for sentence in _SENTENCE.split(text[:8000]):
        request = _requested(sentence, by_user) if sentence.strip() else None
        if request is not None and request not in requests:
            requests.append(request)
    return requests[:4]


def is_setting_command(text: str) -> bool:
    """Whether a message is "set NAME to VALUE" for a setting that Claude has no tool for, such as its own budget."""
    match = _SETTING.fullmatch(text)
    return match is not None and match["name"].lower() in set(SETTINGS) - {*_THRESHOLDS.values()}


def lookup(text: str) -> Lookup | None:
    """What a user's message asks to look up, by its keywords; None where it is nothing of that kind."""
    words = " ".join(text.lower().split()).strip(" ?.!")
    symbol = re.match(
        r"^(?:explain|why)\s+(?:the\s+)?(?:recommendation\s+)?(?:of\s+|for\s+|is\s+)?\$?(?P<what>#?[\w.\-]+)", text.strip(), re.I
    )
    if symbol:
        what = symbol["what"].lstrip("#").rstrip(".?!")
        if what.isdigit():
            return Lookup("explain", {"recommendation_id": int(what)})
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9.\-]{0,11}", what):
            return Lookup("explain", {"symbol": what.upper()})
    trial = re.search(r"\b([a-z0-9-]+-(?:short|long)-[0-9a-f]{8})\b", words)
    if trial:
        return Lookup("trial", {"trial_id": trial[1]})
    timeframe = {"timeframe": "long"} if _LONG.search(words) else {"timeframe": "short"} if re.search(r"\bshort\b", words) else {}
    for query, pattern in _LOOKUPS:
        if re.search(pattern, words):
            return Lookup(query, timeframe if query in ("leaderboard", "candidates") else {})
    return None


_LOOKUPS: tuple[tuple[str, str], ...] = (
    ("help", r"^(?:help|commands|what can you do)\b"),
    ("regime", r"\bregime\b"),
    ("leaderboard", r"\b(?:leaderboard|best trials?|champions?|ranking)\b"),
    ("models", r"\b(?:models|catalogue|catalog)\b"),
    ("proposals", r"\bproposals?\b"),
    ("performance", r"\b(?:performance|equity|drawdown|hit rate)\b"),
    ("portfolio", r"\b(?:portfolio|positions|paper trades?)\b"),
    ("candidates", r"\b(?:candidates|screening|screen|recommendations?|strong buys?|signals)\b"),
    ("report", r"\b(?:report|learned|learnt)\b"),
    ("settings", r"\b(?:settings?|thresholds?|autonomy|budget)\b"),
    ("status", r"\b(?:status|health|running|progress|how are things)\b"),
)


def timeframe_of(text: str) -> TimeframeName:
    """The holding period a text speaks of; `short` where it names none."""
    return "long" if _LONG.search(text) and not _SHORT.search(text) else "short"


def _requested(sentence: str, by_user: bool) -> RequestedAction | None:
    for recognise in (_threshold, _setting, _proposal, _screening, _ensemble, _refresh, _execute):
        match = recognise(sentence, by_user)
        if match is not None:
            begin, request = match
            return None if _NEGATED.search(sentence[:begin]) else request
    return None


_THRESHOLDS = {
    "confidence": "min_confidence",
    "regime": "min_regime_score",
    "probability": "min_profit_probability",
    "profit probability": "min_profit_probability",
}
Match = tuple[int, RequestedAction] | None


def _threshold(sentence: str, _: bool) -> Match:
    match = _THRESHOLD.search(sentence)
    if match is None:
        return None
    which, value = match["which"].lower(), float(match["value"])
    name = _THRESHOLDS[which]
    if name != "min_regime_score" and (match["percent"] or value > 1):
        value /= 100
    return match.start(), RequestedAction("change_setting", {"name": name, "value": round(value, 6)})


def _setting(sentence: str, by_user: bool) -> Match:
    match = _SETTING.match(sentence)
    if match is None or not by_user:
        return None
    text = match["value"].rstrip(".!")
    value: Any = {"true": True, "false": False, "on": True, "off": False}.get(text.lower(), text)
    if match["name"].lower() == "autonomy" and text.lower() == "off":
        value = "off"
    elif re.fullmatch(r"-?\d+(?:\.\d+)?", text):
        value = float(text)
    return match.start(), RequestedAction("change_setting", {"name": match["name"].lower(), "value": value})


def _proposal(sentence: str, by_user: bool) -> Match:
    match = _PROPOSAL.search(sentence)
    if match is None or not by_user:
        return None
    decided = "reject" if match["what"].lower() == "reject" else "approve"
    return match.start(), RequestedAction("decide_proposal", {"proposal_id": int(match["id"]), "decision": decided})


def _screening(sentence: str, by_user: bool) -> Match:
    match = _SCREENING.search(sentence) or (_BARE_SCREENING.search(sentence) if by_user else None)
    if match is None:
        return None
    named = _WITH.search(sentence[match.end() :])
    models, problems = _listed(named["names"]) if named else ([], [])
    params: dict[str, Any] = {"models": models, "timeframe": timeframe_of(sentence)}
    confidence, returns = _CONFIDENCE.search(sentence), _RETURN.search(sentence)
    if confidence:
        params["min_confidence"] = min(float(confidence["value"] or confidence["after"]) / 100, 1.0)
    if returns:
        params["min_expected_return"] = min(float(returns["value"]) / 100, 1.0)
    return match.start(), RequestedAction("momentum_screening", params, problems)


def _ensemble(sentence: str, _: bool) -> Match:
    match = _ENSEMBLE.search(sentence)
    if match is None:
        return None
    models, problems = _listed(match["names"])
    return match.start(), RequestedAction("ensemble", {"models": models, "timeframe": timeframe_of(sentence)}, problems)


def _refresh(sentence: str, _: bool) -> Match:
    if match := _REFRESH.search(sentence):
        return match.start(), RequestedAction("refresh_signals", {})
    if match := _PROPOSE.search(sentence):
        return match.start(), RequestedAction("propose_trials", {})
    return None


def _execute(sentence: str, by_user: bool) -> Match:
    """A model of the model registry that is to be run; other words after "run" mean something else."""
    for match in _EXECUTE.finditer(sentence):
        for name in dict.fromkeys((match["names"], match["names"].split()[0])):
            if name.lower() in _NO_MODELS:
                continue
            try:
                model = model_named(name)
            except ActionError as error:
                if by_user and match["marked"] and match["marked"].strip() in ("model", "trial"):
                    params = {"model": name, "timeframe": timeframe_of(sentence)}
                    return match.start(), RequestedAction("submit_trial", params, [str(error)])
                continue
            return match.start(), RequestedAction("submit_trial", {"model": model, "timeframe": timeframe_of(sentence)})
    return None


_NO_MODELS = frozenset(
    {"a", "an", "the", "it", "this", "that", "them", "all", "some", "one", "another", "more", "trial", "trials"}
    | {"model", "models", "best", "next"}
)


def _listed(text: str) -> tuple[list[str], list[str]]:
    """Ids of the models in a list such as "RandomForest, XGBoost and LightGBM models", and what is wrong with the others."""
    end = _NAMES_END.search(text)
    names = re.split(r"\s*(?:,|\+|&|/|\band\b|\bor\b)\s*", text[: end.start()] if end else text)
    models: list[str] = []
    problems: list[str] = []
    for name in (part.strip(" \"'*`") for part in names[:6]):
        if not name or len(name) > 40 or name.lower() in _NO_MODELS:
            continue
        try:
            model = model_named(name)
        except ActionError as error:
            problems.append(str(error))
            continue
        models.append(model)
    return list(dict.fromkeys(models)), problems
