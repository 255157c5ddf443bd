"""What the plan of a key allows, found out by a handful of calls: plans are told by what they refuse."""

from collections.abc import Callable
from datetime import date

from pydantic import SecretStr

from mltrainer_pipelines.market.errors import (
    NOT_IN_PLAN,
    BrokenAnswerError,
    EmptySessionError,
    KeyRefusedError,
    RateLimitedError,
    UnreachableError,
)
from mltrainer_pipelines.market.sessions import next_session, previous_session
from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.polygon.pool import CALLS, KEY_VARIABLE, SERVICE
from mltrainer_pipelines.market.vendors.protocol import Allowance, Connection
from mltrainer_pipelines.market.vendors.transport import Backoff

YEARS = (20, 10, 5, 2, 1)
"""How far back the plans go, the longest first."""
FREE_CALLS = 5
"""Calls a minute of the free plan. One more within a minute shows whether a key has that limit."""
_UNCOUNTED = 100_000


def allowance(connection: Connection, first: date, last: date, today: date) -> Allowance:
    """Ask for a snapshot, the oldest session, the newest, and so often that a limit of calls shows; see `registry.allowance`.

    A limit that is known already (`connection.calls_per_minute`) is kept instead. All calls count in the budget that the
    processes of this state folder share.
    """
    asked = _Questions(connection)
    snapshots = asked.allowed(lambda market: market.snapshot())
    start, years = first, None
    if not asked.session_allowed(first):
        for years in YEARS:
            start = next_session(_years_before(today, years))  # a day inside: the border moves while bars are fetched
            if first < start <= last and asked.session_allowed(start):
                break
        else:
            raise asked.refusal
    newest = last if asked.published(last) else previous_session(last)
    return Allowance(start, newest, years, snapshots, asked.limit())


class _Questions:
    """Questions to the vendor: answered, or not in the plan. The first 429 ends the haste, and says how many calls there are."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._limit = connection.calls_per_minute
        self.refusal = KeyRefusedError(KEY_VARIABLE, SERVICE, NOT_IN_PLAN, "no session of the last year is allowed")
        self._open()

    def allowed(self, question: Callable[[PolygonMarket], object]) -> bool:
        """Whether the plan includes what is asked for."""
        try:
            self._ask(question)
        except KeyRefusedError as error:
            if error.status != NOT_IN_PLAN:
                raise
            self.refusal = error
            return False
        return True

    def session_allowed(self, session: date) -> bool:
        """Whether the plan reaches back to a session, also one of which the vendor has nothing."""
        try:
            return self.allowed(lambda market: market.session_bars(session))
        except EmptySessionError:
            return True

    def published(self, session: date) -> bool:
        """Whether the plan has the bars of a session yet."""
        try:
            return self.allowed(lambda market: market.session_bars(session))
        except EmptySessionError:
            return False

    def limit(self) -> int | None:
        """Calls a minute; None where one more than the free plan has were answered within a minute."""
        for _ in range(FREE_CALLS + 1):
            if self._limit is not None or self._budget.recent() > FREE_CALLS:
                break
            self._ask(lambda market: market.market_status(), again=False)
        return self._limit

    def _ask(self, question: Callable[[PolygonMarket], object], again: bool = True) -> None:
        try:
            question(self._market)
        except RateLimitedError:
            if self._limit is not None:
                raise
            self._limit = max(self._budget.recent() - 1, 0) or FREE_CALLS
            self._open()
            if again:
                question(self._market)
        except (BrokenAnswerError, UnreachableError):
            question(self._client(Backoff()))

    def _open(self) -> None:
        self._budget = CallBudget(self._connection.state / CALLS, self._limit or _UNCOUNTED)
        self._market = self._client(Backoff(attempts=1) if self._limit is None else Backoff())

    def _client(self, backoff: Backoff) -> PolygonMarket:
        key = self._connection.api_key or SecretStr("")
        return PolygonMarket(self._connection.base_url or "https://api.polygon.io", key, backoff=backoff, budget=self._budget)


def _years_before(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year - years)
    except ValueError:  # 29 February
        return date(day.year - years, 3, 1)
