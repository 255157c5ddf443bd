"""Companies told apart: runs of a symbol's bars, and what the vendor and a person say about who was behind them.

A run ends where a symbol has no bar for five sessions of the lake. What follows is another company, unless the vendor's
FIGI, its ticker events, or a correction says that it is the same one.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import count
from typing import Final

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import LISTINGS, TICKER_EVENTS
from mltrainer_pipelines.market.errors import KeyRefusedError
from mltrainer_pipelines.market.listings import Listings
from mltrainer_pipelines.market.vendors.protocol import MarketData
from mltrainer_pipelines.store.corrections import Correction
from mltrainer_pipelines.store.lake import Lake

GAP: Final = 5
"""Sessions without a bar after which a symbol's bars are another company's, if nothing explains them."""
_AT_ONCE, _CALLS_AT_ONCE = 250, 4
_PART, _TRIED = 100, 1000
"""How many runs are asked about before what was found is looked up, and of how many unknown ones a vendor knows nobody."""


@dataclass(frozen=True)
class Run:
    """Bars of a symbol without a gap, from `first` to `last`; `gap` sessions of the lake lie between it and the run before."""

    symbol: str
    first: date
    last: date
    gap: int = 0


@dataclass(frozen=True)
class Runs:
    """The runs of every symbol in the order of their beginning, and the lake's sessions with bars, in order."""

    sessions: list[date]
    runs: list[Run]

    def to_ask(self) -> list[Run]:
        """Runs whose company the vendor may know better: those around a gap, and those that began after the lake did."""
        if not self.sessions:
            return []
        early = self.sessions[min(GAP, len(self.sessions) - 1)]
        several = {run.symbol for run in self.runs if run.gap}
        return [run for run in self.runs if run.symbol in several or run.first > early]


def runs_of(lake: Lake) -> Runs:
    """The runs of all bars in the lake, read a few sessions at a time."""
    keys = lake.partitions("daily_bars")
    parts = (keys[begin : begin + _AT_ONCE] for begin in range(0, len(keys), _AT_ONCE))
    return _runs(lake.scan("daily_bars", part).select("date", "symbol").collect() for part in parts)


