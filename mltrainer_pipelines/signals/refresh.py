"""One refresh: from delayed quotes and the lake's history to a signal for every symbol and timeframe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import polars as pl

from mltrainer_pipelines.features.barriers import Barriers, daily_volatility
from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.market.quotes import provisional_bars
from mltrainer_pipelines.market.sessions import next_session, sessions_between
from mltrainer_pipelines.signals.learned import Recalibrated, Recalibration
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.signals.scoring import Champion, UnusableInputError, closing_prices, delayed_prices, score_market
from mltrainer_pipelines.signals.trust import Trust, trust
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.promotion import Grade
from mltrainer_pipelines.trials.tracking import ChampionVersion

FORECAST_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "symbol": pl.String(),
    "timeframe": pl.String(),
    "trial_id": pl.String(),
    "probability": pl.Float64(),
}
REGIME_VALID_SESSIONS = 3
"""A regime score older than this many sessions says nothing about now: the gate then stays closed."""


_LAST_SEEN_SESSIONS = 5
"""Sessions within which a symbol's last close is looked for: what has not traded for longer is not compared."""


class HistoryBehindError(LookupError):
    """Sessions are missing between the lake's bars and now: names them and what to materialize."""


@dataclass(frozen=True)
class Refresh:
    """What one refresh found.

    Parameters
    ----------
    signals : DataFrame
        As `signals.scoring.score_market`: a row for every member of the universe and timeframe.
    forecasts : DataFrame
        `FORECAST_SCHEMA`: what each trial of the ensembles says alone, calibrated and uncorrected.
    trust : Trust
        Which prices were not trusted.
    """

    signals: pl.DataFrame
    forecasts: pl.DataFrame
    trust: Trust


def refreshed_signals(
    lake: Lake,
    quotes: pl.DataFrame,
    champions: Mapping[str, tuple[ChampionEnsemble, ChampionVersion]],
    thresholds: Thresholds,
    moment: datetime,
) -> pl.DataFrame:
    """The signals of `refresh_market`."""
    return refresh_market(lake, quotes, champions, thresholds, moment).signals


def refresh_market(
    lake: Lake,
    quotes: pl.DataFrame,
    champions: Mapping[str, tuple[ChampionEnsemble, ChampionVersion]],
    thresholds: Thresholds,
    moment: datetime,
    recalibrations: Mapping[str, Recalibration] | None = None,
    final: bool | None = None,
) -> Refresh:
    """Score the market as it is known at `moment`.

    The decision's session is that of the quotes. While it is under way its bar is the provisional one they make; once
    its final bars are in the lake those are used. A session of which nothing is known yet leaves the decision with the
    session before.

    Prices are looked at before anything is made of them (`signals.trust`): a symbol whose price is not trusted has no bar
    and no forecast, and where too much of the market is missing nothing is recommended.

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
    recalibrations : mapping of timeframe to Recalibration, optional
    final : bool, optional
        Whether the session's final bars are known; by default whether the lake has them. A replay says it: the lake
        knows more today than it did then.

    Raises
    ------
    UnusableInputError
        If there is no quote at all.
    HistoryBehindError
        If a session between the lake's last bars and the decision is missing.
    MissingPartitionError
        If the universe of the decision's month, or another table, was never materialized.
    """
    if quotes.is_empty():
        raise UnusableInputError("the snapshot holds no quote; is the exchange up, and is its clock ours?")
    session = quotes["date"][0]
    final = lake.exists("daily_bars", str(session)) if final is None else final
    if not final and quotes["open"].null_count() == quotes.height:
        session, final = _last_session_before(lake, session), True
        decided_on_quotes = True
    else:
        decided_on_quotes = not final
    _require_history(lake, session, final=final)

    members = lake.read("universe", str(session.replace(day=1)))
    actions = lake.read("corporate_actions")
    depth = max(look_back(ensemble.champion.feature_set) for ensemble, _ in champions.values())
    told = lake.read("daily_bars", str(session)) if final else quotes
    trusted = trust(told, _last_bars(lake, session, members["symbol"]), actions, members["symbol"])
    believed = members.filter(~pl.col("symbol").is_in(trusted.doubts["symbol"].implode()))
    provisional = None if final else provisional_bars(quotes.filter(pl.col("symbol").is_in(believed["symbol"].implode())))
    bars = adjusted_history(lake, session, session, look_back=depth, symbols=believed["symbol"], provisional=provisional)
    bars = bars.filter(pl.col("date") <= session)
    known = known_macro(lake.read("macro_series"), bars["date"].unique().sort().to_list())
    volatility = daily_volatility(bars).filter(pl.col("date") == session).select("symbol", "volatility")
    prices = delayed_prices(quotes) if decided_on_quotes else closing_prices(bars.filter(pl.col("date") == session))
    regime = _regime(lake, session)
    rows: dict[str, pl.DataFrame] = {}
    parts, forecasts = [], []
    for timeframe, (ensemble, version) in champions.items():
        feature_set = ensemble.champion.feature_set
        if feature_set not in rows:
            rows[feature_set] = compute_features(bars, believed, known, session, session, feature_set)
        forecasts.append(_forecasts(timeframe, ensemble, rows[feature_set]))
        scorer = Recalibrated(ensemble, (recalibrations or {}).get(timeframe, Recalibration()))
        parts.append(
            score_market(
                rows[feature_set],
                {timeframe: (scorer, _champion(ensemble, version))},
                prices,
                volatility,
                regime,
                thresholds,
                moment,
                members,
                trusted.doubts,
                trusted.market_doubt,
                {timeframe: ensemble},
            )
        )
    return Refresh(pl.concat(parts), pl.concat(forecasts), trusted)


