"""Daily prices of a simulated market: one market factor, sectors, companies that list, split, pay and fail.

The return of a session is drift plus shock, overnight and then intraday. The shock is what nobody can know:
symmetric, fat-tailed, clustered in volatility. The drift is the only thing that can be predicted, and its
size is the premium: at 0 the total return of every session has mean zero given everything before it.
Everything is drawn session by session, so a longer market begins with the shorter one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.companies import INDUSTRIES, Company, sector_of
from mltrainer_pipelines.exchange.randomness import stream
from mltrainer_pipelines.exchange.regimes import Regimes

Array = NDArray[np.float64]

MARKET_DRIFT = np.array([0.0005, -0.0002, -0.0030])
"""Mean daily return of the market in a bull, a bear and a crash, at a premium of 1 or more: some 6 % a year in all."""
MARKET_VOLATILITY = np.array([0.0055, 0.0095, 0.0220])
"""Daily volatility of the market in a bull, a bear and a crash."""
MOMENTUM_DRIFT = 0.135
"""Standard deviation of a company's daily drift in units of its own volatility, at a premium of 1."""
MOMENTUM_MEMORY = 0.5 ** (1 / 40)
"""Share of a company's drift that is left a session later: half of it in 40 sessions."""
MOMENTUM_TAILS = 1.6
"""Exponent that spreads the drift: above 1 most companies have little of it and a few have much."""
SECTOR_SHARE = 0.2
"""Share of the drift's variance that a sector's companies have in common."""
OVERNIGHT_SHARE = 0.25
"""Share of a session's variance that falls between the close and the next open."""
COMPANY_VOLATILITY = 0.021
"""Median of the companies' own daily volatility; they spread around it by a third."""
SECTOR_VOLATILITY = 0.0035
"""Daily volatility that the companies of a sector share."""
_GARCH_SHOCK, _GARCH_MEMORY = 0.07, 0.90
_TAILS = 5.0
"""Degrees of freedom of the shocks (Student's t)."""
_EARNINGS_EVERY, _EARNINGS_GAP = 63, 2.5
_DIVIDEND_NOTICE, _SPLIT_NOTICE = 20, 15


@dataclass(frozen=True)
class Prices:
    """Unadjusted daily bars, shape (sessions, companies), NaN where a company is not listed; and what happened to it.

    `splits` and `dividends` are rows (session, company, ratio or cash, session in which it was declared), by position.
    """

    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    trades: Array
    listed: NDArray[np.int64]
    """First session of each company, by position; `sessions` or more where it is not listed yet."""
    delisted: NDArray[np.int64]
    """First session without the company, by position; -1 where it is still listed at the end."""
    splits: list[tuple[int, int, float, int]]
    dividends: list[tuple[int, int, float, int]]
    market_volatility: Array
    """Volatility of the market expected for the session after each, shape (sessions,)."""


def simulated_prices(seed: int, members: list[Company], regimes: Regimes, premium: float) -> Prices:
    """Bars of every session of `regimes` for all `members`; `premium` scales what can be predicted."""
    returns = _returns(seed, members, regimes, premium)
    listed = _listing_sessions(seed, len(members))
    walk = _walk(seed, returns, listed)
    high, low = _extremes(seed, walk.open, walk.close, returns.intraday_volatility)
    volume, trades = _volumes(seed, walk.close, returns)
    return Prices(
        walk.open,
        high,
        low,
        walk.close,
        volume,
        trades,
        listed,
        walk.delisted,
        walk.splits,
        walk.dividends,
        returns.market_volatility,
    )


@dataclass(frozen=True)
class _Returns:
    overnight: Array
    intraday: Array
    intraday_volatility: Array
    market_volatility: Array


