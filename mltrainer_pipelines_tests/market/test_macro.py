"""What was known of the economy at each session."""

from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrainer_pipelines.contracts.lake_tables import MACRO_SERIES
from mltrainer_pipelines.market.macro import FRED_SERIES, known_macro
from mltrainer_pipelines.market.sessions import sessions_between

MARCH = sessions_between(date(2024, 3, 1), date(2024, 3, 31))


def macro_of(*rows: tuple[str, date, float | None, date]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=MACRO_SERIES.schema, orient="row")


def test_a_value_counts_from_the_session_after_its_publication():
    published = date(2024, 3, 8)  # a Friday
    found = known_macro(macro_of(("UNRATE", date(2024, 2, 1), 3.9, published)), MARCH)
    known = dict(found.select("date", "UNRATE").iter_rows())
    assert known[date(2024, 3, 8)] is None
    assert known[date(2024, 3, 11)] == 3.9
    assert known[date(2024, 3, 28)] == 3.9


def test_a_value_published_on_a_weekend_counts_from_the_next_session():
    found = known_macro(macro_of(("UNRATE", date(2024, 2, 1), 3.9, date(2024, 3, 9))), MARCH)
    assert found.filter(pl.col("UNRATE").is_not_null())["date"][0] == date(2024, 3, 11)


def test_an_older_observation_that_is_published_late_does_not_replace_a_newer_one():
    found = known_macro(
        macro_of(
            ("M2SL", date(2024, 2, 1), 20.0, date(2024, 3, 5)),
            ("M2SL", date(2024, 1, 1), 10.0, date(2024, 3, 12)),
            ("M2SL", date(2024, 2, 15), None, date(2024, 3, 13)),
        ),
        MARCH,
    )
    assert found.filter(pl.col("date") > date(2024, 3, 5))["M2SL"].unique().to_list() == [20.0]


def test_of_two_observations_published_at_once_the_newer_counts():
    found = known_macro(
        macro_of(("CPIAUCSL", date(2024, 2, 1), 2.0, date(2024, 3, 5)), ("CPIAUCSL", date(2024, 1, 1), 1.0, date(2024, 3, 5))),
        MARCH,
    )
    assert found["CPIAUCSL"].to_list()[-1] == 2.0


def test_every_series_has_a_column_and_what_is_missing_is_null():
    found = known_macro(macro_of(("OTHER", date(2024, 2, 1), 1.0, date(2024, 3, 5))), MARCH)
    assert found.columns == ["date", *FRED_SERIES, "OTHER"]
    assert found["date"].to_list() == MARCH
    assert found["DGS10"].null_count() == len(MARCH)
    assert found.schema["DGS10"] == pl.Float64
    assert known_macro(macro_of(), MARCH).columns == ["date", *FRED_SERIES]


day = st.dates(date(2024, 1, 1), date(2024, 3, 31))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(day, st.tuples(st.floats(-5, 5), st.integers(0, 40)), max_size=25), day)
def test_what_is_known_at_a_session_does_not_depend_on_what_is_published_later(values, cut):
    sessions = sessions_between(date(2024, 1, 1), date(2024, 3, 31))
    macro = macro_of(*(("DGS10", on, value, on + timedelta(days=late)) for on, (value, late) in values.items()))
    whole = known_macro(macro, sessions)
    so_far = known_macro(macro.filter(pl.col("published") <= cut), [session for session in sessions if session <= cut])
    assert so_far.equals(whole.filter(pl.col("date") <= cut))
    for session, found in whole.select("date", "DGS10").iter_rows():
        known = [(on, value) for on, (value, late) in values.items() if on + timedelta(days=late) < session]
        assert found == (max(known)[1] if known else None)
