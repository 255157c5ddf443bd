"""What a refresh reads: the lake as it is, at the moment it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.labels.barriers import daily_volatility
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.market.backlog import closures
from mltrainer_pipelines.market.corporate_actions import suspected
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.listings import company_bars, listings_of
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.market.sessions import next_session, previous_session, sessions_between
from mltrainer_pipelines.store.lake import Lake

REGIME_VALID_SESSIONS = 3
"""A regime score older than this many sessions says nothing about now: the gate then stays closed."""
LAST_SEEN_SESSIONS = 5
"""Sessions within which a symbol's last close is looked for: what has not traded for longer is not compared."""


class HistoryBehindError(LookupError):
    """Sessions are missing between the lake's bars and now: names them and what to materialize."""


@dataclass(frozen=True)
class MarketSnapshot:
    """The market of a decision's session, without the bars of symbols whose quotes failed a check.

    `features` are the session's by feature set, `history` those of the sessions before that were asked for; `volatility`
    (symbol, volatility) is as known at the decision, `closes` (symbol, close) are unadjusted and may be provisional.
    """

    features: Mapping[str | FeatureSet, pl.DataFrame]
    volatility: pl.DataFrame
    closes: pl.DataFrame
    history: Mapping[str | FeatureSet, pl.DataFrame] = field(default_factory=dict)


class LakeInputs:
    """Reads what one refresh needs; nothing is kept between refreshes. `symbol` is the company's id in all of it."""

    def __init__(self, lake: Lake):
        self.lake = lake

    def table(self, name: str) -> pl.DataFrame:
        """A table without partitions."""
        return self.lake.read(name)

    def has_final_bars(self, session: date) -> bool:
        return self.lake.exists("daily_bars", str(session))

    def final_bars(self, session: date) -> pl.DataFrame:
        """Unadjusted bars of a session."""
        return company_bars(self.lake, [session])

    def members(self, session: date) -> pl.DataFrame:
        """The universe of a session's month."""
        return self.lake.read("universe", str(session.replace(day=1)))

    def universe(self, first: date, last: date) -> pl.DataFrame:
        """The universe of every month from `first` to `last` that the lake knows."""
        months = [key for key in self.lake.partitions("universe") if str(first.replace(day=1)) <= key <= str(last)]
        return self.lake.scan("universe", months).collect()

    def actions(self) -> pl.DataFrame:
        return listings_of(self.lake).companies(self.table("corporate_actions"), "ex_date")

    def suspected_splits(self, session: date) -> pl.DataFrame:
        """Symbols set aside at a session for a step that looks like a split which nobody lists: `symbol`, `failure`."""
        step = pl.format("its step of {} on {} looks like a split that nobody lists", pl.col("ratio").round(3), "ex_date")
        return suspected(self.lake).filter(pl.col("ex_date") <= session).select("symbol", failure=step).unique("symbol")

    def last_session_before(self, session: date) -> date:
        return sessions_in_lake(self.lake, date.min, session - timedelta(days=1))[-1]

    def last_closes(self, session: date, symbols: pl.Series) -> pl.DataFrame:
        """date, symbol, close of each symbol's newest final bar within the week of sessions before one."""
        before = sessions_in_lake(self.lake, date.min, session - timedelta(days=1))[-LAST_SEEN_SESSIONS:]
        if not before:
            return pl.DataFrame(schema={"date": pl.Date, "symbol": pl.String, "close": pl.Float64})
        return newest_closes(company_bars(self.lake, before, symbols))

    def regime(self, session: date) -> float | None:
        """The newest score known at the decision, or None where it is too old to mean anything."""
        return newest_score(self.table("regime"), session)

    def market_snapshot(
        self,
        session: date,
        members: pl.DataFrame,
        excluded: pl.Series,
        feature_sets: Mapping[str | FeatureSet, int],
        provisional: pl.DataFrame | None,
    ) -> MarketSnapshot:
        """Features, volatility and closes of a session.

        `feature_sets` says how many sessions before this one a model reads of each: 0 where it reads the session's rows
        alone; the past is that of each month's own universe, as the trials had it. The session's bars of `excluded` symbols
        are left out, their past is used. `provisional` are the bars of a session under way; None where the lake has final ones.
        """
        back = max(feature_sets.values())
        first = previous_session(session, back) if back else session
        universe = self.universe(first, session) if back else members
        symbols = universe["symbol"].unique() if back else members["symbol"]
        depth = max(look_back(name) for name in feature_sets)
        # Of a session under way the lake holds nothing; in a replay it does, and that is not to be looked at.
        newest = session if provisional is None else previous_session(session)
        bars = adjusted_history(
            self.lake,
            min(first, newest),
            newest,
            look_back=depth if provisional is None or back else depth - 1,
            symbols=symbols,
            provisional=provisional,
        )
        bars = bars.filter((pl.col("date") < session) | ~pl.col("symbol").is_in(excluded.implode()))
        macro = known_macro(self.table("macro_series"), bars["date"].unique().sort().to_list())
        regime = forward_fill(self.table("regime"), session)
        features, history = {}, {}
        for name, before in feature_sets.items():
            begin = previous_session(session, before) if before else session
            rows = compute_features(bars, universe, macro, begin, session, name, regime=regime)
            features[name] = rows.filter(pl.col("date") == session)
            if before:
                history[name] = rows.filter(pl.col("date") < session)
        here = pl.col("symbol").is_in(members["symbol"].implode()) & (pl.col("date") == session)
        volatility = daily_volatility(bars).filter(here).select("symbol", "volatility")
        return MarketSnapshot(features, volatility, bars.filter(here).select("symbol", "close"), history)

    def require_history(self, session: date, final: bool) -> None:
        """Refuse to decide on a history with a hole at its end."""
        present = sessions_in_lake(self.lake, date.min, session)
        if not present:
            raise HistoryBehindError(f"the lake has no daily_bars up to {session}; materialize daily_bars first")
        until, closed = session if final else session - timedelta(days=1), closures(self.lake)
        missing = [day for day in sessions_between(next_session(present[-1]), until) if day not in closed]
        if missing:
            listing = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise HistoryBehindError(
                f"daily_bars end with {present[-1]}, but {listing} traded since; materialize daily_bars for them first"
            )


def forward_fill(regime: pl.DataFrame, session: date) -> pl.DataFrame:
    """Regime scores with the newest one carried to a session that has none of its own yet, if it still says anything."""
    past = regime.filter(pl.col("date") <= session)
    if past.is_empty() or past["date"][-1] == session or next_session(past["date"][-1], REGIME_VALID_SESSIONS) < session:
        return past
    return pl.concat([past, past.tail(1).with_columns(date=pl.lit(session))])


def newest_closes(bars: pl.DataFrame) -> pl.DataFrame:
    """The last row of each symbol."""
    return bars.sort("date").group_by("symbol", maintain_order=True).last().select("date", "symbol", "close")


def newest_score(regime: pl.DataFrame, session: date) -> float | None:
    """The newest regime score up to a session, or None where it is older than `REGIME_VALID_SESSIONS`."""
    scored = regime.filter((pl.col("date") <= session) & pl.col("score").is_not_null())
    if scored.is_empty() or next_session(scored["date"][-1], REGIME_VALID_SESSIONS) < session:
        return None
    return float(scored["score"][-1])
