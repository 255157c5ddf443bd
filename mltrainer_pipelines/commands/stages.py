"""The stages of a demo: how long each took, and for how much of that a step of some Dagster run was computing."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mltrainer_pipelines.ops.dagster_client import DagsterClient

Span = tuple[float, float]
"""Begin and end, seconds since 1970."""


class Stages:
    """Stages one after the other, by name; what lies between them counts for the total alone."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.steps: list[Span] = []
        self._begin = time.time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.time()
        yield
        self.spans[name] = begin, time.time()

    def end(self) -> None:
        """Nothing follows: the total is known."""
        self.spans["total"] = self._begin, time.time()

    def note_steps(self, dagster: DagsterClient) -> None:
        """Ask Dagster when the steps of the runs since the beginning computed."""
        answer = dagster.query(
            """query Steps($since: Float!) { runsOrError(filter: {createdAfter: $since}, limit: 500) {
                 ... on Runs { results { stepStats { startTime endTime } } } } }""",
            since=self._begin,
        )["runsOrError"]
        steps = [step for run in answer["results"] for step in run["stepStats"]]
        self.steps = [(step["startTime"], step["endTime"]) for step in steps if step["startTime"] and step["endTime"]]

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage took, by the clock."""
        return {name: round(end - begin, 1) for name, (begin, end) in self.spans.items()}

    @property
    def computing(self) -> dict[str, float]:
        """For how long of it at least one step computed; the rest of `total` is overhead."""
        return {name: round(_covered(span, self.steps), 1) for name, span in self.spans.items()}


def _covered(span: Span, parts: Iterable[Span]) -> float:
    """How much of a span lies in one or more of the parts.

    >>> _covered((0.0, 10.0), [(1.0, 3.0), (2.0, 4.0), (9.0, 12.0)])
    4.0
    """
    covered, reached = 0.0, span[0]
    for begin, end in sorted(parts):
        begin, end = max(begin, reached), min(end, span[1])
        if end > begin:
            covered, reached = covered + end - begin, end
    return covered
