"""The feature engine: declarations in, a frame of features out.

A feature declares what it reads, how far back it looks and its formula. The engine aligns sessions and symbols, runs
the formulas month by month on that month's universe, and keeps causality: a block of bars starts a fixed number of
sessions before its month and ends with the last session wanted, so a value at t is the same, to the last bit, whether
it is computed for one session or for years, and whatever happens after t (`causality.audit` proves it).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from mltrainer_pipelines.features.block import BAR_FIELDS, Block
from mltrainer_pipelines.features.panel import (
    Members,
    Panel,
    aligned_series,
    check_columns,
    check_one_row_a_session,
    dense,
    members_by_month,
    months_between,
    rows_between,
    sessions_of,
    symbols_of,
)
from mltrainer_pipelines.features.registry import resolved
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.features.window import Window

SESSIONS_IN_A_MONTH = 23
"""The most sessions a month has; a block is anchored at its month's first session."""


def look_back(feature_set: str | FeatureSet = "momentum") -> int:
    """Sessions of bars before the first session wanted that give it in full."""
    return resolved(feature_set).depth + SESSIONS_IN_A_MONTH


def compute_features(
    adjusted_bars: pl.DataFrame,
    universe: pl.DataFrame,
    macro: pl.DataFrame | None,
    first: date,
    last: date,
    feature_set: str | FeatureSet = "momentum",
    workers: int | None = None,
    regime: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Features of the sessions from `first` to `last`, both included, as known at each session's close.

    Averages and ranks across symbols are taken over the members of the universe of the session's month, for the
    whole window: today's members, whose past is known today. Less history than `look_back` gives null for what needs
    it, never a value from a shorter window.

    Parameters
    ----------
    adjusted_bars : DataFrame
        date, symbol, adj_open, adj_high, adj_low, adj_close, adj_volume, close, volume; any order of rows, (date,
        symbol) unique, from `look_back(feature_set)` sessions before `first` on. A session is a date on which any
        symbol has a bar. Symbols outside the universe do not matter.
    universe : DataFrame
        month, symbol and, if known, sector, for each month of the range.
    macro : DataFrame, optional
        date and one column a series, as known at each session's close (`market.macro.known_macro`).
    workers : int, optional
        Threads; by default one a processor, at most 4. The result does not depend on it.
    regime : DataFrame, optional
        date, score and its parts (`regime.regime_scores` of the whole history); what reads it is null without it.

    Returns
    -------
    DataFrame
        date, symbol, then a Float32 column a feature, null where unknown; a row for each member of the month's
        universe with a close on the session, sorted by date and symbol.

    Raises BadPanelError if the bars or the universe cannot be used, or no session lies in the range; UnknownFeatureSetError
    if there is no such set.
    """
    chosen = resolved(feature_set)
    panel, stop = _panel(adjusted_bars, universe, first, last, chosen)
    start, _ = rows_between(panel.sessions, first, last)
    months = months_between(panel.sessions[start:stop])
    members = members_by_month(universe, panel.symbols, months)
    series = {
        **_series_rows("macro", macro, panel.sessions, chosen),
        **_series_rows("regime", regime, panel.sessions, chosen),
    }
    tasks = [task for month in members if (task := _task(panel, month, start, stop, chosen.depth)) is not None]

    places = np.concatenate([[0], np.cumsum([np.count_nonzero(task.traded) for task in tasks])]).astype(np.int64)
    values = np.empty((len(chosen.features), int(places[-1])), dtype=np.float32)

    def run(number: int) -> None:
        _compute(tasks[number], panel, series, chosen, values[:, places[number] : places[number + 1]])

    threads = min(4, os.cpu_count() or 1) if workers is None else workers
    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(run, range(len(tasks))))

    rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for task in tasks:
        traded_rows, traded_members = np.nonzero(task.traded)
        rows.append(task.first + traded_rows)
        columns.append(task.members.columns[traded_members])
    table = pl.DataFrame(
        {
            "date": pl.Series(panel.sessions[np.concatenate(rows)], dtype=pl.Date),
            "symbol": pl.Series(panel.symbols, dtype=pl.String).gather(np.concatenate(columns)),
            **{name: pl.Series(values[i], dtype=pl.Float32) for i, name in enumerate(chosen.names)},
        }
    )
    return table.with_columns(pl.col(pl.Float32).fill_nan(None))


@dataclass(frozen=True)
class _Task:
    members: Members
    begin: int
    """First row of the block."""
    first: int
    """First row wanted."""
    stop: int
    traded: np.ndarray
    """Members with a close, for the rows wanted: bool, shape (stop - first, n_members)."""


def _task(panel: Panel, members: Members, start: int, stop: int, depth: int) -> _Task | None:
    of_month = panel.sessions.astype("datetime64[M]")
    month = np.datetime64(members.month, "M")
    month_start, month_stop = (int(np.searchsorted(of_month, month, side=side)) for side in ("left", "right"))
    first, end = max(start, month_start), min(stop, month_stop)
    if not len(members.columns):
        return None
    traded = ~np.isnan(panel.fields["close"][first:end, members.columns])
    return _Task(members, max(0, month_start - depth), first, end, traded)


def _compute(task: _Task, panel: Panel, series: dict[str, np.ndarray], chosen: FeatureSet, out: np.ndarray) -> None:
    from mltrainer_pipelines.features.kernels import cross_section as cross_kernels

    slices = {name: np.ascontiguousarray(panel.fields[name][task.begin : task.stop, task.members.columns]) for name in BAR_FIELDS}
    block = Block(
        slices, task.members.sectors, {name: v[task.begin : task.stop] for name, v in series.items()}, task.first - task.begin
    )
    columns_of = {feature.name: number for number, feature in enumerate(chosen.features)}
    with np.errstate(all="ignore"):
        for feature in chosen.all_features:
            values, shape = feature.formula(Window(block, feature.reads)), task.traded.shape
            if values.shape != shape:
                raise ValueError(f"the formula of {feature.name} gives {values.shape}, not (sessions, members) = {shape}")
            if feature.name in chosen.reads:
                block.features[feature.name] = np.where(task.traded & np.isfinite(values), values, np.nan)
            if feature.name in columns_of:
                cross_kernels.gather(values, task.traded, out[columns_of[feature.name]])


def _panel(bars: pl.DataFrame, universe: pl.DataFrame, first: date, last: date, chosen: FeatureSet) -> tuple[Panel, int]:
    columns = ["adj_open", "adj_high", "adj_low", "adj_close", "adj_volume", "close", "volume"]
    check_columns(bars, ["date", "symbol", *columns], "adjusted bars")
    sessions = sessions_of(bars)
    start, stop = rows_between(sessions, first, last)
    begin = max(0, start - chosen.depth - SESSIONS_IN_A_MONTH)
    if begin > 0 or stop < len(sessions):
        bars = bars.filter(pl.col("date").is_between(sessions[begin].item(), sessions[stop - 1].item()))
    if "vwap" in bars.columns:
        columns.append("vwap")
    raw = dense(bars, columns, symbols_of(universe, months_between(sessions[start:stop])))
    fields = {name: made(raw.fields) for name, made in BAR_FIELDS.items()}
    return Panel(raw.sessions, raw.symbols, fields), stop - begin


def _series_rows(kind: str, frame: pl.DataFrame | None, sessions: np.ndarray, chosen: FeatureSet) -> dict[str, np.ndarray]:
    """The columns of a frame with one row a session that the set reads, aligned on the sessions; NaN unknown."""
    names = sorted(read.removeprefix(f"{kind}:") for read in chosen.reads if read.startswith(f"{kind}:"))
    if frame is None or not names:
        return {}
    check_one_row_a_session(frame, kind)
    check_columns(frame, names, kind)
    return {f"{kind}:{name}": values for name, values in aligned_series(frame, names, sessions).items()}
