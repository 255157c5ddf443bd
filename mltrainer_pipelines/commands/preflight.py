"""Seconds of looking before anything long starts: whether the chosen market and dates can work, and what it will take."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_pipelines.data_plan import DataPlan, write_plan
from mltrainer_pipelines.settings import NEW_YORK, Settings, now
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.validate_trial import training_days_for

if TYPE_CHECKING:
    from mltrainer_pipelines.market.files.reader import BarsOfFiles

_SHOWN = 5
_A_DAY = timedelta(days=1)


@dataclass
class Preflight:
    """What was seen: lines for the user, and why nothing should be started, with the remedy; None where it can.

    `newest` is the newest session that the plan of the key has bars of; None where there is no plan. `as_of` is where the clock
    has to stand for a recording that ends before it; None where it may stay.
    """

    lines: list[str] = field(default_factory=list)
    refusal: str | None = None
    newest: date | None = None
    as_of: datetime | None = None


def look(settings: Settings, moment: datetime | None = None) -> Preflight:
    """Look at the recording, its sessions and the dates as of `moment`, by default now.

    Costs seconds and starts nothing. What the key of a real market allows is kept, see `data_plan`.
    """
    from mltrainer_pipelines.market.sessions import last_closed_session, sessions_between

    seen = Preflight()
    moment = moment or now()
    wanted = sessions_between(settings.history_asked_for, last_closed_session(moment))
    if settings.uses_local_exchange and settings.market_kind == "replay":
        _recording(settings, wanted, seen)
    elif settings.market_kind == "real" and wanted:
        _plan(settings, wanted, moment.date(), seen)
    return seen


def _plan(settings: Settings, wanted: list[date], today: date, seen: Preflight) -> None:
    """What the key's plan allows, by a few calls; kept in the state folder, where every process of the home reads it."""
    from mltrainer_pipelines.market.errors import MarketDataError
    from mltrainer_pipelines.market.sessions import sessions_between
    from mltrainer_pipelines.market.vendors.protocol import Allowance, Connection
    from mltrainer_pipelines.market.vendors.registry import allowance

    vendor, known = settings.mltrainer_market_vendor, settings.data_plan
    settings.state.mkdir(parents=True, exist_ok=True)
    url, key, _ = settings.vendor_connection(vendor)
    asked = settings.polygon_calls_per_minute
    measured = known.calls_per_minute if known else None

    def look_at_plan(calls: int | None) -> Allowance | None:
        return allowance(vendor, Connection(url, key, calls, settings.state, lambda _: None), wanted[0], wanted[-1], today)

    try:
        allowed = look_at_plan(asked or measured)
        if known and measured and allowed and allowed.snapshots and not known.snapshots and not asked:
            allowed = look_at_plan(None)  # another plan than before: its calls are counted anew
    except MarketDataError as error:
        seen.refusal = str(error)
        return
    if allowed is None:
        return
    lake = Lake(settings.lake_url)
    stored = lake.partitions("daily_bars")
    start = allowed.first
    if known and known.history_start < start and lake.exists("daily_bars", str(known.history_start)):
        start = known.history_start  # fetched while the plan still reached back to it
    years = allowed.years
    training = known.training_days if known and known.history_start == start else training_days_for(start, today - _A_DAY)
    limit = allowed.calls_per_minute if asked is None else measured
    plan = DataPlan(settings.plan_key or "", years, start, allowed.snapshots, limit, training)
    write_plan(settings.state, plan)
    seen.newest = allowed.last
    seen.lines.append(f"the plan of the key has {plan}")
    if start > wanted[0]:
        seen.lines.append(f"history begins on {start}: {wanted[0]} is not in the plan")
    if not allowed.snapshots:
        seen.lines.append("the market is decided on once a session, after its close, from the day's bars")
    if allowed.last < wanted[-1]:
        seen.lines.append(f"the bars of {wanted[-1]} are not published for this plan yet: this is as of {allowed.last}")
    missing = [day for day in sessions_between(start, allowed.last) if str(day) not in set(stored)]
    limit = limit if asked is None else asked or None
    minutes = len(missing) / limit if limit else 0.0
    there = f", about {minutes:.0f} minutes at {limit} calls a minute, there at about {clock_in(60 * minutes)}" if minutes else ""
    then = "; corporate actions and tickers come after them, a thousand rows a call" if minutes else ""
    seen.lines.append(f"{len(missing):,} sessions of bars to fetch, a call each{there}; {len(stored):,} are there already{then}")


def _evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 18, tzinfo=NEW_YORK)


def clock_in(seconds: float) -> str:
    """What the clock of this machine shows in so many seconds."""
    return f"{datetime.now().astimezone() + timedelta(seconds=seconds):%H:%M}"


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
    if not wanted or days[0] > wanted[-1]:
        seen.refusal = (
            f"the recording {path} begins on {days[0]}, after the clock: set MLTRAINER_HISTORY_START={days[0]} and "
            f"MLTRAINER_AS_OF={_evening(days[-1]).isoformat()}"
        )
    elif days[-1] < wanted[0]:
        seen.refusal = f"the recording {path} ends on {days[-1]}: set MLTRAINER_HISTORY_START={days[0]}"
    elif days[0] > wanted[0]:
        seen.refusal = f"the recording {path} begins on {days[0]}: set MLTRAINER_HISTORY_START={days[0]}"
    if not seen.refusal and days[-1] < wanted[-1]:
        seen.as_of = _evening(days[-1])
        beyond = len([day for day in wanted if day > days[-1]])
        seen.lines.append(
            f"the recording ends {beyond} sessions before the clock ({wanted[-1]}): this is as of {days[-1]}; for `mltrainer up` "
            f"set MLTRAINER_AS_OF={seen.as_of.isoformat()}"
        )
    missing = sorted({day for day in wanted if day <= days[-1]} - set(days))
    if missing and not seen.refusal:
        named = ", ".join(map(str, missing[:_SHOWN])) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        seen.lines.append(f"{len(missing)} sessions of the calendar are missing and stay without bars: {named}")
    if not settings.is_imported:
        _splits(path, read, seen)


def _splits(path: Path, read: "BarsOfFiles", seen: Preflight) -> None:
    """A file that `mltrainer import` has not looked at: steps that only a split explains."""

    from mltrainer_pipelines.market.files.given_actions import checked_actions, lack_their_splits, named_suspects, not_applied
    from mltrainer_pipelines.market.split_checks import suspected_splits

    given = checked_actions(read)
    refused = [not_applied(action) for action in given.refused.to_dicts()]
    seen.lines += [*given.notes, *refused[:_SHOWN], *([f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else [])]
    suspects = suspected_splits(read.bars, given.actions)
    if suspects.is_empty():
        return
    named = named_suspects(suspects, _SHOWN)
    seen.lines.append(f"suspected splits that the recording does not have: {named}; their symbols are set aside from then on")
    if lack_their_splits(suspects, read.bars) and not seen.refusal:
        seen.refusal = (
            f"{path} has unadjusted prices without their splits: {named}; run `mltrainer import {path}` with the splits "
            "beside it, or with --infer-splits or --real-moves, and then `mltrainer demo --market NAME`"
        )
