"""Splits and dividends of files: from columns of the bars, and from files of their own beside them."""

import re
from pathlib import Path
from typing import Literal

import polars as pl

from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.files.layouts import DIVIDEND_ROLES, SPLIT_ROLES, roles
from mltrainer_pipelines.market.files.sources import RawTable, files_of, table_of
from mltrainer_pipelines.market.files.symbols import clean
from mltrainer_pipelines.market.files.values import DayOrder, days, numbers, ratios

SPLITS = pl.Schema({"symbol": pl.String, "ex_date": pl.Date, "ratio": pl.Float64, "declared": pl.Date})
DIVIDENDS = pl.Schema(
    {"symbol": pl.String, "ex_date": pl.Date, "cash": pl.Float64}
    | {"declared": pl.Date, "record_date": pl.Date, "pay_date": pl.Date, "frequency": pl.Int64}
)


def kind(table: RawTable) -> Literal["splits", "dividends"] | None:
    """Whether a table lists splits or dividends, by its name and its columns."""
    name, columns = table.name.lower(), table.frame.columns
    splits, dividends = roles(columns, SPLIT_ROLES), roles(columns, DIVIDEND_ROLES)
    if "date" not in splits or "symbol" not in splits:
        return None
    if "split" in name and ("ratio" in splits or "ratio_new" in splits):
        return "splits"
    if "div" in name and "cash" in dividends:
        return "dividends"
    if "ratio_new" in splits and "ratio_old" in splits:
        return "splits"
    return None


def beside(path: Path) -> list[RawTable]:
    """Files beside a file of bars that are named after it and hold its splits or dividends, in any spelling and ending."""
    stem = path.name.split(".")[0].lower()
    tables = []
    for file in sorted(path.parent.iterdir()):
        match = re.fullmatch(r"(.+?)[._\- ](splits?|dividends?|divs?|actions)\.[\w.]+", file.name.lower())
        if file.is_file() and file != path and match and match[1] in (stem, path.stem.lower()):
            tables += [table_of(name, content) for name, content in files_of(file)]
    for table in tables:
        if kind(table) is None:
            raise BadFileError(
                f"{path.parent / table.name} is named as splits or dividends and has {', '.join(table.frame.columns)}; "
                "it needs symbol, ex_date and ratio (new shares per old), or symbol, ex_date and cash"
            )
    return tables


def from_columns(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Splits and dividends that columns of the bars mark; a ratio of 0 or 1 and cash of 0 mark none."""
    splits, dividends = pl.DataFrame(schema=SPLITS), pl.DataFrame(schema=DIVIDENDS)
    if "split_ratio" in bars.columns:
        marked = bars.filter(pl.col("split_ratio").is_not_null() & ~pl.col("split_ratio").is_in([0.0, 1.0]))
        splits = _in(marked.select("symbol", ex_date="date", ratio="split_ratio"), SPLITS)
    if "dividend" in bars.columns:
        marked = bars.filter(pl.col("dividend").is_not_null() & (pl.col("dividend") != 0.0))
        dividends = _in(marked.select("symbol", ex_date="date", cash="dividend"), DIVIDENDS)
    return splits, dividends


def read_actions(tables: list[RawTable], order: DayOrder | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Splits and dividends of tables of their own."""
    splits, dividends = [pl.DataFrame(schema=SPLITS)], [pl.DataFrame(schema=DIVIDENDS)]
    for table in tables:
        what = kind(table)
        if what == "splits":
            splits.append(_splits(table, order))
        elif what == "dividends":
            found = roles(table.frame.columns, DIVIDEND_ROLES)
            dividends.append(_actions(table, found, numbers(table.frame[found["cash"]]).alias("cash"), DIVIDENDS, order))
    return pl.concat(splits), pl.concat(dividends)


def _splits(table: RawTable, order: DayOrder | None) -> pl.DataFrame:
    found = roles(table.frame.columns, SPLIT_ROLES)
    if "ratio_new" in found and "ratio_old" in found:
        ratio = numbers(table.frame[found["ratio_new"]]) / numbers(table.frame[found["ratio_old"]])
    else:
        ratio = ratios(table.frame[found["ratio"]])
    return _actions(table, found, ratio.alias("ratio"), SPLITS, order)


def _actions(
    table: RawTable, found: dict[str, str], values: pl.Series, schema: pl.Schema, order: DayOrder | None
) -> pl.DataFrame:
    frame = table.frame
    where = f"{table.name}: its column {found['date']}"
    columns = {
        "symbol": frame[found["symbol"]].cast(pl.String),
        "ex_date": days(frame[found["date"]], where, order).dates,
        values.name: values,
    }
    for name in ("declared", "record_date", "pay_date"):
        if name in found and name in schema:
            columns[name] = days(frame[found[name]], f"{table.name}: its column {found[name]}", order).dates
    if "frequency" in found and "frequency" in schema:
        columns["frequency"] = frame[found["frequency"]].cast(pl.Int64, strict=False)
    read = pl.DataFrame(columns)
    if read["ex_date"].null_count():
        bad = frame[found["date"]].filter(read["ex_date"].is_null())[0]
        raise BadFileError(f"{table.name}: {bad!r} in its column {found['date']} is not a date; write it as YYYY-MM-DD")
    names = {symbol: clean(symbol) for symbol in read["symbol"].unique().drop_nulls()}
    return _in(read.with_columns(pl.col("symbol").replace(names)), schema)


def _in(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    return frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, kind).alias(name) for name, kind in schema.items()
    )