def _forecasts(timeframe: str, ensemble: ChampionEnsemble, rows: pl.DataFrame) -> pl.DataFrame:
    """What each trial says alone: the ensemble of its own fits."""
    found = []
    for trial_id in ensemble.weights:
        own = [member for member in ensemble.members if member.trial_id == trial_id]
        alone = replace(ensemble, members=tuple(replace(member, weight=1.0 / len(own)) for member in own))
        told = alone.predict(rows).select("date", "symbol", probability="profit_probability")
        found.append(told.with_columns(timeframe=pl.lit(timeframe), trial_id=pl.lit(trial_id)))
    return pl.concat(found).select(pl.col(name).cast(kind) for name, kind in FORECAST_SCHEMA.items())


def with_refresh(stored: pl.DataFrame | None, refreshed: pl.DataFrame, moment_column: str) -> pl.DataFrame:
    """A session's file with one refresh added; a refresh of the same moment takes the place of the one before."""
    if stored is None:
        return refreshed
    kept = stored.filter(~pl.col(moment_column).is_in(refreshed[moment_column].unique().implode()))
    # Diagonal: a file of an earlier version may lack a column.
    return pl.concat([kept, refreshed], how="diagonal_relaxed").sort(moment_column, maintain_order=True)


def newest_refresh(stored: pl.DataFrame, moment_column: str) -> pl.DataFrame:
    """The rows of a session's last refresh."""
    return stored.filter(pl.col(moment_column) == pl.col(moment_column).max())


def _champion(ensemble: ChampionEnsemble, version: ChampionVersion) -> Champion:
    label = ensemble.champion.label
    barriers = Barriers(label.target, label.stop)
    standing: Grade = "proven" if version.grade == "proven" else "candidate"
    return Champion(version.trial_id, ensemble.champion.model, version.version, standing, barriers)


def _last_bars(lake: Lake, session: date, symbols: pl.Series) -> pl.DataFrame:
    """The newest final bar of each symbol within the week of sessions before one."""
    before = [str(day) for day in sessions_in_lake(lake, date.min, session - timedelta(days=1))[-_LAST_SEEN_SESSIONS:]]
    if not before:
        return pl.DataFrame(schema={"date": pl.Date, "symbol": pl.String, "close": pl.Float64})
    bars = lake.scan("daily_bars", before).filter(pl.col("symbol").is_in(symbols.implode())).select("date", "symbol", "close")
    return bars.collect().sort("date").group_by("symbol", maintain_order=True).last().select("date", "symbol", "close")


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
