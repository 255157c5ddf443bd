"""The columns of each market asset, what they mean and which values they may hold, as pandera schemas.

Imported only by what validates or describes a frame: pandera takes a third of a second to load.
"""

from typing import Any

import pandera.polars as pa
import polars as pl

from mltrainer_pipelines.market.bars import PRICES
from mltrainer_pipelines.market.errors import MarketDataError


class SchemaMismatchError(MarketDataError):
    """A frame does not have the columns, types or values of its asset: names the first that are wrong."""


def _column(kind: Any, description: str, *checks: pa.Check, nullable: bool = False) -> pa.Column:
    return pa.Column(kind, list(checks), nullable=nullable, description=description)


def _positive() -> pa.Check:
    return pa.Check.gt(0)


_SYMBOL = _column(pl.String, "ticker, as the exchange spells it", pa.Check.str_length(min_value=1))

DAILY_BARS = pa.DataFrameSchema(
    {
        "date": _column(pl.Date, "trading session, New York"),
        "symbol": _SYMBOL,
        **{name: _column(pl.Float64, f"{name} price, unadjusted, dollars a share", _positive()) for name in PRICES},
        "volume": _column(pl.Float64, "shares traded", pa.Check.ge(0)),
        "vwap": _column(pl.Float64, "volume-weighted average price, dollars a share", _positive(), nullable=True),
        "trades": _column(pl.Int64, "number of trades", pa.Check.ge(0), nullable=True),
    },
    name="daily_bars",
    strict=True,
    ordered=True,
    unique=["date", "symbol"],
)

CORPORATE_ACTIONS = pa.DataFrameSchema(
    {
        "symbol": _SYMBOL,
        "ex_date": _column(pl.Date, "first session that trades without it"),
        "kind": _column(pl.String, "what it is", pa.Check.isin(["split", "dividend"])),
        "ratio": _column(pl.Float64, "new shares for one old share; null for dividends", _positive(), nullable=True),
        "cash": _column(pl.Float64, "dollars a share; null for splits", pa.Check.ge(0), nullable=True),
        "declared": _column(pl.Date, "when it was announced; null where the vendor does not say", nullable=True),
    },
    name="corporate_actions",
    strict=True,
    ordered=True,
)

MACRO_SERIES = pa.DataFrameSchema(
    {
        "series_id": _column(pl.String, "FRED's id", pa.Check.str_length(min_value=1)),
        "date": _column(pl.Date, "the day or period that the value is about"),
        "value": _column(pl.Float64, "as first published, never revised"),
        "published": _column(pl.Date, "day of the first release; the value counts from the session after it"),
    },
    name="macro_series",
    strict=True,
    ordered=True,
    unique=["series_id", "date"],
)

UNIVERSE = pa.DataFrameSchema(
    {
        "month": _column(pl.Date, "first day of the month in which the symbol is a member"),
        "symbol": _SYMBOL,
        "rank": _column(pl.Int32, "1 is the most liquid", pa.Check.ge(1)),
        "median_dollar_volume": _column(pl.Float64, "median of close × volume over the 60 sessions before, dollars", _positive()),
        "close": _column(pl.Float64, "last close before the month, unadjusted, dollars", pa.Check.gt(5)),
        "name": _column(pl.String, "company", nullable=True),
        "sector": _column(pl.String, "industry, by its SIC description", nullable=True),
    },
    name="universe",
    strict=True,
    ordered=True,
    unique=["month", "symbol"],
)

BAR_CORRECTIONS = pa.DataFrameSchema(
    {
        "date": _column(pl.Date, "session of the bar"),
        "symbol": _SYMBOL,
        "field": _column(pl.String, "column of daily_bars that changed"),
        "before": _column(pl.Float64, "what it was; null where the bar was not there", nullable=True),
        "after": _column(pl.Float64, "what it is; null where the bar is gone", nullable=True),
        "found": _column(pl.Date, "day on which the change was seen"),
    },
    name="bar_corrections",
    strict=True,
    ordered=True,
    unique=["date", "symbol", "field", "found"],
)

_MOMENT = pl.Datetime("us", "America/New_York")
DELAYED_QUOTES = pa.DataFrameSchema(
    {
        "as_of": _column(_MOMENT, "when the snapshot was asked for"),
        "date": _column(pl.Date, "session that the prices are of"),
        "symbol": _SYMBOL,
        **{
            name: _column(pl.Float64, f"{name} of the session so far; null where it has not traded", _positive(), nullable=True)
            for name in ("open", "high", "low")
        },
        "close": _column(pl.Float64, "last price that is at least 15 minutes old", _positive()),
        "volume": _column(pl.Float64, "shares traded in the session so far", pa.Check.ge(0), nullable=True),
        "vwap": _column(pl.Float64, "volume-weighted average price so far", nullable=True),
        "previous_close": _column(pl.Float64, "close of the session before", nullable=True),
        "updated_at": _column(_MOMENT, "when the price was made"),
        "stale": _column(pl.Boolean, "no trade for so long before (MLTRAINER_STALE_MINUTES) that the price is not used"),
    },
    name="delayed_quotes",
    strict=True,
    ordered=True,
    unique=["as_of", "symbol"],
)

SCHEMAS = {
    str(schema.name): schema
    for schema in (DAILY_BARS, CORPORATE_ACTIONS, MACRO_SERIES, UNIVERSE, BAR_CORRECTIONS, DELAYED_QUOTES)
}
"""By asset."""


def validated(asset: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame as it is, if it obeys its asset's schema.

    Raises
    ------
    SchemaMismatchError
        Names the columns and rules that are broken.
    """
    problems = mismatches(asset, frame)
    if problems:
        raise SchemaMismatchError(f"{asset} was not stored: {'; '.join(problems[:5])}")
    return frame


def mismatches(asset: str, frame: pl.DataFrame) -> list[str]:
    """What is wrong with a frame by its asset's schema, one line a rule; empty where nothing is."""
    try:
        SCHEMAS[asset].validate(frame, lazy=True)
    except (pa.errors.SchemaErrors, pa.errors.SchemaError) as error:
        failures = error.schema_errors if isinstance(error, pa.errors.SchemaErrors) else [error]
        return [" ".join(str(failure).split())[:200] for failure in failures]
    return []


def constraints(column: pa.Column) -> list[str]:
    """The rules of a column as short texts."""
    texts = [_NAMES.get(str(check.name), str(check.name)).format(**check.statistics) for check in column.checks]
    return texts + ([] if column.nullable else ["not null"])


_NAMES = {
    "greater_than": "> {min_value}",
    "greater_than_or_equal_to": "≥ {min_value}",
    "isin": "one of {allowed_values}",
    "str_length": "not empty",
}
