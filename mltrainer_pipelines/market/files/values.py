"""What the cells of a file say: dates of every usual form, numbers with units and separators, ratios as text."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl
from dateutil import parser as dateutil_parser

from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.sessions import NEW_YORK

DayOrder = Literal["day-first", "month-first"]
NOTHING = ("", "null", "none", "nan", "n/a", "na", "#n/a", "nil", "-", "--", ".", "<na>", "nat", "\\n")
"""What stands for no number, in lower case; in a symbol's column these are symbols."""

_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ]\s*(.*))?")
_TWO_WAYS = re.compile(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4}|\d{2})(?:[T ,]\s*(.*))?")
_COMPACT = re.compile(r"((?:19|20)\d{2})(\d{2})(\d{2})(?:\.0)?(?:[T ](.*))?")
_EPOCH = re.compile(r"-?(\d{9,10}|\d{12,13}|\d{15,16}|\d{18,19})(\.\d+)?")
_ZONE = re.compile(r"(Z|UTC|GMT|[+-]\d{2}:?\d{2}|[A-Za-z]+/[A-Za-z_]+|EST|EDT)$")
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


@dataclass(frozen=True)
class Days:
    """Dates of a column in its order, null where a text is none; `converted` says that zones were changed to New York's."""

    dates: pl.Series
    converted: str | None = None
    intraday: bool = False


def days(column: pl.Series, where: str, order: DayOrder | None = None) -> Days:
    """The session that each value of a column of dates means.

    A time in a zone counts as the New York day it falls on, unless the whole column is at midnight of its own zone: then it
    is a label and its own date counts. 03/09/2015 is read by what the whole column shows (a 25 can be no month) or by `order`;
    BadFileError where neither says it.
    """
    if column.dtype == pl.Date:
        return Days(column)
    if isinstance(column.dtype, pl.Datetime):
        return _of_moments(column)
    if column.dtype.is_numeric():
        column = column.cast(pl.Int64, strict=False) if column.dtype.is_float() else column
        column = column.cast(pl.String)
    elif column.dtype != pl.String:
        column = column.cast(pl.String)
    texts = column.unique().drop_nulls()
    moments = dict.fromkeys(texts.to_list())
    two_ways = {text: match for text in moments if (match := _TWO_WAYS.fullmatch(text.strip()))}
    day_first = _day_first(list(two_ways.values()), where, order) if two_ways else False
    for text in moments:
        try:
            match = two_ways.get(text)
            moments[text] = _two_ways(match, day_first) if match else _moment(text.strip())
        except (ValueError, OverflowError):
            moments[text] = None
    known = [moment for moment in moments.values() if moment is not None]
    aware = [moment for moment in known if moment.tzinfo is not None]
    at_midnight = all(moment.time() == datetime.min.time() for moment in aware)
    if aware and not at_midnight:
        read: dict[str, date | None] = {
            text: moment and (moment.astimezone(NEW_YORK) if moment.tzinfo else moment).date() for text, moment in moments.items()
        }
        names = Counter(str(moment.tzinfo) for moment in aware)
        converted = f"times of {', '.join(sorted(names))} were converted to the New York day"
    else:
        read, converted = {text: moment and moment.date() for text, moment in moments.items()}, None
    dates = column.replace_strict(list(read), list(read.values()), default=None, return_dtype=pl.Date)
    per_day = Counter(moment.date() for moment in known)
    return Days(dates, converted, bool(per_day) and len(known) > 4 * len(per_day))


def _of_moments(column: pl.Series) -> Days:
    zone = column.dtype.time_zone if isinstance(column.dtype, pl.Datetime) else None
    at_midnight = bool((column.dt.time() == datetime.min.time()).all())
    converted = None
    if zone is not None and not at_midnight:
        in_utc = column.dt.convert_time_zone("UTC")
        if (in_utc.dt.time() == datetime.min.time()).all():
            column = in_utc
        else:
            column = column.dt.convert_time_zone("America/New_York")
            converted = None if zone == "America/New_York" else f"times of {zone} were converted to the New York day"
    dates = column.dt.date()
    return Days(dates, converted, column.n_unique() > 4 * max(dates.n_unique(), 1))


def _day_first(matches: list[re.Match[str]], where: str, order: DayOrder | None) -> bool:
    """Whether 03/09/2015 is in September, by the whole column."""
    if order:
        return order == "day-first"
    firsts = any(int(match[1]) > 12 for match in matches)
    seconds = any(int(match[2]) > 12 for match in matches)
    if firsts != seconds or all(match[1] == match[2] for match in matches):
        return firsts
    example = matches[0].string.strip()
    if firsts:
        raise BadFileError(f"{where}: some dates have the day first and some the month, such as {example!r}; write 2015-10-30")
    raise BadFileError(
        f"{where}: {example!r} could be two days and no date of the column decides it; "
        "say --dates day-first or --dates month-first, or write dates as YYYY-MM-DD"
    )


