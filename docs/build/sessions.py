"""The module `market/xnys.py`: the holidays and early closes of `exchange_calendars`, which takes a second to import."""

import textwrap
from datetime import date

import exchange_calendars
import pandas as pd

FIRST, LAST = date(1998, 1, 1), date(2040, 12, 31)

_MODULE = '''"""Weekdays on which the New York Stock Exchange does not trade, or closes at 13:00: made by `make docs`.

From exchange_calendars {version} (calendar XNYS), which a test holds it against.
"""

from datetime import date

FIRST, LAST = date({first:%Y, %-m, %-d}), date({last:%Y, %-m, %-d})
"""Days before and after are not known."""

HOLIDAYS = """
{holidays}
"""

EARLY_CLOSES = """
{early_closes}
"""
'''


def sessions_module() -> str:
    """The module's text."""
    calendar = exchange_calendars.get_calendar("XNYS", start=FIRST, end=LAST)
    holidays = pd.bdate_range(FIRST, LAST).difference(calendar.sessions)
    return _MODULE.format(
        version=exchange_calendars.__version__,
        first=FIRST,
        last=LAST,
        holidays=_listed(holidays),
        early_closes=_listed(calendar.early_closes),
    )


def _listed(days: pd.DatetimeIndex) -> str:
    return textwrap.fill(" ".join(str(day.date()) for day in days), width=130, break_on_hyphens=False)
