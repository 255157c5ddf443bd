"""Reading a recording: every row is looked at before the first is served, and what is wrong is named."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

REQUIRED = ("date", "symbol", "open", "high", "low", "close", "volume")
"""Columns that daily bars must have."""
MINUTES_REQUIRED = ("start", "symbol", "open", "high", "low", "close", "volume")
"""Columns that 15-minute bars must have."""
PRICES = ("open", "high", "low", "close")
_SLACK = 1 + 1e-4
"""An open or close this far outside of high and low is rounding, and widens them; further out it is an error."""


class RecordingError(ValueError):
    """A recording that cannot be used: names the file, what is wrong and what to do."""

    def __init__(self, path: Path, problem: str):
        super().__init__(f"the recording {path}: {problem}")


def read(path: Path) -> pl.DataFrame:
    """The file as it is; `RecordingError` where it cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        if path.suffix.lower() == ".csv":
            return pl.read_csv(path, try_parse_dates=True, infer_schema_length=10_000)
    except FileNotFoundError:
        raise RecordingError(path, "does not exist; give the path of a Parquet or CSV file of daily bars") from None
    except pl.exceptions.NoDataError:
        raise RecordingError(path, f"is empty; it needs the columns {', '.join(REQUIRED)}") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RecordingError(path, f"cannot be read ({error}); write it again as Parquet or CSV") from error
    raise RecordingError(path, "is neither .parquet nor .csv; convert it to one of them")


def need(path: Path, frame: pl.DataFrame, required: Iterable[str]) -> None:
    """Refuse a frame without the required columns."""
    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise RecordingError(
            path,
            f"has no column {', '.join(missing)}; it needs {', '.join(required)} and has {', '.join(frame.columns) or 'none'}",
        )


def typed(path: Path, frame: pl.DataFrame, dates: Mapping[str, pl.Date]) -> pl.DataFrame:
    """Date columns as dates; the first value that is no date is named."""
    for name in dates:
        column = frame[name]
        if column.dtype == pl.String:
            parsed = column.str.strptime(pl.Date, "%Y-%m-%d", strict=False)
        elif column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime) or column.null_count() == len(column):
            parsed = column.cast(pl.Date)
        else:
            raise RecordingError(path, f"its column {name} holds {column.dtype}, not dates; write them as YYYY-MM-DD")
        bad = column.filter(parsed.is_null() & column.is_not_null())
        if len(bad):
            raise RecordingError(path, f"{bad[0]!r} in its column {name} is not a date; write it as YYYY-MM-DD")
        if name in ("date", "ex_date", "published") and parsed.null_count():
            raise RecordingError(path, f"its column {name} has {parsed.null_count()} rows without a date; fill or drop them")
        frame = frame.with_columns(parsed.alias(name))
    return frame


def in_new_york(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """`start` as an aware time in New York; one without a zone is taken to be there already."""
    column = frame["start"]
    if column.dtype == pl.String:
        column = column.str.to_datetime(strict=False, time_zone="America/New_York")
    if not isinstance(column.dtype, pl.Datetime) or column.null_count():
        raise RecordingError(path, "its column start is not a date and time everywhere; write 2015-10-30T09:30:00-04:00")
    if column.dtype.time_zone is None:
        return frame.with_columns(column.dt.replace_time_zone("America/New_York"))
    return frame.with_columns(column.dt.convert_time_zone("America/New_York"))


def checked(path: Path, frame: pl.DataFrame, key: tuple[str, str]) -> pl.DataFrame:
    """Numbers as floats, one row a key, prices above zero and in order, volumes not negative."""
    frame = frame.with_columns(pl.col("symbol").cast(pl.String))
    for name in (*PRICES, "volume", *(name for name in ("vwap", "trades") if name in frame.columns)):
        column = frame[name]
        if not column.dtype.is_numeric() and column.null_count() < len(column):
            raise RecordingError(path, f"its column {name} holds {column.dtype}, not numbers (the first is {column[0]!r})")
    frame = frame.with_columns(pl.col(*PRICES, "volume").cast(pl.Float64))
    _refuse(path, frame, key, pl.col("symbol").is_null() | (pl.col("symbol") == ""), "has no symbol; fill it or drop the row")
    for name in PRICES:
        bad = pl.col(name).is_null() | ~pl.col(name).is_finite() | (pl.col(name) <= 0)
        _refuse(path, frame, key, bad, f"has a price that is not a number above zero in {name}; correct it or drop the row", name)
    _refuse(
        path, frame, key, pl.col("high") < pl.col("low"), "has its high below its low; correct it or drop the row", "high", "low"
    )
    beyond = (pl.max_horizontal("open", "close") > pl.col("high") * _SLACK) | (
        pl.min_horizontal("open", "close") < pl.col("low") / _SLACK
    )
    _refuse(path, frame, key, beyond, "opens or closes outside of its high and low; correct it or drop the row", *PRICES)
    frame = frame.with_columns(
        high=pl.max_horizontal("high", "open", "close"),
        low=pl.min_horizontal("low", "open", "close"),
    )
    bad_volume = pl.col("volume").is_null() | ~pl.col("volume").is_finite() | (pl.col("volume") < 0)
    _refuse(path, frame, key, bad_volume, "has a volume that is not a number of shares; write 0 where nothing traded", "volume")
    repeated = frame.select(pl.struct(key).is_duplicated()).to_series()
    _refuse(path, frame, key, repeated, "is there more than once; keep one row per symbol and time")
    return frame


def _refuse(path: Path, frame: pl.DataFrame, key: tuple[str, str], bad: pl.Expr | pl.Series, problem: str, *columns: str) -> None:
    rows = frame.filter(bad)
    if rows.is_empty():
        return
    row = rows.row(0, named=True)
    values = ", ".join(f"{name}={row[name]}" for name in columns)
    more = f"; {len(rows) - 1} more rows like it" if len(rows) > 1 else ""
    where = f"{row['symbol']} on {row[key[0]]}"
    raise RecordingError(path, f"{where} {problem}{f' ({values})' if values else ''}{more}")
