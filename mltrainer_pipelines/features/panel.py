"""Adjusted bars as dense matrices, one row a session and one column a symbol."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

KEYS = ("date", "symbol")
PRICES = ("adj_open", "adj_high", "adj_low", "adj_close")


class BadPanelError(ValueError):
    """Bars, or a universe, from which nothing can be computed: names what is wrong, where, and the remedy."""


@dataclass(frozen=True)
class Panel:
    """Fields of bars, float64 of shape (n_sessions, n_symbols), aligned on sessions (datetime64[D]) and symbols, both
    ascending.

    A session is a date on which at least one symbol of the frame has a bar. A bar that is missing, and a value that is null or
    NaN, is NaN here.
    """

    sessions: np.ndarray
    symbols: list[str]
    fields: dict[str, np.ndarray]

    def days(self, rows: np.ndarray) -> np.ndarray:
        """The sessions of these rows; NaT for a row below 0."""
        return np.where(rows >= 0, self.sessions[np.maximum(rows, 0)], np.datetime64("NaT", "D"))


def sessions_of(bars: pl.DataFrame) -> np.ndarray:
    """The sessions of a frame of bars, ascending: datetime64[D], shape (n_sessions,)."""
    return _sessions_and_rows(bars["date"].drop_nulls())[0]


def rows_between(sessions: np.ndarray, first: date, last: date) -> tuple[int, int]:
    """Rows ``[start, stop)`` of the sessions from `first` to `last`, both included; BadPanelError where there is none."""
    start = int(np.searchsorted(sessions, np.datetime64(first, "D")))
    stop = int(np.searchsorted(sessions, np.datetime64(last, "D"), side="right"))
    if start >= stop:
        raise BadPanelError(f"adjusted bars: no session from {first} to {last}; give bars of these sessions, or other dates")
    return start, stop


def _sessions_and_rows(dates: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The different days, ascending, and the place of each row's day among them; by counting, which is faster than sorting."""
    days = dates.to_physical().to_numpy().astype(np.int64)
    if not len(days):
        return np.empty(0, "datetime64[D]"), days
    first = int(days.min())
    there = np.zeros(int(days.max()) - first + 1, dtype=bool)
    there[days - first] = True
    place = np.cumsum(there) - 1
    return (np.flatnonzero(there) + first).astype("datetime64[D]"), place[days - first]


def check_columns(frame: pl.DataFrame, columns: Iterable[str], what: str) -> None:
    """BadPanelError, naming `what` was given, unless `frame` has `columns`, its dates hold days and no key is null."""
    wanted = list(columns)
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise BadPanelError(f"{what} lack the column(s) {', '.join(missing)}; they have {', '.join(frame.columns)}")
    for name in ("date", "month"):
        if name in wanted and frame.schema[name] != pl.Date:
            raise BadPanelError(f"{what}: the column {name} is {frame.schema[name]}; cast it to a date (pl.Date) first")
    for name in wanted:
        if name in (*KEYS, "month") and frame[name].null_count():
            raise BadPanelError(f"{what}: {frame[name].null_count()} rows have no {name}; drop or repair them first")


