r"""Weights of the models in the ensemble of a timeframe: exponential weighting by their Brier score, with a fixed share.

Each model is an expert, each session on which forecasts were resolved a round, the loss of a round the mean squared error of
the expert's probabilities (0 to 1). Weights start equal. A round of losses l multiplies each by exp(−η l); then every
expert gets a share α/N back, so that a model that was poor for years can lead again within weeks once the market is its
own (Herbster & Warmuth 1998, Tracking the best expert, Machine Learning 32). The rate is set by what models differ by,
η = c / (largest difference of losses in a round so far), since Brier scores of two models differ by hundredths and a
rate made for differences of 1 would take years.

**Bounded regret.** Let S_t be the range of the losses in round t and η_t the rate in it, which never rises. For any
sequence of outcomes, and any sequence of experts that changes m times in n rounds, the ensemble's cumulative loss
exceeds that of the sequence by at most

.. math:: \frac{1}{\eta_n}\left[\ln N + m \ln\frac{N}{\alpha} + (n-1-m)\ln\frac{1}{1-\alpha}\right]
          + \sum_t \frac{\eta_t S_t^2}{8}

(Cesa-Bianchi, Gaillard, Lugosi & Stoltz 2012, Mirror descent meets fixed share (and feels no regret), NIPS, for rates
that change; the squared error of the weighted forecast is at most the weighted squared error.) m = 0 is the best model
in hindsight. `regret_bound` computes it; the tests hold it against adversaries.

A model without a forecast in a round is given the loss of the others' weighted mean (Freund, Schapire, Singer & Warmuth
1997, Using and combining predictors that specialize, STOC): it neither gains nor loses by having sat out a time.

The bound holds for the weights known in each round. A forecast is resolved 12 or 70 sessions after it was made, so that the
weights used are that much older: what is learnt is right, and late by the holding period.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.tables import LeaderboardRow, ModelWeight, ModelWeightHistory

LEARNING_RATE = 0.8
"""c: the log of the factor between the weights of the best and the worst model after a round as telling as any so far."""
SHARE = 1 / 120
"""α: share of the weights that is dealt out anew each session; a model is expected to lead for half a year."""
LEAST_RANGE = 0.005
"""Differences of Brier scores below this are not taken for more than they are."""
FORECAST_COLUMNS = ("timeframe", "trial_id", "date", "probability", "label")


@dataclass(frozen=True)
class Weight:
    """A model's weight among those of its timeframe; they sum to 1.

    `observations` is how many resolved forecasts it rests on, 0 where all weights are still equal because there is
    nothing to learn from; `brier` is then None.
    """

    timeframe: str
    trial_id: str
    weight: float
    observations: int
    brier: float | None


@dataclass(frozen=True)
class WeightPath:
    """Weights known before each round (n_rounds, n_experts), and after all of them (n_experts,), positive and summing to 1.

    `rates` are the rate η of each round (n_rounds,), `losses` those weighed (n_rounds, n_experts): an expert's that had no
    forecast is the weighted mean of the others'.
    """

    before: np.ndarray
    rates: np.ndarray
    last: np.ndarray
    losses: np.ndarray


def weight_path(losses: np.ndarray, learning_rate: float = LEARNING_RATE, share: float = SHARE) -> WeightPath:
    """Weights before each round, and after all of them; without rounds they are equal.

    `losses`, of shape (n_rounds, n_experts), are in [0, 1], NaN where an expert had no forecast. `learning_rate` is c, above 0,
    `share` α, from 0 (what is lost stays lost) to below 1. Raises `ValueError` if a loss is outside of [0, 1], a round has none,
    or there are no experts.
    """
    if losses.ndim != 2 or losses.shape[1] == 0:
        raise ValueError(f"losses must be (rounds, experts) with at least one expert, not of shape {losses.shape}")
    awake = ~np.isnan(losses)
    if not (((losses >= 0) & (losses <= 1)) | ~awake).all() or not awake.any(axis=1).all():
        raise ValueError("losses must be between 0 and 1, as squared errors of probabilities are, with one or more a round")
    if not learning_rate > 0:
        raise ValueError(f"the learning rate must be above 0, not {learning_rate}")
    if not 0 <= share < 1:
        raise ValueError(f"the share must be from 0 to below 1, not {share}")
    rounds, experts = losses.shape
    weights, rate = np.full(experts, 1.0 / experts), learning_rate / LEAST_RANGE
    before, rates, weighed = np.empty((rounds, experts)), np.empty(rounds), np.empty((rounds, experts))
    for t in range(rounds):
        before[t], rates[t] = weights, rate
        present = awake[t]
        mean = weights[present] @ losses[t, present] / weights[present].sum()
        weighed[t] = np.where(present, losses[t], mean)
        following = min(rate, learning_rate / max(LEAST_RANGE, float(np.ptp(weighed[t]))))
        # A rate that falls takes the weights of the rounds before back to what it would have made of them.
        updated = weights ** (following / rate) * np.exp(-following * (weighed[t] - weighed[t].min()))
        weights, rate = (1.0 - share) * updated / updated.sum() + share / experts, following
    return WeightPath(before, rates, weights, weighed)


def regret_bound(path: WeightPath, switches: int = 0, share: float = SHARE) -> float:
    """Most by which the ensemble's cumulative squared loss can exceed that of experts chosen in hindsight.

    `switches` is how often the choice in hindsight changes, 0 for the best model; `share` is as for `weight_path`.
    """
    rounds, experts = path.losses.shape
    if rounds == 0:
        return 0.0
    stays = (rounds - 1 - switches) * -math.log1p(-share)
    changes = switches * math.log(experts / share) if switches else 0.0
    spread = float((path.rates * np.ptp(path.losses, axis=1) ** 2).sum() / 8)
    return float((math.log(experts) + changes + stays) / path.rates[-1] + spread)


def update_weights(
    engine: Engine,
    forecasts: pl.DataFrame,
    experts: Mapping[str, Sequence[str]] | None = None,
    as_of: date | None = None,
    learning_rate: float = LEARNING_RATE,
) -> list[Weight]:
    """Weigh the models of each timeframe by their resolved forecasts, and record it, replacing what was there.

    Weights are computed from the whole record each time: running it twice changes nothing.

    `forecasts` has timeframe, trial_id, date (session on which the outcome was known), probability (calibrated) and label (0 or
    1): out-of-sample, resolved, perhaps none; rows with an unknown probability or label are left out. `experts` are the trial
    ids of each timeframe, by default those on the leaderboard. `as_of` is the session whose outcomes are the last ones known:
    the weights are also kept under it, and later outcomes left out.

    Weights come sorted by timeframe, heaviest first; equal, with 0 observations, where nothing is resolved. Raises `ValueError`
    if a column is missing, or a probability lies outside of [0, 1].
    """
    absent = [name for name in FORECAST_COLUMNS if name not in forecasts.columns]
    if absent:
        raise ValueError(f"forecasts lack the columns {', '.join(absent)}; they need {', '.join(FORECAST_COLUMNS)}")
    resolved = forecasts.select(FORECAST_COLUMNS).drop_nulls()
    if as_of is not None:
        resolved = resolved.filter(pl.col("date") <= as_of)
    if not resolved.is_empty() and not resolved["probability"].is_between(0, 1).all():
        raise ValueError("forecasts hold a probability outside of [0, 1]; give calibrated probabilities")
    experts = experts if experts is not None else leaderboard_trials(engine)
    weights = [
        weight for timeframe in sorted(experts) for weight in _weigh(timeframe, experts[timeframe], resolved, learning_rate)
    ]
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE model_weights IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(sa.delete(ModelWeight).where(ModelWeight.timeframe.in_(list(experts))))
        history = ModelWeightHistory
        if as_of is not None:
            connection.execute(sa.delete(history).where(history.as_of == as_of, history.timeframe.in_(list(experts))))
        if weights:
            connection.execute(insert(ModelWeight), [vars(weight) for weight in weights])
        if weights and as_of is not None:
            connection.execute(insert(history), [{"as_of": as_of, **vars(weight)} for weight in weights])
    return weights


def leaderboard_trials(engine: Engine) -> dict[str, list[str]]:
    """Trial ids of each timeframe's leaderboard."""
    trials: dict[str, list[str]] = {}
    with engine.connect() as connection:
        for timeframe, trial_id in connection.execute(sa.select(LeaderboardRow.timeframe, LeaderboardRow.trial_id)):
            trials.setdefault(timeframe, []).append(trial_id)
    return trials


