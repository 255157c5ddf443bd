"""The feature engine: declarations in, a frame of features out.

A feature declares what it reads, how far back it looks and its formula. The engine aligns sessions and symbols, runs
the formulas month by month on that month's universe, and keeps causality: a block of bars starts a fixed number of
sessions before its month and ends with the last session wanted, so a value at t is the same, to the last bit, whether
it is computed for one session or for years, and whatever happens after t (`causality.audit` proves it).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from mltrainer_pipelines.features.block import BAR_FIELDS, FIELDS, SERIES, Block
from mltrainer_pipelines.features.panel import (
    BadPanelError,
    Members,
    Panel,
    check_columns,
    check_one_row_a_session,
    dense,
    members_by_month,
    months_between,
    sessions_of,
    symbols_of,
)
from mltrainer_pipelines.features.window import Window

SESSIONS_IN_A_MONTH = 23
"""The most sessions a month has; a block is anchored at its month's first session."""

GAP = 6
"""Sessions beyond a feature's look-back that a filled gap and the return across it can reach."""


class UnknownFeatureSetError(LookupError):
    """A feature set was asked for that nobody registered."""

    def __init__(self, name: str):
        super().__init__(f"there is no feature set {name!r}; the feature sets are {', '.join(feature_sets())}")


@dataclass(frozen=True)
class Feature:
    """The declaration of a feature.

    Parameters
    ----------
    name : str
        Column name: lower case, the window in sessions last.
    reads : tuple of str
        Fields (`block.FIELDS`, ``macro:<series>`` or ``regime:<part>``) and features declared before this one.
    look_back : int
        Sessions before t that the value at t uses.
    formula : callable
        Takes a `Window`, gives a matrix (sessions wanted, members); NaN where unknown.
    source : str
        Where the idea comes from: authors and year.
    summary : str
        One line for the reader, with the unit.
    """

    name: str
    reads: tuple[str, ...]
    look_back: int
    formula: Callable[[Window], np.ndarray]
    source: str
    summary: str


@dataclass(frozen=True)
class FeatureSet:
    """Features that are computed together, in order.

    Parameters
    ----------
    name : str
    features : tuple of Feature
        The columns, in order.
    bases : tuple of Feature
        Computed before them for them to read, and not shown.

    Raises
    ------
    ValueError
        If a name repeats, or a feature reads what is neither a field nor declared before it.
    """

    name: str
    features: tuple[Feature, ...]
    bases: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for feature in self.all_features:
            if feature.name in seen or feature.name in ("date", "symbol"):
                raise ValueError(f"feature set {self.name}: the name {feature.name} is taken; choose another one")
            unknown = [r for r in feature.reads if r not in FIELDS and not r.startswith(SERIES) and r not in seen]
            if unknown:
                raise ValueError(
                    f"feature set {self.name}: {feature.name} reads {', '.join(unknown)}, neither a field "
                    f"({', '.join(FIELDS)}, macro:<series>, regime:<part>) nor a feature declared before it"
                )
            seen.add(feature.name)

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [feature.name for feature in self.features]

    @property
    def all_features(self) -> tuple[Feature, ...]:
        """What is computed, in order: the bases, then the columns."""
        return (*self.bases, *self.features)

    @property
    def depth(self) -> int:
        """Rows of a block before its month's first session."""
        return max((feature.look_back for feature in self.all_features), default=0) + GAP


def feature_sets() -> list[str]:
    """Names of the feature sets."""
    return list(_registered())


def get_feature_set(name: str) -> FeatureSet:
    """A feature set by name; ``default`` is the one trials use unless told otherwise.

    Raises
    ------
    UnknownFeatureSetError
        Naming the sets there are.
    """
    sets = _registered()
    if name not in sets:
        raise UnknownFeatureSetError(name)
    return sets[name]


