"""Why a tick of a schedule is skipped: the reasons that several schedules share."""

from datetime import date

import dagster as dg


def no_session(day: date) -> dg.SkipReason | None:
    """The reason to skip a weekday on which the exchange does not trade; None where it trades."""
    from mltrainer_pipelines.market.sessions import is_session

    return None if is_session(day) else dg.SkipReason(f"{day} is a holiday: the exchange does not trade")
