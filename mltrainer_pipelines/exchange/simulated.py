"""A simulated market: reproducible from a seed, made in seconds, with as much to predict as one asks for.

Nothing in it is meant to resemble a real company, and no result on it says anything about real ones.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.companies import INDUSTRIES, companies
from mltrainer_pipelines.exchange.economy import simulated_economy
from mltrainer_pipelines.exchange.intraday import Paths, intraday_paths
from mltrainer_pipelines.exchange.market import BAR_MINUTES, Bars, Dividend, MacroSeries, Split, Ticker, midnight, milliseconds
from mltrainer_pipelines.exchange.prices import simulated_prices
from mltrainer_pipelines.exchange.randomness import cell_keys
from mltrainer_pipelines.exchange.regimes import Regime, simulated_regimes
from mltrainer_pipelines.market.sessions import FIRST_SUPPORTED, early_closes_between, session_hours, sessions_between

WARM_UP_SESSIONS = 252
"""Sessions that the market has before the first one asked for, so that features and macro series have a past."""
FULL_SESSION_BARS, EARLY_CLOSE_BARS = 26, 14
_DAILY = ("open", "high", "low", "close", "volume", "trades")
_NOTHING = np.empty(0, dtype=np.int64)


class SimulatedMarket:
    """A market of invented companies over the sessions of New York: equal seeds (and symbols, premium, first) give equal ones.

    `symbols` companies are ever listed; some list late, some fail. `premium` is the strength of what can be predicted. 0:
    total returns are a martingale difference, nothing can. 1: companies keep a slowly changing drift that shows in their
    trailing returns, and regimes differ in their mean. The market begins 252 sessions before `first`, as far as the
    calendar knows them; a later `last` gives the same market, continued.

    >>> market = SimulatedMarket(seed=7, symbols=5, premium=1.0, first=date(2024, 1, 2), last=date(2024, 1, 31))
    >>> len(market.sessions()) - WARM_UP_SESSIONS
    21
    >>> bars = market.day(date(2024, 1, 3))
    >>> bool((bars.high >= bars.low).all())
    True
    """

    name = "simulated"

    def __init__(self, seed: int, symbols: int, premium: float, first: date, last: date):
        if symbols < 1:
            raise ValueError(f"symbols={symbols}: a simulated market has at least 1 company")
        if premium < 0:
            raise ValueError(f"premium={premium}: the strength of the momentum premium is 0 (nothing predictable) or more")
        if not sessions_between(first, last):
            raise ValueError(f"no session between {first} and {last}: give a last day after the first one")
        before = sessions_between(FIRST_SUPPORTED, first - timedelta(days=1))[-WARM_UP_SESSIONS:]
        start = before[0] if before else first
        self.seed, self.premium = seed, premium
        self._sessions = sessions_between(start, last)
        self._position = {session: position for position, session in enumerate(self._sessions)}
        self._ordinals = np.array([session.toordinal() for session in self._sessions])
        self._midnights = np.array([midnight(session) for session in self._sessions], dtype=np.int64)
        self._early = set(early_closes_between(start, last))
        self._members = companies(seed, symbols)
        self._number = {member.symbol: member.number for member in self._members}
        self._regimes = simulated_regimes(seed, len(self._sessions))
        self._prices = simulated_prices(seed, self._members, self._regimes, premium)
        self._macro = simulated_economy(seed, self._sessions, self._regimes, self._prices.market_volatility)
        self._session_paths = lru_cache(maxsize=4)(self._paths_of_session)

    def sessions(self) -> list[date]:
        return self._sessions

    def true_regime(self) -> dict[date, Regime]:
        """The regime that each session was drawn in: hidden from every client, there for tests."""
        return {session: Regime(int(state)) for session, state in zip(self._sessions, self._regimes.state, strict=True)}

    def day(self, session: date) -> Bars:
        row = self._position.get(session)
        if row is None:
            return self._bars(_NOTHING, _NOTHING, np.empty(0))
        traded, paths = self._session_paths(session)
        return self._bars(np.full(len(traded), row), traded, paths.day_vwap())

    def history(self, symbol: str, first: date, last: date) -> Bars:
        number = self._number.get(symbol)
        rows = np.flatnonzero((self._ordinals >= first.toordinal()) & (self._ordinals <= last.toordinal()))
        if number is None:
            rows = rows[:0]
        columns = np.full(len(rows), number or 0)
        rows = rows[np.isfinite(self._prices.close[rows, columns])]
        columns = columns[: len(rows)]
        vwap = np.empty(len(rows))
        early = np.array([self._sessions[row] in self._early for row in rows.tolist()], dtype=bool)
        for short, count in ((False, FULL_SESSION_BARS), (True, EARLY_CLOSE_BARS)):
            of_kind = early == short
            vwap[of_kind] = self._paths(rows[of_kind], columns[of_kind], count).day_vwap()
        return self._bars(rows, columns, vwap)

    def minutes(self, session: date, symbol: str | None = None) -> Bars:
        if session not in self._position:
            return self._bars(_NOTHING, _NOTHING, np.empty(0))
        if symbol is None:
            traded, paths = self._session_paths(session)
        else:
            traded, paths = self._paths_of_session(session, self._number.get(symbol, -1))
        count = paths.open.shape[1]
        opens = milliseconds(session_hours(session)[0])
        starts = opens + BAR_MINUTES * 60_000 * np.arange(count, dtype=np.int64)
        names = [self._members[number].symbol for number in traded.tolist() for _ in range(count)]
        columns = {name: getattr(paths, name).ravel() for name in (*_DAILY, "vwap")}
        return Bars(names, np.tile(starts, len(traded)), **columns)

    def splits(self) -> list[Split]:
        return [
            Split(
                self._members[number].symbol,
                self._sessions[row],
                old_shares=1.0 if ratio >= 1 else round(1 / ratio),
                new_shares=ratio if ratio >= 1 else 1.0,
                declared=self._sessions[declared],
            )
            for row, number, ratio, declared in self._prices.splits
        ]

    def dividends(self) -> list[Dividend]:
        return [
            Dividend(
                self._members[number].symbol,
                self._sessions[row],
                cash,
                declared=self._sessions[declared],
                record_date=self._sessions[row],
                pay_date=self._sessions[row] + timedelta(days=21),
                frequency=4,
            )
            for row, number, cash, declared in self._prices.dividends
        ]

    def tickers(self) -> list[Ticker]:
        listed, delisted = self._prices.listed.tolist(), self._prices.delisted.tolist()
        rows = []
        for member in self._members:
            start, end = listed[member.number], delisted[member.number]
            if start >= len(self._sessions) or end >= len(self._sessions):
                end = -1
            if start < len(self._sessions):
                industry = INDUSTRIES[member.sector]
                rows.append(
                    Ticker(
                        member.symbol,
                        list_date=self._sessions[start],
                        delisted=self._sessions[end] if end >= 0 else None,
                        name=member.name,
                        type=member.type,
                        primary_exchange=member.primary_exchange,
                        sic_code=industry.sic_code,
                        sic_description=industry.sic_description,
                        shares_outstanding=int(self._prices.volume[start, member.number]) * 40,
                    )
                )
        return rows

    def macro(self) -> Mapping[str, MacroSeries]:
        return self._macro

    def _paths_of_session(self, session: date, number: int | None = None) -> tuple[NDArray[np.int64], Paths]:
        """Companies that trade in the session (or the one with that number, if it does), and their paths."""
        row = self._position[session]
        traded = np.flatnonzero(np.isfinite(self._prices.close[row]))
        if number is not None:
            traded = traded[traded == number]
        count = EARLY_CLOSE_BARS if session in self._early else FULL_SESSION_BARS
        return traded, self._paths(np.full(len(traded), row), traded, count)

    def _paths(self, rows: NDArray[np.int64], columns: NDArray[np.int64], count: int) -> Paths:
        open_, high, low, close, volume, trades = (getattr(self._prices, name)[rows, columns] for name in _DAILY)
        key = cell_keys(self.seed, columns, self._ordinals[rows])
        return intraday_paths(key, (open_, high, low, close), volume, trades, count)

    def _bars(self, rows: NDArray[np.int64], columns: NDArray[np.int64], vwap: NDArray[np.float64]) -> Bars:
        symbols = [self._members[number].symbol for number in columns.tolist()]
        daily = {name: getattr(self._prices, name)[rows, columns] for name in _DAILY}
        return Bars(symbols, self._midnights[rows], vwap=vwap, **daily)
