"""The quarters of a walk-forward on this machine: one after the other, or several in threads where they share a table of bins."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date

from mltrainer_pipelines.trials.validation.quarters import FailedQuarter, QuarterPredictions
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward


def quarters_at_once() -> int:
    """Half of the processors: an installation runs two trials at a time."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def predict_quarters(
    walk: WalkForward, quarters: Sequence[tuple[date, date]], at_once: int = 1
) -> Iterator[QuarterPredictions | FailedQuarter]:
    """Predict quarters, each given out as it ends; one that fails leaves the others.

    Several are computed `at_once` for models that share one table of bins, each with `threads` threads: with the same cores that
    is faster than threads inside of a fit, which wait for each other at every split. Other models go one after the other.
    """

    def one(quarter: tuple[date, date]) -> QuarterPredictions | FailedQuarter:
        try:
            return walk.predict_quarter(*quarter)
        except Exception as error:  # whatever a library raises is the reason of this quarter alone
            message = " ".join(str(error).split()) or type(error).__name__
            reason = message if type(error).__module__.startswith("mltrainer_pipelines") else f"{type(error).__name__}: {message}"
            return FailedQuarter(*quarter, reason, error)

    if at_once < 2 or not walk.shares_bins:
        yield from map(one, quarters)
        return
    with ThreadPoolExecutor(at_once) as pool:
        begun = [pool.submit(one, quarter) for quarter in quarters]
        try:
            for ended in as_completed(begun):
                yield ended.result()
        finally:
            for waiting in begun:
                waiting.cancel()