def told_apart(bars: pl.DataFrame, actions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars and actions of a file, companies in the place of symbols, as gaps alone tell them apart."""
    listings = Listings(resolved_listings(_runs([bars.select("date", "symbol")]), TICKER_EVENTS.empty()))
    return listings.companies(bars), listings.companies(actions, "ex_date")


def _runs(parts: Iterable[pl.DataFrame]) -> Runs:
    """The runs of bars (date, symbol) that come in the order of their sessions."""
    sessions: list[date] = []
    newest = pl.DataFrame(schema={"symbol": pl.String, "_at": pl.Int64})
    starts = []
    for rows in parts:
        days = rows["date"].unique().sort()
        place = pl.DataFrame({"date": days, "_at": range(len(sessions), len(sessions) + len(days))})
        sessions += days.to_list()
        rows = pl.concat([newest, rows.sort("date").join(place, on="date", maintain_order="left").select("symbol", "_at")])
        rows = rows.with_columns(_before=pl.col("_at").shift(1).over("symbol"))
        fresh = rows.filter(pl.col("_at") >= len(sessions) - len(days))
        starts.append(fresh.filter(pl.col("_before").is_null() | (pl.col("_at") - pl.col("_before") > GAP)))
        newest = rows.group_by("symbol").agg(pl.col("_at").max())
    if not starts:
        return Runs([], [])
    table = (
        pl.concat(starts)
        .sort("symbol", "_at")
        .with_columns(_end=pl.col("_before").shift(-1).over("symbol"))
        .join(newest.rename({"_at": "_newest"}), on="symbol")
        .with_columns(pl.coalesce("_end", "_newest"), _gap=(pl.col("_at") - pl.col("_before") - 1).fill_null(0))
        .sort("_at", "symbol")
    )
    columns = ("symbol", "_at", "_end", "_gap")
    return Runs(
        sessions, [Run(name, sessions[at], sessions[end], gap) for name, at, end, gap in table.select(columns).iter_rows()]
    )


def resolved_listings(runs: Runs, events: pl.DataFrame, corrections: Iterable[Correction] = ()) -> pl.DataFrame:
    """Columns of `LISTINGS`: the companies of which more is to be said than that their symbol is their name.

    Parameters
    ----------
    events : pl.DataFrame
        Columns of `TICKER_EVENTS`.
    corrections : iterable of Correction
        A rename: from its day on the symbol is the company that had the symbol `value` before.
    """
    named = _Known(events, runs.sessions)
    renames = {(str(one.symbol), one.day): str(one.value) for one in corrections if one.kind == "rename"}
    pieces = sorted(
        (piece for run in runs.runs for piece in named.split(run, [day for symbol, day in renames if symbol == run.symbol])),
        key=lambda piece: (piece.run.first, piece.run.symbol),
    )
    found: list[tuple[str, _Piece, str]] = []
    until: dict[str, Run] = {}
    of_figi: dict[str, str] = {}
    holder: dict[str, str] = {}
    for piece in pieces:
        run, company = piece.run, None
        old = next((old for (symbol, day), old in renames.items() if symbol == run.symbol and day in _about(run)), None)
        if old in holder and until[holder[old]].last < run.first:
            company, reason = holder[old], f"{old} until {until[holder[old]].last}, by a correction"
        elif piece.figi in of_figi and until[of_figi[piece.figi]].last < run.first:
            company = of_figi[piece.figi]
            reason = f"{until[company].symbol} until {until[company].last}, by the FIGI {piece.figi}"
        elif run.symbol in holder:
            why = f"{run.gap} sessions without a bar that nothing explains" if run.gap else "another FIGI"
            reason = f"another company than until {until[holder[run.symbol]].last}: {why}"
        else:
            reason = "the first of that symbol"
        if company is None:
            tries = (f"{run.symbol}~{number}" if number > 1 else run.symbol for number in count(1))
            company = next(name for name in tries if name not in until)
        until[company], holder[run.symbol] = run, company
        if piece.figi is not None:
            of_figi.setdefault(piece.figi, company)
        found.append((company, piece, reason))
    newest = runs.sessions[-1] if runs.sessions else None
    special = {company for company, piece, _ in found if company != piece.run.symbol}
    special_symbols = {piece.run.symbol for company, piece, _ in found if company in special}
    rows = [
        (company, piece.run.symbol, piece.run.first, None if piece.run.last == newest else piece.run.last, reason)
        for company, piece, reason in found
        if company in special or piece.run.symbol in special_symbols
    ]
    return pl.DataFrame(rows, schema=LISTINGS.schema, orient="row").sort("symbol", "first")


def asked_events(
    client: MarketData,
    runs: Sequence[Run],
    stored: pl.DataFrame,
    most: int | None = None,
    log: Callable[[str], object] = lambda _: None,
) -> pl.DataFrame:
    """`stored` `TICKER_EVENTS` with what the vendor says of the runs that it was not asked about, the newest first.

    A call for each, and one for each company. At most `most` runs are asked about, the others the next time; a vendor
    that knows nobody of the first thousand, or whose plan refuses, is not asked further.
    """
    before = set(stored.select("asked", "day").iter_rows())
    new = [run for run in sorted(runs, key=lambda run: run.first, reverse=True) if (run.symbol, run.first) not in before][:most]
    known = set(stored["figi"].drop_nulls())
    rows: list[tuple[str, date, str | None, str | None, date | None]] = []
    if new:
        log(f"asking which company {len(new)} symbols were that began, or came back, after the first sessions")
    try:
        with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
            for begin in range(0, len(new), _PART):
                part = new[begin : begin + _PART]
                figis = list(pool.map(lambda run: client.composite_figi(run.symbol, run.first), part))
                rows += [(run.symbol, run.first, figi, None, None) for run, figi in zip(part, figis, strict=True)]
                fresh = {figi: run for run, figi in zip(part, figis, strict=True) if figi is not None and figi not in known}
                for (figi, run), events in zip(fresh.items(), pool.map(client.ticker_events, fresh), strict=True):
                    rows += [(run.symbol, run.first, figi, *event) for event in events.select("symbol", "since").iter_rows()]
                known |= set(fresh)
                if not known and begin + _PART >= _TRIED:
                    break
    except KeyRefusedError as error:
        log(f"{error}; companies are told apart by their bars alone")
    return pl.concat([stored, pl.DataFrame(rows, schema=TICKER_EVENTS.schema, orient="row")])


def _about(run: Run) -> Collection[date]:
    """The days on which a rename may be dated whose first bar is the run's: a week before it, and its own."""
    return {run.first - timedelta(days=back) for back in range(8)}


@dataclass(frozen=True)
class _Piece:
    """A run, or a part of one, that is one company's; `figi` where it is known."""

    run: Run
    figi: str | None


class _Known:
    """What the vendor's events say: who had a symbol on a day."""

    def __init__(self, events: pl.DataFrame, sessions: Sequence[date]):
        self._sessions = sessions
        self._chains: dict[str, list[tuple[date, str]]] = {}
        known = events.filter(pl.col("figi").is_not_null() & pl.col("symbol").is_not_null() & pl.col("since").is_not_null())
        for figi, symbol, since in known.select("figi", "symbol", "since").unique().sort("since").iter_rows():
            self._chains.setdefault(figi, []).append((since, symbol))
        # What a company was asked about on a day it had the symbol: true for that run, with events or without.
        self._asked = {
            (symbol, day): figi
            for symbol, day, figi in events.filter(pl.col("figi").is_not_null()).select("asked", "day", "figi").iter_rows()
        }

    def split(self, run: Run, renamed: Collection[date]) -> Iterator[_Piece]:
        """The run cut where its company changes without a gap."""
        spells = sorted(
            (since, until, figi)
            for figi, chain in self._chains.items()
            for (since, symbol), until in zip(chain, [*[day for day, _ in chain[1:]], date.max], strict=True)
            if symbol == run.symbol
        )
        days = {day for since, until, _ in spells for day in (since, until)} | set(renamed)
        cuts = [run.first, *sorted(day for day in days if run.first < day <= run.last)]
        ends = [*(self._session_before(day) for day in cuts[1:]), run.last]
        pieces: list[_Piece] = []
        for first, last in zip(cuts, ends, strict=True):
            if last < first:
                continue
            figi = next((figi for since, until, figi in reversed(spells) if since <= first < until), None)
            asked = self._asked.get((run.symbol, first))
            figi = asked if asked is not None else figi
            piece = _Piece(replace(run, first=first, last=last, gap=run.gap if first == run.first else 0), figi)
            left = any(until == first for _, until, _ in spells)
            same = pieces and not left and first not in renamed and (figi == pieces[-1].figi or None in (figi, pieces[-1].figi))
            if same:
                joined = replace(pieces[-1].run, last=last)
                pieces[-1] = _Piece(joined, figi if figi is not None else pieces[-1].figi)
            else:
                pieces.append(piece)
        yield from pieces

    def _session_before(self, day: date) -> date:
        return self._sessions[max(bisect_left(self._sessions, day) - 1, 0)]
