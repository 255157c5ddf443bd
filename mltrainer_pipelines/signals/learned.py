"""What a refresh takes from learning: the weights of the trials, and the correction of a champion's probabilities.

Both are those that had been learnt before the session that is decided, so that a session can be relived. As for the
correction, the log-odds of a forecast become ``intercept + slope × log-odds`` (Cox 1958, Two further applications of a model for
binary regression, Biometrika 45): the intercept takes out a promise that is too high everywhere, the slope one that is
too bold or too timid at the ends. The order of the signals stays as it is.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.models.log_odds import expit, logit
from mltrainer_pipelines.signals.scoring import Scorer
from mltrainer_pipelines.store.tables import ModelWeightHistory
from mltrainer_pipelines.store.tables import Recalibration as RecalibrationRow
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble

_EDGE = 1e-6


@dataclass(frozen=True)
class Recalibration:
    """A correction of log-odds by an intercept and a slope above 0; the identity where nothing was learnt."""

    intercept: float = 0.0
    slope: float = 1.0

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise ValueError(f"a recalibration's slope is above 0, not {self.slope}: it may not turn the order round")

    def apply(self, probability: np.ndarray) -> np.ndarray:
        """Corrected probabilities; 0 and 1 stay what they are."""
        if self == Recalibration():
            return probability
        corrected = expit(self.intercept + self.slope * logit(probability, _EDGE))
        return np.where((probability <= 0.0) | (probability >= 1.0), probability, corrected)

    def before(self, probability: float) -> float:
        """The uncorrected probability that is corrected to this one."""
        if self == Recalibration() or not 0.0 < probability < 1.0:
            return probability
        odds = (np.log(probability / (1.0 - probability)) - self.intercept) / self.slope
        return float(expit(odds))


@dataclass(frozen=True)
class Recalibrated:
    """An ensemble whose probabilities are corrected, its members' votes and its interval too."""

    scorer: Scorer
    recalibration: Recalibration

    def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame:
        """As `ChampionEnsemble.predict`, and `uncorrected_probability`."""
        forecast = self.scorer.predict(features, self.recalibration.before(threshold))
        names = ("profit_probability", "probability_low", "probability_high")
        corrected = forecast.with_columns(
            pl.Series(name, self.recalibration.apply(forecast[name].cast(pl.Float64).to_numpy())).fill_nan(None) for name in names
        )
        width = pl.col("probability_high") - pl.col("probability_low")
        return corrected.with_columns(
            confidence=pl.col("agreement") * (1.0 - width), uncorrected_probability=forecast["profit_probability"]
        )


def recalibration_before(engine: Engine, session: date, timeframe: str, trial_id: str) -> Recalibration:
    """The newest correction of a champion that was learnt before a session; the identity without one."""
    row = RecalibrationRow
    newest = (
        sa.select(row.intercept, row.slope)
        .where(row.as_of < session, row.timeframe == timeframe, row.trial_id == trial_id)
        .order_by(row.as_of.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        newest_row = connection.execute(newest).first()
    return Recalibration(*newest_row) if newest_row else Recalibration()


def weighted(engine: Engine, ensemble: ChampionEnsemble, session: date) -> ChampionEnsemble:
    """The ensemble with the weights that had been learnt before a session; as it was fitted, where nothing was."""
    learnt = weights_before(engine, session, ensemble.timeframe)
    weights = {trial_id: weight for trial_id, weight in learnt.items() if trial_id in ensemble.weights}
    return ensemble.reweighted(weights) if len(weights) == len(ensemble.weights) else ensemble


def weights_before(engine: Engine, session: date, timeframe: str) -> dict[str, float]:
    """The weights of the trials as learnt before a session; empty before anything was.

    Weights that rest on no resolved forecast are left out: equal shares are what is done without learning.
    """
    row = ModelWeightHistory
    newest = sa.select(sa.func.max(row.as_of)).where(row.as_of < session, row.timeframe == timeframe).scalar_subquery()
    statement = sa.select(row.trial_id, row.weight).where(row.as_of == newest, row.timeframe == timeframe, row.observations > 0)
    with engine.connect() as connection:
        return dict(connection.execute(statement).tuples().all())
