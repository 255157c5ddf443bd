"""The words that requests are made of: those that carry no name or number, and key words whose misspellings are corrected."""

import re

from mltrainer_pipelines.agent.clauses import VERBS
from mltrainer_pipelines.agent.languages import in_english
from mltrainer_pipelines.agent.names import models_in

_WORD = re.compile(r"\S+")
FILLER = frozenset(
    _WORD.findall(
        "a an the it its this that these those them all some one another more any and or of to with using use through on in "
        "at for by from over into as me my we us our you your i be is please pls now next today again then also just only "
        "too well instead like model models trial trials walk forward walkforward walk-forward horizon timeframe horizons "
        "feature features set sets window training trained train history default defaults parameters parameter params "
        "threshold thresholds minimum min maximum level bar gate score setting settings percent up down profit confidence "
        "probability regime daily dollars dollar usd minutes budget targeting target aiming want need new ensemble screening "
        "momentum analysis scan market stocks signals scores proposal proposals number no go ahead try give first second "
        "third least above below under days day sessions session years year long short term both so s t thanks thank quickly "
        "soon possible side period return returns results result each available latest data voting vote beside against best "
        "good ones here there after before get run algorithm classifier classifiers network regression based machine "
        "learning baseline experiment test job together see let lets out quick quickly version per about shot spin "
        "time forecasts predictions todays lunch agent claude from or better higher longer shorter zu w case set ones "
        "please this teh modle than names only more up "
        "stocks symbols screen plus ideas something while everything back mode my afterwards w/ momo use used all "
        "kindly could would you"
    )
)
_CORRECTED = tuple(
    _WORD.findall(
        "start initiate launch execute train submit evaluate increase decrease raise lower reduce change momentum screening "
        "analysis confidence probability threshold regime refresh update signals market propose suggest trials approve "
        "accept reject proposal ensemble combine blend horizon timeframe feature features sessions autonomy budgeted minimum "
        "profit screen scan stocks rounds trees learning depth backtest experiments short long minutes dollars daily"
    )
)
_COMMON = frozenset(
    _WORD.findall(
        "state stare stark score scores scare rise raised lowers trial trail market marked change chance changed shorter "
        "lunch longer shorts longs dept earning learn yearning learnt daily dally sound sounds bounds around grounds treed"
    )
)
_NOTIFY = (
    r"(?:notify(?:ing)? me|(?:send(?:ing)?|giv(?:e|ing)) me (?:any )?(?:\w+ )?(?:notifications?|alerts?)|alert(?:ing)? me)"
    r"\b(?: (?:of|about|on|for|when))?"
)
_LIMITED = r"(?:do not|don'?t|never) (?:spend|use|run|take|start|make|try|have|allow|let \w+ (?:spend|run|use)) more than"
_ABBREVIATIONS = (
    (r"\b(?:wiht|whit|wth)\b|(?<=\w )w(?= \w)", "with"),
    (r"\b(?:pleese|plese|pleas|plaese|plz)\b", "please"),
    (r"(?<=\w)(?<!\bso)(?<!\band)(?<!\bbut)(?<!\byou)(?<!\bthen) (?:please|kindly)(?= \w)", ""),
    (r"\bw/o\b\s*", "without "),
    (r"\bw/\s*", "with "),
    (r"\bu\b", "you"),
    (r"\bmomo\b", "momentum"),
    (r"\btrails\b", "trials"),
    (r"\b(min|max|approx|no|nr|vs)\.(?=\s)", r"\1"),
    (r"\b(?:thresh|thr|threshhold)\b", "threshold"),
    (r"(?<![\w=])conf(?![\w=])|(?<=min_)conf\b", "confidence"),
    (r"(?<![\w=])probs?(?![\w=])|(?<=min_)prob\b", "probability"),
    (r"\s*(?:->|→|:=|==)\s*", " = "),
    (r"\s&\s", " and "),
    (rf"\b{_LIMITED}\b", "limit to at most"),
    (r"\b(?:no|not) more than\b", "at most"),
    (r"\bno more (\w+) (alerts?|notifications?)\b", r"turn off \1 \2"),
    (r"\b(?:ok|okay|(?:say )?yes to)\s+(?=(?:the )?proposals? )", "approve "),
    (r"\b(?:say )?no to\s+(?=(?:the )?proposals? )", "reject "),
    (r"\bsupport[ -]vector[ -](?:machines?|classifiers?)(?: with (?:an? )?(?:rbf|gaussian)(?: kernel)?)", "rbf_svm"),
    (r"\bsupport[ -]vector[ -](?:machines?|classifiers?)\b", "linear_svm"),
    (r"^=\s*(\w+)\(([^()]*)\)", r"\1 \2"),
    (rf"\b(?:stop|don'?t|do not|no longer) {_NOTIFY}", "turn off notifications of"),
    (rf"\b{_NOTIFY}", "turn on notifications of"),
)
_ENUMERATED = re.compile(r"(?:^|\s)[(]?\d{1,2}[.)]\s+(?=[A-Za-z])")
ENGLISH = FILLER | set(_CORRECTED) | set(re.findall(r"[a-z]+", VERBS)) | {"do", "not", "who", "which", "when"}
VOCABULARY = FILLER | set(_CORRECTED) | {"execute", "refresh", "stocks", "market", "session", "sector", "cross"}


def plain_english(text: str) -> str:
    """A message in English words, without abbreviations, typing errors in key words and numbered lists."""
    text = in_english(text, frozenset(ENGLISH))
    formula = text.startswith("=")
    for short, long in _ABBREVIATIONS:
        text = re.sub(short, long, text, flags=re.I)
    if len(_ENUMERATED.findall(text)) > 1:
        text = _ENUMERATED.sub("; ", text)
    return _spelled(text.replace(";", ",") if formula else text)


def _spelled(text: str) -> str:
    """A text with its misspelt key words corrected: "strat", "confidnce"."""

    def corrected(match: re.Match[str]) -> str:
        word = match[0].lower()
        if (
            len(word) < (5 if match.start() else 4)
            or word in _CORRECTED
            or word in FILLER
            or word in _COMMON
            or models_in(word, VOCABULARY)
        ):
            return match[0]
        return next((right for right in _CORRECTED if _misspells(word, right)), match[0])

    return re.sub(r"(?<![\w=])[A-Za-z]+(?![\w=])", corrected, text)


def _misspells(word: str, right: str) -> bool:
    """Whether a word is another with two letters swapped, one missing, one too many, or (if it is long) one wrong."""
    if abs(len(word) - len(right)) > 1 or word == right or word[0] != right[0] or len(right) < 5:
        return False
    if len(word) == len(right):
        wrong = [n for n, (one, other) in enumerate(zip(word, right, strict=True)) if one != other]
        swapped = (
            len(wrong) == 2
            and wrong[1] == wrong[0] + 1
            and word[wrong[0]] == right[wrong[1]]
            and word[wrong[1]] == right[wrong[0]]
        )
        return swapped or (len(wrong) == 1 and len(word) >= 7)
    longer, shorter = (word, right) if len(word) > len(right) else (right, word)
    inflected = {longer[len(shorter) :]} <= {"s", "d", "r"} and longer.startswith(shorter)
    return not inflected and any(longer[:n] + longer[n + 1 :] == shorter for n in range(len(longer)))
