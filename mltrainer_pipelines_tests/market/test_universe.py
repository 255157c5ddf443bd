"""Which symbols a month's universe holds, and what it may know when it chooses."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import UNIVERSE
from mltrainer_pipelines.market.errors import NoHistoryError
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.universe import first_universe_month, universe_of, universes_of

RECORDING = Path(__file__).parents[2].parent / "shared/data/us_equities_2009_2015.parquet"
FIRST, MONTH, LAST = date(2023, 9, 1), date(2024, 1, 1), date(2024, 3, 28)
DAYS = sessions_between(FIRST, LAST)
BEFORE = [day for day in DAYS if day < MONTH]


def traded(symbol: str, days: list[date] = DAYS, close: float = 20.0, volume: float = 1e6) -> pl.DataFrame:
    return pl.DataFrame({"date": days, "symbol": symbol, "close": close, "volume": volume})


def reference_of(**types: str | None) -> pl.DataFrame:
    names = list(types)
    return pl.DataFrame(
        {
            "symbol": names,
            "name": [f"{name} Inc." for name in names],
            "type": pl.Series(list(types.values()), dtype=pl.String),
            "active": [True] * len(names),
            "sector": ["TECH"] * len(names),
        }
    )


def chosen(bars: pl.DataFrame, reference: pl.DataFrame | None = None, size: int = 10, month: date = MONTH) -> list[str]:
    return universe_of(month, bars, reference, size)["symbol"].to_list()


def test_the_most_liquid_come_first_and_no_more_than_asked_for():
    bars = pl.concat(
        [traded("LOW", volume=1e5), traded("TOP", volume=9e6), traded("MID"), traded("DEAR", close=400.0, volume=1e5)]
    )
    found = universe_of(MONTH, bars, None, 3)
    assert found.schema == UNIVERSE.schema
    assert found.select("month", "symbol", "rank", "median_dollar_volume", "close").rows() == [
        (MONTH, "TOP", 1, 180e6, 20.0),
        (MONTH, "DEAR", 2, 40e6, 400.0),
        (MONTH, "MID", 3, 20e6, 20.0),
    ]


def test_equal_volumes_are_ranked_by_symbol():
    assert chosen(pl.concat([traded("B"), traded("A"), traded("C")]), size=2) == ["A", "B"]


def test_only_common_stocks_and_adrs_count_where_types_are_known():
    bars = pl.concat([traded(name) for name in ("STOCK", "ADR", "FUND", "WARRANT", "UNLISTED")])
    reference = reference_of(STOCK="CS", ADR="ADRC", FUND="ETF", WARRANT="WARRANT")
    found = universe_of(MONTH, bars, reference, 10)
    assert found["symbol"].to_list() == ["ADR", "STOCK"]
    assert found.select("name", "sector").rows() == [("ADR Inc.", "TECH"), ("STOCK Inc.", "TECH")]


@pytest.mark.parametrize("reference", [None, reference_of(), reference_of(A=None, B=None)])
def test_every_symbol_counts_in_a_recording_without_reference_data(reference):
    assert chosen(pl.concat([traded("A"), traded("B")]), reference) == ["A", "B"]


def test_a_ticker_that_was_used_twice_is_described_by_its_present_company():
    twice = pl.concat([reference_of(A="CS").with_columns(active=False, name=pl.lit("Old")), reference_of(A="CS")])
    assert universe_of(MONTH, traded("A"), twice, 5)["name"].to_list() == ["A Inc."]


def test_penny_stocks_gaps_and_what_no_longer_trades_are_left_out():
    gaps = [day for i, day in enumerate(BEFORE) if i % 5] + DAYS[len(BEFORE) :]
    bars = pl.concat(
        [
            traded("FINE"),
            traded("PENNY", close=5.0),
            traded("GAPS", gaps),
            traded("GONE", BEFORE[:-1]),
            traded("NEW", DAYS[len(BEFORE) - 30 :]),
            traded("SILENT", volume=0.0),
        ]
    )
    assert chosen(bars) == ["FINE"]


def test_a_company_that_is_delisted_later_is_in_it_while_it_trades():
    bars = pl.concat([traded("LIVES"), traded("DIES", [day for day in DAYS if day < date(2024, 2, 10)])])
    assert chosen(bars) == ["DIES", "LIVES"]
    assert chosen(bars, month=date(2024, 2, 1)) == ["DIES", "LIVES"]
    assert chosen(bars, month=date(2024, 3, 1)) == ["LIVES"]


def test_nothing_from_the_month_on_is_looked_at():
    bars = pl.concat([traded("A"), traded("B", volume=2e6)])
    later = pl.col("date") >= MONTH
    changed = bars.with_columns(
        close=pl.when(later).then(1e6).otherwise("close"),
        volume=pl.when(later & (pl.col("symbol") == "A")).then(1e12).otherwise("volume"),
    )
    assert universe_of(MONTH, changed, None, 5).equals(universe_of(MONTH, bars, None, 5))
    assert universe_of(MONTH, bars.filter(~later), None, 5).equals(universe_of(MONTH, bars, None, 5))


def test_dollar_volume_is_the_median_of_the_last_sixty_sessions():
    volumes = np.where(np.arange(len(DAYS)) % 3 == 0, 5e6, 1e6)
    assert len(BEFORE) > 60
    volumes[: len(BEFORE) - 60] = 1e12
    found = universe_of(MONTH, traded("A").with_columns(volume=pl.Series(volumes)), None, 1)
    assert found["median_dollar_volume"][0] == 20e6


def test_the_first_month_is_refused_by_name():
    bars = traded("A")
    for month, sessions in ((date(2023, 9, 1), 0), (date(2023, 8, 1), 0)):
        with pytest.raises(NoHistoryError, match=rf"{month:%Y-%m}: {sessions} sessions.*15 are needed"):
            universe_of(month, bars, None, 5)
    assert universe_of(date(2023, 10, 1), bars, None, 5).height == 1
    with pytest.raises(NoHistoryError, match=r"2023-09"):
        universes_of([date(2023, 9, 1), MONTH], bars, None, 5)


def test_the_first_month_with_a_universe_is_the_one_after_the_first_whole_month():
    assert first_universe_month(date(2021, 1, 4)) == date(2021, 2, 1)
    assert first_universe_month(date(2010, 1, 4)) == date(2010, 2, 1)
    assert first_universe_month(date(2021, 1, 25)) == date(2021, 3, 1)
    assert first_universe_month(date(2021, 12, 20)) == date(2022, 2, 1)


def test_many_months_at_once_are_the_months_one_by_one():
    random = np.random.default_rng(3)
    bars = pl.concat(
        [
            traded(
                f"S{i}",
                sorted(random.choice(DAYS, len(DAYS) - random.integers(0, 20), replace=False).tolist()),
                4 + 2.0 * i,
                1e6 * (1 + i % 7),
            )
            for i in range(25)
        ]
    )
    months = [date(2023, 11, 1), date(2023, 12, 1), date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 15)]
    one_by_one = pl.concat([universe_of(month, bars, None, 8) for month in months])
    assert universes_of(months, bars, None, 8).equals(one_by_one)
    assert universes_of(months, bars.lazy(), None, 8).equals(one_by_one)
    assert one_by_one["month"].unique().sort().to_list()[-1] == date(2024, 3, 1)
    assert universes_of([], bars, None, 8).schema == UNIVERSE.schema


def test_the_shared_recordings_universe_of_two_years_holds_the_giants():
    if not RECORDING.exists():
        pytest.skip(f"the shared recording {RECORDING} is missing")
    months = [date(year, month, 1) for year in (2013, 2014) for month in range(1, 13)]
    found = universes_of(months, pl.scan_parquet(RECORDING), None, 50)
    assert found.height == 24 * 50
    assert found.filter(pl.col("symbol") == "AAPL")["rank"].max() <= 3
    assert found.group_by("month").agg((pl.col("median_dollar_volume").diff() > 0).any())["median_dollar_volume"].any() is False
