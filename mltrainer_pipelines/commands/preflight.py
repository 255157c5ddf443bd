"""Seconds of looking before anything long starts: whether the chosen market and dates can work, and what it will take."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_pipelines.settings import Settings, now

if TYPE_CHECKING:
    from mltrainer_pipelines.market.files.reader import BarsOfFiles

_SUSPECTS_AT_MOST = 1 / 50_000
"""Suspected splits a bar above which prices are taken to be unadjusted, without their splits."""
_SHOWN = 5
_FREE_HISTORY = timedelta(days=730)
_NOT_IN_PLAN = 403


@dataclass
class Preflight:
    """What was seen: lines for the user, and why nothing should be started, with the remedy; None where it can."""

    lines: list[str] = field(default_factory=list)
    refusal: str | None = None


def look(settings: Settings, moment: datetime | None = None) -> Preflight:
    """Look at the recording, its sessions and the dates as of `moment`, by default now.

    Costs seconds, starts nothing and writes nothing.
    """
    from mltrainer_pipelines.market.sessions import last_closed_session, sessions_between

    seen = Preflight()
    first, newest = settings.mltrainer_history_start, last_closed_session(moment or now())
    wanted = sessions_between(first, newest)
    if settings.uses_local_exchange and settings.market_kind == "replay":
        _recording(settings, wanted, seen)
    elif settings.market_kind == "real" and wanted:
        _plan(settings, wanted, seen)
    return seen


def _plan(settings: Settings, wanted: list[date], seen: Preflight) -> None:
    """What the key's plan allows, by two calls: the oldest session, and a snapshot."""
    from mltrainer_pipelines.market.errors import EmptySessionError, KeyRefusedError, MarketDataError
    from mltrainer_pipelines.market.sessions import next_session
    from mltrainer_pipelines.market.vendors.protocol import Connection
    from mltrainer_pipelines.market.vendors.registry import open_market_data

    vendor = settings.mltrainer_market_vendor
    settings.state.mkdir(parents=True, exist_ok=True)
    client = open_market_data(vendor, Connection(*settings.vendor_connection(vendor), settings.state, lambda _: None))
    try:
        client.session_bars(wanted[0])
    except KeyRefusedError as error:
        two_years = next_session(wanted[-1] - _FREE_HISTORY)
        remedy = f"the free plan has two years: set MLTRAINER_HISTORY_START={two_years}" if error.status == _NOT_IN_PLAN else ""
        seen.refusal = f"the session {wanted[0]} is not to be had. {error}{f'; {remedy}' if remedy else ''}"
        return
    except EmptySessionError:
        seen.lines.append(f"the vendor has no bars of {wanted[0]}, the first session asked for")
    except MarketDataError as error:
        seen.refusal = str(error)
        return
    try:
        client.snapshot()
    except KeyRefusedError:
        seen.lines.append(
            "the plan has no snapshots: there are no prices during a session, and nothing is scored until it allows them"
        )
    except MarketDataError as error:
        seen.lines.append(f"snapshots cannot be had now: {error}")
    calls = settings.vendor_connection(vendor)[2]
    minutes = (
        f"{calls} calls a minute: about {len(wanted) / calls:.0f} minutes for the first time" if calls else "no limit of calls"
    )
    seen.lines.append(f"{len(wanted):,} sessions, a call each, {minutes}; what is there already is not fetched again")


def _recording(settings: Settings, wanted: list[date], seen: Preflight) -> None:
    from mltrainer_pipelines.market.files.errors import BadFileError
    from mltrainer_pipelines.market.files.reader import ReadOptions, read_bar_files

    path = Path(settings.mltrainer_exchange.removeprefix("replay:"))
    try:
        read = read_bar_files(path, ReadOptions(strict=True))
    except BadFileError as error:
        seen.refusal = str(error)
        return
    days = read.bars["date"].unique().sort().to_list()
    seen.lines.append(f"{read.bars['symbol'].n_unique():,} symbols, {read.bars.height:,} bars, {days[0]} to {days[-1]}")
    if not wanted or days[-1] < wanted[-1]:
        seen.refusal = (
            f"the recording {path} ends on {days[-1]}, before the clock"
            f"{f' ({wanted[-1]})' if wanted else ''}: set MLTRAINER_AS_OF={days[-1]}T18:00:00-05:00 (or -04:00 in summer)"
        )
    elif days[0] > wanted[0]:
        seen.refusal = f"the recording {path} begins on {days[0]}: set MLTRAINER_HISTORY_START={days[0]}"
    missing = sorted(set(wanted) - set(days))
    if missing and not seen.refusal:
        named = ", ".join(map(str, missing[:_SHOWN])) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        seen.lines.append(f"{len(missing)} sessions of the calendar are missing and stay without bars: {named}")
    if not settings.is_imported:
        _splits(path, read, seen)


def _splits(path: Path, read: "BarsOfFiles", seen: Preflight) -> None:
    """A file that `mltrainer import` has not looked at: steps that only a split explains."""
    import polars as pl

    from mltrainer_pipelines.market.split_checks import suspected_splits

    known = [read.splits.select("symbol", "ex_date", "ratio", kind=pl.lit("split"))]
    known.append(read.dividends.select("symbol", "ex_date", "cash", kind=pl.lit("dividend")))
    suspects = suspected_splits(read.bars, pl.concat(known, how="diagonal_relaxed"))
    if suspects.is_empty():
        return
    named = ", ".join(f"{row['symbol']} on {row['date']}" for row in suspects.head(_SHOWN).iter_rows(named=True))
    more = f" and {suspects.height - _SHOWN} more" if suspects.height > _SHOWN else ""
    seen.lines.append(f"suspected splits that the recording does not have: {named}{more}")
    if suspects.height > _SUSPECTS_AT_MOST * read.bars.height and not seen.refusal:
        seen.refusal = (
            f"{path} has unadjusted prices without their splits: {named}{more}; run `mltrainer import {path}` with the splits "
            "beside it, or with --infer-splits or --real-moves, and then `mltrainer demo --market NAME`"
        )
