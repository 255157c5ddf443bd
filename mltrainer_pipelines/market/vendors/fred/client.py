"""FRED's macro series through `fredapi`: first releases, with the day each was published.

`fredapi` opens its addresses without a time limit and puts the key into them. `_CheckedFred` replaces that one step,
and bounds the observations asked for; the requests and the reading of vintages stay the library's.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import polars as pl
from fredapi import Fred
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import MACRO_SERIES
from mltrainer_pipelines.http_client import NoAnswerError, send
from mltrainer_pipelines.market.errors import BrokenAnswerError, KeyRefusedError, MarketDataError, UnknownSeriesError
from mltrainer_pipelines.market.vendors.transport import (
    Backoff,
    TransientFault,
    check_status,
    describe_response,
    masked,
    usable_address,
    usable_key,
    with_retries,
)

SERVICE = "FRED"
KEY_VARIABLE = "FRED_API_KEY"
_WINDOW = timedelta(days=5 * 365)
"""FRED refuses a request that spans more than 2,000 publication dates; a daily series has about 250 a year."""
_EVER = date(9999, 12, 31)
_MOST_UNREADABLE = 0.1
"""Share of the values of an answer that may be no numbers."""


class FredSeries:
    """First releases of FRED's series. One instance may be used by several threads.

    FRED takes the key in the address: it is kept out of every message, log and repr. `timeout_s` bounds connecting and
    each silence of the server, `total_s` (four times that, unless given) the whole answer. Every method raises
    `KeyRefusedError` where FRED does not accept the key, and so does this for a key no address can carry.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        timeout_s: float = 30.0,
        backoff: Backoff | None = None,
        total_s: float | None = None,
    ):
        self.base_url = usable_address(base_url, "FRED_BASE_URL", "https://api.stlouisfed.org/fred", timeout_s)
        self._key = usable_key(api_key, KEY_VARIABLE, SERVICE)
        self._timeout_s = timeout_s
        self._total_s = total_s or 4 * timeout_s
        self._backoff = backoff or Backoff()

    def __repr__(self) -> str:
        return f"FredSeries({self.base_url!r})"

    def first_releases(self, series_id: str, first: date, last: date) -> pl.DataFrame:
        """What was first said about each observation dated `first` to `last`, as known on `last` (at most FRED's today).

        Columns of `MACRO_SERIES`, sorted and unique by `date`; `published` is never before `first` (what was published earlier
        counts from then). Revisions are left out, and so are observations FRED marks as missing ('.'); of a stray few values
        that are no numbers the `value` is infinite, for `macro.sifted_macro` to set aside. Raises
        `UnknownSeriesError`, and `MarketDataError` when the last attempt failed or the answer cannot be believed.
        """
        if first > last:
            raise ValueError(f"first {first} is after last {last}")
        rows: list[dict[str, Any]] = []
        windows = deque(_publication_windows(first, last))
        unknown: UnknownSeriesError | None = None
        anything = False
        while windows:
            start, end = windows.popleft()
            try:
                rows += self._releases(series_id, first, last, start, end)
                anything = True
            except UnknownSeriesError as error:  # nothing was published in that window: the series may begin later
                unknown = error
            except TooManyVintagesError:
                newest = min(end, last)
                if newest <= start:
                    raise
                middle = start + (newest - start) / 2
                windows.extendleft([(middle + timedelta(days=1), end), (start, middle)])
        if unknown and not anything:
            raise unknown
        kinds = pl.Schema({"date": pl.Date, "realtime_start": pl.Date, "value": pl.Float64})
        return (
            pl.DataFrame(rows, schema=kinds)
            .filter(pl.col("value").is_not_nan(), pl.col("date").is_between(first, last), pl.col("realtime_start") <= last)
            .sort("date", "realtime_start")
            .unique("date", keep="first", maintain_order=True)
            .select(series_id=pl.lit(series_id), date="date", value="value", published="realtime_start")
            .cast(dict(MACRO_SERIES.schema))  # type: ignore[arg-type]
        )

    def _releases(self, series_id: str, first: date, last: date, start: date, end: date) -> list[dict[str, object]]:
        """What was published from `start` to `end`."""
        fred = _CheckedFred(self, series_id, first, last)
        try:
            releases = fred.get_series_all_releases(quote(series_id, safe=""), start.isoformat(), end.isoformat())
        except ValueError as error:
            reason = " ".join(masked(str(error), self._key).split())[:120]
            raise fred.broken(reason) from None
        found: list[dict[str, Any]] = releases.to_dict("records")
        return found


class TooManyVintagesError(BrokenAnswerError):
    """A period of publication holds more vintages than FRED answers at once."""


