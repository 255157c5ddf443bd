"""The champion as it scores the market: its latest refits and the other weighted trials, each calibrated on its own past."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.ranks import session_percentiles
from mltrainer_pipelines.features.registry import feature_sets, get_feature_set
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.features.versions import FeatureVersionError, version_of
from mltrainer_pipelines.models.spec import ProbabilityEstimator
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.scoring.calibration import Calibrator
from mltrainer_pipelines.trials.scoring.series import Floats
from mltrainer_pipelines.trials.validation.calibrated_quarters import regime_scores_of
from mltrainer_pipelines.trials.validation.table import model_matrix, row_groups
from mltrainer_pipelines.trials.validation.walk_forward import BadPredictionsError


class MissingFeaturesError(ValueError):
    """Features that an ensemble was trained on are not in the table it shall score: names them."""


class MissingHistoryError(ValueError):
    """A member reads a symbol's past, and the features hold one session only: says how many sessions it reads."""


@dataclass(frozen=True, eq=False)
class Member:
    """One vote of an ensemble: a fit of a trial's configuration, on decisions from `trained_from` to `trained_until`.

    Weights of an ensemble add up to 1. `feature_names` are the columns of its matrix, in order, and `normalise` what is done to
    them within a session. Its calibrator, learnt from the trial's own out-of-sample predictions, goes from its score's percentile
    within the session to probability and expected return.
    """

    trial_id: str
    model: str
    trained_from: date
    trained_until: date
    trained_rows: int
    weight: float
    feature_names: tuple[str, ...]
    normalise: str
    estimator: ProbabilityEstimator
    calibrator: Calibrator


@dataclass(frozen=True, eq=False)
class ChampionEnsemble:
    """Scores a market for one timeframe; picklable, and free of anything but numbers.

    Every outcome it learnt from was known at the close of session `as_of`. `champion` is the winner's configuration; the other
    members only vote on its probabilities. `history` is date, symbol, `feature_names` of the sessions before the ones to score,
    as `with_history` adds it; the registry has none. `set_columns` is every column of its feature set when it was fitted;
    champions from before feature sets had versions have none.
    """

    timeframe: str
    as_of: date
    champion: TrialConfig
    members: tuple[Member, ...]
    history: pl.DataFrame | None = None
    set_columns: tuple[str, ...] | None = None

    @property
    def feature_set(self) -> str | FeatureSet:
        """What to compute for it to score: its feature set by name or, where columns were added since, without them.

        FeatureVersionError if the values of its own columns would be others than those it learnt from.
        """
        name, version = self.champion.feature_set, self.champion.feature_set_version
        if name not in feature_sets():
            raise FeatureVersionError(
                f"the {self.timeframe} champion {self.champion.trial_id} reads the feature set {name!r}, which is no more; "
                "put its file back, or materialize champion_model to choose and train another one"
            )
        if version_of(name) == version:
            return name
        columns = self.set_columns or self.feature_names
        if set(columns) <= set(get_feature_set(name).names) and version_of(own := get_feature_set(name).only(columns)) == version:
            return own
        raise FeatureVersionError(
            f"the {self.timeframe} champion {self.champion.trial_id} learnt from version {version} of the feature set {name!r}, "
            f"which is now version {version_of(name)}, and its own columns have other values in it: put their formulas back, or "
            "materialize champion_model to choose and train another one"
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Every feature that some member needs, in a fixed order."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.feature_names))

    @property
    def look_back(self) -> int:
        """Sessions before the one to score that some member reads: give their features too."""
        return max(member.estimator.look_back for member in self.members)

    @property
    def reads_sectors(self) -> bool:
        """Whether some member asks for the column `sector`."""
        return any(member.estimator.sectors for member in self.members)

    def with_history(self, history: pl.DataFrame | None) -> "ChampionEnsemble":
        """The same ensemble for one refresh: with the sessions before, which members with a look-back read."""
        return replace(self, history=history)

    @property
    def weights(self) -> dict[str, float]:
        """Share of each trial, its refits taken together."""
        shares: dict[str, float] = {}
        for member in self.members:
            shares[member.trial_id] = shares.get(member.trial_id, 0.0) + member.weight
        return shares

    def reweighted(self, weights: Mapping[str, float]) -> "ChampionEnsemble":
        """The same members with other shares: `weights` by trial, spread over a trial's refits as they are now.

        Trials that are not named keep their share, and all are scaled to add up to 1. ValueError for a negative weight, or if
        nothing is left above zero.
        """
        now = self.weights
        wanted = {trial_id: float(weights.get(trial_id, share)) for trial_id, share in now.items()}
        factors = {trial_id: wanted[trial_id] / share if share else 0.0 for trial_id, share in now.items()}
        members = [replace(member, weight=member.weight * factors[member.trial_id]) for member in self.members]
        return replace(self, members=scaled(members))

    def predict(self, features: pl.DataFrame, threshold: float = 0.6) -> pl.DataFrame:
        """Score rows of the market.

        Features are date, symbol and at least `feature_names`, null where unknown, as known at the decision. Give the whole
        universe of a session: members compare its symbols with each other. With `regime_score` (0 to 100, as known at the
        decision) intervals are those of that regime; without it, or where it is null, those of all regimes together. `threshold`
        is the probability that a member has to give for its vote to count as agreement.

        Returns, in the order given, date, symbol, profit_probability, probability_low, probability_high, expected_net_return
        (the members' weighted means), agreement (weighted share of members whose own calibrated probability is at least the
        threshold) and confidence (agreement times one minus the width of the interval).

        MissingFeaturesError if a feature is not there; MissingHistoryError if a member looks back, the features hold one session
        only and there is no history; BadPredictionsError if a member gives NaN.
        """
        missing = [name for name in ("date", "symbol", *self.feature_names) if name not in features.columns]
        if missing:
            raise MissingFeaturesError(
                f"the features lack {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}; the {self.timeframe} champion "
                f"was trained on the feature set {self.champion.feature_set!r}: compute that one, or train a champion anew"
            )
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}; give a probability from 0 to 1")
        probability, low, high, expected, agreement = np.zeros((5, features.height))
        days, regime = features["date"].to_physical().to_numpy(), regime_scores_of(features)
        matrices: dict[tuple[tuple[str, ...], str], np.ndarray] = {}
        for member in self.members:
            given = member.feature_names, member.normalise
            if given not in matrices:
                matrices[given] = model_matrix(features, *given)
            scores = member_scores(member, matrices[given], features, self.history)
            if np.isnan(scores).any():
                raise BadPredictionsError(
                    f"{member.trial_id} gives NaN for {int(np.isnan(scores).sum())} of {len(scores)} rows on "
                    f"{features['date'][0]}; materialize champion_model again, without this trial"
                )
            calibrated = member.calibrator.apply(session_percentiles(scores, days), regime)
            probability += member.weight * calibrated.probability
            low += member.weight * calibrated.low
            high += member.weight * calibrated.high
            expected += member.weight * calibrated.expected_net_return
            agreement += member.weight * (calibrated.probability >= threshold)
        agreement = np.clip(agreement, 0.0, 1.0)  # weights add up to 1 but for rounding
        return with_forecast(features, probability, low, high, expected, agreement)