def session_losses(forecasts: pl.DataFrame, experts: Sequence[str]) -> tuple[list[date], np.ndarray]:
    """Brier score of each expert on the forecasts resolved on each session: sessions, and (sessions, experts), NaN without.

    `forecasts` has trial_id, date, probability and label of one timeframe, no null.
    """
    daily = forecasts.group_by("date", "trial_id").agg(loss=((pl.col("probability") - pl.col("label")) ** 2).mean())
    wide = daily.filter(pl.col("trial_id").is_in(list(experts))).pivot("trial_id", index="date", values="loss").sort("date")
    if wide.is_empty():
        return [], np.empty((0, len(experts)))
    absent = [pl.lit(None, pl.Float64).alias(name) for name in experts if name not in wide.columns]
    return wide["date"].to_list(), wide.with_columns(absent).select(experts).fill_null(float("nan")).to_numpy()


def _weigh(timeframe: str, experts: Sequence[str], forecasts: pl.DataFrame, learning_rate: float) -> list[Weight]:
    names = sorted(set(experts))
    if not names:
        return []
    rows = forecasts.filter((pl.col("timeframe") == timeframe) & pl.col("trial_id").is_in(names))
    path = weight_path(session_losses(rows, names)[1], learning_rate)
    square = (pl.col("probability") - pl.col("label")) ** 2
    scores = {name: (count, brier) for name, count, brier in rows.group_by("trial_id").agg(pl.len(), square.mean()).iter_rows()}
    weights = [Weight(timeframe, name, float(path.last[i]), *scores.get(name, (0, None))) for i, name in enumerate(names)]
    return sorted(weights, key=lambda weight: (-weight.weight, weight.trial_id))
