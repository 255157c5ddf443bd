"""How well a forecast ranks, and how well its probabilities are calibrated. A number that does not exist is NaN.

Sources
-------
Brier (1950), Monthly Weather Review 78(1); Naeini, Cooper & Hauskrecht (2015), AAAI: calibration error.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from mltrainer_pipelines.trials.scoring.series import Floats, aligned


def rank_ics(session: ArrayLike, score: ArrayLike, outcome: ArrayLike, minimum: int = 5) -> tuple[NDArray[np.generic], Floats]:
    """Rank information coefficient of each session: Spearman's correlation of score and later return.

    Sessions in time order, and their coefficients; none where there are fewer than `minimum` rows, or one side is constant.
    """
    score, outcome = aligned(score, outcome, "score and outcome")
    rows = pl.DataFrame({"session": session, "score": score, "outcome": outcome})
    ranks = pl.col("score").rank("average"), pl.col("outcome").rank("average")
    sessions = rows.group_by("session").agg(pl.len(), coefficient=pl.corr(*ranks)).sort("session")
    usable = sessions.filter((pl.col("len") >= max(minimum, 2)) & pl.col("coefficient").is_finite())
    return usable["session"].to_numpy(), usable["coefficient"].to_numpy()


def auc(score: ArrayLike, outcome: ArrayLike) -> float:
    """Area under the ROC curve: chance that a row with outcome 1 outscores one with 0, ties counting half."""
    from sklearn.metrics import roc_auc_score

    s, y = aligned(score, outcome, "score and outcome")
    return float(roc_auc_score(y, s)) if 0 < np.count_nonzero(y > 0.5) < y.size else math.nan


def log_loss(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean negative log-likelihood of 0/1 outcomes, nats; probabilities are kept 2e-16 away from 0 and 1."""
    from sklearn import metrics

    p, y = aligned(probability, outcome, "probability and outcome")
    return float(metrics.log_loss(y, p, labels=[0, 1])) if p.size else math.nan


def brier_score(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean squared difference of probability and 0/1 outcome (Brier 1950, for two classes)."""
    p, y = aligned(probability, outcome, "probability and outcome")
    return float(((p - y) ** 2).mean()) if p.size else math.nan


def brier_skill(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Share of the reference's Brier score that the forecast saves; above 0 is skill.

    The reference forecasts, for every row, the base rate of **these same outcomes**: a number nobody
    knew beforehand. That is the harder of the two references in use (a trailing base rate is known, and
    worse or equal), so a skill above 0 is no gift of a drifting base rate.
    """
    p, y = aligned(probability, outcome, "probability and outcome")
    if p.size == 0:
        return math.nan
    reference = float(y.mean() * (1 - y.mean()))
    return 1.0 - brier_score(p, y) / reference if reference > 0 else math.nan


@dataclass(frozen=True)
class Reliability:
    """A reliability curve: per bin of equal mass, the mean forecast, the share of outcomes that are 1, and how many rows."""

    forecast: Floats
    observed: Floats
    rows: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the row-weighted mean distance of forecast and observed."""
        total = int(self.rows.sum())
        return float((np.abs(self.forecast - self.observed) * self.rows).sum() / total) if total else math.nan


def reliability(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> Reliability:
    """Reliability in `bins` bins of equal mass; equal probabilities always share a bin.

    Calibrators of the isotonic family give few distinct probabilities. A tie never straddles two bins
    (the result would hang on the order of the rows), so there may be fewer bins than asked for.
    """
    p, y = aligned(probability, outcome, "probability and outcome")
    if bins < 1:
        raise ValueError(f"bins={bins}: give at least 1")
    if p.size == 0:
        return Reliability(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    edges = np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1], method="lower")
    code = np.searchsorted(edges, p, side="left")
    count = np.bincount(code, minlength=bins)
    used = count > 0
    forecast, observed = (np.bincount(code, weights=w, minlength=bins)[used] / count[used] for w in (p, y))
    return Reliability(forecast, observed, count[used].astype(np.int64))
