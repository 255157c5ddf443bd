"""Polygon's rows and what becomes of them: the fields that are read, and our columns as expressions over them."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS

_NEW_YORK: Any = pl.Datetime("us", "America/New_York")
_DAY = "%Y-%m-%d"

WIRE_BAR: Mapping[str, Any] = {
    "t": pl.Int64,
    "T": pl.String,
    **dict.fromkeys(("o", "h", "l", "c", "v", "vw"), pl.Float64),
    "n": pl.Int64,
}
WIRE_TICKER: Mapping[str, Any] = {
    **dict.fromkeys(
        ("ticker", "name", "type", "primary_exchange", "sic_description", "delisted_utc", "composite_figi"), pl.String
    ),
    "active": pl.Boolean,
}
WIRE_EVENT: Mapping[str, Any] = {"date": pl.String, "ticker_change": pl.Struct({"ticker": pl.String})}
_DAY_NAMES = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw"}
_WIRE_DAY = pl.Struct(dict.fromkeys(_DAY_NAMES.values(), pl.Float64))

WIRE_SNAPSHOT: Mapping[str, Any] = {
    "ticker": pl.String,
    "updated": pl.Int64,
    "day": _WIRE_DAY,
    "prevDay": _WIRE_DAY,
    "lastTrade": pl.Struct({"t": pl.Int64}),
}
WIRE_SPLIT: Mapping[str, Any] = {
    **dict.fromkeys(("id", "ticker", "execution_date"), pl.String),
    **dict.fromkeys(("split_from", "split_to"), pl.Float64),
}
_DIVIDEND_TEXT = ("id", "ticker", "ex_dividend_date", "declaration_date", "currency")
WIRE_DIVIDEND: Mapping[str, Any] = {**dict.fromkeys(_DIVIDEND_TEXT, pl.String), "cash_amount": pl.Float64}
WIRE_HOLIDAY: Mapping[str, Any] = dict.fromkeys(("date", "exchange", "name", "status", "open", "close"), pl.String)

SPLIT_COLUMNS = {
    "symbol": pl.col("ticker"),
    "ex_date": pl.col("execution_date").str.to_date(_DAY, strict=False),
    "kind": pl.lit("split"),
    "ratio": pl.when((pl.col("split_from") > 0) & (pl.col("split_to") > 0)).then(pl.col("split_to") / pl.col("split_from")),
    "cash": pl.lit(None),
    "declared": pl.lit(None),
}
DIVIDEND_COLUMNS = {
    "symbol": pl.col("ticker"),
    "ex_date": pl.col("ex_dividend_date").str.to_date(_DAY, strict=False),
    "kind": pl.lit("dividend"),
    "ratio": pl.lit(None),
    "cash": pl.col("cash_amount"),
    "declared": pl.col("declaration_date").str.to_date(_DAY, strict=False),
}
EVENT_COLUMNS = {
    "symbol": pl.col("ticker_change").struct.field("ticker"),
    "since": pl.col("date").str.to_date(_DAY, strict=False),
}
TICKER_CHANGES = pl.Schema({"symbol": pl.String, "since": pl.Date})
_MOMENTS = {"updated_at": pl.col("updated"), "traded_at": pl.col("lastTrade").struct.field("t")}
SNAPSHOT_COLUMNS = {
    "symbol": pl.col("ticker"),
    **{
        name: pl.from_epoch(pl.when(nanoseconds > 0).then(nanoseconds) // 1000, "us").dt.replace_time_zone("UTC")
        for name, nanoseconds in _MOMENTS.items()
    },
    **{
        f"{ours}_{name}": pl.when(pl.col(theirs).struct.field("c") != 0).then(pl.col(theirs).struct.field(short))
        for ours, theirs in (("day", "day"), ("previous", "prevDay"))
        for name, short in _DAY_NAMES.items()
    },
}
HOLIDAY_COLUMNS = {name: pl.col(name) for name in WIRE_HOLIDAY} | {
    "date": pl.col("date").str.to_date(_DAY),
    "open": pl.col("open").str.to_datetime(time_zone="UTC"),
    "close": pl.col("close").str.to_datetime(time_zone="UTC"),
}
HOLIDAY_SCHEMA = pl.Schema({**WIRE_HOLIDAY, "date": pl.Date, "open": _NEW_YORK, "close": _NEW_YORK})


def reference_columns(active: bool) -> dict[str, pl.Expr]:
    return {
        "symbol": pl.col("ticker"),
        "name": pl.col("name"),
        "type": pl.col("type"),
        "active": pl.col("active").fill_null(active),
        "primary_exchange": pl.col("primary_exchange"),
        "sector": pl.col("sic_description"),
        "delisted": pl.col("delisted_utc").str.head(10).str.to_date("%Y-%m-%d", strict=False),
    }


def bars(frame: pl.DataFrame) -> pl.DataFrame:
    """Wire rows as `start` and the columns of `DAILY_BARS`; the date is the New York day of the bar's time."""
    names = {"T": "symbol", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "vw": "vwap", "n": "trades"}
    start = pl.from_epoch("t", "ms").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    return (
        frame.with_columns(start=start)
        .with_columns(date=pl.col("start").dt.date())
        .rename(names)
        .select("start", *DAILY_BARS.schema)
    )