def _two_ways(match: re.Match[str], day_first: bool) -> datetime:
    first, second, year = int(match[1]), int(match[2]), int(match[3])
    if year < 100:
        year += 1900 if year > 68 else 2000
    day, month = (first, second) if day_first else (second, first)
    return _with_time(datetime(year, month, day), match[4])  # noqa: DTZ001


def _moment(text: str) -> datetime | None:
    if text.lower() in NOTHING:
        return None
    if match := _ISO.fullmatch(text) or _COMPACT.fullmatch(text):
        return _with_time(datetime(int(match[1]), int(match[2]), int(match[3])), match[4])  # noqa: DTZ001
    if _EPOCH.fullmatch(text):
        whole = int(text.split(".")[0])
        unit = {10: 1, 9: 1, 13: 10**3, 12: 10**3, 16: 10**6, 15: 10**6}.get(len(str(abs(whole))), 10**9)
        return datetime.fromtimestamp(whole // unit, UTC)
    if re.fullmatch(r"[2-6]\d{4}(\.0)?", text):  # a spreadsheet's serial number
        return datetime(1899, 12, 30) + timedelta(days=int(text[:5]))  # noqa: DTZ001
    if re.search(r"[A-Za-z]{3}", text):
        moment = dateutil_parser.parse(text, tzinfos=_named_zone, default=datetime(1, 1, 1))  # noqa: DTZ001
        return moment if moment.year > 1 else None
    return None


def _with_time(day: datetime, rest: str | None) -> datetime:
    rest = (rest or "").strip()
    if not rest:
        return day
    zone_match = _ZONE.search(rest)
    clock = rest[: zone_match.start()].strip() if zone_match else rest
    clock = re.sub(r"(\.\d{6})\d+", r"\1", clock)
    time = dateutil_parser.parse(clock, default=day) if clock else day
    return time.replace(tzinfo=_zone(zone_match[1])) if zone_match else time


def _zone(name: str) -> tzinfo:
    if name in ("Z", "UTC", "GMT"):
        return UTC
    if name in ("EST", "EDT"):
        return NEW_YORK
    if "/" in name:
        return ZoneInfo(name)
    offset = datetime.strptime(name, "%z").tzinfo
    if offset is None:
        raise ValueError(name)
    return offset


def _named_zone(name: str | None, offset: int | None) -> tzinfo | None:
    return _zone(name) if name in ("Z", "UTC", "GMT", "EST", "EDT") else None


def has_decimal_commas(columns: list[pl.Series]) -> bool:
    """Whether prices are written as 12,50: a comma with other than three digits behind it, and no point after it."""
    for column in columns:
        if column.dtype == pl.String:
            commas = column.drop_nulls().str.strip_chars(" \"'$€£\u00a0")
            if commas.str.contains(r"^[+-]?\d{1,3}(\.\d{3})*,(\d{1,2}|\d{4,})$|^[+-]?\d{4,},\d+$").any():
                return True
    return False


def numbers(column: pl.Series, decimal_comma: bool = False) -> pl.Series:
    """The column as Float64: currency signs, thousands separators, K, M and B are understood; null where it is no number.

    >>> numbers(pl.Series(["$1,234.50", "2.11M", "-", "12"])).to_list()
    [1234.5, 2110000.0, None, 12.0]
    """
    if column.dtype == pl.Boolean or (not column.dtype.is_numeric() and column.dtype != pl.String):
        column = column.cast(pl.String)
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    if not decimal_comma:
        direct = column.cast(pl.Float64, strict=False)
        if direct.null_count() == column.null_count():
            return direct.set(direct.is_nan(), None)
    text = column.str.strip_chars().str.replace_all("[\\s\u00a0\u202f$€£'\"]|USD", "")
    text = (
        text.str.replace_all(".", "", literal=True).str.replace_all(",", ".") if decimal_comma else text.str.replace_all(",", "")
    )
    text = text.str.replace(r"^\((.*)\)$", "-$1")
    unit = text.str.extract(r"(?i)^[+-]?[\d.]+([kmbt])$").str.to_lowercase()
    scale = unit.replace_strict(list(_UNITS), list(_UNITS.values()), default=1.0, return_dtype=pl.Float64)
    plain = text.str.replace(r"(?i)([\d.])[kmbt]$", "$1").cast(pl.Float64, strict=False)
    scaled = (plain * scale).round(6)
    return scaled.set(scaled.is_nan(), None)


def is_nothing(column: pl.Series) -> pl.Series:
    """Where a cell says that there is no value."""
    if column.dtype != pl.String:
        return column.is_null()
    return column.is_null() | column.str.strip_chars().str.to_lowercase().is_in(NOTHING)


def ratios(column: pl.Series) -> pl.Series:
    """Splits as new shares for one old: numbers, and texts such as 4:1, 3/2 or 4 for 1."""
    read = numbers(column)
    if column.dtype != pl.String:
        return read
    pair = column.str.extract_groups(r"(?i)^\s*([\d.]+)\s*(?::|/|for|-for-|to)\s*([\d.]+)\s*$").struct.unnest()
    parts = pair.select(pl.all().cast(pl.Float64, strict=False))
    return read.fill_null(parts.to_series(0) / parts.to_series(1))
