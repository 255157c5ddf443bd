"""Numbers and times as people read them."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

NEW_YORK = ZoneInfo("America/New_York")
NONE = "–"


def moment(iso: str | None) -> str:
    """A moment in New York, and in the reader's own zone where that differs."""
    if not iso:
        return NONE
    when = datetime.fromisoformat(iso)
    there, here = when.astimezone(NEW_YORK), when.astimezone(local_zone())
    text = f"{there:%Y-%m-%d %H:%M} New York"
    if there.utcoffset() == here.utcoffset():
        return text
    return f"{text} ({here:%H:%M} your time)" if there.date() == here.date() else f"{text} ({here:%m-%d %H:%M} your time)"


def short_moment(text: str | None) -> str:
    """A moment in New York without the year, for a cell."""
    return f"{datetime.fromisoformat(text).astimezone(NEW_YORK):%m-%d %H:%M}" if text else NONE


def local_zone() -> ZoneInfo:
    """The zone of the reader's browser."""
    try:
        return ZoneInfo(st.context.timezone or "America/New_York")
    except (ZoneInfoNotFoundError, ValueError):
        return NEW_YORK


def age(text: str, now: str) -> str:
    """How long ago, in words."""
    return duration(datetime.fromisoformat(now) - datetime.fromisoformat(text))


def duration(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d"


def share(value: float | None, digits: int = 1, signed: bool = False) -> str:
    """A fraction in per cent."""
    if value is None:
        return NONE
    return f"{value:+.{digits}%}" if signed else f"{value:.{digits}%}"


def number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def dollars(value: float | None, signed: bool = False) -> str:
    if value is None:
        return NONE
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return f"{sign}${abs(value):,.2f}"


def plain(value: object) -> str:
    """Whatever came out of JSON, for a cell."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return NONE if value is None else str(value)
