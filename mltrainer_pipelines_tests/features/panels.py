"""Synthetic panels the tests of this stage share: bars of a market with one factor, whole or with holes."""

from datetime import date
from functools import lru_cache

import numpy as np
import polars as pl

from mltrainer_pipelines.market.sessions import sessions_between


@lru_cache(maxsize=8)
def bars(symbols: int = 12, sessions: int = 420, seed: int = 1) -> pl.DataFrame:
    """Adjusted bars of a whole panel from 2 January 2019 on; adjusted and unadjusted prices are the same."""
    random = np.random.default_rng(seed)
    days = sessions_between(date(2019, 1, 2), date(2025, 12, 31))[:sessions]
    returns = random.normal(0.0004, 0.008, (sessions, 1)) + random.normal(0.0, 0.015, (sessions, symbols))
    close = 50.0 * np.exp(np.cumsum(returns, axis=0))
    opens = close * np.exp(random.normal(0.0, 0.006, close.shape) - returns / 2)
    high = np.maximum(opens, close) * np.exp(np.abs(random.normal(0.0, 0.005, close.shape)))
    low = np.minimum(opens, close) * np.exp(-np.abs(random.normal(0.0, 0.005, close.shape)))
    volume = np.round(np.exp(random.normal(13.0, 0.5, close.shape)))
    raw = pl.DataFrame(
        {
            "date": pl.Series(np.repeat(np.array(days, dtype="datetime64[D]"), symbols)),
            "symbol": [f"S{i:02d}" for i in range(symbols)] * sessions,
            "open": opens.ravel(),
            "high": high.ravel(),
            "low": low.ravel(),
            "close": close.ravel(),
            "volume": volume.ravel(),
        }
    )
    return with_adjustment(raw)


def with_adjustment(raw: pl.DataFrame) -> pl.DataFrame:
    """Adjusted bars of a market without corporate actions."""
    return raw.with_columns(pl.col(name).alias(f"adj_{name}") for name in ("open", "high", "low", "close", "volume"))


def bars_of(symbol: str, rows: list[tuple[float, float, float, float]], first: date = date(2019, 1, 2)) -> pl.DataFrame:
    """Adjusted bars of one symbol from (open, high, low, close) rows on consecutive sessions."""
    days = sessions_between(first, date(2023, 12, 29))[: len(rows)]
    columns = dict(zip(("open", "high", "low", "close"), map(list, zip(*rows, strict=True)), strict=True))
    frame = pl.DataFrame({"date": days, "symbol": [symbol] * len(rows), **columns, "volume": [1000.0] * len(rows)})
    return with_adjustment(frame.with_columns(pl.col("open", "high", "low", "close").cast(pl.Float64)))


def universe(frame: pl.DataFrame) -> pl.DataFrame:
    """Every symbol in every month, in one of three sectors."""
    months = frame.select(pl.col("date").dt.truncate("1mo").alias("month")).unique()
    symbols = frame.select("symbol").unique().sort("symbol").with_row_index("number")
    sector = pl.format("sector {}", pl.col("number") % 3).alias("sector")
    return months.join(symbols, how="cross").select("month", "symbol", sector).sort("month", "symbol")


def days(frame: pl.DataFrame) -> list[date]:
    return frame["date"].unique().sort().to_list()


def punctured(frame: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """The frame without a random share of its rows; every session keeps at least one."""
    keep = np.random.default_rng(seed).random(frame.height) >= share
    return frame.filter(pl.Series(keep) | (pl.col("symbol") == frame["symbol"][0]))
