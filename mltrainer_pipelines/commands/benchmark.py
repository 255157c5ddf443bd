"""How a benchmark declares itself, and the rows it gives: what the modules of `benchmarks/` import."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NotRequired, TypedDict


class Row(TypedDict):
    """One measurement. All but `name`, `peer` and `bar` are None, and `reason` says why, where nothing was measured.

    `ratio` is how many times as fast as the peer ours is; `met` says whether the bar is met.
    """

    name: str
    seconds: float | None
    peer: str | None
    peer_seconds: float | None
    ratio: float | None
    bar: str | None
    met: bool | None
    reason: NotRequired[str]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that `mltrainer bench NAME` runs.

    Parameters
    ----------
    name, measures : str
    seconds : float
        How long it takes on two cores, as measured.
    run : callable
        Yields each row as it ends.
    needs : tuple of callable
        Each returns what is missing and how to get it in one line, or None.
    by_name_only : bool
        Left out unless it is asked for by name.
    """

    name: str
    measures: str
    seconds: float
    run: Callable[[], Iterator[Row]]
    needs: tuple[Callable[[], str | None], ...] = ()
    by_name_only: bool = False

    def missing(self) -> str | None:
        """The first thing that this benchmark needs and that is not there; None where nothing is missing."""
        return next((reason for need in self.needs if (reason := need())), None)


def benchmark(
    measures: str, seconds: float, *needs: Callable[[], str | None], by_name_only: bool = False
) -> Callable[[Callable[[], Iterator[Row]]], Benchmark]:
    """Declare the decorated generator of rows a benchmark, named as the function is."""

    def declare(run: Callable[[], Iterator[Row]]) -> Benchmark:
        return Benchmark(run.__name__, measures, seconds, run, needs, by_name_only)

    return declare


def result(name: str, seconds: float, bar: str, met: bool, peer: str | None = None, peer_seconds: float | None = None) -> Row:
    """A row of something measured.

    >>> result("features", 2.0, "at least twice as fast", True, "a peer", 5.0)["ratio"]
    2.5
    """
    ratio = None if peer_seconds is None else round(peer_seconds / seconds, 2)
    return {
        "name": name, "seconds": round(seconds, 4), "peer": peer, "peer_seconds": peer_seconds, "ratio": ratio, "bar": bar,
        "met": met,
    }  # fmt: skip


def not_measured(name: str, reason: str) -> Row:
    """A row of something that was not measured.

    >>> not_measured("features", "interrupted")["seconds"] is None
    True
    """
    return {
        "name": name, "seconds": None, "peer": None, "peer_seconds": None, "ratio": None, "bar": None, "met": None,
        "reason": reason,
    }  # fmt: skip
