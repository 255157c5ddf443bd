"""A recorded market: daily bars from any Parquet or CSV file, lived through again by the clock.

**The file** (`.parquet` or `.csv`): one row per session and symbol, in any order.

| column | |
|---|---|
| `date`, `symbol`, `open`, `high`, `low`, `close`, `volume` | required; prices in dollars as they traded, volume in shares |
| `vwap`, `trades` | optional; null where unknown |
| `split_ratio` | optional; new shares per old where the row's date is a split's ex-date, else null (or 1) |
| `dividend` | optional; cash per share where the row's date is an ex-dividend date, else null (or 0) |

Every other layout that `mltrainer import` reads will do as well.

**Beside it**, optional: `<stem>.minutes`, `<stem>.splits`, `<stem>.dividends`, `<stem>.macro`, `<stem>.names`.

| file | columns |
|---|---|
| `minutes` | `start` (when a 15-minute bar opens: aware, or New York time), `symbol`, prices, `volume`; `vwap`, `trades` |
| `splits` | `symbol`, `ex_date`, `ratio`; optional `declared` |
| `dividends` | `symbol`, `ex_date`, `cash`; optional `declared`, `record_date`, `pay_date`, `frequency` |
| `macro` | `series_id` (as at FRED), `date`, `value`, `published`; a later `published` for the same date revises it |
| `names` | `symbol`; optional `name`, `company` (any word that is the company's alone), `start`, `end` (first and last session) |

A company that was renamed has a row for each symbol with the same `company`; a symbol that several companies had has a
row for each, with `start` and `end`.

Splits and dividends that the prices contradict are left out, as by `mltrainer import`; `notes` names them.

What is missing is missing: without 15-minute bars the exchange knows, during a session, the previous close
only; a company's type and industry are not known; a symbol that has no bar in the last five sessions of
the recording counts as delisted on the session after its last bar.
"""

from collections.abc import Mapping
from datetime import date
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.market import Bars, Dividend, MacroSeries, MacroValue, Split, Ticker, midnight
from mltrainer_pipelines.exchange.recording_file import (
    MINUTES_REQUIRED,
    PRICES,
    RecordingError,
    checked,
    in_new_york,
    need,
    read,
    typed,
)
from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.files.given_actions import checked_actions, not_applied
from mltrainer_pipelines.market.files.reader import BarsOfFiles, ReadOptions, read_bar_files
from mltrainer_pipelines.market.sessions import next_session

_GONE_AFTER_SESSIONS = 5
_NO_NAME: dict[str, Any] = {"name": None, "company": None, "start": None, "end": None}


