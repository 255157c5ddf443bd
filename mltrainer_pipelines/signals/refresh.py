"""One refresh: from delayed quotes and the lake's history to a signal for every symbol and timeframe."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

import polars as pl

from mltrainer_pipelines.features.barriers import Barriers, daily_volatility
from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.market.quotes import provisional_bars
from mltrainer_pipelines.market.sessions import next_session, sessions_between
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.signals.scoring import Champion, closing_prices, delayed_prices, score_market
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.promotion import Grade
from mltrainer_pipelines.trials.tracking import ChampionVersion

REGIME_VALID_SESSIONS = 3
"""A regime score older than this many sessions says nothing about now: the gate then stays closed."""


class HistoryBehindError(LookupError):
    """Sessions are missing between the lake's bars and now: names them and what to materialize."""


def refreshed_signals(
    lake: Lake,
    quotes: pl.DataFrame,
    champions: Mapping[str, tuple[ChampionEnsemble, ChampionVersion]],
    thresholds: Thresholds,
    moment: datetime,
) -> pl.DataFrame:
    """Score the market as it is known at `moment`.

    The decision's session is that of the quotes. While it is under way its bar is the provisional one they make; once
    its final bars are in the lake those are used. A session of which nothing is known yet leaves the decision with the
    session before.

    Parameters
    ----------
    lake : Lake
        daily_bars up to the session before at least, corporate_actions, macro_series, universe of the month, regime.
    quotes : DataFrame
        As `market.quotes.delayed_quotes` gives them.
    champions : mapping
        Timeframe to its ensemble and version.
    thresholds : Thresholds
    moment : datetime
        Aware; stamped on every signal.

    Returns
    -------
    DataFrame
        As `signals.scoring.score_market`.

    Raises
    ------
    HistoryBehindError
        If a session between the lake's last bars and the decision is missing.
    MissingPartitionError
        If the universe of the decision's month, or another table, was never materialized.
    """
    session = quotes["date"][0]
    final = lake.exists("daily_bars", str(session))
    provisional = None if final else provisional_bars(quotes)
    if provisional is not None and provisional.is_empty():
        session, provisional = _last_session_before(lake, session), None
    _require_history(lake, session, final=provisional is None)

    members = lake.read("universe", str(session.replace(day=1)))
    depth = max(look_back(ensemble.champion.feature_set) for ensemble, _ in champions.values())
    bars = adjusted_history(lake, session, session, look_back=depth, symbols=members["symbol"], provisional=provisional)
    known = known_macro(lake.read("macro_series"), bars["date"].unique().sort().to_list())
    volatility = daily_volatility(bars).filter(pl.col("date") == session).select("symbol", "volatility")
    prices = closing_prices(bars.filter(pl.col("date") == session)) if final else delayed_prices(quotes)
    regime = _regime(lake, session)
    parts = []
    for timeframe, (ensemble, version) in champions.items():
        rows = compute_features(bars, members, known, session, session, ensemble.champion.feature_set)
        scored = {timeframe: (ensemble, _champion(ensemble, version))}
        parts.append(score_market(rows, scored, prices, volatility, regime, thresholds, moment))
    return pl.concat(parts)


def with_refresh(stored: pl.DataFrame | None, refreshed: pl.DataFrame, moment_column: str) -> pl.DataFrame:
    """A session's file with one refresh added; a refresh of the same moment takes the place of the one before."""
    if stored is None:
        return refreshed
    kept = stored.filter(~pl.col(moment_column).is_in(refreshed[moment_column].unique().implode()))
    return pl.concat([kept, refreshed]).sort(moment_column, maintain_order=True)


def newest_refresh(stored: pl.DataFrame, moment_column: str) -> pl.DataFrame:
    """The rows of a session's last refresh."""
    return stored.filter(pl.col(moment_column) == pl.col(moment_column).max())


def _champion(ensemble: ChampionEnsemble, version: ChampionVersion) -> Champion:
    label = ensemble.champion.label
    barriers = Barriers(label.target, label.stop)
    standing: Grade = "proven" if version.grade == "proven" else "candidate"
    return Champion(version.trial_id, ensemble.champion.model, version.version, standing, barriers)


def _last_session_before(lake: Lake, session: date) -> date:
    return sessions_in_lake(lake, date.min, session - timedelta(days=1))[-1]


def _require_history(lake: Lake, session: date, final: bool) -> None:
    present = sessions_in_lake(lake, date.min, session)
    if not present:
        raise HistoryBehindError(f"the lake has no daily_bars up to {session}; materialize daily_bars first")
    missing = sessions_between(next_session(present[-1]), session if final else session - timedelta(days=1))
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise HistoryBehindError(
            f"daily_bars end with {present[-1]}, but {shown} traded since; materialize daily_bars for them first"
        )


def _regime(lake: Lake, session: date) -> float | None:
    """The newest score known at the decision, or None where it is too old to mean anything."""
    known = lake.read("regime").filter((pl.col("date") <= session) & pl.col("score").is_not_null())
    if known.is_empty() or next_session(known["date"][-1], REGIME_VALID_SESSIONS) < session:
        return None
    return known["score"][-1]
