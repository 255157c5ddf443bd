"""One refresh: from delayed quotes and the lake's history to a signal for every symbol and timeframe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import MEMBER_FORECASTS
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.market.quotes import provisional_bars
from mltrainer_pipelines.signals.inputs import LakeInputs
from mltrainer_pipelines.signals.learned import Recalibrated, Recalibration
from mltrainer_pipelines.signals.quote_checks import QuoteChecks, check_quotes
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.signals.scoring import Champion, UnusableInputError, closing_prices, delayed_prices, score_market
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion
from mltrainer_pipelines.trials.registry.promotion import Grade
from mltrainer_pipelines.trials.validation.table import with_sectors


class Ensemble(Protocol):
    """What a refresh asks of an ensemble: who leads it, and forecasts."""

    @property
    def champion(self) -> TrialConfig: ...

    def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame: ...


@dataclass(frozen=True)
class Refresh:
    """A signal for every member and timeframe (`SIGNALS`), what each trial of the ensembles says alone, calibrated and
    uncorrected (`MEMBER_FORECASTS`), and which prices were not trusted.
    """

    signals: pl.DataFrame
    forecasts: pl.DataFrame
    quote_checks: QuoteChecks


def refresh_market(
    inputs: LakeInputs,
    quotes: pl.DataFrame,
    champions: Mapping[str, tuple[Ensemble, ChampionVersion]],
    thresholds: Thresholds,
    moment: datetime,
    recalibrations: Mapping[str, Recalibration] | None = None,
    final: bool | None = None,
    explain: bool = True,
) -> Refresh:
    """Score the market as it is known at `moment`.

    The decision's session is that of the quotes. While it is under way its bar is the provisional one they make; once
    its final bars are in the lake those are used. A session of which nothing is known yet leaves the decision with the
    session before.

    Prices are looked at before anything is made of them (`check_quotes`): a symbol whose price is not trusted has no bar
    and no forecast, and where too much of the market is missing nothing is recommended.

    Parameters
    ----------
    inputs : LakeInputs
        daily_bars up to the session before at least, corporate_actions, macro_series, universe of the month, regime.
    quotes : DataFrame
        As `market.quotes.delayed_quotes` gives them.
    champions : mapping
        Timeframe to its ensemble and version.
    moment : datetime
        Aware; stamped on every signal.
    final : bool, optional
        Whether the session's final bars are known; by default whether the lake has them. A replay says it: the lake
        knows more today than it did then.
    explain : bool
        Whether signals are given their reasons, and the members' own forecasts are told.

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
    final = inputs.has_final_bars(session) if final is None else final
    on_quotes = not final
    if on_quotes and quotes["open"].null_count() == quotes.height:
        session, final = inputs.last_session_before(session), True
    inputs.require_history(session, final)

    members, actions = inputs.members(session), inputs.actions()
    prices_of_session = inputs.final_bars(session) if final else quotes
    checks = check_quotes(prices_of_session, inputs.last_closes(session, members["symbol"]), actions, members["symbol"])
    checks = checks.also(inputs.suspected_splits(session).filter(pl.col("symbol").is_in(members["symbol"].implode())))
    excluded = checks.failures["symbol"]
    usable = pl.col("symbol").is_in(members["symbol"].implode()) & ~pl.col("symbol").is_in(excluded.implode())
    provisional = None if final else provisional_bars(quotes.filter(usable))
    snapshot = inputs.market_snapshot(session, members, excluded, _feature_sets(champions), provisional)
    prices = delayed_prices(quotes) if on_quotes else closing_prices(snapshot.closes)
    regime = inputs.regime(session)
    signals, forecasts = [], [MEMBER_FORECASTS.empty()]
    for timeframe, (ensemble, version) in champions.items():
        wanted = _feature_set(ensemble)
        rows = snapshot.features[wanted]
        if isinstance(ensemble, ChampionEnsemble):
            ensemble = ensemble.with_history(snapshot.history.get(wanted))
            rows = with_sectors(rows, members) if ensemble.reads_sectors else rows
        explained = ensemble if explain and isinstance(ensemble, ChampionEnsemble) else None
        if explained:
            forecasts.append(_forecasts(timeframe, explained, rows))
        scorer = Recalibrated(ensemble, (recalibrations or {}).get(timeframe, Recalibration()))
        signals.append(
            score_market(
                rows,
                {timeframe: (scorer, _champion(ensemble, version))},
                prices,
                snapshot.volatility,
                regime,
                thresholds,
                moment,
                members,
                checks.failures,
                checks.market_failure,
                {timeframe: explained} if explained else None,
            )
        )
    return Refresh(pl.concat(signals), pl.concat(forecasts), checks)


def _feature_set(ensemble: Ensemble) -> str | FeatureSet:
    return ensemble.feature_set if isinstance(ensemble, ChampionEnsemble) else ensemble.champion.feature_set


def _feature_sets(champions: Mapping[str, tuple[Ensemble, ChampionVersion]]) -> dict[str | FeatureSet, int]:
    """The feature sets that the champions read, and the most sessions before the decision that one of them reads of each."""
    depths: dict[str | FeatureSet, int] = {}
    for ensemble, _ in champions.values():
        name, back = _feature_set(ensemble), ensemble.look_back if isinstance(ensemble, ChampionEnsemble) else 0
        depths[name] = max(back, depths.get(name, 0))
    return depths


def _forecasts(timeframe: str, ensemble: ChampionEnsemble, rows: pl.DataFrame) -> pl.DataFrame:
    """What each trial says alone: the ensemble of its own fits."""
    forecasts = []
    for trial_id in ensemble.weights:
        own = [member for member in ensemble.members if member.trial_id == trial_id]
        alone = replace(ensemble, members=tuple(replace(member, weight=1.0 / len(own)) for member in own))
        forecast = alone.predict(rows).select("date", "symbol", probability="profit_probability")
        forecasts.append(forecast.with_columns(timeframe=pl.lit(timeframe), trial_id=pl.lit(trial_id)))
    return MEMBER_FORECASTS.cast(pl.concat(forecasts))


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


def _champion(ensemble: Ensemble, version: ChampionVersion) -> Champion:
    label = ensemble.champion.label
    barriers = Barriers(label.target, label.stop)
    grade: Grade = "proven" if version.grade == "proven" else "candidate"
    return Champion(version.trial_id, ensemble.champion.model, version.version, grade, barriers)
