"""What a virtual position is worth: its fill, its restatement for splits and dividends, its exit. Pure: no database.

A position here is a row of `virtual_positions` as a mapping, and everything is recomputed from its fill, so that
settling session by session gives the same as settling once.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.timeframes import Timeframe
from mltrainer_pipelines.features.labels.barriers import BARRIERS, DELISTED_AFTER, Barriers, net_return, price_levels
from mltrainer_pipelines.features.panel import PRICES, Panel
from mltrainer_pipelines.market.sessions import session_hours
from mltrainer_pipelines.portfolio.account import CENT

PRICE_STEP = Decimal("0.000001")
SHARE_STEP = Decimal("0.0001")
NOT_TRADED = "not_traded"
"""Exit reason of a position that was never entered: its symbol had no bar on the entry session."""


def filled_at(position: Mapping[str, Any], price: Decimal) -> dict[str, object]:
    """What is bought at `price`, dollars a share as traded, for the position's planned notional."""
    shares = (position["notional"] / price).quantize(SHARE_STEP, ROUND_DOWN)
    return {"fill_price": price, "fill_shares": shares, "notional": (shares * price).quantize(CENT, ROUND_HALF_EVEN)}


def at_price(position: Mapping[str, Any], factor: float, price: float | Decimal) -> dict[str, Any]:
    """A filled position restated by `factor` and valued at `price`, dollars a share as traded."""
    held, filled = position["fill_shares"], position["fill_price"]
    width = position["volatility"] * math.sqrt(position["max_sessions"])
    ratio, now = Decimal(repr(factor)), _price(float(price)) or filled
    shares = (held * ratio).quantize(PRICE_STEP, ROUND_HALF_EVEN)
    cost, value = position["notional"], (shares * now).quantize(CENT, ROUND_HALF_EVEN)
    rate = Decimal(repr(position["cost_bps"])) / 10_000
    fees = (cost * rate).quantize(CENT, ROUND_HALF_EVEN) + (value * rate).quantize(CENT, ROUND_HALF_EVEN)
    return {
        "shares": shares,
        "entry_price": (filled / ratio).quantize(PRICE_STEP, ROUND_HALF_EVEN),
        "target_price": _price(float(filled) * math.exp(position["target_multiple"] * width) / factor),
        "stop_loss": _price(float(filled) * math.exp(-position["stop_multiple"] * width) / factor),
        "current_price": now,
        "fees": fees,
        "profit_loss": value - cost - fees,
    }


def walked(positions: Sequence[Mapping[str, Any]], panel: Panel) -> list[dict[str, Any]]:
    """Each position as it stands at the panel's last session."""
    # A symbol without any bar gets the last column, all NaN.
    place = {symbol: column for column, symbol in enumerate(panel.symbols)}
    columns = np.array([place.get(p["symbol"], len(panel.symbols)) for p in positions])
    each = np.arange(len(positions))
    unknown = np.full((len(panel.sessions), 1), np.nan)
    opens, highs, lows, closes, factors = (
        np.ascontiguousarray(np.hstack([panel.fields[name], unknown])[:, columns].T) for name in (*PRICES, "factor")
    )
    # A factor holds over sessions without a bar; before the first bar it is the first one's, without any 1.
    by_position = pl.from_numpy(factors.T).with_columns(pl.all().fill_nan(None).forward_fill().backward_fill().fill_null(1.0))
    factors = by_position.to_numpy().T
    entries = np.searchsorted(panel.sessions, np.array([p["entry_session"] for p in positions], dtype="datetime64[D]"))
    entry_factors = factors[each, entries]

    # Of a session within which a position was taken, only the close is known to lie after it.
    within = np.array([p["intraday"] for p in positions])
    for matrix in (highs, lows):
        matrix[each[within], entries[within]] = closes[each[within], entries[within]]

    opened_at = opens[each, entries] / entry_factors
    fills = [p["fill_price"] or _price(opened_at[i]) for i, p in enumerate(positions)]
    paid = np.array([math.nan if fill is None else float(fill) for fill in fills]) * entry_factors
    exits, codes, prices = _first_exits(positions, (opens, highs, lows, closes), entries, paid)

    hours: dict[date, tuple[datetime, datetime]] = {day: session_hours(day) for day in panel.sessions.tolist()}
    settled = []
    for i, position in enumerate(positions):
        row = dict(position)
        fill = fills[i]
        if fill is None:
            never = {"status": "closed", "exit_session": row["entry_session"], "exit_reason": NOT_TRADED, "shares": Decimal(0)}
            settled.append(row | never | {"marked_session": row["entry_session"]})
            continue
        if row["fill_price"] is None:
            entered = panel.sessions[entries[i]].item()  # later than planned where the market was closed then
            row |= filled_at(row, fill) | {"entry_session": entered, "entry_time": hours[entered][0]}
        end = int(exits[i]) if exits[i] >= 0 else len(panel.sessions) - 1
        session = panel.sessions[end].item()
        factor = float(factors[i, end] / entry_factors[i])
        row |= {"status": "open", "marked_session": session, "factor": factor}
        if exits[i] < 0:
            traded = closes[i, entries[i] : end + 1]
            traded = traded[~np.isnan(traded)]
            last = traded[-1] if len(traded) else paid[i]
            settled.append(row | at_price(row, factor, last / factors[i, end]))
            continue
        gross = prices[i] if prices[i] == prices[i] else paid[i]  # no close since the entry: what was paid
        row |= at_price(row, factor, gross / factors[i, end])
        settled.append(
            row
            | {
                "status": "closed",
                "exit_session": session,
                "exit_time": hours[session][1],
                "exit_price": row["current_price"],
                "exit_reason": BARRIERS[codes[i]],
                "net_return": float(net_return(gross / paid[i] - 1.0, row["cost_bps"])),
            }
        )
    return settled


def _first_exits(
    positions: Sequence[Mapping[str, Any]], prices: tuple[np.ndarray, ...], entries: np.ndarray, paid: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, barrier number and adjusted price of each exit; row -1 where there is none yet, or no entry."""
    from mltrainer_pipelines.features.kernels import barriers as barrier_kernels

    opens, highs, lows, closes = prices
    groups: dict[tuple[int, float, float], list[int]] = {}
    for i, p in enumerate(positions):
        groups.setdefault((p["max_sessions"], p["target_multiple"], p["stop_multiple"]), []).append(i)
    volatility = np.array([p["volatility"] for p in positions])
    taken = np.where(np.isnan(paid), -1, entries)
    rows, codes, at = np.full(len(positions), -1), np.full(len(positions), -1), np.full(len(positions), np.nan)
    for (max_sessions, target, stop), members in groups.items():
        group = np.array(members)
        horizon = Timeframe("position", 1, max_sessions)
        targets, stops = price_levels(paid[group], volatility[group], horizon, Barriers(target, stop))
        rows[group], codes[group], at[group] = barrier_kernels.first_exits(
            opens, highs, lows, closes, group, taken[group], targets, stops, max_sessions, DELISTED_AFTER
        )
    return rows, codes, at


def _price(value: float) -> Decimal | None:
    return None if math.isnan(value) else Decimal(repr(float(value))).quantize(PRICE_STEP, ROUND_HALF_EVEN)