def dense(bars: pl.DataFrame, fields: Sequence[str], symbols: Iterable[str] | None = None, what: str = "adjusted bars") -> Panel:
    """Scatter the columns `fields` of bars into matrices; the order of the rows does not matter.

    With `symbols`, only those of them that the frame has are kept; the sessions stay those of the whole frame. Raises
    BadPanelError if the frame (`what` in the message) is empty, lacks a column, repeats a (date, symbol), or holds an infinite
    value or a price that is not above 0.
    """
    check_columns(bars, [*KEYS, *fields], what)
    if bars.is_empty():
        raise BadPanelError(f"{what}: the frame has no rows; ingest daily_bars for the sessions needed first")
    sessions, rows = _sessions_and_rows(bars["date"])
    names = bars["symbol"].unique().sort()
    if symbols is not None:
        names = names.filter(names.is_in(pl.Series(sorted(set(symbols)), dtype=pl.String).implode()))
        kept = bars["symbol"].is_in(names.implode())
        bars, rows = bars.filter(kept), rows[kept.to_numpy()]
    columns = bars["symbol"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    shape = (len(sessions), len(names))
    places = rows * shape[1] + columns
    taken = np.zeros(shape[0] * shape[1], dtype=bool)
    taken[places] = True
    if np.count_nonzero(taken) != len(places):
        twice = bars.filter(pl.struct(*KEYS).is_duplicated()).row(0, named=True)
        raise BadPanelError(
            f"{what}: more than one row for {twice['symbol']} on {twice['date']}; "
            "(date, symbol) must be unique, drop the duplicates"
        )
    matrices = {}
    for name in fields:
        values = bars[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        wrong = np.isinf(values) | (values <= 0.0) if name in PRICES else np.isinf(values) | (values < 0.0)
        if wrong.any():
            where = bars[int(np.argmax(wrong))].row(0, named=True)
            rule = "above 0" if name in PRICES else "0 or more"
            raise BadPanelError(
                f"{what}: {name} of {where['symbol']} on {where['date']} is {where[name]}; it must be finite and {rule}"
            )
        matrix = np.full(shape[0] * shape[1], np.nan)
        matrix[places] = values
        matrices[name] = matrix.reshape(shape)
    return Panel(sessions, names.to_list(), matrices)


def check_one_row_a_session(frame: pl.DataFrame, what: str) -> None:
    """Raise BadPanelError unless a frame of series has one row a session and a column a series."""
    if "series_id" in frame.columns:
        raise BadPanelError(f"{what}: these are observations (series_id, published); give known_macro(observations, sessions)")
    check_columns(frame, ["date"], what)
    if frame["date"].is_duplicated().any():
        raise BadPanelError(f"{what}: a date is there twice; give one row a session")


def aligned_series(frame: pl.DataFrame, names: Sequence[str], sessions: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of a frame with one row a session on these sessions: float64, NaN where unknown."""
    aligned = pl.DataFrame({"date": sessions}).join(frame, on="date", how="left", maintain_order="left")
    return {name: aligned[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in names}


@dataclass(frozen=True)
class Members:
    """The members of one month's universe: columns of a panel, ascending, and their sectors as small numbers (-1 unknown)."""

    month: date
    columns: np.ndarray
    sectors: np.ndarray


def members_by_month(universe: pl.DataFrame, panel_symbols: Sequence[str], months: Sequence[date]) -> list[Members]:
    """Members of each month that the panel knows; BadPanelError if the universe lacks a month or repeats a (month, symbol)."""
    wanted = _of_months(universe, months)
    repeated = wanted.filter(pl.struct("month", "symbol").is_duplicated())
    if repeated.height:
        twice = repeated.row(0, named=True)
        raise BadPanelError(f"universe: {twice['symbol']} is twice in the month {twice['month']}; (month, symbol) must be unique")
    sector = pl.col("sector") if "sector" in wanted.columns else pl.lit(None, pl.String)
    column = pl.DataFrame(
        {"symbol": pl.Series(panel_symbols, dtype=pl.String), "column": np.arange(len(panel_symbols), dtype=np.int64)}
    )
    members = wanted.select("month", "symbol", sector.rank("dense").cast(pl.Int64).fill_null(0) - 1).join(column, on="symbol")
    members = members.select("month", "column", pl.nth(2).alias("sector")).sort("month", "column")
    starts, columns, sectors = (members[name].to_numpy() for name in ("month", "column", "sector"))
    by_month = []
    for month in months:
        begin, end = (int(np.searchsorted(starts, np.datetime64(month), side=side)) for side in ("left", "right"))
        by_month.append(Members(month, columns[begin:end], sectors[begin:end]))
    return by_month


def membership(universe: pl.DataFrame, panel: Panel, rows: slice, months: Sequence[date]) -> np.ndarray:
    """Whether each symbol is a member on each session of these rows, bool; False in months that are not among `months`."""
    sessions = panel.sessions[rows]
    inside = np.zeros((len(sessions), len(panel.symbols)), dtype=bool)
    for members in members_by_month(universe, panel.symbols, months):
        inside[np.ix_(sessions.astype("datetime64[M]") == np.datetime64(members.month, "M"), members.columns)] = True
    return inside


def symbols_of(universe: pl.DataFrame, months: Sequence[date]) -> list[str]:
    """Symbols that are in the universe of any of the months, sorted; raises as `members_by_month` does."""
    return _of_months(universe, months)["symbol"].unique().sort().to_list()


def _of_months(universe: pl.DataFrame, months: Sequence[date]) -> pl.DataFrame:
    """The universe's rows of the months; raises where one of them has none."""
    check_columns(universe, ["month", "symbol"], "universe")
    wanted = universe.filter(pl.col("month").is_in(list(months)))
    there = set(wanted["month"].unique().to_list())
    absent = [month for month in months if month not in there]
    if absent:
        listed = ", ".join(str(month) for month in absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        raise BadPanelError(f"universe: no members for the month(s) {listed}; materialize universe for them first")
    return wanted


def months_between(sessions: np.ndarray) -> list[date]:
    """First days of the months that the sessions fall in, ascending."""
    return np.unique(sessions.astype("datetime64[M]")).astype("datetime64[D]").tolist()