def _returns(seed: int, members: list[Company], regimes: Regimes, premium: float) -> _Returns:
    """Overnight and intraday total returns of every session and company, each of shape (sessions, companies)."""
    sessions, count = len(regimes.state), len(members)
    traits = stream(seed, "traits")
    beta = np.clip(traits.normal(1.0, 0.3, count), 0.3, 2.0)
    own_volatility = np.clip(np.exp(traits.normal(np.log(COMPANY_VOLATILITY), 0.3, count)), 0.009, 0.045)
    earnings_phase = traits.integers(0, _EARNINGS_EVERY, count)
    sector = sector_of(members)

    market_night, market_day, market_volatility, market_next = _shocks(
        seed, "market", sessions, 1, MARKET_VOLATILITY[regimes.state][:, None]
    )
    sector_night, sector_day, _, _ = _shocks(seed, "sector", sessions, len(INDUSTRIES), np.full((1, 1), SECTOR_VOLATILITY))
    gap = np.where((np.arange(sessions)[:, None] % _EARNINGS_EVERY) == earnings_phase, _EARNINGS_GAP, 1.0)
    own_night, own_day, own_level, _ = _shocks(seed, "company", sessions, count, own_volatility[None, :])

    market_drift = min(premium, 1.0) * MARKET_DRIFT[regimes.state][:, None] * beta
    momentum = np.sqrt(SECTOR_SHARE) * _slow(seed, "sector momentum", sessions, len(INDUSTRIES))[:, sector]
    momentum += np.sqrt(1 - SECTOR_SHARE) * _slow(seed, "company momentum", sessions, count)
    momentum = np.sign(momentum) * np.abs(momentum) ** MOMENTUM_TAILS / _root_mean_square(MOMENTUM_TAILS)
    momentum -= momentum.mean(axis=1, keepdims=True)
    drift = market_drift + premium * MOMENTUM_DRIFT * own_volatility * np.clip(momentum, -5, 5)

    night = OVERNIGHT_SHARE * drift + beta * market_night + sector_night[:, sector] + gap * own_night
    day = (1 - OVERNIGHT_SHARE) * drift + beta * market_day + sector_day[:, sector] + own_day
    intraday_variance = (1 - OVERNIGHT_SHARE) * ((beta * market_volatility) ** 2 + SECTOR_VOLATILITY**2 + own_level**2)
    return _Returns(
        np.clip(night, -0.5, 0.5),
        np.clip(day, -0.5, 0.5),
        np.sqrt(intraday_variance),
        market_next[:, 0],
    )


def _shocks(seed: int, name: str, sessions: int, count: int, scale: Array) -> tuple[Array, Array, Array, Array]:
    """Overnight and intraday shocks with clustered volatility, and that volatility: of the session, and of the next.

    GARCH(1,1) (Bollerslev 1986) in units of `scale`, driven by the session's whole shock.
    """
    rng = stream(seed, f"{name} shocks")
    unit = np.sqrt((_TAILS - 2) / _TAILS)
    z = np.clip(rng.standard_t(_TAILS, (sessions, 2, count)) * unit, -7, 7)
    night, day = np.sqrt(OVERNIGHT_SHARE) * z[:, 0], np.sqrt(1 - OVERNIGHT_SHARE) * z[:, 1]
    square = np.minimum((night + day) ** 2, 9.0)
    variance = np.empty((sessions + 1, count))
    variance[0] = 1.0
    base = 1 - _GARCH_SHOCK - _GARCH_MEMORY
    for session in range(sessions):
        now = variance[session]
        variance[session + 1] = base + (_GARCH_SHOCK * square[session] + _GARCH_MEMORY) * now
    volatility = np.sqrt(variance)
    level = volatility[:-1] * scale
    return night * level, day * level, level, volatility[1:] * scale


def _slow(seed: int, name: str, sessions: int, count: int) -> Array:
    """First-order autoregressions of mean 0 and variance 1; row t is the state before session t."""
    fresh = stream(seed, name).standard_normal((sessions, count))
    fresh[1:] *= np.sqrt(1 - MOMENTUM_MEMORY**2)
    for session in range(1, sessions):
        fresh[session] += MOMENTUM_MEMORY * fresh[session - 1]
    return fresh


def _root_mean_square(exponent: float) -> float:
    """Of |z| ** exponent for a standard normal z: the square root of its moment of order 2 · exponent."""
    return math.sqrt(2**exponent * math.gamma(exponent + 0.5) / math.sqrt(math.pi))


def _listing_sessions(seed: int, count: int) -> NDArray[np.int64]:
    """First session of each company: most are there from the start, about one in nine lists in the first four years."""
    rng = stream(seed, "listings")
    late = rng.random(count) < 0.11
    late[rng.integers(count)] = True
    return np.where(late, rng.integers(60, 1000, count), 0)


@dataclass(frozen=True)
class _Walk:
    open: Array
    close: Array
    delisted: NDArray[np.int64]
    splits: list[tuple[int, int, float, int]]
    dividends: list[tuple[int, int, float, int]]


