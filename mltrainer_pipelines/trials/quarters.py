"""Calendar quarters, and those that a trial is predicted over."""

from datetime import date, timedelta

TRAINING_DAYS, SHORT_TRAINING_DAYS = 548, 270
"""History before the first predicted quarter. Eighteen months: a first window has a year of known outcomes even where a
position lasts 70 sessions. Nine months where there are two years: they leave the four quarters that a trial is judged by.
"""


def first_quarter(history_start: date, training_days: int = TRAINING_DAYS) -> date:
    """First day of the first quarter with enough history before it to train on."""
    earliest = history_start + timedelta(days=training_days)
    start, end = quarter_of(earliest)
    return start if start == earliest else end


def predictable_quarters(history_start: date, last: date, training_days: int = TRAINING_DAYS) -> list[date]:
    """First days of the quarters that can be predicted out of sample, in order; a quarter counts once it has ended.

    >>> [str(day) for day in predictable_quarters(date(2021, 6, 1), date(2023, 9, 30))]
    ['2023-01-01', '2023-04-01', '2023-07-01']
    """
    spans = quarters_between(first_quarter(history_start, training_days), last)
    return [start for start, end in spans if end <= last + timedelta(days=1)]


def quarter_of(day: date) -> tuple[date, date]:
    """First day of the calendar quarter of a day, and the first day after it."""
    start = date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)
    end = date(day.year + 1, 1, 1) if start.month == 10 else date(day.year, start.month + 3, 1)
    return start, end


def quarters_between(first: date, last: date) -> list[tuple[date, date]]:
    """The calendar quarters, as (first day, first day after), that hold a day from `first` to `last`, in order."""
    quarters = []
    start, end = quarter_of(first)
    while start <= last:
        quarters.append((start, end))
        start, end = quarter_of(end)
    return quarters
