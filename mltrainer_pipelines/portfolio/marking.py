"""Marking open positions at delayed quotes while a session is under way. Nothing is closed: settling does that, on final bars."""

from collections.abc import Iterable, Mapping
from datetime import date

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.market.listings import Listings
from mltrainer_pipelines.portfolio.settlement import MARKED, TABLES, locked, of_companies, store
from mltrainer_pipelines.portfolio.valuation import at_price
from mltrainer_pipelines.signals.inputs import LakeInputs
from mltrainer_pipelines.signals.quote_checks import check_quotes, steps_between
from mltrainer_pipelines.store.lake import Lake


def trusted_quotes(lake: Lake, quotes: pl.DataFrame, symbols: pl.Series) -> pl.DataFrame:
    """The quotes of these symbols whose prices are trusted, as `quote_checks.check_quotes` does for what is recommended.

    `quotes` are one session's (`market.quotes.delayed_quotes`); they and `symbols` are companies. A position keeps its last
    mark where its price is ten times yesterday's, or where it split and nobody has said so: what it is worth is not known.
    """
    if quotes.is_empty() or not len(symbols):
        return quotes.clear()
    inputs = LakeInputs(lake)
    failures = check_quotes(quotes, inputs.last_closes(quotes["date"][0], symbols), inputs.actions(), symbols).failures
    return quotes.filter(pl.col("symbol").is_in(symbols.implode()) & ~pl.col("symbol").is_in(failures["symbol"].implode()))


def open_symbols(engine: Engine, listings: Listings | None = None) -> pl.Series:
    """Companies of the paper trades that are open, each once."""
    opens = [sa.select(table.c.symbol, table.c.decided_session).where(table.c.status == "open") for table in TABLES]
    with engine.connect() as connection:
        rows = connection.execute(sa.union(*opens)).mappings().all()
    companies = {row["symbol"] for row in of_companies([dict(row) for row in rows], listings or Listings())}
    return pl.Series(sorted(companies), dtype=pl.String)


def mark(engine: Engine, quotes: pl.DataFrame, actions: pl.DataFrame | None = None, listings: Listings | None = None) -> int:
    """Mark open positions at delayed quotes, during a session; how many. Nothing is closed: `settle` does that, on final bars.

    `quotes`: date, symbol, close (the last delayed price, dollars), previous_close, stale; stale ones are not used. `actions`
    (symbol, ex_date, kind, ratio, cash): splits and dividends since the last settling restate what is shown.
    `listings`: which company a position's symbol was; `quotes` and `actions` are by company.
    """
    fresh = quotes.filter(~pl.col("stale") & (pl.col("close") > 0))
    prices = {symbol: (day, close) for symbol, day, close in fresh.select("symbol", "date", "close").iter_rows()}
    with engine.begin() as connection:
        marked = [_marked(connection, table, fresh, prices, actions, listings or Listings()) for table in TABLES]
    return marked[0]


def _marked(
    connection: Connection,
    table: sa.Table,
    fresh: pl.DataFrame,
    prices: Mapping[str, tuple[date, float]],
    actions: pl.DataFrame | None,
    listings: Listings,
) -> int:
    markable = []
    for position in of_companies(locked(connection, table, _MARKED_FROM), listings):
        since = position["marked_session"] or position["entry_session"]
        if position["status"] == "open" and position["symbol"] in prices and prices[position["symbol"]][0] >= since:
            markable.append((position, since))
    steps = _steps_since(fresh, actions, markable)
    rows = []
    for position, since in markable:
        day, price = prices[position["symbol"]]
        step = steps.get((position["symbol"], since), 1.0) if day > since else 1.0
        rows.append({"id": position["id"]} | at_price(position, position["factor"] * step, price))
    store(connection, table, rows, MARKED)
    return len(rows)


def _steps_since(
    quotes: pl.DataFrame, actions: pl.DataFrame | None, positions: Iterable[tuple[Mapping[str, object], date]]
) -> dict[tuple[str, date], float]:
    """What the actions between a session and the quotes' date multiply a share of (symbol, session) into."""
    if actions is None or actions.is_empty():
        return {}
    marks = pl.DataFrame(
        sorted({(p["symbol"], since) for p, since in positions}), schema={"symbol": pl.String, "since": pl.Date}, orient="row"
    )
    pairs = marks.join(quotes, on="symbol").filter(pl.col("date") > pl.col("since"))
    steps: dict[tuple[str, date], float] = {}
    for (since,), group in pairs.partition_by("since", as_dict=True).items():
        settled = group.select("symbol", date="since", close="previous_close")
        steps |= {(symbol, since): factor for symbol, factor in steps_between(settled, group, actions).iter_rows()}
    return steps


_MARKED_FROM = (
    *(
        "id",
        "symbol",
        "decided_session",
        "status",
        "marked_session",
        "entry_session",
        "factor",
        "fill_shares",
        "fill_price",
        "notional",
    ),
    *("volatility", "max_sessions", "cost_bps", "target_multiple", "stop_multiple"),
)