def look_back(feature_set: str | FeatureSet = "momentum") -> int:
    """Sessions of bars before the first session wanted that give it in full."""
    return _resolved(feature_set).depth + SESSIONS_IN_A_MONTH


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
    first, last : date
    feature_set : str or FeatureSet
    workers : int, optional
        Threads; by default one a processor, at most 4. The result does not depend on it.
    regime : DataFrame, optional
        date, score and its parts (`regime.regime_scores` of the whole history); what reads it is null without it.

    Returns
    -------
    DataFrame
        date, symbol, then a Float32 column a feature, null where unknown; a row for each member of the month's
        universe with a close on the session, sorted by date and symbol.

    Raises
    ------
    BadPanelError
        If the bars or the universe cannot be used, or no session lies in the range.
    UnknownFeatureSetError
        If there is no such set.
    """
    chosen = _resolved(feature_set)
    panel, stop = _panel(adjusted_bars, universe, first, last, chosen)
    start, _ = panel.rows_between(first, last)
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
    if threads > 1 and len(tasks) > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(len(tasks))))
    else:
        for number in range(len(tasks)):
            run(number)

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
    read_later = {read for feature in chosen.all_features for read in feature.reads}
    shown = {feature.name: number for number, feature in enumerate(chosen.features)}
    with np.errstate(all="ignore"):
        for feature in chosen.all_features:
            values, shape = feature.formula(Window(block, feature.reads)), task.traded.shape
            if values.shape != shape:
                raise ValueError(f"the formula of {feature.name} gives {values.shape}, not (sessions, members) = {shape}")
            if feature.name in read_later:
                block.features[feature.name] = np.where(task.traded & np.isfinite(values), values, np.nan)
            if feature.name in shown:
                cross_kernels.gather(values, task.traded, out[shown[feature.name]])


def _panel(bars: pl.DataFrame, universe: pl.DataFrame, first: date, last: date, chosen: FeatureSet) -> tuple[Panel, int]:
    columns = ["adj_open", "adj_high", "adj_low", "adj_close", "adj_volume", "close", "volume"]
    check_columns(bars, ["date", "symbol", *columns], "adjusted bars")
    sessions = sessions_of(bars)
    start = int(np.searchsorted(sessions, np.datetime64(first, "D")))
    stop = int(np.searchsorted(sessions, np.datetime64(last, "D"), side="right"))
    if start >= stop:
        raise BadPanelError(f"adjusted bars: no session from {first} to {last}; give bars of these sessions, or other dates")
    begin = max(0, start - chosen.depth - SESSIONS_IN_A_MONTH)
    if begin > 0 or stop < len(sessions):
        bars = bars.filter(pl.col("date").is_between(sessions[begin].item(), sessions[stop - 1].item()))
    if "vwap" in bars.columns:
        columns.append("vwap")
    raw = dense(bars, columns, symbols_of(universe, months_between(sessions[start:stop])))
    fields = {name: raw.fields[f"adj_{name}"] for name in ("open", "high", "low", "close", "volume")}
    fields["dollar_volume"] = raw.fields["close"] * raw.fields["volume"]
    fields["vwap"] = _vwap(raw.fields)
    return Panel(raw.sessions, raw.symbols, fields), stop - begin


def _vwap(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Adjusted mean price, weighted by volume where the bars say it."""
    typical = (fields["adj_open"] + fields["adj_high"] + fields["adj_low"] + fields["adj_close"]) / 4.0
    if "vwap" not in fields:
        return typical
    return np.where(np.isnan(fields["vwap"]), typical, fields["vwap"] * (fields["adj_close"] / fields["close"]))


def _series_rows(kind: str, frame: pl.DataFrame | None, sessions: np.ndarray, chosen: FeatureSet) -> dict[str, np.ndarray]:
    """The columns of a frame with one row a session that the set reads, aligned on the sessions; NaN unknown."""
    fields = sorted({read for f in chosen.all_features for read in f.reads if read.startswith(f"{kind}:")})
    if frame is None or not fields:
        return {}
    check_one_row_a_session(frame, kind)
    check_columns(frame, [field.removeprefix(f"{kind}:") for field in fields], kind)
    aligned = pl.DataFrame({"date": sessions}).join(frame, on="date", how="left", maintain_order="left")
    columns = {field: aligned[field.removeprefix(f"{kind}:")].cast(pl.Float64) for field in fields}
    return {field: values.fill_null(float("nan")).to_numpy() for field, values in columns.items()}


def _resolved(feature_set: str | FeatureSet) -> FeatureSet:
    return get_feature_set(feature_set) if isinstance(feature_set, str) else feature_set


def _registered() -> dict[str, FeatureSet]:
    from mltrainer_pipelines.features.sets.alpha158 import ALPHA158
    from mltrainer_pipelines.features.sets.cross_section import CROSS_SECTION
    from mltrainer_pipelines.features.sets.macro import MACRO
    from mltrainer_pipelines.features.sets.momentum import MOMENTUM
    from mltrainer_pipelines.features.sets.technical import TECHNICAL

    sets = (MOMENTUM, TECHNICAL, ALPHA158, CROSS_SECTION, MACRO)
    return {**{chosen.name: chosen for chosen in sets}, "default": MOMENTUM}
