from datetime import date, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrainer_pipelines.features.labels.barriers import DELISTED_AFTER
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.trials.quarters import quarter_of, quarters_between
from mltrainer_pipelines.trials.validation.windows import (
    EmptyWindowError,
    as_of_window,
    quarter_window,
)

SESSIONS = sessions_between(date(2018, 1, 1), date(2021, 12, 31))
INDEX = {session: position for position, session in enumerate(SESSIONS)}

rows = st.lists(
    st.tuples(st.integers(0, len(SESSIONS) - 1), st.one_of(st.none(), st.integers(0, 80)), st.booleans()), min_size=1, max_size=60
)


def _labels(drawn: list[tuple[int, int | None, bool]]) -> pl.DataFrame:
    """Rows decided at a session, held for some sessions (None: no exit yet), some ended by a delisting."""
    records = []
    for start, holding, delisted in drawn:
        known = holding is not None and start + holding < len(SESSIONS)
        records.append(
            {
                "date": SESSIONS[start],
                "exit_date": SESSIONS[start + holding] if known else None,
                "barrier": ("delisted" if delisted else "time") if known else None,
                "net_return": 0.01 if known else None,
            }
        )
    schema = {"date": pl.Date, "exit_date": pl.Date, "barrier": pl.String, "net_return": pl.Float64}
    return pl.DataFrame(records, schema=schema)


@given(rows, st.integers(0, 15), st.integers(126, 900), st.integers(0, 10))
def test_a_window_trains_only_on_rows_whose_outcome_was_known_before_it_less_the_embargo(drawn, quarter, train_sessions, embargo):
    start, end = quarters_between(SESSIONS[70], SESSIONS[-1])[quarter % 15]
    window = quarter_window(start, end, SESSIONS, train_sessions, embargo)
    labels = _labels(drawn)
    kept = labels.filter(window.trains)
    first = INDEX[window.test_first]

    def trainable(row: dict) -> bool:
        if row["exit_date"] is None:
            return False
        known_at = INDEX[row["exit_date"]] + (DELISTED_AFTER if row["barrier"] == "delisted" else 0)
        recent = first - embargo - INDEX[row["date"]] <= train_sessions
        return known_at < first - embargo and recent

    assert kept.rows() == [tuple(row.values()) for row in labels.iter_rows(named=True) if trainable(row)]
    assert window.test_first >= start
    assert window.test_last < end
    assert not kept.height or kept["date"].max() < window.test_first


@given(rows, st.integers(20, len(SESSIONS) - 1))
def test_a_fit_as_of_a_session_uses_what_is_known_at_its_close_and_nothing_later(drawn, position):
    as_of = SESSIONS[position]
    kept = _labels(drawn).filter(as_of_window(as_of, SESSIONS, 756).resolved)
    expected = [
        row
        for row in _labels(drawn).iter_rows(named=True)
        if row["exit_date"] and INDEX[row["exit_date"]] + (DELISTED_AFTER if row["barrier"] == "delisted" else 0) <= position
    ]
    assert kept.rows(named=True) == expected


def test_a_window_of_a_short_history_trains_on_all_of_it():
    window = quarter_window(date(2018, 7, 1), date(2018, 10, 1), SESSIONS, 756)
    assert window.train_first == SESSIONS[0]
    assert (window.test_first, window.test_last) == (date(2018, 7, 2), date(2018, 9, 28))


def test_a_quarter_outside_of_the_history_is_refused_with_the_span_of_the_history():
    with pytest.raises(EmptyWindowError, match="2018-01-02 to 2021-12-31"):
        quarter_window(date(2030, 1, 1), date(2030, 4, 1), SESSIONS, 756)
    with pytest.raises(EmptyWindowError, match="nothing to train on"):
        quarter_window(date(2018, 1, 1), date(2018, 4, 1), SESSIONS, 756)
    with pytest.raises(EmptyWindowError, match="2018-01-06"):
        as_of_window(date(2018, 1, 6), SESSIONS, 756)


@given(st.dates(date(1999, 1, 1), date(2035, 1, 1)), st.integers(0, 800))
def test_quarters_follow_one_another_without_a_gap_and_cover_the_span(first, days):
    last = first + timedelta(days=days)
    quarters = quarters_between(first, last)
    assert quarters[0][0] <= first < quarters[0][1]
    assert quarters[-1][0] <= last < quarters[-1][1]
    assert all(before[1] == after[0] for before, after in pairwise(quarters))
    assert quarters[0] == quarter_of(first)
