"""Numbers as people write them: "90,5 %", "7-12 days", "three-year window", "300 trees", `learning_rate=0.02`."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES, Timeframe, TimeframeName
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.models.spec import Choices
from mltrainer_pipelines.trials.config import MIN_TRAIN_SESSIONS

NUMBER = r"(?:\d+(?:[.,]\d+)?|[.]\d+)"
_UNITS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten"
    "  eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
)
_TENS = {
    word: 10 * n for n, word in enumerate(re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_WORDS = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(_UNITS[1:10])}))?|{'|'.join(_UNITS[2:])})"
_DAYS = re.compile(r"\b(\d+)\s*(?:(?:-|–|to)\s*(\d+))?[\s-]*(?:trading[\s-]+)?(?:days?|sessions?)\b", re.I)
_PERIODS = re.compile(rf"\b({NUMBER})[\s-]*(year|yr|quarter|month)s?\b", re.I)
_SESSIONS_OF = {"year": 252, "yr": 252, "quarter": 63, "month": 21}
_TIMEFRAMES: dict[TimeframeName, Timeframe] = {"short": TIMEFRAMES["short"], "long": TIMEFRAMES["long"]}
_OTHER_NAMES = {
    "trees": ("trees", "rounds"), "rounds": ("rounds", "trees"), "iterations": ("rounds", "epochs"),
    "estimators": ("trees", "rounds"),
    "n_estimators": ("trees", "rounds"), "num_rounds": ("rounds",), "boosting rounds": ("rounds",),
    "max_depth": ("depth",),
    "deep": ("depth",), "lr": ("learning_rate", "rate"), "eta": ("learning_rate",),
    "leaves": ("num_leaves", "leaves"),
    "num_leaves": ("leaves",), "hidden units": ("units",), "batch size": ("batch",), "k": ("neighbours",),
    "neighbors": ("neighbours",),
    "min_samples_leaf": ("leaf",), "regularization": ("l2", "C"), "regularisation": ("l2", "C"),
}  # fmt: skip


@dataclass
class Text:
    """A text that is read piece by piece: what was read is blanked, so that the rest shows what was not."""

    rest: str
    problems: list[str] = field(default_factory=list)
    question: str = ""
    """What has to be asked back before anything of it can be done."""

    def take(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """The first match of a pattern, blanked."""
        match = re.search(pattern, self.rest, re.I) if isinstance(pattern, str) else pattern.search(self.rest)
        if match is not None:
            self.blank(match.start(), match.end())
        return match

    def blank(self, begin: int, end: int) -> None:
        self.rest = self.rest[:begin] + " " * (end - begin) + self.rest[end:]


def with_digits(text: str) -> str:
    """A text with its numbers as digits: "seven to twelve" becomes "7 to 12", "1,000" and "1k" 1000, "half a year" 0.5 years."""

    def digits(match: re.Match[str]) -> str:
        return str(sum(_TENS.get(word, 0) or _UNITS.index(word) for word in re.split(r"[\s-]", match[0].lower())))

    text = re.sub(rf"\b{_WORDS}\b(?![\s_-]timeframes)", digits, text, flags=re.I)
    text = re.sub(r"\bhalf an?(?= (?:year|hour))", "0.5", text, flags=re.I)
    text = re.sub(
        r"\b(?:one|an?)(?= (?:(?:trading )?year|quarter|month|dollar|hour|hundred|thousand|trial (?:a|per))\b)",
        "1",
        text,
        flags=re.I,
    )
    text = re.sub(r"\b(\d+)(?:\s+hundred)\b", r"\g<1>00", text, flags=re.I)
    text = re.sub(r"\b(\d+)(?:\s+thousand|\s?k)\b", r"\g<1>000", text, flags=re.I)
    text = re.sub(
        r"(?<![\d.,$])([1-9]\d{0,2}(?:,\d{3})+)(?![\d,]|\s*(?:%|percent|per cent))", lambda match: match[1].replace(",", ""), text
    )
    return re.sub(rf"({NUMBER})\s*(?:percentage points?|percent|per cent|pct\.?|percents)(?!\w)", r"\1 %", text, flags=re.I)


def number(text: str) -> float:
    """A number with a decimal point or comma."""
    return float(text.replace(",", "."))


def share(text: str, percent: str | None) -> float:
    """A number as a share: 90 %, 90 and 0.9 are all 0.9."""
    value = number(text)
    return round(value / 100 if percent or value > 1 else value, 6)


@overload
def read_timeframe(text: Text) -> TimeframeName: ...
@overload
def read_timeframe(text: Text, unnamed: Literal[""]) -> TimeframeName | Literal[""]: ...
def read_timeframe(text: Text, unnamed: TimeframeName | Literal[""] = "short") -> TimeframeName | Literal[""]:
    """The holding period a text speaks of; `unnamed` where it names none. Other periods are a problem."""
    named: list[TimeframeName] = []
    for match in list(_DAYS.finditer(text.rest)):
        days = [int(one) for one in match.groups() if one]
        if max(days) >= MIN_TRAIN_SESSIONS:
            continue
        text.blank(match.start(), match.end())
        fits = [name for name, one in _TIMEFRAMES.items() if all(one.min_sessions <= day <= one.max_sessions for day in days)]
        named += fits
        if not fits:
            text.question = (
                f"{match[0].strip()} is neither short (7 to 12 sessions) nor long (50 to 70): which of them do you mean?"
            )
    for word in re.finditer(
        r"\b(short|long)(?:er)?\b(?:[\s-]*(?:term|horizon|timeframe|side|holding period|period))?", text.rest, re.I
    ):
        named.append("long" if word[1].lower() == "long" else "short")
        text.blank(word.start(), word.end())
    if len(set(named)) > 1:
        text.question = "you name both the short and the long timeframe: which of them do you mean?"
    return named[0] if named else unnamed


def read_train_sessions(text: Text) -> int | None:
    """The length of the training window a text asks for, in sessions."""
    for match in _DAYS.finditer(text.rest):
        if match[2] is None and int(match[1]) >= MIN_TRAIN_SESSIONS:
            text.blank(match.start(), match.end())
            text.take(r"\b(?:training )?(?:window|history)\b")
            return int(match[1])
    if period := text.take(_PERIODS):
        text.take(r"\b(?:training )?(?:window|history)\b")
        return round(number(period[1]) * _SESSIONS_OF[period[2].lower()])
    return None


def read_bars(text: Text) -> dict[str, float]:
    """What a screening is to list: `min_confidence`, `min_probability` and `min_expected_return`."""
    bars: dict[str, float] = {}
    over = r"(?:\s*(?:of|above|over|at least|at most|at|from|more than|greater than|higher than|better than|min|>=?|≥|=|:|\+))*"
    for name, word in (
        ("min_confidence", "confiden(?:ce|t)"),
        ("min_probability", "(?:profit )?probabilit(?:y|ies)(?: of (?:a )?profit)?"),
    ):
        before = rf"({NUMBER})\s*(%)?\s*(?:or (?:more|better|higher)\s*)?(?:\w+\s+)?{word}"
        least = r"(?:(?:an?|at least|over|above|min(?:imum)?|more than|greater than|better than|no less than|>=?|≥)\s*)*"
        if match := text.take(
            rf"{least}{before}|{least}{word}(?: level)?{over}\s*({NUMBER})\s*(%)?(?:\s*or (?:more|better|higher|above))?"
        ):
            value, percent = (match[1], match[2]) if match[1] else (match[3], match[4])
            bars[name] = share(value, percent)
    returns = r"(?:expected |net )*(?:returns?|gains?|profit)"
    if match := text.take(rf"{least}\+?({NUMBER})\s*%\s*{returns}|{least}{returns}{over}\s*\+?({NUMBER})\s*%"):
        bars["min_expected_return"] = round(number(match[1] or match[2]) / 100, 6)
    return bars


def read_params(text: Text, model: str) -> dict[str, object]:
    """Parameters of a model that a text gives; one that the model does not have is a problem."""
    space, params = get_model(model).search_space, dict[str, Any]()
    spelled = {name: name for name in space}
    for other, names in _OTHER_NAMES.items():
        if other not in spelled and (own := next((name for name in names if name in space), None)):
            spelled[other] = own
    for name in sorted(spelled, key=len, reverse=True):
        word = re.escape(name).replace("_", r"[\s_-]?")
        value = rf"({NUMBER}(?:e-?\d+)?|true|false|[a-z][\w-]*)"
        exact = rf"\b{word}\s*[=:]\s*{value}"
        loose = rf"|\b{word}\s+(?:of |is |to |at )?({NUMBER})\b|\b({NUMBER})\s+{word}\b" if len(name) > 1 else ""
        if spelled[name] in params or (match := text.take(exact + loose)) is None:
            continue
        given = next(one for one in match.groups() if one)
        params[spelled[name]] = _value(given, space[spelled[name]])
    for match in list(re.finditer(r"\b([A-Za-z]\w*)\s*=\s*(\S+)", text.rest)):
        text.blank(match.start(), match.end())
        text.problems.append(f"{model} has no parameter {match[1][:40]!r}; it has {', '.join(space) or 'none'}")
    return params


def _value(given: str, space: Any) -> object:
    if isinstance(space, Choices):
        return next((one for one in space.values if str(one).lower() == given.lower()), given)
    try:
        value = number(given)
    except ValueError:
        return given
    return int(value) if space.integer and value == int(value) else value
