"""Settling: open positions are brought to the close of a session by the rules their labels were made with.

Settling and marking are each one transaction and give the same result however often they run: a position is recomputed
from its fill, never from its last state.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.features.panel import PRICES, dense
from mltrainer_pipelines.market.listings import Listings
from mltrainer_pipelines.market.sessions import session_hours, sessions_between
from mltrainer_pipelines.portfolio.valuation import NOT_TRADED, walked
from mltrainer_pipelines.store.tables import LeaningPosition, Outcome, SamplePosition, VirtualPosition

TABLE: sa.Table = VirtualPosition.__table__  # type: ignore[assignment]
SAMPLES: sa.Table = SamplePosition.__table__  # type: ignore[assignment]
LEANINGS: sa.Table = LeaningPosition.__table__  # type: ignore[assignment]
TABLES = (TABLE, SAMPLES, LEANINGS)
"""Paper trades of recommendations, of the sample below the thresholds and of leanings: each kept apart, all settled alike."""
MARKED = ("shares", "entry_price", "target_price", "stop_loss", "current_price", "fees", "profit_loss")
_SETTLED = (
    *(
        "status",
        "entry_session",
        "entry_time",
        "marked_session",
        "exit_session",
        "exit_time",
        "exit_price",
        "exit_reason",
        "net_return",
    ),
    *("notional", "fill_price", "fill_shares", "factor"),
    *MARKED,
)


class MissingBarsError(LookupError):
    """Positions cannot be settled without the bars of every session they were held over: names the sessions."""


@dataclass(frozen=True)
class Settlement:
    """What a settling changed: positions entered, closed (by exit reason) and re-marked."""

    entered: int
    closed: Mapping[str, int]
    marked: int
    still_pending: int
    still_open: int


def settle(
    engine: Engine,
    adjusted_bars: pl.DataFrame,
    as_of: date,
    listings: Listings | None = None,
    closures: Collection[date] = (),
    mended: pl.DataFrame | None = None,
) -> Settlement:
    """Bring all positions to the close of a session: fill, mark, restate for splits and dividends, close.

    Pending positions whose entry session has come are filled at its open, with target and stop set from that price.
    Exits follow `features.labels.barriers` on adjusted prices, as the labels do: the same bars give the same exit session,
    price and net return. A symbol without a bar for five sessions is closed at its last close. All in one
    transaction; rows are locked, so that two settlings at once do the work once.

    Parameters
    ----------
    adjusted_bars : DataFrame
        date, symbol, adj_open, adj_high, adj_low, adj_close, factor (`market.adjustment.adjusted`) of closed
        sessions: from `bars_needed_from` to `as_of` at least. Later rows are not looked at.
    as_of : date
        A closed session.
    listings : Listings, optional
        Which company the symbol of a position was when it was decided: that is the one whose bars it follows.
    closures : collection of date
        Sessions of the calendar on which the market did not trade: what was to be entered then is entered at the next.
    mended : DataFrame, optional
        date, symbol (company) of bars that the vendor has changed: closed positions that were held over one are settled
        again, and the outcome that was recorded of one goes, if it is another.

    Raises
    ------
    MissingBarsError
        If a session is missing in the bars; nothing is changed.
    features.panel.BadPanelError
        If the bars cannot be used; see `panel.dense`.
    """
    known = (listings or Listings(), closures, mended)
    with engine.begin() as connection:
        settled = [_settled(connection, table, adjusted_bars, as_of, *known) for table in TABLES]
    return settled[0]


def bars_needed_from(engine: Engine, mended: pl.DataFrame | None = None) -> date | None:
    """The first session whose bars `settle` needs: the earliest entry among positions not closed, or closed after the first
    bar that was changed; None without any.
    """
    since = date.max if mended is None or mended.is_empty() else mended["date"].min()
    needed = [sa.or_(table.c.status != "closed", table.c.exit_session >= since) for table in TABLES]
    firsts = [sa.select(sa.func.min(table.c.entry_session)).where(rows) for table, rows in zip(TABLES, needed, strict=True)]
    with engine.connect() as connection:
        return min(filter(None, (connection.scalar(first) for first in firsts)), default=None)


def locked(connection: Connection, table: sa.Table, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Positions that are not closed; another settling waits for this transaction, then sees what it did."""
    chosen = sa.select(table) if columns is None else sa.select(*(table.c[name] for name in columns))
    statement = chosen.where(table.c.status != "closed").order_by(table.c.id).with_for_update()
    return [dict(row) for row in connection.execute(statement).mappings()]


