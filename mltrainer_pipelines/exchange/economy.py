"""Macro series of a simulated market, by FRED id, with the dates on which they are published and revised.

Credit spreads and the yield curve show the financial conditions that end bull markets, so they lead the
regime; volatility moves with it; unemployment and the policy rate follow months later. Rates are published
on the next session and never revised; jobs, prices and money come out weeks later and are revised.
"""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.market import MacroSeries, MacroValue
from mltrainer_pipelines.exchange.randomness import stream
from mltrainer_pipelines.exchange.regimes import Regimes
from mltrainer_pipelines.market.sessions import holidays_between

Array = NDArray[np.float64]


_NOT_ADJUSTED, _ADJUSTED = "Not Seasonally Adjusted", "Seasonally Adjusted"
_FEAR_PREMIUM = 1.8
"""Volatility index over expected volatility of the market."""
_DESCRIPTIONS = {  # title, units, frequency, seasonal adjustment
    "DGS10": ("Treasury Yield at 10-Year Constant Maturity", "Percent", "Daily", _NOT_ADJUSTED),
    "DGS2": ("Treasury Yield at 2-Year Constant Maturity", "Percent", "Daily", _NOT_ADJUSTED),
    "T10Y2Y": ("10-Year Treasury Constant Maturity Minus 2-Year", "Percent", "Daily", _NOT_ADJUSTED),
    "BAMLH0A0HYM2": ("High Yield Index Option-Adjusted Spread", "Percent", "Daily, Close", _NOT_ADJUSTED),
    "VIXCLS": ("CBOE Volatility Index: VIX", "Index", "Daily, Close", _NOT_ADJUSTED),
    "DTWEXBGS": ("Nominal Broad U.S. Dollar Index", "Index Jan 2006=100", "Daily", _NOT_ADJUSTED),
    "UNRATE": ("Unemployment Rate", "Percent", "Monthly", _ADJUSTED),
    "CPIAUCSL": ("Consumer Price Index: All Items", "Index 1982-1984=100", "Monthly", _ADJUSTED),
    "M2SL": ("M2", "Billions of Dollars", "Monthly", _ADJUSTED),
    "FEDFUNDS": ("Federal Funds Effective Rate", "Percent", "Monthly", _NOT_ADJUSTED),
}


def simulated_economy(seed: int, sessions: list[date], regimes: Regimes, market_volatility: Array) -> dict[str, MacroSeries]:
    """All series over `sessions`, every vintage published up to the last of them.

    A value depends on sessions up to its own date, a publication on the calendar, so that a longer market only adds to
    what a shorter one has published. `market_volatility` is what is expected for the session after each.
    """
    count = len(sessions)
    stress = np.array([0.0, 1.0, 2.5])[regimes.state]
    quick, slow = _smoothed(stress, 8), _smoothed(stress, 120)
    funds = np.clip(2.6 + 1.1 * _wandering(seed, "policy rate", count, 0.9985) - 1.3 * slow, 0.08, None)
    two_years = np.clip(funds + 0.25 + 0.18 * _wandering(seed, "two years", count, 0.98), 0.05, None)
    slope = 0.9 - 0.65 * regimes.tightness + 0.12 * _wandering(seed, "slope", count, 0.97)
    ten_years = np.round(two_years + slope, 2)
    two_years = np.round(two_years, 2)
    spread = 3.9 * np.exp(0.22 * regimes.tightness + 0.16 * quick + 0.04 * _wandering(seed, "spread", count, 0.95))
    fear = 100 * np.sqrt(252) * market_volatility * _FEAR_PREMIUM * np.exp(0.05 * _wandering(seed, "fear", count, 0.8))
    dollar = 116 * np.exp(0.035 * _wandering(seed, "dollar", count, 0.998) + 0.02 * slow)

    daily = {"DGS10": ten_years, "DGS2": two_years, "T10Y2Y": ten_years - two_years, "BAMLH0A0HYM2": spread, "VIXCLS": fear}
    rows = {name: _daily(sessions, np.round(values, 2)) for name, values in daily.items()}
    rows["DTWEXBGS"] = _weekly_published(sessions, np.round(dollar, 4))
    months, ends = _complete_months(sessions)
    jobless = 4.1 + 2.4 * _smoothed(stress, 190)[ends] + 0.25 * _wandering(seed, "jobless", len(months), 0.97)
    inflation = 0.0021 + 0.0011 * _wandering(seed, "inflation", len(months), 0.9)
    money = 0.0042 + 0.004 * slow[ends] + 0.0015 * _wandering(seed, "money", len(months), 0.8)
    prices = 255 * np.exp(np.cumsum(inflation))
    supply = 15_500 * np.exp(np.cumsum(money))
    rows["UNRATE"] = _revised(seed, "UNRATE", months, jobless, 0.06, 1, lambda month: _weekday(month, 4, 1))
    rows["CPIAUCSL"] = _revised(seed, "CPIAUCSL", months, prices, 0.05, 3, lambda month: _workday(month, 12))
    rows["M2SL"] = _revised(seed, "M2SL", months, supply, 12.0, 1, lambda month: _weekday(month, 1, 4))
    starts = [0, *(ends[:-1] + 1).tolist()]
    rows["FEDFUNDS"] = [
        MacroValue(first, round(float(funds[start : end + 1].mean()), 2), _workday(_next_month(first), 1))
        for first, start, end in zip(months, starts, ends.tolist(), strict=True)
    ]
    last = sessions[-1]
    return {
        name: MacroSeries(name, [value for value in rows[name] if value.published <= last], *description)
        for name, description in _DESCRIPTIONS.items()
    }


