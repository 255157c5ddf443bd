"""The daily returns of following a trial: overlapping tranches, marked to the market, after costs.

Capital is split into as many slots as the horizon has sessions. On every session one slot is free:
at its close the picks are decided, each gets an equal part of the slot, is bought at the next open
and sold where its label says that its first barrier was hit. What is sold waits as cash, which
earns nothing, until the slot's turn comes again, `max_sessions` later (Jegadeesh & Titman 1993,
Journal of Finance 48(1), hold overlapping portfolios the same way). Slots compound and are never
rebalanced into each other, so the book finances itself.

A decision at session t uses what is known at t's close. The exits come from the labels, which are
known only later: they decide what a pick was worth, never what was picked.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mltrainer_pipelines.features.labels.barriers import DELISTED_AFTER

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOMENTUM_LOOK_BACK, MOMENTUM_SKIP = 252, 21
"""12-1 momentum: the return over twelve months without the last one, in sessions."""


class LabelsAndPricesDisagreeError(ValueError):
    """A label names a session or a symbol for which the adjusted bars have no price, or an impossible holding."""


@dataclass(frozen=True)
class PriceGrid:
    """Adjusted prices as dense matrices, sessions × symbols; symbols are sorted.

    `adj_open` is NaN where a symbol did not trade, `adj_close` the last known close, NaN before the first.
    """

    sessions: NDArray[np.datetime64]
    symbols: NDArray[np.str_]
    adj_open: Floats
    adj_close: Floats

    @classmethod
    def from_bars(cls, adjusted_bars: pl.DataFrame) -> Self:
        """Arrange adjusted bars (date, symbol, adj_open, adj_close; any order, unique date and symbol)."""
        sessions, row = np.unique(adjusted_bars["date"].to_numpy(), return_inverse=True)
        symbols = adjusted_bars["symbol"].unique().sort()
        column = adjusted_bars.select(pl.col("symbol").replace_strict(symbols, np.arange(symbols.len()))).to_series().to_numpy()
        shape = (sessions.size, symbols.len())
        if np.unique(row * shape[1] + column).size != row.size:
            raise ValueError("the adjusted bars have two rows for one date and symbol; keep one")
        opens, closes = np.full(shape, np.nan), np.full(shape, np.nan)
        opens[row, column] = adjusted_bars["adj_open"].to_numpy()
        closes[row, column] = adjusted_bars["adj_close"].to_numpy()
        last_bar = np.maximum.accumulate(np.where(np.isnan(closes), -1, np.arange(shape[0])[:, None]), axis=0)
        filled = np.where(last_bar >= 0, np.take_along_axis(closes, np.maximum(last_bar, 0), axis=0), np.nan)
        return cls(sessions.astype("datetime64[D]"), symbols.to_numpy().astype(np.str_), opens, filled)

    @cached_property
    def _columns(self) -> pl.DataFrame:
        return pl.DataFrame({"symbol": self.symbols.tolist(), "column": np.arange(self.symbols.size)})

    def rows(self, dates: pl.Series) -> Ints:
        """Row of each date (no nulls), or an error that names the first without any bar."""
        wanted = dates.to_numpy().astype("datetime64[D]")
        row = np.searchsorted(self.sessions, wanted)
        present = self.sessions[np.minimum(row, self.sessions.size - 1)] == wanted
        if not present.all():
            raise LabelsAndPricesDisagreeError(
                f"the adjusted bars have no session {wanted[~present][0]}, which a prediction or label names; "
                "give bars over the whole time of the labels"
            )
        return row.astype(np.int64)

    def columns(self, symbols: pl.Series) -> Ints:
        """Column of each symbol, or an error that names the first unknown one."""
        column = symbols.alias("symbol").to_frame().join(self._columns, on="symbol", how="left", maintain_order="left")["column"]
        if column.null_count():
            unknown = symbols.filter(column.is_null())[0]
            raise LabelsAndPricesDisagreeError(f"the adjusted bars have no symbol {unknown!r}, which a prediction names")
        return column.to_numpy().astype(np.int64)


def top_fraction(frame: pl.DataFrame, by: str = "score", fraction: float = 0.1) -> pl.DataFrame:
    """The rows of each session with the highest `by`: a `fraction` of them, rounded up; ties go by symbol.

    Rows without a value in `by` are neither picked nor counted.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction}: give the share of a session's rows to pick, above 0 and at most 1")
    ranked = frame.filter(pl.col(by).is_not_null() & pl.col(by).is_not_nan())
    ordered = ranked.sort("date", by, "symbol", descending=[False, True, False])
    place = pl.int_range(pl.len()).over("date")
    # the small shift undoes 0.1 · 120 = 12.000000000000002
    return ordered.filter(place < (pl.len().over("date") * fraction - 1e-9).ceil())