def store(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write what changed, in one statement; a row that stays as it is keeps its `updated_at`."""
    if not rows:
        return
    types = ", ".join(f"{name} {table.c[name].type.compile(dialect=connection.dialect)}" for name in ("id", *columns))
    old, new = (", ".join(f"{alias}.{name}" for name in columns) for alias in ("p", "v"))
    statement = f"""
        UPDATE {table.name} AS p SET {", ".join(f"{name} = v.{name}" for name in columns)}, updated_at = now()
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v({types})
        WHERE p.id = v.id AND ({old}) IS DISTINCT FROM ({new})
    """  # noqa: S608 - names of our own columns
    values = [{name: row[name] for name in ("id", *columns)} for row in rows]
    connection.execute(sa.text(statement), {"rows": json.dumps(values, default=str)})


def of_companies(positions: Sequence[Mapping[str, Any]], listings: Listings) -> list[dict[str, Any]]:
    """Positions with their company in the place of the symbol that it had when they were decided."""
    return [{**one, "symbol": listings.company(one["symbol"], one["decided_session"])} for one in positions]


def _settled(
    connection: Connection,
    table: sa.Table,
    adjusted_bars: pl.DataFrame,
    as_of: date,
    listings: Listings,
    closures: Collection[date],
    mended: pl.DataFrame | None,
) -> Settlement:
    again = _reopened(connection, table, listings, mended)
    positions = of_companies(locked(connection, table), listings) + again
    live = [p for p in positions if (p["marked_session"] or p["entry_session"]) <= as_of]
    waiting = [p for p in positions if (p["marked_session"] or p["entry_session"]) > as_of]
    outcome = []
    if live:
        first = min(p["entry_session"] for p in live)
        bars = adjusted_bars.filter(pl.col("date").is_between(first, as_of))
        _refuse_missing(bars, first, as_of, closures)
        outcome = walked(live, dense(bars, [*PRICES, "factor"], {p["symbol"] for p in live}))
        store(connection, table, outcome, _SETTLED)
        _forget_outcomes(connection, table, again, outcome)
    closed = [row["exit_reason"] for row in outcome if row["status"] == "closed"]
    return Settlement(
        entered=sum(p["status"] == "pending" for p in live) - closed.count(NOT_TRADED),
        closed={reason: closed.count(reason) for reason in sorted(set(closed))},
        marked=len(outcome),
        still_pending=sum(p["status"] == "pending" for p in waiting),
        still_open=sum(p["status"] == "open" for p in waiting) + len(outcome) - len(closed),
    )


def _reopened(connection: Connection, table: sa.Table, listings: Listings, mended: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Closed positions held over a bar that was changed, as they were before their exit; before their fill, if that changed."""
    if mended is None or mended.is_empty():
        return []
    changed: dict[str, list[date]] = {}
    for day, company in mended.select("date", "symbol").unique().iter_rows():
        changed.setdefault(company, []).append(day)
    statement = sa.select(table).where(table.c.status == "closed", table.c.exit_session >= mended["date"].min())
    ended = [dict(row) for row in connection.execute(statement.order_by(table.c.id).with_for_update()).mappings()]
    reopened = []
    for row in of_companies(ended, listings):
        days = [day for day in changed.get(row["symbol"], []) if row["entry_session"] <= day <= row["exit_session"]]
        if not days:
            continue
        row |= dict.fromkeys(("exit_session", "exit_time", "exit_price", "exit_reason", "net_return")) | {"status": "open"}
        if not row["intraday"] and (row["fill_price"] is None or row["entry_session"] in days):
            row |= dict.fromkeys(("fill_price", "fill_shares", "entry_time", "marked_session")) | {"status": "pending"}
        reopened.append(row)
    return reopened


def _forget_outcomes(
    connection: Connection, table: sa.Table, again: Sequence[Mapping[str, Any]], settled: Sequence[Mapping[str, Any]]
) -> None:
    """Of positions settled again, the recorded outcomes that are no longer theirs: `learning.outcomes` records the new ones."""
    if table is not TABLE or not again:
        return
    returns = {row["id"]: row["net_return"] for row in settled}
    recorded = sa.select(Outcome.position_id, Outcome.net_return).where(Outcome.position_id.in_([row["id"] for row in again]))
    other = [number for number, value in connection.execute(recorded).tuples() if value != returns.get(number)]
    connection.execute(sa.delete(Outcome).where(Outcome.position_id.in_(other)))


def _refuse_missing(bars: pl.DataFrame, first: date, as_of: date, closures: Collection[date]) -> None:
    session_hours(as_of)  # raises where it is no session
    present = {*bars.get_column("date").unique(), *closures}
    missing = [session for session in sessions_between(first, as_of) if session not in present]
    if missing:
        listing = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise MissingBarsError(
            f"positions entered since {first} need the bars of {listing}; materialize daily_bars for them first"
        )
