"""`mltrainer live`: past sessions lived through, everything that is due at each moment done by the jobs of the installation."""

import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from mltrainer_pipelines.agent.jobs import JobError
from mltrainer_pipelines.commands.demo import DemoError, Preparation, require_quarters
from mltrainer_pipelines.commands.live_result import LiveResult, count, line
from mltrainer_pipelines.live_clock import read_clock, remove_clock, set_clock
from mltrainer_pipelines.market.sessions import NEW_YORK, next_session, sessions_between
from mltrainer_pipelines.ops import state_dir
from mltrainer_pipelines.ops.dagster_client import DagsterClient, DagsterError
from mltrainer_pipelines.ops.wait_for import answers
from mltrainer_pipelines.settings import Settings, get_settings, now
from mltrainer_pipelines.store.lake import Lake

_YEARS_OF_HISTORY = 5
_MOST_STARTS = 4
"""How often the services are started, where they end in the middle of a day."""
_PACE_S = 0.5
"""How often the clock moves between two moments at which something is due, where it has a speed."""


class _ServicesEndedError(RuntimeError):
    """The services ended in the middle of a day: what was noticed first."""


class LiveError(RuntimeError):
    """These sessions cannot be lived through here: says why, and what to do."""


def environment_of(settings: Settings, first: date) -> dict[str, str]:
    """The variables that these sessions are lived through with: the history begins five years before, unless it is set."""
    start = settings.mltrainer_history_start
    if "MLTRAINER_HISTORY_START" not in os.environ:
        start = date(first.year - _YEARS_OF_HISTORY, 1, 1)
        if settings.market_kind == "replay":
            start = max(start, _recorded(settings)[0])
    elif start >= first:
        raise LiveError(f"MLTRAINER_HISTORY_START={start} is not before {first}; start the history years earlier")
    return {"MLTRAINER_HISTORY_START": str(start)}


def live(
    settings: Settings, first: date, sessions: int, speed: float | None, console: Console, report: Callable[[str], None]
) -> LiveResult:
    """Live through `sessions` sessions from `first` on, or from where the same command was killed.

    `speed` is how many times faster than real time the clock runs at most; None: as fast as the work is done. `report` takes a
    line a session. Raises `LiveError` where this market or home cannot live through them, and what the demo raises.
    """
    if settings.market_kind == "real":
        raise LiveError(
            "real time cannot be lived through again; unset the vendor's key, or give a recording (MLTRAINER_EXCHANGE)"
        )
    days = _days(settings, first, sessions)
    environment = environment_of(settings, days[0])
    os.environ.update(environment | {"MLTRAINER_AUTOMATION": "false"})  # asked here, not by the daemon
    os.environ.pop("MLTRAINER_AS_OF", None)
    get_settings.cache_clear()
    settings = get_settings()
    state_dir.require_unlocked(settings)
    midnight = datetime(days[0].year, days[0].month, days[0].day, tzinfo=NEW_YORK)
    start = _resumed(settings, days, midnight)
    if start is None:
        _require_past(settings, days[0])
        start = midnight
    state_dir.log_file(settings)  # makes the folders
    set_clock(settings.state, start, days[-1])
    try:
        require_quarters(settings)
    except DemoError:
        remove_clock(settings.state)
        raise
    begin = time.monotonic()
    result = LiveResult(str(days[0]), str(days[-1]), len(days), market=settings.market_kind, state=str(settings.state))
    ends = datetime.combine(days[-1] + timedelta(days=1), datetime.min.time(), NEW_YORK)
    result.environment = environment | {"MLTRAINER_AS_OF": (ends - timedelta(minutes=1)).isoformat()}
    for starts_left in reversed(range(_MOST_STARTS)):
        try:
            _live(settings, days, start, ends, speed, console, report, result)
            break
        except _ServicesEndedError as error:
            clock = read_clock(settings.state)
            start = clock.moment.astimezone(NEW_YORK) if clock else start
            said = f"{start:%Y-%m-%d %H:%M}: the services ended ({error})"
            if not starts_left:
                log = state_dir.logs(settings) / "up.log"
                raise LiveError(f"{said}; see {log}. The same command goes on from there") from None
            console.print(f"{said}. They are started again, and the day goes on.", highlight=False)
    result.seconds = round(time.monotonic() - begin, 1)
    remove_clock(settings.state)  # left where living was cut short, so that the same command goes on
    return result


