"""Sectors of companies: a call each, so each is asked for once and kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import TICKER_PROFILES
from mltrainer_pipelines.market.errors import UnknownSymbolError
from mltrainer_pipelines.market.listings import Listings
from mltrainer_pipelines.market.vendors.protocol import MarketData

_AT_ONCE = 4


def with_sectors(
    universe: pl.DataFrame,
    stored: pl.DataFrame | None,
    client: MarketData,
    most_calls: int | None = None,
    log: Callable[[str], object] = lambda _: None,
    listings: Listings | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The universe (columns of `UNIVERSE`) with its members' sectors, and the `TICKER_PROFILES` that are known now.

    Lists of tickers hold no sector; a ticker's own page does. A member is asked for once, as of the last month it is
    in, the newest and most liquid first; beyond `most_calls` they stay without a sector until next time. A sector is what
    the company's filings call its industry; it hardly ever changes, and one word serves for all months. `stored` are the
    profiles asked for before; `log` is told how many calls this makes, and how many are left for later.

    `listings` says under which symbol a company is asked for. An unknown ticker is no error: its sector is null. Other errors
    of the client (`MarketDataError`) come through.
    """

    def sector(member: tuple[str, date]) -> str | None:
        company, month = member
        try:
            found: str | None = client.ticker_details(listings.symbol(company, month) if listings else company, month).item(
                0, "sector"
            )
        except UnknownSymbolError:
            return None
        return found

    profiles = TICKER_PROFILES.empty() if stored is None else stored
    new = (
        universe.sort("month", "rank", descending=[True, False])
        .unique("symbol", keep="first", maintain_order=True)
        .join(profiles, on="symbol", how="anti", maintain_order="left")
        .select("symbol", "month")
        .rows()
    )
    queried = new if most_calls is None else new[:most_calls]
    if queried:
        left = f"; {len(new) - len(queried)} are left for the next time" if len(new) > len(queried) else ""
        log(f"asking for the sectors of {len(queried)} new members, a call each{left}")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            sectors = list(pool.map(sector, queried))
        rows = [(symbol, sector, month) for (symbol, month), sector in zip(queried, sectors, strict=True)]
        profiles = pl.concat([profiles, pl.DataFrame(rows, schema=TICKER_PROFILES.schema, orient="row")]).sort("symbol")
    asked = profiles.select("symbol", asked="sector")
    filled = universe.join(asked, on="symbol", how="left", maintain_order="left")
    return filled.with_columns(sector=pl.coalesce("sector", "asked")).drop("asked"), profiles
