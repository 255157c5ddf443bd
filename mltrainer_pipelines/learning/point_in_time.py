"""What was known at a session in the past, for replaying it: champions, weights, corrections, thresholds.

From the first promotion on, the versions that were registered then recommend, with the weights and corrections learnt
before the session. For sessions before it there is a stand-in that knew as little: the trials' out-of-sample predictions,
each from a model fitted before its quarter and calibrated on the quarters before, weighted by the outcomes known before
the session. It still has one advantage that nobody had: that these trials were run at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.learning.resolved import resolved_forecasts
from mltrainer_pipelines.learning.weights import leaderboard_trials, session_losses, weight_path
from mltrainer_pipelines.portfolio.replay import DecisionState
from mltrainer_pipelines.signals.champions import Champions
from mltrainer_pipelines.signals.learned import recalibration_before, weighted
from mltrainer_pipelines.signals.recommendations import STAND_IN
from mltrainer_pipelines.signals.thresholds import thresholds_at
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import Promotion
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.ensemble import with_forecast
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion
from mltrainer_pipelines.trials.validation import lake_tables
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward


@dataclass(frozen=True, eq=False)
class WalkForwardEnsemble:
    """The trials' out-of-sample predictions of one session, as an ensemble that scores it.

    The champion is the heaviest trial; weights and forecasts (date, symbol, probability, probability_low, probability_high,
    expected_net_return of the session) are by trial id.
    """

    champion: TrialConfig
    weights: Mapping[str, float]
    forecasts: Mapping[str, pl.DataFrame]

    def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame:
        """As `ChampionEnsemble.predict`; symbols that no trial predicted have no forecast."""
        names = ("probability", "probability_low", "probability_high", "expected_net_return")
        sums = np.zeros((len(names), features.height))
        agreement, total = np.zeros(features.height), np.zeros(features.height)
        for trial_id, weight in self.weights.items():
            keys = features.select("date", "symbol")
            rows = keys.join(self.forecasts[trial_id], on=["date", "symbol"], how="left", maintain_order="left")
            values = rows.select(names).cast(pl.Float64).fill_null(float("nan")).to_numpy().T
            predicted = ~np.isnan(values).any(axis=0)
            sums[:, predicted] += weight * values[:, predicted]
            agreement[predicted] += weight * (values[0, predicted] >= threshold)
            total[predicted] += weight
        share = np.where(total > 0, total, np.nan)
        probability, low, high, expected = sums / share
        agreement = agreement / share
        scored = with_forecast(features, probability, low, high, expected, agreement)
        return scored.with_columns(pl.selectors.float().fill_nan(None))


class PointInTime:
    """The state of knowledge at a moment in the past; nothing that came to be known later is in it.

    `defaults` are of the thresholds, as for `thresholds_at`; `labels` has date, symbol, timeframe, exit_date, barrier, net_return
    and label. `running` are predictions of the quarter that has not ended, by trial: the lake has none of it. Where the clock is
    pinned, changes of thresholds were recorded by another clock than the market's: today's thresholds are taken.
    """

    def __init__(
        self,
        lake: Lake,
        engine: Engine,
        champions: Champions,
        defaults: Mapping[str, float],
        labels: pl.DataFrame,
        first: date,
        last: date,
        clock_is_pinned: bool = False,
        running: Mapping[str, pl.DataFrame] = MappingProxyType({}),
    ):
        self.engine, self.champions, self.defaults, self.clock_is_pinned = engine, champions, defaults, clock_is_pinned
        self._loaded: dict[tuple[str, str], Any] = {}
        columns = sa.select(Promotion.timeframe, Promotion.decided_at, Promotion.model_version)
        with engine.connect() as connection:
            self._promotions: Sequence[Any] = connection.execute(
                columns.where(Promotion.model_version.is_not(None)).order_by(Promotion.id)
            ).all()
        self._stand_ins = {
            timeframe: _StandIn(lake, engine, timeframe, sorted(trial_ids), labels, first, last, running)
            for timeframe, trial_ids in leaderboard_trials(engine).items()
        }

    def __call__(self, moment: datetime, session: date) -> DecisionState:
        """What was known at `moment`, when `session` was decided on."""
        champions: dict[str, Any] = {}
        corrections = {}
        for timeframe, stand_in in self._stand_ins.items():
            versions = [p.model_version for p in self._promotions if p.timeframe == timeframe and p.decided_at <= moment]
            if versions:
                ensemble, version = self._version(timeframe, versions[-1])
                champions[timeframe] = weighted(self.engine, ensemble, session), version
                corrections[timeframe] = recalibration_before(self.engine, session, timeframe, version.trial_id)
            elif (ensemble := stand_in.at(session)) is not None:
                trial_id = ensemble.champion.trial_id
                version = ChampionVersion(f"mltrainer-{timeframe}", STAND_IN, trial_id, "candidate", "", {}, moment)
                champions[timeframe] = ensemble, version
        moment_of_thresholds = None if self.clock_is_pinned else moment
        return DecisionState(champions, corrections, thresholds_at(self.engine, self.defaults, moment=moment_of_thresholds))

    def _version(self, timeframe: str, version: str) -> Any:
        if (timeframe, version) not in self._loaded:
            self._loaded[timeframe, version] = self.champions.load(timeframe, version)
        return self._loaded[timeframe, version]


class _StandIn:
    """The trials of a timeframe over a period, and their weights before each session of it."""

    def __init__(
        self,
        lake: Lake,
        engine: Engine,
        timeframe: str,
        trial_ids: Sequence[str],
        labels: pl.DataFrame,
        first: date,
        last: date,
        running: Mapping[str, pl.DataFrame],
    ):
        own = labels.filter(pl.col("timeframe") == timeframe)
        self.configs, self.forecasts = {}, {}
        for trial_id in trial_ids:
            keys = [key for key in lake.partitions("trial_predictions") if key.startswith(f"{trial_id}/")]
            if not keys:
                continue
            predictions = lake.scan("trial_predictions", keys).collect()
            if trial_id in running:
                predictions = pl.concat([predictions, running[trial_id].select(predictions.columns)])
            calibrated = calibrate_walk_forward(predictions, own, regime=lake_tables.regime(lake)).drop_nulls("probability")
            within = calibrated.filter(pl.col("date").is_between(first, last)).drop("score")
            parts = within.partition_by("date", as_dict=True, maintain_order=True)
            self.forecasts[trial_id] = {key[0]: part for key, part in parts.items()}
            self.configs[trial_id] = records.config_of(engine, trial_id)
        self.names = sorted(self.forecasts)
        resolved = resolved_forecasts(lake, {timeframe: self.names}, labels, last) if self.names else None
        self.sessions: list[date] = []
        self.path = None
        if resolved is not None and resolved.height:
            self.sessions, losses = session_losses(resolved, self.names)
            self.path = weight_path(losses)

    def at(self, session: date) -> WalkForwardEnsemble | None:
        """The ensemble of a session; None where no trial predicted it."""
        present = [name for name in self.names if session in self.forecasts[name]]
        if not present:
            return None
        # By the outcomes of sessions before this one.
        rounds = int(np.searchsorted(np.array(self.sessions, dtype="datetime64[D]"), np.datetime64(session)))
        if self.path is None or rounds == 0:
            weights = np.full(len(self.names), 1.0 / len(self.names))
        else:
            weights = self.path.before[rounds] if rounds < len(self.sessions) else self.path.last
        chosen = {name: weights[self.names.index(name)] for name in present}
        total = sum(chosen.values())
        shares = {name: float(weight / total) for name, weight in chosen.items()}
        leader = max(shares, key=lambda name: (shares[name], name))
        return WalkForwardEnsemble(self.configs[leader], shares, {name: self.forecasts[name][session] for name in present})
