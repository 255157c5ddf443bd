"""`mltrainer import`: files of daily bars become a market that the other commands use by its name."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from mltrainer_pipelines.contracts.content_hash import data_fingerprint
from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.files.given_actions import CheckedActions, checked_actions, named_suspects, not_applied
from mltrainer_pipelines.market.files.layouts import BARS
from mltrainer_pipelines.market.files.reader import ReadOptions, read_bar_files
from mltrainer_pipelines.market.files.side_files import SPLITS
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.split_checks import suspected_splits
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.trials.quarters import predictable_quarters
from mltrainer_pipelines.trials.validate_trial import MIN_QUARTERS, training_days_for

_SHOWN = 12
_WHOLE = 0.5
"""Share of the usual number of symbols from which on the last session counts as there."""


@dataclass
class Imported:
    """What became of the files: the market, where it is, and everything that was left out or is doubtful, by name."""

    market: str
    file: str
    symbols: int = 0
    rows: int = 0
    first: date | None = None
    last: date | None = None
    splits: int = 0
    inferred_splits: int = 0
    dividends: int = 0
    missing_sessions: list[str] = field(default_factory=list)
    rejected_rows: int = 0
    rejected_file: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    suspected_splits: list[dict[str, Any]] = field(default_factory=list)
    refused_actions: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    next: str = ""


def import_bars(
    settings: Settings,
    paths: Sequence[Path],
    name: str | None,
    options: ReadOptions,
    *,
    infer_splits: bool = False,
    real_moves: bool = False,
    progress: Callable[[str, float], object] = lambda *_: None,
) -> Imported:
    """Read files, check splits against the prices, and keep the market under `name` in the home.

    A symbol with a suspected split is set aside, unless `infer_splits` takes the split over (marked as inferred) or
    `real_moves` says that the price really moved so. Raises BadFileError where nothing is left to work with.
    """
    name = name or re.sub(r"[^a-z0-9]+", "-", paths[0].resolve().name.split(".")[0].lower()).strip("-")[:24] or "market"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,23}", name):
        raise BadFileError(f"--name {name}: give up to 24 small letters, digits and dashes")
    read = read_bar_files(paths, options, progress)
    result = Imported(name, "", left_out=read.left_out, notes=read.notes, rejected_rows=read.rejected.height)
    progress("checking splits", 0.85)
    given = checked_actions(read)
    splits, dividends = given.splits, given.dividends
    result.notes += given.notes
    result.refused_actions = given.refused.to_dicts()
    bars, splits = _without_suspects(read.bars, given, result, infer_splits=infer_splits, real_moves=real_moves)
    bars = _until_the_last_whole_session(bars, result)
    progress("writing", 0.95)
    _write(settings, bars, splits, dividends, read.rejected, result)
    return result


def options_of(dates: str | None, decimal: str | None, columns: str, header: str, symbol: str | None) -> ReadOptions:
    """Options as the command line writes them; BadFileError for a value that is none."""
    if dates not in (None, "day-first", "month-first"):
        raise BadFileError(f"--dates {dates}: say day-first or month-first")
    if decimal not in (None, "point", "comma"):
        raise BadFileError(f"--decimal {decimal}: say point or comma")
    pairs = [pair.split("=", 1) for pair in columns.split(",") if pair]
    known = ("date", "symbol", *BARS, "vwap", "trades", "split_ratio", "dividend", "adj_close", "sector")
    if wrong := [pair for pair in pairs if len(pair) != 2 or pair[0] not in known]:
        raise BadFileError(f"--columns {'='.join(wrong[0])}: write close=NAME, where the first is one of {', '.join(known)}")
    named = {role: column.strip() for role, column in pairs}
    return ReadOptions(dates, decimal, named, [name.strip() for name in header.split(",")] if header else None, symbol)  # type: ignore[arg-type]


def text(result: Imported) -> str:
    """The result for a reader."""
    lines = [
        f"{result.symbols:,} symbols, {result.rows:,} bars, {result.first} to {result.last}; {result.splits:,} splits"
        f"{f' ({result.inferred_splits} inferred)' if result.inferred_splits else ''}, {result.dividends:,} dividends."
    ]
    if result.missing_sessions:
        lines.append(f"{len(result.missing_sessions)} sessions of the calendar have no bars: {_some(result.missing_sessions)}.")
    if result.rejected_rows:
        lines.append(f"{result.rejected_rows:,} rows cannot be right and were set aside with the reason: {result.rejected_file}")
    reasons: dict[str, list[str]] = {}
    for what, why in result.left_out.items():
        reasons.setdefault(why, []).append(what)
    lines += [f"Left out, {why}: {_some(names)}." for why, names in reasons.items()]
    lines += [not_applied(action) for action in result.refused_actions[:_SHOWN]]
    if len(result.refused_actions) > _SHOWN:
        lines.append(f"Not applied: {len(result.refused_actions) - _SHOWN} more; see --json.")
    if result.suspected_splits:
        lines.append(f"Suspected splits, not in the files: {named_suspects(pl.DataFrame(result.suspected_splits), _SHOWN)}.")
        lines.append(
            "Their symbols are set aside. Give the splits in a file beside (symbol, ex_date, ratio), or run again with "
            "--infer-splits to take them over, or with --real-moves where the prices really moved so."
        )
    return "\n".join([*lines, *result.notes, f"Next: {result.next}"])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _without_suspects(
    bars: pl.DataFrame, given: CheckedActions, result: Imported, *, infer_splits: bool, real_moves: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars without the symbols of suspected splits, or with these splits."""
    splits, suspects = given.splits, suspected_splits(bars, given.actions)
    if suspects.is_empty() or real_moves:
        return bars, splits
    if infer_splits:
        inferred = suspects.select("symbol", ex_date="date", ratio="ratio", declared=pl.lit(None, pl.Date)).cast(dict(SPLITS))  # type: ignore[arg-type]
        result.inferred_splits = inferred.height
        result.notes.append(
            f"Inferred from the prices: {_some([f'{row[0]} on {row[1]} ({row[2]:.4g} for 1)' for row in inferred.rows()])}."
        )
        return bars, pl.concat([splits.with_columns(inferred=False), inferred.with_columns(inferred=True)])
    result.suspected_splits = suspects.to_dicts()
    kept = bars.filter(~pl.col("symbol").is_in(suspects["symbol"].unique().implode()))
    if kept.is_empty():
        raise BadFileError(
            "every symbol has a step in its price that looks like a split which the files do not have, such as "
            f"{suspects['symbol'][0]} on {suspects['date'][0]} ({suspects['ratio'][0]:.4g} for 1): give the splits in a file "
            "beside (symbol, ex_date, ratio), or say --infer-splits, or --real-moves where the prices really moved so"
        )
    return kept, splits


