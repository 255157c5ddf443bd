"""Features and labels of a file of bars, for researchers who have a file and no pipeline.

Splits and dividends that the file gives are applied. There is no universe: every symbol of the file is a member for as
long as it trades.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from datetime import time as midnight
from pathlib import Path

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import MACRO_SERIES
from mltrainer_pipelines.contracts.timeframes import Timeframe
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.features.regime.score import regime_scores
from mltrainer_pipelines.features.registry import resolved
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.files.given_actions import checked_actions, lack_their_splits, named_suspects
from mltrainer_pipelines.market.files.reader import ReadOptions, read_bar_files
from mltrainer_pipelines.market.identity import told_apart
from mltrainer_pipelines.market.macro import FRED_SERIES, known_macro
from mltrainer_pipelines.market.split_checks import suspected_splits

BARS = ("open", "high", "low", "close", "volume")
LABEL_COLUMNS = ("date", "symbol", "entry_date", "exit_date", "barrier", "gross_return", "net_return", "label")
_ADJUSTED = tuple(f"adj_{name}" for name in BARS)


@dataclass(frozen=True)
class FileResult:
    """What was written: rows, columns without date and symbol, and `labelled`, the rows with a label (for features the rows).

    `seconds` is the time of the computation alone, without reading, writing, imports and compilation.
    """

    rows: int
    columns: int
    seconds: float
    labelled: int


def read_bars(path: Path) -> pl.DataFrame:
    """Bars of a file in any layout that `mltrainer import` reads, adjusted by the splits and dividends given with it.

    Splits and dividends come from columns or files beside; what the prices contradict is not applied, nor splits that they
    are adjusted for already. A symbol that comes back after five sessions without a bar is another company, named `AAA~2`.
    The result has prices and volume as Float64, adj_open … adj_volume, and sector and vwap where the file has them.
    Raises BadFileError if the file cannot be read as daily bars, for the first row that cannot be right, and where the splits of
    unadjusted prices are missing.
    """
    read = read_bar_files(path, ReadOptions(strict=True))
    given = checked_actions(read)
    bars, actions = told_apart(read.bars.drop("adj_close", strict=False), given.actions)
    suspects = suspected_splits(bars.sort("symbol", "date"), actions)
    if lack_their_splits(suspects, bars):
        raise BadFileError(
            f"{path} has unadjusted prices without their splits: {named_suspects(suspects)}; give the splits in a file beside it "
            "(symbol, ex_date, ratio), or run `mltrainer import` with --infer-splits or --real-moves and use the file it makes"
        )
    bars = adjusted(bars, actions if actions.height else None)
    wanted = ("date", "symbol", "sector", *BARS, "vwap", *_ADJUSTED)
    return bars.select(name for name in wanted if name in bars.columns).sort("date", "symbol")


def read_macro(path: Path) -> pl.DataFrame:
    """First releases of the macro observations in a Parquet or CSV file, as columns of `MACRO_SERIES`.

    The file has the columns series_id (as at FRED), date (what the value is about), value and published (the day it became
    known), as the lake's ``macro_series`` and a recording's macro file have them, in rows of any order, (series_id, date,
    published) unique; a later `published` of the same date is a revision and left out. Raises BadFileError if the file is
    missing, not Parquet or CSV, a column is missing or of the wrong type, an observation is there twice or published before its
    date, or no series in it is one that features read.
    """
    frame = _read(path, "macro observations")
    _check_columns(path, frame, MACRO_SERIES.schema)
    if not frame.schema["value"].is_numeric():
        raise BadFileError(f"{path}: the column value is {frame.schema['value']}, not a number; convert it first")
    _check_known(path, frame, ("series_id", "date", "published"))
    frame = frame.select(
        pl.col("series_id").cast(pl.String),
        _days(path, frame["date"]),
        pl.col("value").cast(pl.Float64),
        _days(path, frame["published"]),
    )
    key = ["series_id", "date", "published"]
    for wrong, problem in (
        (frame.select(pl.struct(key).is_duplicated()).to_series(), "is there twice; keep one of the rows"),
        (frame["published"] < frame["date"], "was published before it; give the day the value became known"),
    ):
        if wrong.any():
            row = frame.filter(wrong).sort(key).row(0, named=True)
            raise BadFileError(f"{path}: {row['series_id']} of {row['date']} (published {row['published']}) {problem}")
    if not set(frame["series_id"]) & set(FRED_SERIES):
        raise BadFileError(f"{path} has none of the series that features read; series_id is one of {', '.join(FRED_SERIES)}")
    return frame.drop_nulls("value").sort("published").unique(["series_id", "date"], keep="first").sort("series_id", "date")


def features_of_file(
    path: Path, feature_set: str | FeatureSet, out: Path, workers: int | None = None, macro: Path | None = None
) -> FileResult:
    """Compute a feature set on a file of bars, write it, and say how long the computation took.

    The file written has date, symbol and a Float32 column a feature, null where unknown, sorted by date and symbol. The regime
    is that of the bars' own market. Macro series come from a file of their own (`read_macro`), each value from the session
    after its publication; without it features of them are null.

    Raises BadFileError or BadPanelError if the bars or the macro observations cannot be used, UnknownFeatureSetError if there
    is no such set.
    """
    chosen = resolved(feature_set)
    _check_writable(out)
    bars = read_bars(path)
    observations = None if macro is None else read_macro(macro)
    computed, seconds = _timed(path, bars, lambda rows: _features(rows, chosen, workers, observations))
    _write(computed, out)
    return FileResult(computed.height, computed.width - 2, seconds, computed.height)


def expression_of_file(
    path: Path, expression: str, out: Path, workers: int | None = None, macro: Path | None = None
) -> FileResult:
    """Compute one expression on a file of bars and write it as date, symbol and the column ``factor``, as `features_of_file`.

    Raises ExpressionError for what is no expression, before any file is read; BadFactorError where the values say nothing: the
    bars are shorter than its look-back, or every value is the same or null.
    """
    from mltrainer_pipelines.features.expressions.graph import expression_set
    from mltrainer_pipelines.features.expressions.quality import check_history, check_values

    chosen = expression_set("expression", {"factor": expression})
    _check_writable(out)
    bars = read_bars(path)
    check_history(chosen, bars["date"].n_unique())
    observations = None if macro is None else read_macro(macro)
    computed, seconds = _timed(path, bars, lambda rows: _features(rows, chosen, workers, observations))
    check_values(computed["factor"])
    _write(computed, out)
    return FileResult(computed.height, 1, seconds, int(computed["factor"].is_not_null().sum()))


def labels_of_file(
    path: Path, timeframe: Timeframe, out: Path, barriers: Barriers | None = None, cost_bps: float = 10.0
) -> FileResult:
    """Compute the labels of every bar of a file, write them (`LABEL_COLUMNS`), and say how long it took.

    Raises BadFileError or BadPanelError if the bars cannot be used.
    """
    _check_writable(out)
    bars = read_bars(path)
    chosen = barriers or Barriers()

    def labels(bars: pl.DataFrame) -> pl.DataFrame:
        return compute_labels(bars, _everyone(bars), timeframe, chosen, cost_bps, *_first_and_last(bars))

    computed, seconds = _timed(path, bars, labels)
    _write(computed.select(LABEL_COLUMNS), out)
    return FileResult(computed.height, len(LABEL_COLUMNS) - 2, seconds, int(computed["label"].is_not_null().sum()))


def _features(bars: pl.DataFrame, chosen: FeatureSet, workers: int | None, observations: pl.DataFrame | None) -> pl.DataFrame:
    macro = None if observations is None else known_macro(observations, bars["date"].unique().sort().to_list())
    regime = regime_scores(bars, macro) if any(read.startswith("regime:") for read in chosen.reads) else None
    return compute_features(bars, _everyone(bars), macro, *_first_and_last(bars), chosen, workers, regime)


def _first_and_last(bars: pl.DataFrame) -> tuple[date, date]:
    days = bars["date"].sort()
    return days[0], days[-1]


def _everyone(bars: pl.DataFrame) -> pl.DataFrame:
    """A universe of all symbols, month by month."""
    month = pl.col("date").dt.truncate("1mo").alias("month")
    if "sector" not in bars.columns:
        return bars.select(month, "symbol").unique()
    return bars.group_by(month, "symbol").agg(pl.col("sector").sort_by("date").first())


def _read(path: Path, what: str) -> pl.DataFrame:
    if not path.is_file():
        raise BadFileError(f"{path} does not exist; give a Parquet or CSV file of {what}")
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return pl.read_parquet(path)
        if suffix == ".csv":
            return pl.read_csv(path, try_parse_dates=True, infer_schema_length=10_000)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFileError(f"{path} cannot be read as {suffix[1:]}: {error}") from error
    raise BadFileError(f"{path} ends in {suffix or 'nothing'}; give a file that ends in .parquet or .csv")


def _check_columns(path: Path, frame: pl.DataFrame, columns: Iterable[str]) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise BadFileError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(frame.columns)}")


def _check_known(path: Path, frame: pl.DataFrame, columns: Iterable[str]) -> None:
    for name in columns:
        if missing := frame[name].null_count():
            raise BadFileError(f"{path}: {missing} rows have no {name}; drop or repair them first")


def _days(path: Path, dates: pl.Series) -> pl.Series:
    """The column as days; a time other than midnight is refused, since neither a daily bar nor an observation has one."""
    if dates.dtype == pl.Date:
        return dates
    if dates.dtype == pl.String:
        days = dates.str.to_date("%Y-%m-%d", strict=False)
        if days.null_count():
            raise BadFileError(f"{path}: {dates.filter(days.is_null())[0]!r} is not a date; write dates as 2015-10-30")
        return days
    if isinstance(dates.dtype, pl.Datetime):
        if dates.dtype.time_zone is not None or (dates.dt.time() != midnight()).any():
            raise BadFileError(f"{path}: the column {dates.name} has times or a time zone; give days, as 2015-10-30")
        return dates.dt.date()
    raise BadFileError(f"{path}: the column {dates.name} is {dates.dtype}; give dates")


def _check_writable(out: Path) -> None:
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise BadFileError(f"{out} ends in {out.suffix or 'nothing'}; give an output file that ends in .parquet or .csv")
    if not out.parent.is_dir():
        raise BadFileError(f"the folder {out.parent} does not exist; make it, or give another output file")


def _write(frame: pl.DataFrame, out: Path) -> None:
    if out.suffix.lower() == ".csv":
        frame.write_csv(out)
    else:
        frame.write_parquet(out)


def _timed(path: Path, bars: pl.DataFrame, compute: Callable[[pl.DataFrame], pl.DataFrame]) -> tuple[pl.DataFrame, float]:
    """What is computed of the bars, and in how many seconds; errors name the file, which has no adjusted columns."""
    try:
        compute(bars.group_by("symbol").head(3).head(60))  # compiles, and checks
        start = time.perf_counter()
        return compute(bars), time.perf_counter() - start
    except BadPanelError as error:
        message = str(error).replace("adjusted bars:", f"{path}:").replace("adj_", "")
        raise BadPanelError(message) from error
