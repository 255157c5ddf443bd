"""Virtual positions: every recommendation is bought on paper, with the levels it was recommended with.

So is a sample of the signals just below the thresholds: nobody is shown them, and what they earn says whether the thresholds are
where they should be. And so are the leanings, whose record says what putting them first is worth. Both are kept in tables of
their own. Opening is one transaction and changes nothing when it is repeated.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.market.sessions import NEW_YORK, is_session, next_session, session_hours
from mltrainer_pipelines.portfolio.account import PaperAccount
from mltrainer_pipelines.portfolio.settlement import LEANINGS, SAMPLES, TABLE
from mltrainer_pipelines.portfolio.valuation import SHARE_STEP, at_price, filled_at
from mltrainer_pipelines.signals.leanings import leanings
from mltrainer_pipelines.signals.recommendations import stored_levels
from mltrainer_pipelines.signals.rules import SAMPLE_SIZE
from mltrainer_pipelines.store.tables import Recommendation, VirtualPosition

LEANING_SIZE = 10
"""Leanings that are bought on paper, a session and timeframe: as many as the page shows."""


def entry_session_of(session: date, timestamp: datetime) -> tuple[date, bool]:
    """When a recommendation is bought that was decided on the bar of `session` at `timestamp` (aware).

    While `session` trades: that session, at once (True). Otherwise the first session that opens afterwards (False).
    """
    today = timestamp.astimezone(NEW_YORK).date()
    if is_session(today):
        opens, closes = session_hours(today)
        if today == session and opens <= timestamp < closes:
            return session, True
        if timestamp < opens and today > session:
            return today, False
    return next_session(max(today, session)), False


def open_positions(engine: Engine, cost_bps: float, account: PaperAccount | None = None) -> list[int]:
    """Give every recommendation that has none its virtual position; ids of those made, none at a second call.

    Decided within its session, it is bought at once at the recommended entry price (the last delayed price), status
    `open`; decided after the close, it is `pending` until `settle` fills it at the next session's open. The barriers
    keep the distances, in units of volatility × √max_sessions, that the recommendation was made with. `cost_bps` is fee and
    slippage a side, recorded for both sides. A `ValueError` where it is negative or not below 10,000, or where a recommendation's
    levels are not ``stop_loss < entry_price < target_price``, its volatility is not positive or its timeframe is unknown.
    """
    if not 0.0 <= cost_bps < 10_000.0:
        raise ValueError(f"cost_bps={cost_bps}: give the cost a side in basis points, from 0 to below 10000")
    account = account or PaperAccount()
    missing = (
        sa.select(Recommendation.__table__)
        .where(~sa.exists().where(VirtualPosition.recommendation_id == Recommendation.id))
        .order_by(Recommendation.id)
    )
    with engine.begin() as connection:
        rows = [
            {"recommendation_id": row["id"], **planned(dict(row), cost_bps, account)}
            for row in connection.execute(missing).mappings()
        ]
        if not rows:
            return []
        statement = insert(VirtualPosition).on_conflict_do_nothing(index_elements=["recommendation_id"])
        made = connection.execute(statement.returning(VirtualPosition.id), rows)
        return sorted(made.scalars())


def open_samples(
    engine: Engine, near: pl.DataFrame, cost_bps: float, market: str, most: int = SAMPLE_SIZE, account: PaperAccount | None = None
) -> int:
    """Buy signals just below the thresholds on paper, each symbol once; how many.

    `near` is what `signals.rules.near_misses` gives of one session; `most` bounds a session and timeframe over all refreshes.
    """
    return _open_signals(engine, SAMPLES, near, cost_bps, market, most, account)


def open_leanings(
    engine: Engine,
    signals: pl.DataFrame,
    cost_bps: float,
    market: str,
    most: int = LEANING_SIZE,
    account: PaperAccount | None = None,
) -> int:
    """Buy the first signals of each timeframe on paper, as `leanings` ranks those of one session; how many.

    The first refresh of a session chooses them: a later one only fills up what is missing of `most`.
    """
    levels = [pl.col(name).is_finite() for name in ("target_price", "stop_loss", "volatility")]
    first = leanings(signals.filter(*levels), most).with_columns(recommended="strong_buy")
    return _open_signals(engine, LEANINGS, first, cost_bps, market, most, account)


def _open_signals(
    engine: Engine,
    table: sa.Table,
    signals: pl.DataFrame,
    cost_bps: float,
    market: str,
    most: int,
    account: PaperAccount | None,
) -> int:
    """Buy signals of one session on paper, each symbol once, up to `most` of a timeframe over all refreshes."""
    account = account or PaperAccount()
    if signals.is_empty():
        return 0
    copied = [name for name in signals.columns if name in table.c]
    taken = sa.select(table.c.timeframe, table.c.symbol).where(table.c.decided_session == signals["date"][0])
    made = 0
    with engine.begin() as connection:
        connection.execute(sa.text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))
        present = set(connection.execute(taken).tuples())
        rows = []
        for signal in signals.iter_rows(named=True):
            room = most - sum(timeframe == signal["timeframe"] for timeframe, _ in present)
            if room <= 0 or (signal["timeframe"], signal["symbol"]) in present:
                continue
            present.add((signal["timeframe"], signal["symbol"]))
            opened = planned({**signal, **stored_levels(signal)}, cost_bps, account)
            rows.append({name: signal[name] for name in copied} | opened | {"market": market})
        if rows:
            made = len(connection.execute(insert(table).returning(table.c.id), rows).all())
    return made


def unpositioned(engine: Engine, older_than: timedelta) -> list[int]:
    """Ids of recommendations that were stored longer ago than this and have no position."""
    r = Recommendation
    has_one = sa.exists().where(VirtualPosition.recommendation_id == r.id)
    statement = sa.select(r.id).where(~has_one, r.timestamp < sa.func.now() - older_than).order_by(r.id)
    with engine.connect() as connection:
        return list(connection.scalars(statement))


def positions_of(engine: Engine, recommendation_ids: Sequence[int]) -> list[dict[str, object]]:
    """The virtual positions of these recommendations, as mappings of the table's columns."""
    wanted = sa.select(TABLE).where(TABLE.c.recommendation_id.in_(recommendation_ids)).order_by(TABLE.c.id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(wanted).mappings()]


