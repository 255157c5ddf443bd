"""Simulated markets in which one rule pays that is in no shipped feature set, or none."""

from dataclasses import dataclass
from datetime import date
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mltrainer_pipelines.market.sessions import sessions_between

_Array = NDArray[np.float64]
RULES = {
    "volume-conditioned reversal": "-1 * (close/Ref(close,{n}) - 1) * Log(volume/Mean(volume,{m}))",
    "drift after a gap in low volatility": "overnight_return * (1 - Std(log_return,5)/Std(log_return,{m}))",
    "lag behind the sector on volume": "Neutralize(close/Ref(close,{n}) - 1, sector) * (1 - volume/Mean(volume,{m}))",
}
"""What pays, in the expression language; n and m are drawn from the market's seed."""


@dataclass(frozen=True)
class PlantedRule:
    """A rule with its windows; `expression` says it in the language."""

    name: str
    n: int
    m: int

    @property
    def expression(self) -> str:
        return RULES[self.name].format(n=self.n, m=self.m)

    def signal(self, opens: _Array, close: _Array, volume: _Array, sectors: NDArray[np.int64]) -> _Array:
        """The rule's value for each company after the last row of what is given."""
        change, busy = close[-1] / close[-1 - self.n] - 1.0, volume[-1] / volume[-self.m :].mean(axis=0)
        if self.name == "volume-conditioned reversal":
            return cast(_Array, -change * np.log(busy))
        if self.name == "lag behind the sector on volume":
            return cast(_Array, (change - (np.bincount(sectors, change) / np.bincount(sectors))[sectors]) * (1.0 - busy))
        returns = np.log(close[-self.m :] / close[-self.m - 1 : -1])
        calm = 1.0 - returns[-5:].std(axis=0, ddof=1) / returns.std(axis=0, ddof=1)
        return cast(_Array, np.log(opens[-1] / close[-2]) * calm)


def drawn_rule(seed: int) -> PlantedRule:
    random = np.random.default_rng([seed, 1])
    return PlantedRule(list(RULES)[seed % len(RULES)], int(random.choice([2, 3, 5])), int(random.choice([10, 20, 30])))


def market_with(
    rule: PlantedRule | None, seed: int, companies: int = 60, sessions: int = 700, strength: float = 0.12
) -> pl.DataFrame:
    """Adjusted bars with a sector; the intraday return of a session is moved by the rule's rank the evening before.

    `strength` is that drift in units of the company's own daily volatility, for a rank one standard deviation from the middle.
    """
    random = np.random.default_rng([seed, 2])
    days = sessions_between(date(2019, 1, 2), date(2024, 12, 31))[:sessions]
    sectors = np.arange(companies) % 6
    level = np.exp(random.normal(np.log(0.018), 0.3, companies))
    volatility, own = np.ones(companies), np.ones(companies)
    opens, close, volume = (np.empty((sessions, companies)) for _ in range(3))
    busy, price = np.zeros(companies), np.exp(random.normal(4.0, 0.5, companies))
    warm = 62
    for t in range(sessions):
        market, sector = random.normal(0.0, 0.008), random.normal(0.0, 0.006, 6)[sectors]
        volatility = 0.1 + 0.9 * (0.92 * volatility + 0.08 * own**2) / 1.0
        scale = level * np.sqrt(np.clip(volatility, 0.3, 4.0))
        night = scale * 0.5 * random.standard_t(5, companies) / 1.29 + 0.3 * market
        own = random.standard_t(5, companies) / 1.29
        day = scale * 0.86 * own + 0.7 * market + sector
        if rule is not None and t > warm:
            ranks = rule.signal(opens[:t], close[:t], volume[:t], sectors).argsort().argsort()
            day += strength * scale * (ranks - (companies - 1) / 2) / (companies / np.sqrt(12.0))
        before = price if t == 0 else close[t - 1]
        opens[t] = before * np.exp(night)
        close[t] = opens[t] * np.exp(day)
        busy = 0.7 * busy + random.normal(0.0, 0.35, companies)
        volume[t] = np.round(1e6 * np.exp(busy + 0.15 * np.abs(own)))
    edge = 1.0 + np.abs(random.normal(0.0, 0.004, (2, sessions, companies)))
    high, low = np.maximum(opens, close) * edge[0], np.minimum(opens, close) / edge[1]
    columns = {"open": opens, "high": high, "low": low, "close": close, "volume": volume}
    return pl.DataFrame(
        {
            "date": pl.Series(np.repeat(np.array(days, dtype="datetime64[D]"), companies)),
            "symbol": [f"C{i:03d}" for i in range(companies)] * sessions,
            "sector": [f"sector {number}" for number in sectors] * sessions,
            **{name: values.ravel() for name, values in columns.items()},
            **{f"adj_{name}": values.ravel() for name, values in columns.items()},
        }
    )