def _until_the_last_whole_session(bars: pl.DataFrame, result: Imported) -> pl.DataFrame:
    """Bars up to the last session that has most symbols: what a few files have beyond it is no market."""
    counts = bars.group_by("date").len().sort("date")
    usual = counts["len"].tail(60).median()
    last: date = counts.filter(pl.col("len") >= _WHOLE * float(usual or 0))["date"][-1]  # type: ignore[arg-type]
    beyond = bars.filter(pl.col("date") > last)
    if beyond.height:
        result.notes.append(f"{beyond.height:,} bars after {last} are left out: fewer than half of the symbols have them.")
    return bars.filter(pl.col("date") <= last)


def _write(
    settings: Settings,
    bars: pl.DataFrame,
    splits: pl.DataFrame,
    dividends: pl.DataFrame,
    rejected: pl.DataFrame,
    result: Imported,
) -> None:
    folder = settings.markets_folder
    folder.mkdir(parents=True, exist_ok=True)
    wanted = ("date", "symbol", "open", "high", "low", "close", "volume", "vwap", "trades", "sector")
    bars = bars.select(name for name in wanted if name in bars.columns).sort("date", "symbol")
    digest = data_fingerprint(bars, splits, dividends)[:8]
    file = folder / f"{result.market}-{digest}.parquet"
    bars.write_parquet(file)
    for what, frame in (("splits", splits), ("dividends", dividends)):
        beside = file.with_name(f"{file.stem}.{what}.parquet")
        beside.unlink(missing_ok=True)
        if frame.height:
            frame.write_parquet(beside)
    if rejected.height:
        result.rejected_file = str(file.with_name(f"{file.stem}.rejected.csv"))
        rejected.write_csv(result.rejected_file)
    days: list[date] = bars["date"].unique().sort().to_list()
    result.file, result.first, result.last = str(file), days[0], days[-1]
    result.symbols, result.rows = bars["symbol"].n_unique(), bars.height
    result.splits, result.dividends = splits.height, dividends.height
    result.missing_sessions = [str(day) for day in sessions_between(days[0], days[-1]) if day not in set(days)]
    training = training_days_for(days[0], days[-1])
    market = {"file": file.name, "history_start": str(days[0]), "as_of": f"{days[-1]}T18:00:00", "training_days": training}
    (folder / f"{result.market}.json").write_text(json.dumps(market | {"symbols": result.symbols}))
    result.next = f"mltrainer demo --market {result.market}"
    if len(predictable_quarters(days[0], days[-1], training)) < MIN_QUARTERS:
        result.notes.append(
            f"{(days[-1] - days[0]).days / 365.25:.1f} years are too short for `mltrainer demo`: it needs two, nine months to "
            "train on before a year of whole quarters. `mltrainer features` and `mltrainer labels` work."
        )
