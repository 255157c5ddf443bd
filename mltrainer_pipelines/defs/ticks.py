"""Why a tick of a schedule is skipped: the reasons that several schedules share."""

from datetime import date, datetime

import dagster as dg

from mltrainer_pipelines.settings import get_settings, simulated_now


def no_session(day: date) -> dg.SkipReason | None:
    """The reason to skip a weekday on which the exchange does not trade; None where it trades."""
    from mltrainer_pipelines.market.sessions import is_session

    if day in get_settings().closed_days:
        return dg.SkipReason(f"{day} is one of MLTRAINER_CLOSED_DAYS: the exchange does not trade")
    return None if is_session(day) else dg.SkipReason(f"{day} is a holiday: the exchange does not trade")


def clock_is_pinned(tick: datetime) -> dg.SkipReason | None:
    """The reason to skip a tick of a day after the one at which the installation's clock stands still; None otherwise."""
    pinned = simulated_now()
    if pinned is None or tick.date() <= pinned.date():
        return None
    return dg.SkipReason(f"the clock stands at {pinned:%Y-%m-%d %H:%M} (MLTRAINER_AS_OF): nothing after it happens")
