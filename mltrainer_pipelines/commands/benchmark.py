"""How a benchmark declares itself, and the rows it gives: what the modules of `benchmarks/` import."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """A measurement, or why there is none: `seconds` are ours, None where nothing was measured, and then `reason` says why.

    `bar` is what ours has to keep, for a reader, `met` whether it does, and `peer` what ours is compared with.

    Examples
    --------
    >>> Row("features", 2.0, "at least twice as fast", True, "a peer", 5.0).ratio
    2.5
    """

    name: str
    seconds: float | None = None
    bar: str | None = None
    met: bool | None = None
    peer: str | None = None
    peer_seconds: float | None = None
    reason: str | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the peer ours is."""
        return round(self.peer_seconds / self.seconds, 2) if self.peer_seconds and self.seconds else None

    def as_dict(self) -> dict[str, object]:
        """As `mltrainer bench --json` prints it; `reason` is there only where nothing was measured."""
        values = asdict(self) | {"ratio": self.ratio}
        order = ["name", "seconds", "peer", "peer_seconds", "ratio", "bar", "met", *(["reason"] if self.reason else [])]
        return {name: round(values[name], 4) if name == "seconds" and self.seconds else values[name] for name in order}

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.name}: {self.reason}"
        peer = "" if self.peer_seconds is None else f", {self.peer} {self.peer_seconds:.2f} s, ratio {self.ratio}"
        return f"{self.name}: {self.seconds:.3f} s{peer}; {self.bar}: {'met' if self.met else 'NOT MET'}"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that `mltrainer bench NAME` runs; `by_name_only` is left out unless it is asked for by name.

    It takes `seconds` on two cores, as measured. `run` yields each row as it ends; each of `needs` returns what is missing
    and how to get it in one line, or None.
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
    return lambda run: Benchmark(run.__name__, measures, seconds, run, needs, by_name_only)
