"""The champion's ensemble, fitted: its latest refits and the trials that vote beside it, each calibrated on its own past."""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.quarters import quarter_of
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble, Member, scaled
from mltrainer_pipelines.trials.validation.calibrated_quarters import (
    LOOKBACK_SESSIONS,
    fit_calibrator_for,
    fit_level,
    with_outcomes,
)
from mltrainer_pipelines.trials.validation.quarters import FittedModel
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines.trials.validation.windows import as_of_window

CHAMPION_REFITS = 3
"""How many fits of the winner vote: the one on all known rows, and those of the quarters before."""


def fit_ensemble(
    configs: Sequence[tuple[TrialConfig, float]],
    features: pl.DataFrame,
    labels: pl.DataFrame,
    predictions: Mapping[str, pl.DataFrame],
    as_of: date,
    sessions: Sequence[date] | None = None,
    universe: pl.DataFrame | None = None,
    refits: int = CHAMPION_REFITS,
    threads: int = 1,
    regime: pl.DataFrame | None = None,
) -> ChampionEnsemble:
    """Refit the winner and the trials that vote beside it on everything known at the close of a session.

    Of `configs` the winner is first; all are of one timeframe and feature set, with relative weights; a trial of weight 0 is
    left out. Features, labels, sessions and universe are as for `WalkForward`; the labels are those of the winner's barriers:
    every member is fitted and calibrated on what a position of the winner earns. `predictions` are date, symbol, score by trial:
    out-of-sample predictions, from which its calibrator is learnt. Of the winner there are `refits` fits: one on all known rows,
    the others as of the starts of this quarter and of those before it. They share its weight evenly; where the history is too
    short for one, there are fewer. With `regime` (date, score from 0 to 100, as known at the session's close) intervals are
    fitted for each regime apart.

    ValueError if the configurations do not belong together or one has no predictions; TooFewRowsError or
    TooFewCalibrationRowsError if too few outcomes are known.
    """
    if not configs or configs[0][1] <= 0:
        raise ValueError("give at least the winner's configuration, with a weight above 0")
    champion = configs[0][0]
    for config, _ in configs:
        if any(getattr(config, name) != getattr(champion, name) for name in ("timeframe", "feature_set", "feature_set_version")):
            raise ValueError(
                f"{config.trial_id} ({config.timeframe}, {config.feature_set}) cannot vote beside {champion.trial_id} "
                f"({champion.timeframe}, {champion.feature_set}): give trials of one timeframe, feature set and version of it"
            )
        if config.trial_id not in predictions:
            raise ValueError(f"no out-of-sample predictions of {config.trial_id}; materialize trial_predictions of it first")
    if sessions is None:
        from mltrainer_pipelines.market.sessions import sessions_between

        sessions = sessions_between(min([as_of, *features["date"].unique()]), as_of)
    sessions = [session for session in sessions if session <= as_of]

    members = []
    for config, weight in configs:
        if weight == 0:
            continue
        table = WalkForward(config, features, labels, sessions, universe, threads=threads)
        outcomes = labels.filter(pl.col("timeframe") == config.timeframe) if "timeframe" in labels.columns else labels
        history = with_outcomes(predictions[config.trial_id].filter(pl.col("date") <= as_of), outcomes, regime)
        window = as_of_window(as_of, sessions, LOOKBACK_SESSIONS)
        calibrator = fit_calibrator_for(history, window, fit_level(outcomes, window))
        fits = [table.fit_as_of(as_of)]
        if config is champion:
            fits += _earlier_fits(table, as_of, refits - 1)
        members += [
            Member(
                trial_id=config.trial_id,
                model=config.model,
                trained_from=fit.trained_from,
                trained_until=fit.trained_until,
                trained_rows=fit.trained_rows,
                weight=weight / len(fits),
                feature_names=fit.feature_names,
                normalise=config.normalise,
                estimator=fit.estimator,
                calibrator=calibrator,
            )
            for fit in fits
        ]
    return ChampionEnsemble(
        timeframe=champion.timeframe,
        as_of=as_of,
        champion=champion,
        members=scaled(members),
        set_columns=tuple(get_feature_set(champion.feature_set).names),
    )


def _earlier_fits(table: WalkForward, as_of: date, count: int) -> list[FittedModel]:
    """Fits as of the starts of the last quarters that the history suffices for, the newest first."""
    usable = [quarter for quarter in table.quarters() if quarter[0] <= quarter_of(as_of)[0]]
    return [table.fit(table.window(*quarter)) for quarter in reversed(usable[-count:] if count > 0 else [])]
