"""The partitions of mlTrainer: sessions, months, quarters, trials, timeframes.

All time partitions of the market are New York's. They start with `MLTRAINER_HISTORY_START`; months
start when there is history to choose a universe from, quarters when there is history to train on.
"""

from datetime import date, datetime, time, timedelta

import dagster as dg

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.live_clock import read_clock
from mltrainer_pipelines.market.sessions import NEW_YORK, NotASessionError, holidays_between, is_session
from mltrainer_pipelines.settings import get_settings, now, simulated_now
from mltrainer_pipelines.trials.quarters import first_quarter, quarter_of

UNIVERSE_WARM_UP = timedelta(days=45)
"""About 30 sessions, half of the 60 over which a symbol's dollar volume is its rank."""

_WEEKENDS = ["0 0 * * 6", "0 0 * * 0"]


def _first_month_from(day: date) -> date:
    """First day at or after `day` that starts a month."""
    months = day.year * 12 + day.month - 1 + (day.day > 1)
    return date(months // 12, months % 12 + 1, 1)


def _end(of: str) -> str | None:
    """Where the partitions end if the clock is pinned, or at the end of what is lived through: with the day or month that
    holds it, before its quarter. None where the wall clock goes on.
    """
    if (last := _live.last if _live else pinned.date() if (pinned := simulated_now()) else None) is None:
        return None
    tomorrow = last + timedelta(days=1)
    return str({"session": tomorrow, "month": _first_month_from(tomorrow), "quarter": quarter_of(tomorrow)[0]}[of])


_start = get_settings().mltrainer_history_start
_live = read_clock(get_settings().state)
_horizon = now().date() + timedelta(days=300)

sessions = dg.DailyPartitionsDefinition(
    start_date=str(_start),
    end_date=_end("session"),
    # Today is a partition from midnight on; its asset refuses to be written before the close.
    end_offset=0 if _end("session") and not _live else 1,
    exclusions=[*_WEEKENDS, *(datetime.combine(day, time(), NEW_YORK) for day in holidays_between(_start, _horizon))],
    timezone=NEW_YORK.key,
)
"""One partition a trading session of XNYS, weekends and holidays left out."""

months = dg.TimeWindowPartitionsDefinition(
    start=str(_first_month_from(_start + UNIVERSE_WARM_UP)),
    end=_end("month"),
    fmt="%Y-%m-%d",
    cron_schedule="0 0 1 * *",
    end_offset=1,
    timezone=NEW_YORK.key,
)
"""Calendar months, named by their first day; the running month is one of them."""

quarters = dg.TimeWindowPartitionsDefinition(
    start=str(first_quarter(_start, get_settings().mltrainer_training_days)),
    end=_end("quarter"),
    fmt="%Y-%m-%d",
    cron_schedule="0 0 1 1,4,7,10 *",
    timezone=NEW_YORK.key,
)
"""Calendar quarters that have ended, named by their first day: each is predicted out of sample, whole and once."""

trials = dg.DynamicPartitionsDefinition(name="trials")
factors = dg.DynamicPartitionsDefinition(name="factors")
trial_quarters = dg.MultiPartitionsDefinition({"quarter": quarters, "trial": trials})
timeframes = dg.StaticPartitionsDefinition(list(TIMEFRAMES))

PARTITION = "dagster/partition"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Tags of a run: its one partition, or the first and the last of them."""


def require_sessions(run: dg.DagsterRun) -> None:
    """Refuse a run that was asked for a holiday: Dagster alone would take the next session in its place."""
    for tag in (PARTITION, RANGE_START, RANGE_END):
        asked = run.tags.get(tag)
        if asked and not is_session(date.fromisoformat(asked)):
            raise NotASessionError(date.fromisoformat(asked))