def _daily(sessions: list[date], values: Array) -> list[MacroValue]:
    """Published on the next session; a weekday without trading has a row without a value, as at FRED."""
    rows = {
        session: MacroValue(session, value, following)
        for session, following, value in zip(sessions, sessions[1:], values.tolist(), strict=False)
    }
    position = np.array(sessions, dtype="datetime64[D]")
    for holiday in holidays_between(sessions[0], sessions[-1]):
        after = int(np.searchsorted(position, np.datetime64(holiday), side="right"))
        if after + 1 < len(sessions):
            rows[holiday] = MacroValue(holiday, None, sessions[after + 1])
    return [rows[day] for day in sorted(rows)]


def _weekly_published(sessions: list[date], values: Array) -> list[MacroValue]:
    """A week's days come out together on the Monday after it."""
    return [
        MacroValue(session, value, session + timedelta(days=7 - session.weekday()))
        for session, value in zip(sessions, values.tolist(), strict=True)
    ]


def _revised(
    seed: int, name: str, months: list[date], truth: Array, error: float, digits: int, release: Callable[[date], date]
) -> list[MacroValue]:
    """A first release with an error, then a second and a third with smaller ones, when the next two months come out.

    `release` gives the day of a month (by its first day) on which the month before it is published.
    """
    noise = stream(seed, f"{name} revisions").standard_normal((len(months), 3)) * error * np.array([1.0, 0.5, 0.15])
    rows: list[MacroValue] = []
    for first, value, errors in zip(months, truth.tolist(), noise.tolist(), strict=True):
        published = _next_month(first)
        estimate_before: float | None = None
        for wrong in errors:
            estimate = round(value + wrong, digits)
            if estimate != estimate_before:
                rows.append(MacroValue(first, estimate, release(published)))
            published, estimate_before = _next_month(published), estimate
    return rows


def _complete_months(sessions: list[date]) -> tuple[list[date], NDArray[np.int64]]:
    """First days of the months that are over, and the position of each one's last session."""
    days = np.array(sessions, dtype="datetime64[D]").astype("datetime64[M]")
    ends = np.flatnonzero(days[1:] != days[:-1])
    return [month.item() for month in days[ends].astype("datetime64[D]")], ends


def _wandering(seed: int, name: str, count: int, memory: float) -> Array:
    """A first-order autoregression of mean 0 and variance 1, shape (count,)."""
    fresh = stream(seed, name).standard_normal(count)
    fresh[1:] *= np.sqrt(1 - memory**2)
    return _recursion(fresh, memory)


def _smoothed(values: Array, half_life: float) -> Array:
    """Exponential average of the values so far, shape as `values`."""
    memory = 0.5 ** (1 / half_life)
    fresh = (1 - memory) * values
    fresh[:1] = values[:1]
    return _recursion(fresh, memory)


def _recursion(fresh: Array, memory: float) -> Array:
    level, levels = 0.0, []
    for value in fresh.tolist():
        level = memory * level + value
        levels.append(level)
    return np.array(levels)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _workday(month: date, day: int) -> date:
    """The day of the month, or the Monday after where it falls on a weekend."""
    workday = month.replace(day=day)
    return workday + timedelta(days=max(0, 7 - workday.weekday()) if workday.weekday() > 4 else 0)


def _weekday(month: date, weekday: int, nth: int) -> date:
    """The `nth` given weekday (Monday is 0) of a month."""
    return month + timedelta(days=(weekday - month.weekday()) % 7 + 7 * (nth - 1))
