"""Curves of a trial: equity by quarter, and calibration of its probabilities."""

import threading
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import polars as pl
from pydantic import BaseModel, Field

from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig

_calibrating = threading.Lock()


class NotInTheLakeError(LookupError):
    """A curve needs data that the lake does not hold: says which."""


class QuarterEquity(BaseModel):
    """A dollar at a quarter's end, compounded: in the trial's book, in the equal-weight universe, in 12-1 momentum."""

    quarter: date
    equity: float
    universe: float
    momentum: float


class CalibrationBin(BaseModel):
    probability: float = Field(description="Mean forecast of a tenth of all forecasts.")
    observed: float = Field(description="Share of them that was profitable.")
    rows: int


def equity_curve(quarters: Sequence[dict[str, Any]]) -> list[QuarterEquity]:
    """Compounded net returns of a scorecard's quarters."""
    equity = universe = momentum = 1.0
    points = []
    for quarter in sorted(quarters, key=lambda quarter: str(quarter["quarter"])):
        equity *= 1 + quarter["net_return"]
        universe *= 1 + quarter["universe_net_return"]
        momentum *= 1 + quarter["momentum_net_return"]
        points.append(QuarterEquity(quarter=quarter["quarter"], equity=equity, universe=universe, momentum=momentum))
    return points


def calibration_curve(lake: Lake, trial_id: str, config: TrialConfig) -> list[CalibrationBin]:
    """Forecast against outcome, out of sample, over ten bins of equal mass; seconds the first time, then cached.

    NotInTheLakeError where there are no predictions, or barriers of its own, whose labels are not stored.
    """
    if config.label != Barriers():
        raise NotInTheLakeError(f"{trial_id} uses its own barriers, whose labels are not stored; its MLflow run has the curve")
    keys = tuple(key for key in lake.partitions("trial_predictions") if key.startswith(f"{trial_id}/"))
    if not keys:
        raise NotInTheLakeError(f"{trial_id} has no predictions yet")
    with _calibrating:  # one after the other: each takes a processor and some hundred megabytes
        return list(_calibration(lake, config.timeframe, keys))


@lru_cache(maxsize=64)
def _calibration(lake: Lake, timeframe: str, keys: tuple[str, ...]) -> tuple[CalibrationBin, ...]:
    from mltrainer_pipelines.trials.scoring import skill
    from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward

    labels = lake.scan("labels").filter(pl.col("timeframe") == timeframe).collect()
    calibrated = calibrate_walk_forward(lake.scan("trial_predictions", keys).collect(), labels)
    outcomes = labels.select("date", "symbol", "label")
    labelled = calibrated.join(outcomes, on=["date", "symbol"]).drop_nulls(["probability", "label"])
    if labelled.is_empty():
        return ()
    curve = skill.reliability(labelled["probability"].to_numpy(), labelled["label"].cast(pl.Float64).to_numpy())
    bins = zip(curve.forecast, curve.observed, curve.rows, strict=True)
    return tuple(CalibrationBin(probability=forecast, observed=observed, rows=rows) for forecast, observed, rows in bins)