def _walk(seed: int, returns: _Returns, listed: NDArray[np.int64]) -> _Walk:
    """Unadjusted opens and closes, session after session, with splits, dividends and failures.

    A company fails, with a chance that grows with its loss from its peak, after the close of a session: the
    failure follows from the decline, it does not foretell one. A split or a dividend is declared 15 or 20
    sessions ahead, from the price of that day, and takes effect before its ex-date's open.
    """
    sessions, count = returns.overnight.shape
    traits = stream(seed, "prices")
    price = np.round(np.exp(traits.normal(np.log(48.0), 0.7, count)), 2).clip(6, 220)
    yearly_yield = np.where(traits.random(count) < 0.5, traits.uniform(0.005, 0.04, count), 0.0)
    phase = traits.integers(0, _EARNINGS_EVERY, count)
    chance = stream(seed, "events")

    opens, closes = np.full((sessions, count), np.nan), np.full((sessions, count), np.nan)
    delisted = np.full(count, -1, dtype=np.int64)
    alive = np.zeros(count, dtype=bool)
    peak, worth = np.ones(count), np.ones(count)
    split_at, dividend_at = np.full(count, -1), np.full(count, -1)
    ratio, cash = np.ones(count), np.zeros(count)
    splits: list[tuple[int, int, float, int]] = []
    dividends: list[tuple[int, int, float, int]] = []

    for session in range(sessions):
        fate = chance.random((2, count))
        alive |= listed == session
        previous = price
        splitting = (split_at == session) & alive
        if splitting.any():
            splits += [(session, i, float(ratio[i]), session - _SPLIT_NOTICE) for i in np.flatnonzero(splitting).tolist()]
            previous = np.where(splitting, price / ratio, price)
        paying = (dividend_at == session) & alive
        base = previous * (1 + returns.overnight[session])
        if paying.any():
            dividends += [(session, i, float(cash[i]), session - _DIVIDEND_NOTICE) for i in np.flatnonzero(paying).tolist()]
            base = np.where(paying, base - cash, base)
        open_ = _rounded(base)
        price = np.where(alive, _rounded(open_ * (1 + returns.intraday[session])), price)
        opens[session, alive], closes[session, alive] = open_[alive], price[alive]

        growth = (1 + returns.overnight[session]) * (1 + returns.intraday[session])
        worth = np.where(alive, worth * growth, worth)
        peak = np.maximum(peak * 0.9985, worth)
        loss = 1 - worth / peak
        failing = alive & (fate[0] < np.where(loss > 0.75, 0.010, np.where(loss > 0.6, 0.004, 0.0)))
        if failing.any():
            delisted[failing] = session + 1
            alive &= ~failing

        waiting = (split_at > session) | (dividend_at > session)
        declaring = alive & ~waiting & (yearly_yield > 0) & ((session + _DIVIDEND_NOTICE) % _EARNINGS_EVERY == phase)
        if declaring.any():
            dividend_at = np.where(declaring, session + _DIVIDEND_NOTICE, dividend_at)
            cash = np.where(declaring, np.maximum(np.round(yearly_yield / 4 * price, 2), 0.01), cash)
        dear, cheap = price > 240, price < 4
        dividing = alive & ~waiting & ~declaring & (fate[1] < np.where(dear, 0.012, np.where(cheap, 0.03, 0.0)))
        if dividing.any():
            split_at = np.where(dividing, session + _SPLIT_NOTICE, split_at)
            ratio = np.where(dividing, np.where(cheap, 0.1, np.where(price > 420, 4.0, np.where(price > 300, 3.0, 2.0))), ratio)
    return _Walk(opens, closes, delisted, splits, dividends)


def _extremes(seed: int, open_: Array, close: Array, volatility: Array) -> tuple[Array, Array]:
    """High and low of each session: the extremes of a Brownian bridge from its open to its close.

    Inverse of the distribution of a bridge's maximum (Karatzas and Shreve 1991, section 4.3); each end is drawn on its own.
    """
    rng = stream(seed, "extremes")
    draw = -np.log(np.clip(rng.random((open_.shape[0], 2, open_.shape[1])), 1e-12, 1.0))
    step = np.log(close / open_)
    spread = 2 * volatility**2
    up = 0.5 * (step + np.sqrt(step**2 + spread * draw[:, 0]))
    down = 0.5 * (step - np.sqrt(step**2 + spread * draw[:, 1]))
    high = np.maximum(_rounded(open_ * np.exp(up)), np.maximum(open_, close))
    low = np.minimum(_rounded(open_ * np.exp(down)), np.minimum(open_, close))
    return high, low


def _volumes(seed: int, close: Array, returns: _Returns) -> tuple[Array, Array]:
    """Shares and trades of each session, whole numbers: more of both when prices move."""
    sessions, count = close.shape
    rng = stream(seed, "volumes")
    usual = np.exp(rng.normal(np.log(4e7), 1.1, count))
    shares_a_trade = rng.uniform(60, 180, count)
    noise = rng.standard_normal((sessions, count)) * 0.25
    for session in range(1, sessions):
        noise[session] += 0.7 * noise[session - 1]
    moved = np.abs(returns.overnight + returns.intraday) / returns.intraday_volatility
    dollars = usual * np.exp(noise) * (0.7 + 0.3 * np.minimum(moved, 8.0))
    volume = np.maximum(np.round(dollars / close), 5200.0)
    return volume, np.maximum(np.round(volume / shares_a_trade), 52.0)


def _rounded(price: Array) -> Array:
    """To the cent, below a dollar to the hundredth of a cent; never below that."""
    return np.maximum(np.where(price >= 1, np.round(price, 2), np.round(price, 4)), 0.0001)
