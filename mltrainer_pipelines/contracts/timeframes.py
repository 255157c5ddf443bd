"""The two holding periods every label, signal and position is made for."""

from dataclasses import dataclass
from typing import Literal

TimeframeName = Literal["short", "long"]


@dataclass(frozen=True)
class Timeframe:
    """A holding period in trading sessions.

    Parameters
    ----------
    name : str
        ``short`` or ``long``; the value of every ``timeframe`` column.
    min_sessions : int
        The shortest holding the timeframe is meant for, in sessions from the entry session counted as 1.
    max_sessions : int
        The time barrier: a position is closed at the close of this session, the entry session being 1.
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
