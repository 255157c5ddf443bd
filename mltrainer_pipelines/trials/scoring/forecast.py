"""How well predictions whose outcome is known forecast it, and what the best of them earned.

The same numbers for a whole trial and for any part of it: a quarter, a regime, a sector. A number that does not exist
there (too few rows, one class only) is None.
"""

import math
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from mltrainer_pipelines.trials.scoring import skill, uncertainty
from mltrainer_pipelines.trials.scoring.series import Floats


class Numbers(BaseModel):
    """What is stored as JSON: frozen, no unknown field, no infinity and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def forecast(resolved: pl.DataFrame, horizon: int) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The reliability curve (probability, observed, rows; a row a bin) and the forecast metrics of rows with a label.

    Rows are date, score, probability (or null), net_return, label; labels overlap over `horizon` sessions.
    """
    calibrated = resolved.filter(pl.col("probability").is_not_null())
    probability, label = calibrated["probability"].to_numpy(), outcome(calibrated)
    curve = skill.reliability(probability, label)
    _, coefficients = skill.rank_ics(resolved["date"], resolved["score"], resolved["net_return"])
    hits = float(((probability > 0.5) == (label > 0.5)).mean()) if calibrated.height else math.nan
    frame = pl.DataFrame({"probability": curve.forecast, "observed": curve.observed, "rows": curve.rows})
    return frame, {
        "calibrated_rows": calibrated.height,
        "base_rate": mean(outcome(resolved)),
        "hit_rate": number(hits),
        "auc": number(skill.auc(resolved["score"], outcome(resolved))),
        "log_loss": number(skill.log_loss(probability, label)),
        "brier_skill": number(skill.brier_skill(probability, label)),
        "calibration_error": number(curve.error),
        "rank_ic": mean(coefficients),
        "rank_ic_t": number(uncertainty.mean_t_statistic(coefficients, horizon)),
    }


def outcome(resolved: pl.DataFrame) -> Floats:
    """The labels as 0.0 and 1.0."""
    return resolved["label"].to_numpy().astype(np.float64)


def mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def number(value: float) -> float | None:
    """A number that exists, or None."""
    return value if math.isfinite(value) else None
