"""Fetching many sessions of bars: the cheaper way, a few answers ahead, and nothing that looks like half a session."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Literal

import polars as pl

from mltrainer_pipelines.market.bars import ValidatedBars, validate_bars
from mltrainer_pipelines.market.errors import BadBarsError, EmptySessionError, ThinSessionError, UnknownSymbolError
from mltrainer_pipelines.market.print_checks import without_false_prints
from mltrainer_pipelines.market.sessions import previous_session, sessions_between
from mltrainer_pipelines.market.vendors.protocol import MarketData
from mltrainer_pipelines.store.lake import Lake

THIN_BELOW = 0.5
"""Share of the usual number of symbols below which a session is not believed."""
USUAL_SESSIONS = 20
"""Sessions whose median is the usual number of symbols."""
_FEW_SESSIONS = 30
"""A backfill that is no longer than this is fetched session by session without asking how many tickers there are."""
_LAST_SEEN = 5
"""Sessions within which the last bar of a symbol is looked for."""
_AHEAD = 4
"""Answers asked for at once: the next ones travel while this one is checked and written."""
_BLOCKS = 24


@dataclass(frozen=True)
class BackfillPlan:
    """How sessions will be fetched, and what it costs.

    By `sessions` a call brings the whole market of one session, by `tickers` all sessions of one ticker. `calls` are
    HTTP calls if none is repeated, `seconds` what the plan's calls a minute make of them at least; 0 without a limit.
    """

    way: Literal["sessions", "tickers"]
    sessions: tuple[date, ...]
    tickers: tuple[str, ...] = ()
    calls: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if not self.sessions:
            return "no session is missing: 0 calls"
        span = f"{self.sessions[0]} to {self.sessions[-1]}" if len(self.sessions) > 1 else f"{self.sessions[0]}"
        how = "a call a session" if self.way == "sessions" else f"a call for each of {len(self.tickers):,} tickers"
        at_least = f"at least {_duration(self.seconds)} under the limit" if self.seconds else "no limit"
        return f"{len(self.sessions):,} sessions ({span}) in {self.calls:,} calls, {how}; {at_least} of calls a minute"


def planned_backfill(client: MarketData, sessions: Sequence[date]) -> BackfillPlan:
    """The way that takes fewer calls: one a session, or one a ticker where there are fewer tickers than sessions.

    The universe is chosen from every symbol that traded, so the second way counts only on an exchange of few tickers,
    such as a recording. Asking how many there are costs a call or two; a few sessions are not worth it.
    """
    wanted = tuple(sorted(sessions))
    tickers = client.few_tickers(len(wanted) - 2) if len(wanted) > _FEW_SESSIONS else None
    # Two sessions are fetched whole as well, to prove the tickers' bars against them.
    calls = len(wanted) if tickers is None else len(tickers) + 2
    seconds = client.budget.seconds_for(calls) if client.budget else 0.0
    if tickers is None:
        return BackfillPlan("sessions", wanted, (), calls, seconds)
    return BackfillPlan("tickers", wanted, tuple(tickers), calls, seconds)


def fetch_sessions(
    client: MarketData,
    plan: BackfillPlan,
    symbols_before: Iterable[int] = (),
    accept_thin: bool = False,
    log: Callable[[str], object] = lambda _: None,
) -> Iterator[tuple[date, ValidatedBars | EmptySessionError]]:
    """Sessions of a plan in order, each with its bars, or with the error that there are none.

    What looks wrong is asked for once more: a session with impossible bars, or one that is suddenly far smaller.
    `symbols_before` are the sizes of the sessions before the first, oldest first; `log` takes a line when the way has to
    be changed. Raises `ThinSessionError` where a session has less than half of the symbols that the 20 before it have in
    the median (unless `accept_thin`), `BadBarsError` where more than a stray few of its bars break a rule, and what the
    client raises.
    """
    sizes = deque(symbols_before, maxlen=USUAL_SESSIONS)
    by_ticker = _by_ticker(client, plan, log) if plan.way == "tickers" else None
    answers = by_ticker if by_ticker is not None else _by_session(client, plan.sessions)
    for session, validated in answers:
        if isinstance(validated, EmptySessionError):
            yield session, validated
            continue
        if not accept_thin and _is_thin(validated, sizes):
            validated = client.session_bars(session)
            if _is_thin(validated, sizes):
                raise ThinSessionError(session, validated.bars.height, median(sizes))
        sizes.append(validated.bars.height)
        yield session, validated


def sifted_session(lake: Lake, session: date, validated: ValidatedBars, right: Collection[str] = ()) -> ValidatedBars:
    """A session's bars without false prints, held against the session before as the lake has it.

    `right` are symbols whose bar of the session a person has confirmed.
    """
    before = _last_bars(lake, session)
    sifted = without_false_prints(validated, before, right)
    if sifted.bars.height < validated.bars.height and lake.exists("corporate_actions"):  # of whole bars a known split tells
        actions = lake.read("corporate_actions").filter(pl.col("ex_date") == session, pl.col("kind") == "split")
        if not actions.is_empty():
            return without_false_prints(validated, before, [*right, *actions["symbol"]])
    return sifted


def _last_bars(lake: Lake, session: date) -> pl.DataFrame | None:
    """The bars of the session before; of what was set aside then, or where nothing traded, those before it, within a week."""
    known: pl.DataFrame | None = None
    wanted: pl.Series | None = None
    for back in range(1, _LAST_SEEN + 1):
        key = str(previous_session(session, back))
        if not lake.exists("daily_bars", key):
            continue
        bars = lake.read("daily_bars", key)
        found = bars if wanted is None else bars.filter(pl.col("symbol").is_in(wanted.implode()))
        known = found if known is None else pl.concat([known, found])
        aside = lake.read("rejected_bars", key)["symbol"] if lake.exists("rejected_bars", key) else known["symbol"].clear()
        wanted = pl.concat([aside, *([] if wanted is None else [wanted])]).drop_nulls().unique()
        wanted = wanted.filter(~wanted.is_in(known["symbol"].implode()))
        if known.height and wanted.is_empty():
            break
        if not known.height:
            known = wanted = None
    return known


def store_session(lake: Lake, session: date, validated: ValidatedBars, compare: bool) -> bool:
    """Write a session, and what was set aside of it; returns whether its bars are other than those that were there.

    With `compare` the session is in the lake already: where its bars are the same, its file is left as it is.
    """
    key = str(session)
    if not validated.rejected.is_empty():
        lake.write("rejected_bars", validated.rejected, key)
    elif compare:
        lake.delete("rejected_bars", key)
    if compare and lake.read("daily_bars", key).equals(validated.bars):
        return False
    lake.write("daily_bars", validated.bars, key)
    return True


def symbols_before(lake: Lake, session: date) -> list[int]:
    """Number of symbols of the lake's sessions among the 20 of the calendar before `session`, oldest first."""
    before = sessions_between(previous_session(session, USUAL_SESSIONS), previous_session(session))
    return [lake.row_count("daily_bars", str(day)) for day in before if lake.exists("daily_bars", str(day))]


