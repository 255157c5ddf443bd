"""What can go wrong between us and a data vendor, named after what the user can do about it.

No message ever holds a key: whatever came from outside is masked before it is shown.
"""

from collections.abc import Sequence
from datetime import date


class MarketDataError(RuntimeError):
    """Market data could not be had or cannot be believed. Nothing may be stored from it."""


class KeyRefusedError(MarketDataError):
    """The vendor does not accept the key, or the key's plan does not include what was asked (401, 403).

    `variable` is the environment variable that holds the key, `reason` what the service said, keys masked; `status` is
    None where the key was never sent.
    """

    def __init__(self, variable: str, service: str, status: int | None, reason: str):
        how = "cannot be used" if status is None else f"was refused by {service} with status {status}"
        super().__init__(
            f"the key in {variable} {how}: {reason or 'no reason given'}; "
            f"check that {variable} holds a valid key and that its plan includes this data"
        )
        self.variable, self.status = variable, status


NOT_IN_PLAN = 403
"""Status of a `KeyRefusedError` where the key is right and its plan does not include what was asked for."""


class RateLimitedError(MarketDataError):
    """The vendor asks for fewer calls (429), and did so on every attempt or for longer than we wait."""

    def __init__(self, service: str, attempts: int, retry_after_s: float | None = None):
        wait = f"; it asks to wait {retry_after_s:.0f} s" if retry_after_s is not None else ""
        super().__init__(
            f"{service} answered 429 (too many calls) after {attempts} attempt{'s' * (attempts > 1)}{wait}; "
            "wait, make fewer calls a minute, or use a plan that allows more"
        )
        self.retry_after_s = retry_after_s


class UnreachableError(MarketDataError):
    """No answer came on any attempt: refused, reset, or silent beyond the time limit."""


class BrokenAnswerError(MarketDataError):
    """An answer came that cannot be believed: the message says what came (status, content type, first characters)."""


class NotFoundError(BrokenAnswerError):
    """The vendor answered 404: it has nothing under that name."""


class EmptySessionError(MarketDataError):
    """The vendor has no bar at all for a trading session."""

    def __init__(self, session: date):
        super().__init__(
            f"no bar at all came for {session}, which is a trading session of XNYS: it lies outside of the data "
            "this exchange or plan has, or is not published yet; ask again after its close, or start the history later"
        )
        self.session = session


class UnknownSymbolError(MarketDataError):
    """The vendor lists no such symbol, active or delisted."""

    def __init__(self, symbol: str):
        super().__init__(f"the exchange lists no symbol {symbol!r}, active or delisted; check how it is spelled")
        self.symbol = symbol


class UnknownSeriesError(MarketDataError):
    """FRED has no such series."""

    def __init__(self, series_id: str, reason: str = ""):
        super().__init__(
            f"FRED knows no series {series_id!r}{f' ({reason})' if reason else ''}; check the id on fred.stlouisfed.org"
        )
        self.series_id = series_id


class BadBarsError(MarketDataError):
    """Bars that break a rule; none of them may be stored."""

    def __init__(self, what: str, problems: Sequence[str], count: int):
        more = f"; and {count - len(problems)} more" if count > len(problems) else ""
        super().__init__(f"{what}: {count} row{'s' * (count > 1)} cannot be right: {'; '.join(problems)}{more}")
        self.problems = tuple(problems)


class ThinSessionError(MarketDataError):
    """A session came with far fewer symbols than the sessions before it: most likely a part of it."""

    def __init__(self, session: date, symbols: int, usual: float):
        super().__init__(
            f"only {symbols} symbols came for {session} where the sessions before it have {usual:.0f} (median): the answer is "
            "most likely incomplete, and nothing was stored; ask again later, or run with accept_thin_sessions if the market "
            "really was that small"
        )
        self.session, self.symbols, self.usual = session, symbols, usual


class BadActionsError(MarketDataError):
    """Corporate actions that cannot be applied, such as a split ratio of zero or a dividend above the share's price."""


class NoHistoryError(MarketDataError):
    """A universe was asked for a month before which there are too few sessions to choose from."""

    def __init__(self, month: date, sessions: int, needed: int):
        super().__init__(
            f"no universe can be chosen for {month:%Y-%m}: {sessions} session{'s' * (sessions != 1)} of bars lie before it and "
            f"{needed} are needed; materialize earlier daily_bars, or start with a later month"
        )
        self.month, self.sessions = month, sessions