def twelve_one_momentum(prices: PriceGrid) -> pl.DataFrame:
    """Momentum as known at each session's close, adj_close[t − 21] / adj_close[t − 252] − 1: date, symbol, momentum.

    Only where both prices are known.
    """
    close = prices.adj_close
    if close.shape[0] <= MOMENTUM_LOOK_BACK:
        return pl.DataFrame(schema={"date": pl.Date, "symbol": pl.String, "momentum": pl.Float64})
    change = close[MOMENTUM_LOOK_BACK - MOMENTUM_SKIP : -MOMENTUM_SKIP] / close[:-MOMENTUM_LOOK_BACK] - 1.0
    row, column = np.nonzero(np.isfinite(change))
    days = pl.Series("date", prices.sessions[row + MOMENTUM_LOOK_BACK]).cast(pl.Date)
    names = pl.Series("symbol", prices.symbols.tolist()).gather(column)
    return pl.DataFrame([days, names, pl.Series("momentum", change[row, column])])


def tranche_returns(picks: pl.DataFrame, prices: PriceGrid, max_sessions: int, cost_bps: float = 10.0) -> pl.DataFrame:
    """Mark the book of overlapping tranches every session.

    Picks are date (the decision's session), symbol, entry_date, exit_date, gross_return, as labels have them. Without an
    entry_date a pick was never bought, and its part of the slot stays cash. Without an exit_date the position is open: it is
    marked, and closed at the mark when its slot's turn comes. `max_sessions` is the time barrier, and the number of slots.
    `cost_bps` is the cost of one side of a trade: buying for 1 takes 1 + cost, selling for 1 brings 1 − cost.

    Returns date, net_return (from the close before to this close), equity (1 at the first decision), drawdown (≤ 0), exposure
    (share of equity in positions at the close), turnover (half of what was bought and sold, as a share of the equity before): a
    row a session, from the one after the first decision to the last exit, or to the end of the prices.
    LabelsAndPricesDisagreeError if a price is missing for an entry, or a label exits later than this time barrier lets it.
    """
    if picks.is_empty():
        raise ValueError("no picks: nothing was decided on any session, so there is no book to mark")
    if max_sessions < 1 or cost_bps < 0:
        raise ValueError(f"max_sessions={max_sessions}, cost_bps={cost_bps}: give at least 1 session and no negative cost")
    decided = prices.rows(picks["date"])
    start, slots = int(decided.min()), max_sessions
    end = min(prices.sessions.size - 1, int(decided.max()) + slots)
    length = end - start + 1
    share = 1.0 / np.bincount(decided - start, minlength=length)[decided - start]

    held = _holdings(picks.with_columns(pl.Series("share", share)), prices, decided, slots, cost_bps / 1e4)
    cash, value, bought, sold = _unit_paths(held, prices, start, length, slots)

    # A slot's capital grows by what its last tranche was worth at its end.
    capital = np.full(length, 1.0 / slots)
    ending = cash[:, slots] + value[:, slots]
    for first in range(slots, length, slots):
        span = slice(first, min(first + slots, length))
        before = slice(first - slots, span.stop - slots)
        capital[span] = capital[before] * ending[before]

    equity = np.maximum(slots - 1 - np.arange(length), 0) / slots
    invested, traded = np.zeros(length), np.zeros(length)
    for age in range(min(slots + 1, length)):
        tranche = slice(0, length - age)
        if age < slots:
            equity[age:] += capital[tranche] * (cash + value)[tranche, age]
            invested[age:] += capital[tranche] * value[tranche, age]
        traded[age:] += capital[tranche] * (bought + sold)[tranche, age]

    before_session = equity[:-1]
    returns = equity[1:] / before_session - 1.0
    peak = np.maximum.accumulate(equity)
    return pl.DataFrame(
        {
            "date": pl.Series(prices.sessions[start + 1 : end + 1]).cast(pl.Date),
            "net_return": returns,
            "equity": equity[1:],
            "drawdown": (equity / peak - 1.0)[1:],
            "exposure": (invested / equity)[1:],
            "turnover": traded[1:] / 2.0 / before_session,
        }
    )