def with_forecast(
    features: pl.DataFrame, probability: Floats, low: Floats, high: Floats, expected: Floats, agreement: Floats
) -> pl.DataFrame:
    """Date and symbol of the rows with their forecast, as `ChampionEnsemble.predict` returns it."""
    return features.select("date", "symbol").with_columns(
        profit_probability=probability,
        probability_low=low,
        probability_high=high,
        expected_net_return=expected,
        agreement=agreement,
        confidence=agreement * (1.0 - (high - low)),
    )


def member_scores(member: Member, X: np.ndarray, features: pl.DataFrame, history: pl.DataFrame | None) -> np.ndarray:
    """A member's own probabilities for the rows of its matrix, (rows,); after the history that it reads."""
    if not features.height:
        return np.empty(0)
    rows, groups, n_context = member_rows(member, X, features, history)
    return member.estimator.predict_proba(rows, groups, n_context)[:, 1]


def member_rows(
    member: Member, X: np.ndarray, features: pl.DataFrame, history: pl.DataFrame | None
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """What a member is given to score: its rows after those of the past that it reads, whose they are, and how many are past."""
    look_back = member.estimator.look_back
    if not member.estimator.needs_groups:
        return X, None, 0
    if not look_back or history is None or history.is_empty():
        if look_back and features["date"].n_unique() == 1:
            raise MissingHistoryError(
                f"{member.trial_id} reads the {look_back} sessions before the one to score, and the features hold only "
                f"{features['date'][0]}; give those of the sessions before too"
            )
        return X, row_groups(features), 0
    # a session's rows are normalised by themselves, so that the past is what it was when it was scored
    X = np.vstack([model_matrix(history, member.feature_names, member.normalise), X])
    keys = [name for name in ("date", "symbol", "sector") if name in features.columns]
    groups = row_groups(
        pl.concat([history.select(name for name in keys if name in history.columns), features.select(keys)], how="diagonal")
    )
    return X, groups, history.height


def scaled(members: Sequence[Member]) -> tuple[Member, ...]:
    """The members with weights that add up to 1; ValueError for a negative weight, or if none is above zero."""
    negative = [member.trial_id for member in members if not member.weight >= 0]
    total = sum(member.weight for member in members)
    if negative or total <= 0:
        raise ValueError(f"weights of {', '.join(negative) or 'all trials'} are not above 0; give positive weights")
    return tuple(replace(member, weight=member.weight / total) for member in members)
