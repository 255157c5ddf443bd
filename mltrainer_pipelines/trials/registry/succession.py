"""The champion of a timeframe: which trial, which others vote beside it, and their refit on all that is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
from sqlalchemy.engine import Engine

from mltrainer_pipelines.features.versions import is_current
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.registry import ledger, records
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.ensemble_fit import fit_ensemble
from mltrainer_pipelines.trials.registry.leaderboard import deflated
from mltrainer_pipelines.trials.registry.promotion import Decision, choose_champion
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard
from mltrainer_pipelines.trials.validation import lake_tables
from mltrainer_pipelines.trials.validation.stored_quarters import predicted_quarters

MOST_VOTERS = 4
"""Trials of an ensemble, the champion included."""


@dataclass(frozen=True)
class Succession:
    """Who is champion from now on: the challenger where it was promoted, else the incumbent; by which comparison.

    The champion's scorecard is deflated by every trial. The weights are its own and those of the trials that vote beside it,
    relative. They are empty where the champion's feature set has changed since it was submitted: it stays as it was fitted.
    """

    champion: str
    decision: Decision
    scorecard: Scorecard
    weights: Mapping[str, float]


def deflated_scorecards(engine: Engine) -> list[Scorecard]:
    """Scorecards of all trials, each deflated by every trial ever run."""
    return deflated(records.scorecards(engine), ledger.luck(engine))


def decide_succession(engine: Engine, timeframe: str, scorecards: Sequence[Scorecard]) -> Succession:
    """Compare the trials of a timeframe, by `deflated_scorecards`, with its champion.

    Trials that somebody rolled back from, and trials whose feature set has changed, do not challenge.
    """
    versions = records.feature_set_versions(engine)
    current = {card.trial_id for card in scorecards if is_current(card.feature_set, versions[card.trial_id])}
    incumbent = records.champion_of(engine, timeframe)
    eligible = (current | {incumbent}) - records.withdrawn(engine, timeframe)
    rivals = {card.trial_id: card for card in scorecards if card.timeframe == timeframe and card.trial_id in eligible}
    decision = choose_champion(list(rivals.values()), incumbent)
    champion = incumbent if incumbent and decision.decision == "refused" else decision.trial_id
    weights: dict[str, float] = {}
    if champion in current:
        weights = voters([card for card in rivals.values() if card.trial_id in current], champion)
    return Succession(champion, decision, rivals[champion], weights)


def voters(scorecards: Sequence[Scorecard], champion: str, most: int = MOST_VOTERS) -> dict[str, float]:
    """The champion and the next best trials of its feature set, each with a weight; the champion's is half of all."""
    feature_set = next(card.feature_set for card in scorecards if card.trial_id == champion)
    others = sorted(
        (card.deflated_sharpe_z, card.trial_id)
        for card in scorecards
        if card.trial_id != champion and card.feature_set == feature_set and card.deflated_sharpe_z is not None
    )[::-1][: most - 1]
    return {champion: 1.0, **{trial_id: 1.0 / len(others) for _, trial_id in others}}


def refit(
    engine: Engine, lake: Lake, succession: Succession, as_of: date, cost_bps: float
) -> tuple[ChampionEnsemble, pl.DataFrame, pl.DataFrame]:
    """Fit the champion and its voters on everything known at the close of a session: the ensemble, its features and labels.

    `as_of` is the last closed session, `cost_bps` the cost of one side of a trade. TooFewRowsError or TooFewCalibrationRowsError
    if too few outcomes are known.
    """
    configs = [(records.config_of(engine, trial_id), weight) for trial_id, weight in succession.weights.items()]
    features, labels = lake_tables.training_tables(lake, configs[0][0], as_of + timedelta(days=1), as_of, cost_bps)
    predictions = {trial_id: predicted_quarters(lake, trial_id) for trial_id in succession.weights}
    universe, regime = lake_tables.universe(lake), lake_tables.regime(lake)
    ensemble = fit_ensemble(configs, features, labels, predictions, as_of, universe=universe, regime=regime)
    return ensemble, features, labels