class RecordedMarket:
    """The market in a recording, a `.parquet` or `.csv` file; the module's docstring says what it holds.

    Raises `RecordingError` for a file that cannot be read or is empty, a missing column, a date that is no date or no
    session, two rows for one symbol and date, a price that is not above zero, a high below the low, a negative volume.
    """

    name = "replay"

    def __init__(self, path: Path):
        self._path = Path(path)
        try:
            self._read = read_bar_files(self._path, ReadOptions(strict=True))
        except BadFileError as error:
            raise RecordingError(self._path, str(error).removeprefix(str(self._path)).lstrip(": ")) from None
        _require_terms(self._path, self._read)
        given = checked_actions(self._read)
        self.notes = [*self._read.notes, *given.notes, *map(not_applied, given.refused.to_dicts())]
        frame = self._read.bars.sort("date", "symbol")
        self._bars = frame
        self._by_symbol = frame.sort("symbol", "date")
        self._sessions: list[date] = frame["date"].unique(maintain_order=True).to_list()
        self._rows_of_day = _slices(frame["date"])
        self._rows_of_symbol = _slices(self._by_symbol["symbol"])
        self._splits = self._read_splits(given.splits)
        self._dividends = self._read_dividends(given.dividends)
        self._macro = self._read_macro()
        self._minutes = self._read_minutes()
        self._names = self._read_names()

    def sessions(self) -> list[date]:
        return self._sessions

    def day(self, session: date) -> Bars:
        start, length = self._rows_of_day.get(session, (0, 0))
        return _bars(self._bars.slice(start, length))

    def history(self, symbol: str, first: date, last: date) -> Bars:
        start, length = self._rows_of_symbol.get(symbol, (0, 0))
        return _bars(self._by_symbol.slice(start, length).filter(pl.col("date").is_between(first, last)))

    def minutes(self, session: date, symbol: str | None = None) -> Bars | None:
        start, length = self._minutes_of_day.get(session, (0, 0))
        if self._minutes is None or not length:
            return None
        chosen = self._minutes.slice(start, length)
        if symbol is not None:
            chosen = chosen.filter(pl.col("symbol") == symbol)
        return _columns(chosen, chosen["start"].to_numpy())

    def splits(self) -> list[Split]:
        return self._splits

    def dividends(self) -> list[Dividend]:
        return self._dividends

    def tickers(self) -> list[Ticker]:
        return self._tickers

    def macro(self) -> Mapping[str, MacroSeries]:
        return self._macro

    @cached_property
    def _tickers(self) -> list[Ticker]:
        listings = self._by_symbol.group_by("symbol", maintain_order=True).agg(
            first=pl.col("date").first(), last=pl.col("date").last()
        )
        delisted_before = (
            self._sessions[-_GONE_AFTER_SESSIONS] if len(self._sessions) >= _GONE_AFTER_SESSIONS else self._sessions[0]
        )
        tickers = []
        for symbol, first, last in listings.iter_rows():
            gone = next_session(last) if last < delisted_before else None
            for row in self._names.get(symbol, [_NO_NAME]):
                ended = next_session(row["end"]) if row["end"] else gone
                company = row["company"] or (row["name"] if row["start"] or row["end"] else None)
                tickers.append(Ticker(symbol, row["start"] or first, ended, row["name"], figi=company and _figi(company)))
        return tickers

    def _read_names(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of the names by symbol, the oldest first."""
        frame = self._beside("names", ("symbol",), {"start": pl.Date(), "end": pl.Date()})
        if frame is None:
            return {}
        missing = [pl.lit(None, pl.String).alias(name) for name in _NO_NAME if name not in frame.columns]
        frame = frame.with_columns(missing).select("symbol", *_NO_NAME).sort("symbol", "start")
        names: dict[str, list[dict[str, Any]]] = {}
        for row in frame.iter_rows(named=True):
            others = names.setdefault(row["symbol"], [])
            if others and (row["start"] is None or others[-1]["end"] is None or row["start"] <= others[-1]["end"]):
                raise RecordingError(
                    self._path, f"its names have {row['symbol']} more than once; give start and end of each, one after the other"
                )
            others.append(row)
        return names

    def _read_splits(self, given: pl.DataFrame) -> list[Split]:
        splits = []
        for row in given.iter_rows(named=True):
            old, new = (1.0, row["ratio"]) if row["ratio"] >= 1 else (round(1 / row["ratio"], 9), 1.0)
            splits.append(Split(row["symbol"], row["ex_date"], old, new, declared=row.get("declared")))
        return sorted(splits, key=lambda split: (split.ex_date, split.symbol))

    def _read_dividends(self, given: pl.DataFrame) -> list[Dividend]:
        dividends = []
        for row in given.iter_rows(named=True):
            details = {name: row.get(name) for name in ("declared", "record_date", "pay_date", "frequency")}
            dividends.append(Dividend(row["symbol"], row["ex_date"], row["cash"], **details))
        return sorted(dividends, key=lambda dividend: (dividend.ex_date, dividend.symbol, dividend.cash))

    def _read_macro(self) -> dict[str, MacroSeries]:
        dates = {"date": pl.Date(), "published": pl.Date()}
        frame = self._beside("macro", ("series_id", "date", "value", "published"), dates)
        if frame is None:
            return {}
        early = frame.filter(pl.col("published") < pl.col("date"))
        if not early.is_empty():
            row = early.row(0, named=True)
            raise RecordingError(
                self._path, f"its macro file has {row['series_id']} of {row['date']} published before that, on {row['published']}"
            )
        frame = frame.sort("series_id", "date", "published")
        return {
            str(name): MacroSeries(
                str(name), [MacroValue(*row) for row in rows.select("date", "value", "published").iter_rows()], title=str(name)
            )
            for (name,), rows in frame.group_by(["series_id"], maintain_order=True)
        }

    def _read_minutes(self) -> pl.DataFrame | None:
        self._minutes_of_day: dict[date, tuple[int, int]] = {}
        path = self._sibling("minutes")
        if not path.exists():
            return None
        frame = read(path)
        need(path, frame, MINUTES_REQUIRED)
        frame = frame.select(*MINUTES_REQUIRED, *(name for name in ("vwap", "trades") if name in frame.columns))
        frame = checked(path, in_new_york(path, frame), ("start", "symbol"))
        frame = frame.with_columns(date=pl.col("start").dt.date()).sort("date", "symbol", "start")
        self._minutes_of_day = _slices(frame["date"])
        return frame.with_columns(start=pl.col("start").dt.epoch("ms"))

    def _beside(self, what: str, required: tuple[str, ...], dates: Mapping[str, pl.Date]) -> pl.DataFrame | None:
        path = self._sibling(what)
        if not path.exists():
            return None
        frame = read(path)
        need(path, frame, required)
        return typed(path, frame, {name: kind for name, kind in dates.items() if name in frame.columns})

    def _sibling(self, what: str) -> Path:
        return self._path.with_name(f"{self._path.stem}.{what}{self._path.suffix}")


def _figi(company: str) -> str:
    """A company's word in the form of a FIGI, which is what the vendor calls companies by."""
    return f"BBG{sha256(company.encode()).hexdigest()[:9].upper()}"


def _require_terms(path: Path, read: BarsOfFiles) -> None:
    """Refuse a split without a ratio, and a dividend without cash."""
    terms = ((read.splits, "ratio", "split", "new shares per old"), (read.dividends, "cash", "dividend", "dollars above 0"))
    for actions, name, what, remedy in terms:
        for row in actions.filter(~(pl.col(name) > 0).fill_null(value=False)).head(1).iter_rows(named=True):
            raise RecordingError(path, f"a {what} of {row['symbol']} on {row['ex_date']} has {name} {row[name]}; give {remedy}")


def _slices(column: pl.Series) -> dict[Any, tuple[int, int]]:
    """First row and number of rows of each value of a sorted column."""
    runs = column.rle().struct.unnest()
    starts = (runs["len"].cum_sum() - runs["len"]).to_list()
    return dict(zip(runs["value"].to_list(), zip(starts, runs["len"].to_list(), strict=True), strict=True))


def _bars(frame: pl.DataFrame) -> Bars:
    days = frame["date"].to_list()
    starts = {day: midnight(day) for day in dict.fromkeys(days)}
    return _columns(frame, np.array([starts[day] for day in days], dtype=np.int64))


def _columns(frame: pl.DataFrame, start: NDArray[np.int64]) -> Bars:
    open_, high, low, close, volume = (frame[name].to_numpy() for name in (*PRICES, "volume"))
    vwap, trades = (_numbers_or_holes(frame, name) for name in ("vwap", "trades"))
    return Bars(frame["symbol"].to_list(), start, open_, high, low, close, volume, vwap, trades)


def _numbers_or_holes(frame: pl.DataFrame, name: str) -> NDArray[np.float64] | None:
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() if name in frame.columns else None