@dataclass(frozen=True)
class _Holdings:
    """Bought picks, longest holding first. Offsets count sessions from the decision."""

    decided: Ints
    column: Ints
    share: Floats
    entry_offset: Ints
    exit_offset: Ints
    entry_price: Floats
    proceeds: Floats
    cost: float


def _holdings(picks: pl.DataFrame, prices: PriceGrid, decided: Ints, slots: int, cost: float) -> _Holdings:
    was_bought = picks["entry_date"].is_not_null()
    picks, decided = picks.filter(was_bought), decided[was_bought.to_numpy()]
    column = prices.columns(picks["symbol"])
    entry = prices.rows(picks["entry_date"])
    entry_price = prices.adj_open[entry, column]
    is_closed = (picks["exit_date"].is_not_null() & picks["gross_return"].is_not_null()).to_numpy()
    exit_row = np.full(picks.height, -1, dtype=np.int64)
    exit_row[is_closed] = prices.rows(picks["exit_date"].filter(is_closed))
    exit_offset = np.where(is_closed, exit_row - decided, slots)
    entry_offset = entry - decided
    latest = slots + DELISTED_AFTER
    wrong = ~np.isfinite(entry_price) | (entry_offset < 1) | (exit_offset < entry_offset) | (exit_offset > latest)
    if wrong.any():
        row = picks.row(int(np.flatnonzero(wrong)[0]), named=True)
        raise LabelsAndPricesDisagreeError(
            f"{row['symbol']}, decided {row['date']}: entered {row['entry_date']}, left {row['exit_date']}; it needs an open on "
            f"the entry session, after the decision, and an exit at most {latest} sessions after (labels of another timeframe?)"
        )
    # An exit later than the time barrier is that of a symbol that stopped trading; its slot does not wait for it.
    exit_offset = np.minimum(exit_offset, slots)
    gross = np.where(is_closed, picks["gross_return"].fill_null(0.0).to_numpy(), 0.0)
    last_mark = prices.adj_close[np.minimum(decided + slots, prices.sessions.size - 1), column]
    growth = np.where(is_closed, 1.0 + gross, last_mark / entry_price)
    order = np.argsort(-exit_offset, kind="stable")
    return _Holdings(
        decided=decided[order],
        column=column[order],
        share=picks["share"].to_numpy()[order],
        entry_offset=entry_offset[order],
        exit_offset=exit_offset[order],
        entry_price=entry_price[order],
        proceeds=(growth * (1 - cost) / (1 + cost))[order],
        cost=cost,
    )


def _unit_paths(held: _Holdings, prices: PriceGrid, start: int, length: int, slots: int) -> tuple[Floats, Floats, Floats, Floats]:
    """What one dollar decided at each session becomes: cash, positions, bought and sold by session of age."""
    tranche = held.decided - start
    shape = (length, slots + 1)

    def gather(offset: Ints, weights: Floats) -> Floats:
        flat = np.bincount(tranche * shape[1] + offset, weights=weights, minlength=shape[0] * shape[1])
        return flat.astype(np.float64).reshape(shape)  # bincount of nothing counts integers

    bought = gather(held.entry_offset, held.share)
    sold = gather(held.exit_offset, held.share * held.proceeds)
    cash = 1.0 + np.cumsum(sold - bought, axis=1)
    value = np.zeros(shape)
    units = held.share / (held.entry_price * (1 + held.cost))
    still_open = np.searchsorted(-held.exit_offset, -np.arange(shape[1]), side="left")
    close, last_row, late = prices.adj_close, prices.sessions.size - 1, bool((held.entry_offset > 1).any())
    marks, width = close.ravel(), close.shape[1]
    for age in range(1, slots + 1):
        count = int(still_open[age])
        if count == 0:
            break
        row = np.minimum(held.decided[:count] + age, last_row)
        worth = units[:count] * marks[row * width + held.column[:count]]
        if late:
            worth[held.entry_offset[:count] > age] = 0.0
        value[:, age] = np.bincount(tranche[:count], weights=worth, minlength=length)
    return cash, value, bought, sold