class _CheckedFred(Fred):
    """`fredapi.Fred` for one series and range, with a bounded, checked and retried fetch."""

    def __init__(self, owner: FredSeries, series_id: str, first: date, last: date):
        super().__init__(api_key=owner._key)
        self.root_url = owner.base_url
        self.description = "no answer"
        self._owner, self._series_id = owner, series_id
        self._range = f"&observation_start={first}&observation_end={last}"

    def __repr__(self) -> str:
        return f"_CheckedFred({self._series_id!r})"

    def broken(self, problem: str) -> BrokenAnswerError:
        return BrokenAnswerError(f"{SERVICE}'s observations of {self._series_id} cannot be used: {problem}; {self.description}")

    def _parse(self, date_str: str, format: str = "%Y-%m-%d") -> date:  # noqa: A002 (the library's name)
        """A date as FRED writes it; the library's own parser takes most of the time of reading a series."""
        return datetime.strptime(date_str, format).replace(tzinfo=UTC).date()

    def _Fred__fetch_data(self, url: str) -> ElementTree.Element:  # noqa: N802 (the private step that is replaced)
        return with_retries(lambda: self._attempt(url + self._range), SERVICE, self._owner._backoff)

    def _attempt(self, url: str) -> ElementTree.Element:
        key = self._owner._key
        try:  # no redirects: the key is in the address, and must not travel to where one points
            answer = send(f"{url}&api_key={quote(key, safe='')}", timeout_s=self._owner._timeout_s, total_s=self._owner._total_s)
        except NoAnswerError as error:
            problem = f"cut off: {error}" if error.begun else str(error)
            raise TransientFault(masked(problem, key), answered=error.begun) from None
        self.description = describe_response(answer.status, answer.headers.get("Content-Type"), answer.body, key)
        if answer.status == 400:
            raise self._refusal(answer.body)
        reason = masked(_message(answer.body), key)
        after = answer.headers.get("Retry-After")
        check_status(answer.status, after, self.description, reason, service=SERVICE, variable=KEY_VARIABLE)
        root = _xml(answer.body)
        if root is None:
            raise TransientFault(f"not XML, or cut off: {self.description}", answered=True)
        if shape := _shape_problem(root):
            raise self.broken(shape)
        _mark_unreadable(root)
        return root

    def _refusal(self, body: bytes) -> MarketDataError:
        """FRED answers every mistake with status 400 and a sentence."""
        message = masked(_message(body), self._owner._key)
        if "api_key" in message:
            return KeyRefusedError(KEY_VARIABLE, SERVICE, 400, message)
        if "vintage dates" in message:
            return TooManyVintagesError(f"{SERVICE} refused the request for {self._series_id}: {message}")
        if "series does not exist" in message:
            return UnknownSeriesError(self._series_id, message)
        return BrokenAnswerError(f"{SERVICE} refused the request for {self._series_id}: {message or self.description}")


def _publication_windows(first: date, last: date) -> Iterator[tuple[date, date]]:
    """Real-time periods that cover `first` to `last`, none too long for FRED."""
    start = first
    while start + _WINDOW < last:
        yield start, start + _WINDOW
        start += _WINDOW + timedelta(days=1)
    # FRED's day ends later than New York's: a `last` of today may be tomorrow there, which it refuses. "Ever" it takes.
    recent = last >= datetime.now(UTC).date() - timedelta(days=2)
    yield start, _EVER if recent else last


def _xml(body: bytes) -> ElementTree.Element | None:
    if b"<!DOCTYPE" in body[:1000] or b"<!ENTITY" in body:  # HTML, or an attempt to make the parser grow
        return None
    try:
        return ElementTree.fromstring(body)  # noqa: S314 (entities are refused above)
    except ElementTree.ParseError:
        return None


def _message(body: bytes) -> str:
    root = _xml(body)
    return "" if root is None else " ".join((root.get("message") or "").split())[:200]


def _shape_problem(root: ElementTree.Element) -> str | None:
    if root.tag != "observations":
        return f"<observations> was expected, <{root.tag[:40]}> came"
    count = root.get("count")
    if count is not None and count != str(len(root)):
        return f"{count[:12]} observations were announced, {len(root)} came"
    for row in root:
        if row.tag != "observation" or not {"date", "value", "realtime_start"} <= row.attrib.keys():
            return "an observation lacks date, value or realtime_start"
    return None


def _mark_unreadable(root: ElementTree.Element) -> None:
    """Let a value that is no number cost its own row: it is infinite, which no observation is. Not where many are so."""
    wrong = [row for row in root if row.get("value") != "." and not _is_number(row.get("value") or "")]
    if wrong and len(wrong) <= _MOST_UNREADABLE * len(root):
        for row in wrong:
            row.set("value", "inf")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
