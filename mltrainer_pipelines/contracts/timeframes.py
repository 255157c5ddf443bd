"""The two holding periods every label, signal and position is made for."""

from dataclasses import dataclass
from typing import Literal

TimeframeName = Literal["short", "long"]


@dataclass(frozen=True)
class Timeframe:
    """A holding period in trading sessions, the entry session counted as 1.

    It is meant for holdings of `min_sessions` or more; at the close of session `max_sessions`, its time barrier, a position is
    closed. `name` is the value of every ``timeframe`` column.
    """

    name: str
    min_sessions: int
    max_sessions: int

    def __post_init__(self) -> None:
        if not 1 <= self.min_sessions <= self.max_sessions:
            raise ValueError(
                f"timeframe {self.name!r}: needs 1 <= min_sessions <= max_sessions, "
                f"not {self.min_sessions} and {self.max_sessions}"
            )


SHORT = Timeframe("short", 7, 12)
LONG = Timeframe("long", 50, 70)
TIMEFRAMES: dict[str, Timeframe] = {timeframe.name: timeframe for timeframe in (SHORT, LONG)}


class UnknownTimeframeError(LookupError):
    """A timeframe was asked for that there is not."""


def get_timeframe(name: str) -> Timeframe:
    """A timeframe by name; raises UnknownTimeframeError naming those there are."""
    if name not in TIMEFRAMES:
        raise UnknownTimeframeError(f"there is no timeframe {name!r}; the timeframes are {', '.join(TIMEFRAMES)}")
    return TIMEFRAMES[name]
