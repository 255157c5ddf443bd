"""The one reader of files with daily bars: import, exchange, features and labels read what people have with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from mltrainer_pipelines.market.files import side_files
from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.files.layouts import BARS, Layout, layout, of_a_symbol
from mltrainer_pipelines.market.files.row_checks import PRICES, REJECTED, equities, judged
from mltrainer_pipelines.market.files.sources import RawTable, files_of, table_of
from mltrainer_pipelines.market.files.symbols import symbols_of_files
from mltrainer_pipelines.market.files.values import DayOrder, days, has_decimal_commas, is_nothing, numbers, ratios

_OPTIONAL = ("vwap", "trades", "split_ratio", "dividend", "adj_close", "unadjusted_close", "factor")


@dataclass(frozen=True)
class ReadOptions:
    """What a file does not say by itself: the order of 03/09/2015, 1,5 for 1.5, columns by role, names, the symbol.

    `strict` refuses the file for its first row that cannot be right; else such rows are set aside.
    """

    dates: DayOrder | None = None
    decimal: Literal["point", "comma"] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    header: Sequence[str] | None = None
    symbol: str | None = None
    strict: bool = False


@dataclass
class BarsOfFiles:
    """What files hold.

    `bars` has date, symbol, prices and volume as Float64, and vwap, trades, split_ratio, dividend, adj_close and sector where
    given, sorted by symbol and date, unique in them; every row can be right. `splits` and `dividends` are from columns and
    files beside. `rejected` are rows that cannot be right, each with its reason; `left_out` symbols and files with theirs;
    `notes` what was understood, for the user.
    """

    bars: pl.DataFrame
    splits: pl.DataFrame
    dividends: pl.DataFrame
    rejected: pl.DataFrame
    left_out: dict[str, str]
    notes: list[str]


def read_bar_files(
    given: Path | Sequence[Path], options: ReadOptions | None = None, progress: Callable[[str, float], object] = lambda *_: None
) -> BarsOfFiles:
    """Read files, folders or archives of daily bars in whatever layouts they have.

    Raises BadFileError where nothing in it can be read as daily bars: names the file, what is missing, and the remedy.
    """
    options = options or ReadOptions()
    paths = [given] if isinstance(given, Path) else list(given)
    path = paths[0]
    tables: list[RawTable] = []
    left_out: dict[str, str] = {}
    for place in paths:
        found_here, skipped = _tables(place, options, progress)
        tables += found_here
        left_out |= skipped
    notes: list[str] = []
    groups: dict[tuple[str, ...], list[tuple[RawTable, Layout]]] = {}
    actions: list[RawTable] = []
    for table in tables:
        found = layout(table.frame.columns, options.columns)
        if found.is_bars and not found.missing:
            groups.setdefault((*table.frame.columns, str(table.frame.schema)), []).append((table, found))
        elif side_files.kind(table) is not None:
            actions.append(table)
        else:
            left_out[table.name] = f"lacks the column(s) {', '.join(found.missing)}; it has {', '.join(table.frame.columns[:30])}"
    if not groups:
        name, problem = next(iter(left_out.items()), (str(path), "holds no files"))
        where = str(path) if path.is_file() else f"{path}: {name}"
        raise BadFileError(f"{where} {problem}; it needs date, symbol, {', '.join(BARS)}: say --columns close=NAME for others")
    symbols = symbols_of_files([table.name for members in groups.values() for table, _ in members])
    read = [_rows(members, symbols, options, notes, path) for members in groups.values()]
    frame = pl.concat(read, how="diagonal_relaxed")
    if frame.is_empty():
        raise BadFileError(f"{path} has no rows; give a file of daily bars")
    broken = [(table.name, line) for members in groups.values() for table, _ in members for line in table.broken]
    progress("checking rows", 0.7)
    frame, foreign = equities(frame)
    left_out |= foreign
    if frame.is_empty():
        raise BadFileError(
            f"{path} holds no US equity: {'; '.join(f'{name} is {what}' for name, what in list(foreign.items())[:5])}"
        )
    good, rejected = judged(frame, notes, strict=options.strict)
    if broken:
        ragged = pl.DataFrame(
            [(name, None, None, "has more cells than there are columns", line) for name, line in broken], REJECTED, orient="row"
        )
        rejected = pl.concat([rejected, ragged])
    if options.strict and rejected.height:
        row = rejected.row(0, named=True)
        more = f"; {rejected.height - 1} more rows cannot be right" if rejected.height > 1 else ""
        values = f" ({row['row']})" if row["row"] else ""
        raise BadFileError(
            f"{path}: {row['symbol'] or 'a row'} on {row['date']} {row['reason']}{values}{more}; correct it or drop the row, "
            "or let `mltrainer import` set such rows aside"
        )
    if good.is_empty():
        raise BadFileError(f"{path} has no rows that can be right: {'; '.join([*notes, *rejected['reason'].head(3)])}")
    for place in paths:
        if place.is_file():
            actions += side_files.beside(place)
    splits, dividends = side_files.from_columns(good)
    given_splits, given_dividends = side_files.read_actions(actions, options.dates)
    return BarsOfFiles(
        good,
        _last_of(pl.concat([splits, given_splits])),
        _all_paid(dividends, given_dividends),
        rejected,
        left_out,
        notes,
    )


def _last_of(actions: pl.DataFrame) -> pl.DataFrame:
    """One action a symbol and day: a file of actions counts more than a column."""
    return actions.unique(["symbol", "ex_date"], keep="last", maintain_order=True).sort("ex_date", "symbol")


def _all_paid(marked: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """Every dividend once: a regular and a special one of a day are two. A file counts more than a column on its days."""
    others = marked.join(listed, on=["symbol", "ex_date"], how="anti")
    return (
        pl.concat([others, listed]).unique(["symbol", "ex_date", "cash"], maintain_order=True).sort("ex_date", "symbol", "cash")
    )


def _tables(path: Path, options: ReadOptions, progress: Callable[[str, float], object]) -> tuple[list[RawTable], dict[str, str]]:
    from mltrainer_pipelines.market.files.qlib_folder import is_qlib_folder, qlib_tables

    if is_qlib_folder(path):
        return qlib_tables(path), {}
    tables, left_out = [], {}
    single = path.is_file()
    for count, (name, content) in enumerate(files_of(path)):
        if count % 50 == 0:
            progress(f"{count:,} files", min(0.6, count / 10_000))
        try:
            tables.append(table_of(name, content, options.header))
        except BadFileError as error:
            if single and name == path.name:
                raise BadFileError(
                    f"{path.parent / str(error)}" if str(error).startswith(name) else f"{path}: {error}"
                ) from error
            left_out[name] = str(error).removeprefix(f"{name} ")
    return tables, left_out


def _rows(
    members: list[tuple[RawTable, Layout]], symbols: Mapping[str, str | None], options: ReadOptions, notes: list[str], path: Path
) -> pl.DataFrame:
    """Rows of all files of one layout: canonical columns as they are written, and what cannot be read as a reason."""
    found = members[0][1]
    where = str(path) if len(members) == 1 else f"{path}: {members[0][0].name} and {len(members) - 1} more"
    if found.wide:
        raw = pl.concat([_long(table, found) for table, _ in members], how="diagonal_relaxed")
    elif "symbol" in found.columns:
        raw = pl.concat([table.frame.with_columns(_file=pl.lit(table.name)) for table, _ in members])
    else:
        unnamed = [table.name for table, _ in members if not (options.symbol or symbols[table.name])]
        if unnamed:
            raise BadFileError(
                f"{path}: lacks the column(s) symbol, and the name of {unnamed[0]} does not say it; say --symbol AAPL, "
                "or name the file after its symbol"
            )
        raw = pl.concat(
            table.frame.with_columns(_file=pl.lit(table.name), _symbol=pl.lit(options.symbol or symbols[table.name]))
            for table, _ in members
        )
    columns = {role: name for role, name in found.columns.items() if name in raw.columns}
    if found.wide:
        columns |= {role: role for role in (*BARS, *_OPTIONAL) if role in raw.columns} | {"symbol": "symbol"}
    elif "symbol" not in columns:
        columns["symbol"] = "_symbol"
    return _typed(raw, columns, where, options, notes)


def _typed(raw: pl.DataFrame, columns: Mapping[str, str], where: str, options: ReadOptions, notes: list[str]) -> pl.DataFrame:
    # A day without prices, as of a symbol that did not trade yet in a file with a column a symbol; a line of text is none.
    empty = pl.all_horizontal(pl.col(columns[name]).is_null() for name in PRICES)
    is_text = pl.col(columns["date"]).cast(pl.String).str.contains(r"^\D+$").fill_null(value=False)
    raw = raw.filter(~empty | is_text)
    read = days(raw[columns["date"]], f"{where}: its column {columns['date']}", options.dates)
    if read.intraday and read.dates.n_unique() * 4 < raw.height / raw[columns["symbol"]].n_unique():
        raise BadFileError(f"{where} holds bars of minutes or hours, not of days; give daily bars")
    if read.converted:
        notes.append(f"{where}: {read.converted}")
    texts = [raw[columns[name]] for name in PRICES]
    comma = options.decimal == "comma" or (options.decimal is None and has_decimal_commas(texts))
    if comma:
        notes.append(f"{where}: numbers are read with decimal commas")
    series = {
        "file": raw["_file"],
        "date": read.dates,
        "symbol": raw[columns["symbol"]].cast(pl.String),
        "_date_text": raw[columns["date"]].cast(pl.String),
    }
    unread = pl.Series("unread", [None] * raw.height, pl.String)
    for role in (*BARS, *_OPTIONAL):
        if role in columns:
            cells = raw[columns[role]]
            values = ratios(cells) if role == "split_ratio" else numbers(cells, comma)
            wrong = values.is_null() & ~is_nothing(cells)
            if wrong.any() and role in BARS:
                text = pl.format(
                    "has {} '{}', which is not a number", pl.lit(role), pl.lit(cells.cast(pl.String)).str.strip_chars()
                )
                unread = pl.select(
                    pl.when(pl.lit(unread).is_null() & pl.lit(wrong)).then(text).otherwise(pl.lit(unread)).alias("unread")
                ).to_series()
            series[role] = values
    series["unread"] = unread
    if "interval" in columns:
        daily = raw[columns["interval"]].cast(pl.String).str.to_lowercase().is_in(["d", "1d", "day", "daily", "1day", "1440"])
        if not daily.all():
            raise BadFileError(f"{where} holds bars that are not daily ({columns['interval']}); give daily bars")
    if "sector" in columns:
        series["sector"] = raw[columns["sector"]].cast(pl.String)
    return pl.DataFrame(series).with_columns(_row=_as_written(raw) if any(text.dtype == pl.String for text in texts) else None)


def _as_written(raw: pl.DataFrame) -> pl.Series:
    cells = [pl.col(name).cast(pl.String).fill_null("") for name in raw.columns if not name.startswith("_")]
    return raw.select(_row=pl.concat_str(cells, separator=",")).to_series()


def _long(table: RawTable, found: Layout) -> pl.DataFrame:
    """A table of one column a field and symbol as rows."""
    by_symbol: dict[str, dict[str, str]] = {}
    for name in table.frame.columns:
        if (pair := of_a_symbol(name)) is not None:
            by_symbol.setdefault(pair[0], {})[pair[1]] = name
    day = found.columns["date"]
    whole = [symbol for symbol, fields in by_symbol.items() if set(BARS) <= set(fields)]
    if not whole:
        raise BadFileError(
            f"{table.name} has no symbol with all of {', '.join(BARS)}; it has {', '.join(table.frame.columns[:12])}"
        )
    return pl.concat(
        (
            table.frame.select(pl.col(day), *(pl.col(name).alias(role) for role, name in by_symbol[symbol].items())).with_columns(
                symbol=pl.lit(symbol), _file=pl.lit(table.name)
            )
            for symbol in whole
        ),
        how="diagonal_relaxed",
    )
