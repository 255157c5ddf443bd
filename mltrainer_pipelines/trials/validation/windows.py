"""The windows of a walk-forward: which rows a quarter may learn from, and which it predicts.

A window that predicts from session s on trains only on rows whose label was known before s, less an embargo (López de Prado
2018, Advances in Financial Machine Learning, ch. 7). The label of a decision is known after its exit session; of a symbol that
stopped trading, after the sessions it takes to be sure of it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.features.labels.barriers import DELISTED_AFTER

EMBARGO_SESSIONS = 1
"""Sessions left out between the last known label and the window."""


class EmptyWindowError(ValueError):
    """A quarter without a session, or without any history before it: names the quarter and what to do."""


@dataclass(frozen=True)
class Window:
    """One quarter of a walk-forward: it predicts the sessions from `test_first` to `test_last`, both included.

    It learns from decisions from `train_first` on whose exit session lies strictly before `cutoff`, the embargo before
    `test_first`; before `delisted_cutoff` where the row ended because the symbol stopped trading.
    """

    test_first: date
    test_last: date
    train_first: date
    cutoff: date
    delisted_cutoff: date

    @property
    def resolved(self) -> pl.Expr:
        """True for label rows whose outcome was known at the window's start, less the embargo; never null."""
        delisted = pl.col("barrier").eq_missing("delisted")
        known_before = pl.when(delisted).then(self.delisted_cutoff).otherwise(self.cutoff)
        return pl.col("net_return").is_not_null() & (pl.col("exit_date") < known_before).fill_null(False)

    @property
    def trains(self) -> pl.Expr:
        """True for label rows that the window may learn from: resolved, and decided at `train_first` or later."""
        return self.resolved & (pl.col("date") >= self.train_first)


def quarter_window(
    quarter_start: date, quarter_end: date, sessions: Sequence[date], train_sessions: int, embargo: int = EMBARGO_SESSIONS
) -> Window:
    """The window that predicts the sessions of a quarter, from its first day to before `quarter_end`, as Dagster's partitions
    have it.

    `sessions` are those of the history, in order, at least to the last one to predict. The window learns from decisions of at
    most `train_sessions` before the cutoff, `embargo` sessions before the quarter. EmptyWindowError if the quarter has no
    session, or none precedes its cutoff.

    >>> from mltrainer_pipelines.market.sessions import sessions_between
    >>> sessions = sessions_between(date(2023, 1, 3), date(2024, 3, 28))
    >>> window = quarter_window(date(2024, 1, 1), date(2024, 4, 1), sessions, train_sessions=126)
    >>> str(window.test_first), str(window.test_last), str(window.train_first), str(window.cutoff)
    ('2024-01-02', '2024-03-28', '2023-06-30', '2023-12-29')
    """
    if embargo < 0:
        raise ValueError(f"embargo is {embargo} sessions; give 0 or more")
    first, end = bisect_left(sessions, quarter_start), bisect_left(sessions, quarter_end)
    history = f"the history runs from {sessions[0]} to {sessions[-1]}" if sessions else "the history is empty"
    if first == end:
        raise EmptyWindowError(f"no session from {quarter_start} to before {quarter_end}: {history}; ask for a quarter inside it")
    cutoff = first - embargo
    if cutoff < 1:
        raise EmptyWindowError(
            f"the quarter from {quarter_start} has {first} sessions before it, the embargo takes {embargo}: nothing to train on; "
            f"{history}, so start with a later quarter or an earlier history"
        )
    return Window(
        test_first=sessions[first],
        test_last=sessions[end - 1],
        train_first=sessions[max(0, cutoff - train_sessions)],
        cutoff=sessions[cutoff],
        delisted_cutoff=sessions[max(0, cutoff - DELISTED_AFTER)],
    )


def as_of_window(as_of: date, sessions: Sequence[date], train_sessions: int) -> Window:
    """The window of a model that is fitted after the close of `as_of` and predicts from there on.

    It learns from every label known by then: those whose exit session is `as_of` or earlier.
    """
    position = bisect_left(sessions, as_of)
    if position == len(sessions) or sessions[position] != as_of or position == 0:
        raise EmptyWindowError(f"{as_of} is not among the {len(sessions)} sessions, or nothing precedes it; give a later session")
    return Window(
        test_first=as_of,
        test_last=as_of,
        train_first=sessions[max(0, position + 1 - train_sessions)],
        cutoff=as_of + timedelta(days=1),
        delisted_cutoff=sessions[max(0, position + 1 - DELISTED_AFTER)],
    )
