"""Which company a symbol was, and when: a ticker is renamed, given up, and taken by another company.

Bars, quotes and actions come under the symbol of their day. Whoever compares one day with another asks for companies
instead: the id of a company is its first symbol, and never changes; where that was another company's before, `~2` is added.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import LISTINGS
from mltrainer_pipelines.store.lake import Lake

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


@dataclass(frozen=True)
class Spell:
    """A company's time under one symbol; `last` is None while it has it."""

    symbol: str
    first: date
    last: date | None


@dataclass(frozen=True)
class Listings:
    """Symbols that need a word (columns of `LISTINGS`); of every other symbol the company is the symbol itself.

    >>> spells = [("FB", "FB", date(2012, 5, 18), date(2022, 6, 8)), ("FB", "META", date(2022, 6, 9), None)]
    >>> table = pl.DataFrame([(*spell, "renamed") for spell in spells], schema=LISTINGS.schema, orient="row")
    >>> listings = Listings(table)
    >>> day = date(2024, 1, 2)
    >>> listings.company("META", day), listings.symbol("FB", day), listings.company("IBM", day)
    ('FB', 'META', 'IBM')
    """

    table: pl.DataFrame = field(default_factory=LISTINGS.empty)

    def companies(self, frame: pl.DataFrame, day: str = "date", column: str = "symbol") -> pl.DataFrame:
        """A frame with companies in the place of the symbols of each row's day."""
        return self._mapped(frame, day, column, "symbol", "company")

    def symbols(self, frame: pl.DataFrame, day: str = "date", column: str = "symbol") -> pl.DataFrame:
        """A frame with the symbols of each row's day in the place of companies."""
        return self._mapped(frame, day, column, "company", "symbol")

    def company(self, symbol: str, day: date) -> str:
        """The company that has a symbol on a day."""
        return self._one(symbol, day, "symbol", "company")

    def symbol(self, company: str, day: date) -> str:
        """The symbol of a company on a day."""
        return self._one(company, day, "company", "symbol")

    def spellings(self, companies: Iterable[str]) -> list[str]:
        """Every symbol that these companies ever had, sorted."""
        wanted = set(companies)
        own = self.table.filter(pl.col("company").is_in(sorted(wanted)))
        return sorted({*wanted, *own["symbol"]})

    def spells(self, symbol: str) -> list[Spell]:
        """Each time of every company that ever had a symbol; empty where there is nothing to tell apart."""
        own = self.table.filter(pl.col("symbol") == symbol)["company"].unique()
        rows = self.table.filter(pl.col("company").is_in(own.implode())).sort("first")
        return [Spell(*row) for row in rows.select("symbol", "first", "last").iter_rows()]

    def only(self, company: str) -> "Listings":
        """What is known of one company alone."""
        return Listings(self.table.filter(pl.col("company") == company))

    def _mapped(self, frame: pl.DataFrame, day: str, column: str, given: str, wanted: str) -> pl.DataFrame:
        spells = self.table.filter(pl.col("company") != pl.col("symbol"))
        known = self.table.filter(pl.col(given).is_in(spells[given].implode()))
        if known.is_empty() or frame.is_empty() or not frame[column].is_in(known[given].implode()).any():
            return frame
        names = known.select(pl.col(given).alias("_given"), pl.col(wanted).alias("_wanted"), _since="first").sort("_since")
        at = frame.select(_given=pl.col(column), _day=pl.col(day).cast(pl.Date)).with_row_index("_row").sort("_day")
        # Before its first day a name belongs to whoever had it first.
        found = at.join_asof(names, left_on="_day", right_on="_since", by="_given", check_sortedness=False)
        if wanted == "symbol":
            earliest = names.group_by("_given", maintain_order=True).agg(_earliest=pl.col("_wanted").first())
            found = found.join(earliest, on="_given", how="left").with_columns(_wanted=pl.coalesce("_wanted", "_earliest"))
        named = found.sort("_row").select(pl.coalesce("_wanted", "_given").alias(column))
        return frame.with_columns(named[column])

    def _one(self, name: str, day: date, given: str, wanted: str) -> str:
        if self.table.is_empty():
            return name
        frame = pl.DataFrame({"symbol": [name], "date": [day]}, schema={"symbol": pl.String, "date": pl.Date})
        return str(self._mapped(frame, "date", "symbol", given, wanted)["symbol"][0])


def listings_of(lake: Lake) -> Listings:
    """The lake's listings; before any were made every symbol is its own company."""
    return Listings(lake.read(LISTINGS.name)) if lake.exists(LISTINGS.name) else Listings()


def of_symbol(table: Any, symbol: str | None, listings: Listings, day: str = "session") -> "list[ColumnElement[bool]]":
    """Conditions on a table of PostgreSQL: rows of the companies that had a symbol, each under the symbols of its days."""
    import sqlalchemy as sa

    if symbol is None:
        return []
    spells = listings.spells(symbol)
    at = getattr(table, day)
    either = [
        sa.and_(table.symbol == spell.symbol, at >= spell.first, at <= spell.last if spell.last else sa.true())
        for spell in spells
    ]
    return [sa.or_(*either) if either else table.symbol == symbol]


def company_bars(
    lake: Lake, sessions: Iterable[date], companies: pl.Series | None = None, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Unadjusted bars of sessions that the lake has, companies in the place of symbols; of all, or of these companies."""
    listings = listings_of(lake)
    bars = lake.scan("daily_bars", [str(day) for day in sessions])
    if columns is not None:
        bars = bars.select(columns)
    if companies is None:
        return listings.companies(bars.collect())
    bars = bars.filter(pl.col("symbol").is_in(listings.spellings(companies)))
    return listings.companies(bars.collect()).filter(pl.col("symbol").is_in(companies.implode()))


def company_actions(lake: Lake) -> pl.DataFrame:
    """Splits and dividends, companies in the place of symbols."""
    return listings_of(lake).companies(lake.read("corporate_actions"), "ex_date")