def planned(recommendation: Mapping[str, Any], cost_bps: float, account: PaperAccount) -> dict[str, Any]:
    """The position a recommendation gets, as `open_positions` stores it: bought at once, or pending."""
    r = recommendation
    name = f"recommendation {r['id']}" if "id" in r else "signal"
    name += f" ({r['symbol']}, {r['timeframe']}, {r['session']})"
    if r["timeframe"] not in TIMEFRAMES:
        raise ValueError(f"{name}: no such timeframe; there are {', '.join(TIMEFRAMES)}")
    if not 0 < r["stop_loss"] < r["entry_price"] < r["target_price"]:
        raise ValueError(
            f"{name}: stop {r['stop_loss']}, entry {r['entry_price']} and target {r['target_price']} must ascend, all above 0"
        )
    if not r["volatility"] > 0 or not math.isfinite(r["volatility"]):
        raise ValueError(f"{name}: its volatility is {r['volatility']}; it must be a positive number (a session)")
    timeframe = TIMEFRAMES[r["timeframe"]]
    width = r["volatility"] * math.sqrt(timeframe.max_sessions)
    entry_session, at_once = entry_session_of(r["session"], r["timestamp"])
    notional = account.notional(r["entry_price"], r["stop_loss"])
    position: dict[str, Any] = {
        "symbol": r["symbol"],
        "timeframe": r["timeframe"],
        "status": "open" if at_once else "pending",
        "decided_session": r["session"],
        "entry_session": entry_session,
        "entry_time": r["timestamp"] if at_once else None,
        "entry_price": None,
        "shares": (notional / r["entry_price"]).quantize(SHARE_STEP, ROUND_DOWN),
        "current_price": r["entry_price"],
        "profit_loss": Decimal(0),
        "fees": Decimal(0),
        "target_price": r["target_price"],
        "stop_loss": r["stop_loss"],
        "max_sessions": timeframe.max_sessions,
        "volatility": r["volatility"],
        # The table keeps prices to 0.000001: four decimals give back the multiples they were made with.
        "target_multiple": round(math.log(r["target_price"] / r["entry_price"]) / width, 4),
        "stop_multiple": round(math.log(r["entry_price"] / r["stop_loss"]) / width, 4),
        "cost_bps": cost_bps,
        "notional": notional,
        "intraday": at_once,
        "fill_price": None,
        "fill_shares": None,
        "factor": 1.0,
    }
    if at_once:
        position |= filled_at(position, r["entry_price"])
        position |= at_price(position, 1.0, float(r["entry_price"]))
    return position
