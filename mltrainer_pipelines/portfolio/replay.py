"""A past period decided again: every session with what was known then, bought and settled as it was.

Nothing is written. Of the lake it takes what a refresh of that day took; of PostgreSQL the weights, corrections,
thresholds and champions as they stood before each session. Where the delayed quotes of a session were kept, each of its
refreshes is repeated; otherwise the session is decided once, at its close.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import DELAYED_QUOTES
from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.labels.barriers import daily_volatility
from mltrainer_pipelines.features.panel import PRICES, dense
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.market.backlog import closures
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.listings import company_bars, listings_of
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.market.quotes import DELAY
from mltrainer_pipelines.market.sessions import previous_session, session_hours, sessions_between
from mltrainer_pipelines.portfolio.account import PaperAccount
from mltrainer_pipelines.portfolio.positions import planned
from mltrainer_pipelines.portfolio.valuation import walked
from mltrainer_pipelines.signals.inputs import LAST_SEEN_SESSIONS, LakeInputs, MarketSnapshot, newest_closes
from mltrainer_pipelines.signals.learned import Recalibration
from mltrainer_pipelines.signals.recommendations import stored_levels
from mltrainer_pipelines.signals.refresh import Ensemble, refresh_market
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion

Scorers = Mapping[str, tuple[Ensemble, ChampionVersion]]


class NothingToReplayError(LookupError):
    """A period in which nothing can be decided: says what is missing."""


@dataclass(frozen=True)
class DecisionState:
    """What was known at the moment of a decision, besides prices; `champions` is empty before the first."""

    champions: Scorers
    recalibrations: Mapping[str, Recalibration]
    thresholds: Thresholds


@dataclass(frozen=True)
class Replay:
    """What a period would have brought.

    `recommendations` have the columns of signals, in the order they were made; `positions` are theirs, as
    `virtual_positions` has them at the close of the last session. `undecided` sessions had no champion yet.
    """

    recommendations: list[dict[str, Any]]
    positions: list[dict[str, Any]]
    sessions: int
    refreshes: int
    undecided: list[date]


def replay(
    lake: Lake,
    first: date,
    last: date,
    state_at: Callable[[datetime, date], DecisionState],
    cost_bps: float,
    account: PaperAccount | None = None,
    on_session: Callable[[date], None] = lambda _: None,
) -> Replay:
    """Decide the sessions from `first` to `last`, both included.

    Parameters
    ----------
    state_at : callable
        From a moment and the session decided on to what was known besides prices.
    cost_bps : float
        As for `positions.open_positions`.
    on_session : callable
        Called before each session.

    Raises
    ------
    NothingToReplayError
        If the lake has no session in the period, or there was no champion in any of it.
    """
    account = account or PaperAccount()
    sessions = sessions_in_lake(lake, first, last)
    if not sessions:
        raise NothingToReplayError(f"the lake has no daily_bars from {first} to {last}; materialize them, or replay other dates")
    missing = sorted(set(sessions_between(sessions[0], sessions[-1])) - set(sessions) - closures(lake))
    if missing:
        raise NothingToReplayError(f"daily_bars of {missing[0]} are missing in the lake; materialize them first")
    inputs = PreparedInputs(lake, sessions[0], sessions[-1])
    kept_quotes = set(lake.partitions("delayed_quotes"))
    made: dict[tuple[str, str, date], dict[str, Any]] = {}
    undecided, refreshes = [], 0
    for session in sessions:
        on_session(session)
        decided = False
        for moment, quotes, final in _moments(lake, session, str(session) in kept_quotes):
            state = state_at(moment, session)
            if not state.champions:
                continue
            decided, refreshes = True, refreshes + 1
            refresh = refresh_market(
                inputs, quotes, state.champions, state.thresholds, moment, state.recalibrations, final, explain=False
            )
            for signal in refresh.signals.filter(pl.col("strong_buy")).iter_rows(named=True):
                made.setdefault((signal["symbol"], signal["timeframe"], signal["date"]), signal)
        if not decided:
            undecided.append(session)
    if len(undecided) == len(sessions):
        raise NothingToReplayError(
            f"no champion was registered from {sessions[0]} to {sessions[-1]}; replay a later period, or promote one first"
        )
    recommendations, listings = list(made.values()), listings_of(lake)
    positions = _positions_at(lake, recommendations, sessions[-1], cost_bps, account)
    return Replay(
        [row | {"symbol": listings.symbol(row["symbol"], row["date"])} for row in recommendations],
        [row | {"symbol": listings.symbol(row["symbol"], row["decided_session"])} for row in positions],
        len(sessions),
        refreshes,
        undecided,
    )


class PreparedInputs(LakeInputs):
    """The inputs of many sessions at once: features and volatilities of the whole period are computed together.

    A feature's value at t is the same whether the data end at t or later, so that a session's rows are those its own
    refresh computed. Where a price of the session is excluded, or its bar was provisional, they are computed for it alone.
    """

    def __init__(self, lake: Lake, first: date, last: date):
        super().__init__(lake)
        self.first, self.last = first, last
        self._tables: dict[str, pl.DataFrame] = {}
        months = [key for key in lake.partitions("universe") if str(first.replace(day=1)) <= key <= str(last)]
        self._universe = lake.scan("universe", months or [str(first.replace(day=1))]).collect()
        self._symbols = self._universe["symbol"].unique()
        self._features: dict[str | FeatureSet, dict[date, pl.DataFrame]] = {}
        self._volatility: dict[date, pl.DataFrame] = {}
        days = sessions_in_lake(lake, previous_session(first, LAST_SEEN_SESSIONS), last)
        self._bars = self._by_date(company_bars(lake, days, self._symbols))

    def table(self, name: str) -> pl.DataFrame:
        if name not in self._tables:
            self._tables[name] = super().table(name)
        return self._tables[name]

    def has_final_bars(self, session: date) -> bool:
        return session in self._bars

    def final_bars(self, session: date) -> pl.DataFrame:
        return self._bars[session]

    def members(self, session: date) -> pl.DataFrame:
        members = self._universe.filter(pl.col("month") == session.replace(day=1))
        return members if members.height else super().members(session)

    def last_closes(self, session: date, symbols: pl.Series) -> pl.DataFrame:
        before = [self._bars[day] for day in sorted(self._bars) if day < session][-LAST_SEEN_SESSIONS:]
        if not before:
            return super().last_closes(session, symbols)
        bars = pl.concat(before).filter(pl.col("symbol").is_in(symbols.implode()))
        return newest_closes(bars.select("date", "symbol", "close"))

    def market_snapshot(
        self,
        session: date,
        members: pl.DataFrame,
        excluded: pl.Series,
        feature_sets: Mapping[str | FeatureSet, int],
        provisional: pl.DataFrame | None,
    ) -> MarketSnapshot:
        if provisional is not None or len(excluded) or session < self.first or any(feature_sets.values()):
            return super().market_snapshot(session, members, excluded, feature_sets, provisional)
        new = [name for name in feature_sets if name not in self._features]
        if new:
            self._prepare(new)
        closes = self._bars[session].filter(pl.col("symbol").is_in(members["symbol"].implode())).select("symbol", "close")
        return MarketSnapshot({name: self._features[name][session] for name in feature_sets}, self._volatility[session], closes)

    def _prepare(self, feature_sets: list[str | FeatureSet]) -> None:
        depth = max(look_back(name) for name in feature_sets)
        bars = adjusted_history(self.lake, self.first, self.last, look_back=depth, symbols=self._symbols)
        macro = known_macro(self.table("macro_series"), bars["date"].unique().sort().to_list())
        for name in feature_sets:
            self._features[name] = self._by_date(
                compute_features(bars, self._universe, macro, self.first, self.last, name, regime=self.table("regime"))
            )
        volatility = daily_volatility(bars).filter(pl.col("date") >= self.first)
        self._volatility = {day: rows.drop("date") for day, rows in self._by_date(volatility).items()}

    @staticmethod
    def _by_date(rows: pl.DataFrame) -> dict[date, pl.DataFrame]:
        return {key[0]: part for key, part in rows.partition_by("date", as_dict=True, maintain_order=True).items()}


def _moments(lake: Lake, session: date, quoted: bool) -> Sequence[tuple[datetime, pl.DataFrame, bool]]:
    """When the session was decided, on which quotes, and whether its final bars were known."""
    closes = session_hours(session)[1]
    if quoted:
        quotes = listings_of(lake).companies(lake.read("delayed_quotes", str(session)))
        parts = quotes.partition_by("as_of", maintain_order=True)
        # Until the last price of the session is 15 minutes old its bar is provisional; a later refresh had the final one.
        return [(part["as_of"][0], part, part["as_of"][0] > closes + DELAY) for part in parts]
    bars = company_bars(lake, [session])
    closing_quotes = bars.select(
        "date", "symbol", "open", "high", "low", "close", "volume", "vwap",
        as_of=pl.lit(closes), previous_close=pl.lit(None), updated_at=pl.lit(closes), stale=pl.lit(value=False),
    )  # fmt: skip
    return [(closes, DELAYED_QUOTES.cast(closing_quotes), True)]


def _positions_at(
    lake: Lake, recommendations: Sequence[Mapping[str, object]], last: date, cost_bps: float, account: PaperAccount
) -> list[dict[str, Any]]:
    """The positions of all recommendations at the close of `last`."""
    plans = [planned({**signal, **stored_levels(signal)}, cost_bps, account) for signal in recommendations]
    plans = [{**dict.fromkeys(_NOT_YET), **plan} for plan in plans]
    due = [number for number, plan in enumerate(plans) if plan["entry_session"] <= last]
    if due:
        first = min(plans[number]["entry_session"] for number in due)
        symbols = pl.Series(sorted({plans[number]["symbol"] for number in due}))
        bars = adjusted_history(lake, first, last, look_back=1, symbols=symbols).filter(pl.col("date") >= first)
        settled = walked([plans[number] for number in due], dense(bars, [*PRICES, "factor"], set(symbols)))
        for number, row in zip(due, settled, strict=True):
            plans[number] = row
    return plans


_NOT_YET = ("marked_session", "exit_session", "exit_time", "exit_price", "exit_reason", "net_return")