def progress_bar(done: int, total: int, seconds: float) -> str:
    """How far a backfill is, as a line of text.

    >>> progress_bar(3, 12, 8.0)
    '██████░░░░░░░░░░░░░░░░░░ 3/12 sessions, 8 s, about 24 s left'
    """
    full = _BLOCKS * done // max(total, 1)
    left = f", about {_duration(seconds * (total - done) / done)} left" if 0 < done < total else ""
    return f"{'█' * full}{'░' * (_BLOCKS - full)} {done:,}/{total:,} sessions, {_duration(seconds)}{left}"


def _is_thin(validated: ValidatedBars, sizes: Sequence[int]) -> bool:
    return bool(sizes) and validated.bars.height < THIN_BELOW * median(sizes)


def _by_session(client: MarketData, sessions: Sequence[date]) -> Iterator[tuple[date, ValidatedBars | EmptySessionError]]:
    """A call a session, a few ahead."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting = deque(pool.submit(_session, client, day) for day in sessions[:_AHEAD])
        try:
            for place, session in enumerate(sessions):
                answer = waiting.popleft()
                try:
                    yield session, answer.result()
                except EmptySessionError as error:
                    yield session, error
                waiting.extend(pool.submit(_session, client, day) for day in sessions[place + _AHEAD : place + _AHEAD + 1])
        finally:
            pool.shutdown(cancel_futures=True)


def _session(client: MarketData, session: date) -> ValidatedBars:
    """A session's bars; where any of them cannot be right, those of a second call, unless a plan counts the calls."""
    try:
        validated = client.session_bars(session)
        if validated.rejected.is_empty() or client.budget:
            return validated
    except BadBarsError:
        pass  # the second answer's error is the one that counts
    return client.session_bars(session)


def _by_ticker(
    client: MarketData, plan: BackfillPlan, log: Callable[[str], object]
) -> Iterator[tuple[date, ValidatedBars | EmptySessionError]] | None:
    """A call a ticker; None where these bars are not the market's, which two sessions fetched whole prove."""
    first, last = plan.sessions[0], plan.sessions[-1]
    try:
        with ThreadPoolExecutor(_AHEAD) as pool:
            futures = [pool.submit(client.aggregates, symbol, first, last, listed=True) for symbol in plan.tickers]
            try:
                frames = [answer.result().drop("start") for answer in futures]
            finally:
                pool.shutdown(cancel_futures=True)
        days = pl.concat(frames).sort("date", "symbol").partition_by("date", as_dict=True)
        for session in {first, last}:
            whole = _session_or_none(client, session)
            if (whole is None) != ((session,) not in days) or (whole is not None and not days[session,].equals(whole)):
                log(f"the tickers' own bars of {session} are not those of the whole session: fetching session by session")
                return None
    except (BadBarsError, UnknownSymbolError) as error:
        log(f"{error}; fetching session by session")
        return None
    return ((day, validate_bars(days[day,], day) if (day,) in days else EmptySessionError(day)) for day in plan.sessions)


def _session_or_none(client: MarketData, session: date) -> pl.DataFrame | None:
    try:
        return client.session_bars(session).bars
    except EmptySessionError:
        return None


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