def _live(
    settings: Settings,
    days: list[date],
    start: datetime,
    ends: datetime,
    speed: float | None,
    console: Console,
    report: Callable[[str], None],
    result: LiveResult,
) -> None:
    from mltrainer_pipelines.ops.temporary_services import services_up

    midnight = datetime.combine(days[0], datetime.min.time(), NEW_YORK)
    with services_up(settings, console, with_pages=True) as services:
        for name in ("app", "dagster", "api"):
            console.print(f"  {name:<8} {services.addresses[name]}")
        dagster = DagsterClient.of(settings, services.addresses["dagster"])
        if start == midnight:
            Preparation(settings, console).prepare(dagster)
        try:
            _day_after_day(settings, dagster, days, start, ends, speed, report, result)
        except (DagsterError, JobError, DagsterPostgresException, SQLAlchemyError) as error:
            if answers(f"{dagster.url}/server_info"):
                raise
            raise _ServicesEndedError(str(error).splitlines()[0][:200]) from error


def _day_after_day(
    settings: Settings,
    dagster: DagsterClient,
    days: list[date],
    start: datetime,
    ends: datetime,
    speed: float | None,
    report: Callable[[str], None],
    result: LiveResult,
) -> None:
    from mltrainer_pipelines.commands.due import DueWork, failed_runs
    from mltrainer_pipelines.ops.databases import database_url
    from mltrainer_pipelines.ops.run_launcher import launcher_of
    from mltrainer_pipelines.store.database import Database

    began, engine = datetime.now(UTC), Database(database_url(settings, "mltrainer")).engine
    with dg.DagsterInstance.from_config(str(state_dir.dagster_home(settings))) as instance:
        due = DueWork(instance, dagster, launcher_of(settings, engine, dagster))
        due.settle(start)
        pace = _Pace(settings, days[-1], speed)
        ticks = due.ticks(start - timedelta(seconds=1), ends - timedelta(seconds=1))
        for number, (tick, schedule) in enumerate(ticks):
            pace.move_to(tick)
            due.ask_schedule(schedule, tick)
            if number + 1 == len(ticks) or ticks[number + 1][0] > tick:
                due.settle(tick)
            if number + 1 == len(ticks) or ticks[number + 1][0].date() > tick.date():
                count(result, instance, engine, settings, days, tick.date())
                if tick.date() in days:
                    report(line(result, tick.date()))
        count(result, instance, engine, settings, days, days[-1])
        # runs that ended with the services were launched again: they are none of this start's
        result.failures += due.failures + [
            f"{run.job_name} {run.run_id}: {dagster.failure(run.run_id).splitlines()[0]}" for run in failed_runs(instance, began)
        ]


class _Pace:
    """Moves the home's clock from one moment to the next."""

    def __init__(self, settings: Settings, last: date, speed: float | None):
        self.state, self.last, self.speed = settings.state, last, speed
        self.left = time.monotonic()

    def move_to(self, moment: datetime) -> None:
        """Let it be `moment`, not earlier than the speed allows."""
        if self.speed:
            at = now()
            arrives = self.left + (moment - at).total_seconds() / self.speed
            while (wait := arrives - time.monotonic()) > 0:
                set_clock(self.state, moment - timedelta(seconds=wait * self.speed), self.last)
                time.sleep(min(wait, _PACE_S))
        set_clock(self.state, moment, self.last)
        self.left = time.monotonic()


def _days(settings: Settings, first: date, sessions: int) -> list[date]:
    start = next_session(first - timedelta(days=1))
    days = sessions_between(start, next_session(start, sessions - 1) if sessions > 1 else start)
    if settings.market_kind == "replay" and days[-1] > (newest := _recorded(settings)[1]):
        there = len(sessions_between(start, newest))
        raise LiveError(f"the recording ends with {newest}: from {start} on it has {there} sessions, not {sessions}")
    if days[-1] >= datetime.now(NEW_YORK).date():
        raise LiveError(f"{days[-1]} is not over; live goes through past sessions: give an earlier day, or fewer sessions")
    return days


def _recorded(settings: Settings) -> tuple[date, date]:
    """First and last session of the recording."""
    from mltrainer_pipelines.exchange.server import load_market

    sessions = load_market(settings).sessions()
    return sessions[0], sessions[-1]


def _resumed(settings: Settings, days: list[date], midnight: datetime) -> datetime | None:
    """Where the same sessions were left when living through them was cut short; None where they were not begun."""
    clock = read_clock(settings.state)
    return clock.moment.astimezone(NEW_YORK) if clock and clock.last == days[-1] and clock.moment > midnight else None


def _require_past(settings: Settings, first: date) -> None:
    bars = Lake(settings.lake_url).partitions("daily_bars")
    if bars and bars[-1] >= str(first):
        later = next_session(date.fromisoformat(bars[-1]))
        raise LiveError(
            f"{settings.state} knows the market until {bars[-1]}, after {first}: a home lives forward only; "
            f"give {later} or later, or set MLTRAINER_HOME to an empty folder"
        )
