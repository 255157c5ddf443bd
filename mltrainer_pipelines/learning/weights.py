r"""Weights of the models in the ensemble of a timeframe: exponential weighting by their Brier score.

Each model is an expert, each session on which forecasts matured a round, the loss of a round the mean squared error of
the expert's probabilities (0 to 1). After n rounds with cumulative losses L_i the weights are

.. math:: w_i \propto \exp(-\eta L_i)

and start equal. For N experts, any sequence of outcomes and the ensemble's forecast Σ w_i p_i, the ensemble's
cumulative loss exceeds that of the best expert in hindsight by at most

- ``ln N / η`` for η ≤ 1/2: the squared loss on [0, 1] is 1/2-exp-concave (Cesa-Bianchi & Lugosi 2006, Prediction,
  Learning, and Games, prop. 3.1 and sec. 3.3). With the default η = 1/2: ``2 ln N``, however long it goes on;
- ``ln N / η + η n / 8`` for any η, since losses are bounded (ibid. th. 2.2; the Hedge of Freund & Schapire 1997,
  J. Comput. Syst. Sci. 55:119-139).

The bounds hold for the weights known in each round. A forecast matures 12 or 70 sessions after it was made, so that the
weights used are that much older. With a delay of d rounds, d + 1 interleaved copies would keep d + 1 times the bound
(Joulani, György & Szepesvári 2013, ICML, th. 1); the one copy kept here learns from every round, and the bounds above
are its own only over what has matured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.tables import LeaderboardRow, ModelWeight, Outcome

LEARNING_RATE = 0.5
MATURED_COLUMNS = ("timeframe", "trial_id", "date", "probability", "label")


@dataclass(frozen=True)
class Weight:
    """A model's weight among those of its timeframe; they sum to 1.

    `observations` is how many matured forecasts it rests on, 0 where all weights are still equal because there is
    nothing to learn from; `brier` is then None.
    """

    timeframe: str
    trial_id: str
    weight: float
    observations: int
    brier: float | None


def exponential_weights(losses: np.ndarray, learning_rate: float = LEARNING_RATE) -> np.ndarray:
    """Weights after all rounds.

    Parameters
    ----------
    losses : ndarray, shape (n_rounds, n_experts)
        In [0, 1]. No rounds: equal weights.
    learning_rate : float
        η, above 0.

    Returns
    -------
    ndarray, shape (n_experts,)
        Positive, summing to 1.

    Raises
    ------
    ValueError
        If a loss is unknown or outside of [0, 1], or there are no experts.
    """
    if losses.ndim != 2 or losses.shape[1] == 0:
        raise ValueError(f"losses must be (rounds, experts) with at least one expert, not of shape {losses.shape}")
    if not ((losses >= 0) & (losses <= 1)).all():
        raise ValueError("losses must be known and between 0 and 1, as squared errors of probabilities are")
    if not learning_rate > 0:
        raise ValueError(f"the learning rate must be above 0, not {learning_rate}")
    total = losses.sum(axis=0)
    weights = np.exp(-learning_rate * (total - total.min()))
    return weights / weights.sum()


def regret_bound(rounds: int, experts: int, learning_rate: float = LEARNING_RATE) -> float:
    """Most by which the ensemble's cumulative squared loss can exceed the best expert's after `rounds` rounds."""
    bounded = math.log(experts) / learning_rate + learning_rate * rounds / 8
    return math.log(experts) / learning_rate if learning_rate <= 0.5 else bounded


def update_weights(
    engine: Engine,
    matured: pl.DataFrame,
    experts: Mapping[str, Sequence[str]] | None = None,
    learning_rate: float = LEARNING_RATE,
) -> list[Weight]:
    """Weigh the models of each timeframe by their matured forecasts, and record it, replacing what was there.

    Weights are computed from the whole record each time: running it twice changes nothing.

    Parameters
    ----------
    engine : Engine
    matured : DataFrame
        timeframe, trial_id, date (session on which the outcome was known), probability (calibrated), label (0 or 1):
        out-of-sample forecasts of matured labels. A model is compared with the others only over the sessions on which
        all of a timeframe's experts have forecasts: a model must not gain by having sat out a bad time. Rows with an
        unknown probability or label are left out. May be empty.
    experts : mapping of timeframe to trial ids, optional
        By default the trials on the leaderboard.
    learning_rate : float

    Returns
    -------
    list of Weight
        Sorted by timeframe, heaviest first. Equal, with 0 observations, where the experts have no session in common.

    Raises
    ------
    ValueError
        If a column is missing, or a probability lies outside of [0, 1].
    """
    absent = [name for name in MATURED_COLUMNS if name not in matured.columns]
    if absent:
        raise ValueError(f"matured forecasts lack the columns {', '.join(absent)}; they need {', '.join(MATURED_COLUMNS)}")
    known = matured.select(MATURED_COLUMNS).drop_nulls()
    if not known.is_empty() and not known["probability"].is_between(0, 1).all():
        raise ValueError("matured forecasts hold a probability outside of [0, 1]; give calibrated probabilities")
    experts = experts if experts is not None else _on_the_leaderboard(engine)
    weights = [weight for timeframe in sorted(experts) for weight in _weigh(timeframe, experts[timeframe], known, learning_rate)]
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE model_weights IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(sa.delete(ModelWeight).where(ModelWeight.timeframe.in_(list(experts))))
        if weights:
            connection.execute(insert(ModelWeight), [vars(weight) for weight in weights])
    return weights


def matured_outcomes(engine: Engine) -> pl.DataFrame:
    """What the recorded outcomes say about the models that recommended them, in the columns of `update_weights`.

    Only the models that were champion at the time appear: what the others would have said is known from the
    walk-forward's predictions alone.
    """
    statement = sa.select(
        Outcome.timeframe,
        Outcome.trial_id,
        Outcome.closed_session.label("date"),
        Outcome.predicted_probability.label("probability"),
        sa.cast(Outcome.profitable, sa.Integer).label("label"),
    ).where(Outcome.trial_id.is_not(None))
    with engine.connect() as connection:
        rows = connection.execute(statement.order_by(Outcome.position_id)).all()
    schema = {"timeframe": pl.String, "trial_id": pl.String, "date": pl.Date, "probability": pl.Float64, "label": pl.Int8}
    return pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")


def _on_the_leaderboard(engine: Engine) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with engine.connect() as connection:
        for timeframe, trial_id in connection.execute(sa.select(LeaderboardRow.timeframe, LeaderboardRow.trial_id)):
            found.setdefault(timeframe, []).append(trial_id)
    return found


def _weigh(timeframe: str, experts: Sequence[str], known: pl.DataFrame, learning_rate: float) -> list[Weight]:
    names = sorted(set(experts))
    if not names:
        return []
    rows = known.filter((pl.col("timeframe") == timeframe) & pl.col("trial_id").is_in(names))
    daily = rows.group_by("date", "trial_id").agg(
        loss=((pl.col("probability") - pl.col("label")) ** 2).mean(), forecasts=pl.len().cast(pl.Int64)
    )
    common = daily.filter(pl.len().over("date") == len(names)).sort("date", "trial_id")
    losses = common["loss"].to_numpy().reshape(-1, len(names))
    weights = exponential_weights(losses, learning_rate)
    if not len(losses):
        return [Weight(timeframe, name, float(weights[i]), 0, None) for i, name in enumerate(names)]
    counts = dict(common.group_by("trial_id").agg(pl.col("forecasts").sum()).iter_rows())
    found = [Weight(timeframe, name, float(weights[i]), counts[name], float(losses[:, i].mean())) for i, name in enumerate(names)]
    return sorted(found, key=lambda weight: (-weight.weight, weight.trial_id))
