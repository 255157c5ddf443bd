"""Curves of a trial, for drawing: what each quarter made of a dollar, and what came of each forecast probability."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import polars as pl

from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig

_calibrating = threading.Lock()


class NotInTheLakeError(LookupError):
    """A curve needs data that the lake does not hold: says which."""


@dataclass(frozen=True)
class EquityPoint:
    """A dollar at the end of a quarter: in the trial's book, in the equal-weight universe, in 12-1 momentum."""

    quarter: date
    equity: float
    universe: float
    momentum: float


@dataclass(frozen=True)
class CalibrationPoint:
    """A tenth of the forecasts: their mean probability, the share of them that came true, and how many they are."""

    probability: float
    observed: float
    rows: int


def equity_curve(quarters: Sequence[dict[str, Any]]) -> list[EquityPoint]:
    """Compounded net returns of a scorecard's quarters."""
    ours = universe = momentum = 1.0
    points = []
    for quarter in sorted(quarters, key=lambda found: str(found["quarter"])):
        ours *= 1 + quarter["net_return"]
        universe *= 1 + quarter["universe_net_return"]
        momentum *= 1 + quarter["momentum_net_return"]
        points.append(EquityPoint(date.fromisoformat(str(quarter["quarter"])), ours, universe, momentum))
    return points


def calibration_curve(lake: Lake, trial_id: str, config: TrialConfig) -> list[CalibrationPoint]:
    """Forecast against outcome, out of sample, over ten bins of equal mass; seconds the first time, then remembered.

    Raises
    ------
    NotInTheLakeError
        If nothing is predicted, or the trial has barriers of its own, whose labels are not kept.
    """
    if config.label != Barriers():
        raise NotInTheLakeError(f"{trial_id} has barriers of its own, and their labels are not kept; see its MLflow run")
    keys = tuple(key for key in lake.partitions("trial_predictions") if key.startswith(f"{trial_id}/"))
    if not keys:
        raise NotInTheLakeError(f"nothing is predicted for {trial_id} yet")
    with _calibrating:  # one after the other: each takes a processor and some hundred megabytes
        return list(_calibration(lake, config.timeframe, keys))


@lru_cache(maxsize=64)
def _calibration(lake: Lake, timeframe: str, keys: tuple[str, ...]) -> tuple[CalibrationPoint, ...]:
    from mltrainer_pipelines.trials.scoring import skill
    from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward

    labels = lake.scan("labels").filter(pl.col("timeframe") == timeframe).collect()
    calibrated = calibrate_walk_forward(lake.scan("trial_predictions", keys).collect(), labels)
    known = calibrated.join(labels.select("date", "symbol", "label"), on=["date", "symbol"]).drop_nulls(["probability", "label"])
    if known.is_empty():
        return ()
    curve = skill.reliability(known["probability"].to_numpy(), known["label"].cast(pl.Float64).to_numpy())
    found = zip(curve.forecast, curve.observed, curve.rows, strict=True)
    return tuple(CalibrationPoint(float(forecast), float(observed), int(rows)) for forecast, observed, rows in found)
