"""Companies that are gone by now belong to the universes of their time; without them the past looks better than it was."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS
from mltrainer_pipelines.exchange.simulated import SimulatedMarket
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.universe import universes_of

FIRST, LAST = date(2019, 1, 2), date(2023, 12, 29)
MONTHS = [date(year, month, 1) for year in range(2019, 2024) for month in range(1, 13)][3:]


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return SimulatedMarket(seed=5, symbols=200, premium=1.0, first=FIRST, last=LAST)


@pytest.fixture(scope="module")
def bars(market: SimulatedMarket) -> pl.DataFrame:
    frames = []
    for session in sessions_between(FIRST, LAST):
        day = market.day(session)
        prices = {name: getattr(day, name) for name in ("open", "high", "low", "close", "volume")}
        frames.append(pl.DataFrame({"date": [session] * len(day), "symbol": list(day.symbol), **prices}))
    return pl.concat(frames).with_columns(vwap=pl.lit(None), trades=pl.lit(None)).cast(dict(DAILY_BARS.schema))


@pytest.fixture(scope="module")
def actions(market: SimulatedMarket) -> pl.DataFrame:
    splits = [(one.symbol, one.ex_date, "split", one.ratio, None, None) for one in market.splits()]
    dividends = [(one.symbol, one.ex_date, "dividend", None, one.cash, None) for one in market.dividends()]
    return pl.DataFrame(splits + dividends, schema=CORPORATE_ACTIONS.schema, orient="row")


@pytest.fixture(scope="module")
def reference(market: SimulatedMarket) -> pl.DataFrame:
    rows = [(one.symbol, one.name, one.type, one.active_on(LAST), one.delisted) for one in market.tickers()]
    names = {"symbol": pl.String, "name": pl.String, "type": pl.String, "active": pl.Boolean, "delisted": pl.Date}
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(sector=pl.lit(None, pl.String))


def test_delisted_companies_were_members_while_they_traded(market, bars, reference):
    chosen = universes_of(MONTHS, bars, reference, 100)
    gone = {one.symbol: one.delisted for one in market.tickers() if one.delisted and one.delisted <= LAST}
    assert len(gone) >= 10
    members = chosen.filter(pl.col("symbol").is_in(list(gone)))
    assert members["symbol"].n_unique() >= 5
    for symbol, month in members.select("symbol", "month").iter_rows():
        assert month <= gone[symbol]  # the first session without it may be the month's own first: nobody knows the day before
    last_members = chosen.filter(pl.col("month") == MONTHS[-1])["symbol"]
    assert members.filter(pl.col("month") < date(2020, 1, 1)).height > 0
    assert not set(last_members) & {symbol for symbol, day in gone.items() if day < MONTHS[-1]}


def monthly_returns(chosen: pl.DataFrame, adjusted_bars: pl.DataFrame) -> np.ndarray:
    """Return of each month of equal parts in its members, bought at the close before it; what dies is sold at its last close."""
    closes = adjusted_bars.select("date", "symbol", "adj_close").sort("symbol", "date")
    months = closes.with_columns(month=pl.col("date").dt.truncate("1mo"))
    ends = months.group_by("symbol", "month").agg(end=pl.col("adj_close").last(), sessions=pl.len()).sort("symbol", "month")
    ends = ends.with_columns(start=pl.col("end").shift(1).over("symbol"))
    earned = chosen.join(ends, on=["symbol", "month"], how="left").with_columns(
        earned=(pl.col("end") / pl.col("start") - 1).fill_null(0.0)
    )
    return earned.group_by("month").agg(pl.col("earned").mean()).sort("month")["earned"].to_numpy()


def test_a_universe_of_survivors_would_have_looked_better(market, bars, actions, reference, record_property):
    prices = adjusted(bars, actions)
    honest = universes_of(MONTHS, bars, reference, 100)
    survivors = reference.filter(pl.col("active"))["symbol"]
    flattered = universes_of(MONTHS, bars.filter(pl.col("symbol").is_in(survivors.implode())), reference, 100)
    growth = {}
    for name, chosen in (("honest", honest), ("survivors", flattered)):
        months = monthly_returns(chosen, prices)
        growth[name] = float(np.prod(1 + months) ** (12 / len(months)) - 1)
    flattery = growth["survivors"] - growth["honest"]
    record_property("survivorship_percent_a_year", round(100 * flattery, 2))
    print(f"equal-weight universe {growth['honest']:.2%} a year, of survivors only {growth['survivors']:.2%}: {flattery:+.2%}")
    assert flattery > 0.003
