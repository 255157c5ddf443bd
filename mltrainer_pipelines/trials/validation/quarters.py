"""What a walk-forward gives: a fitted model, and the predictions of a quarter or why it has none."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from mltrainer_pipelines.models.spec import ProbabilityEstimator
from mltrainer_pipelines.trials.validation.windows import Window


@dataclass(frozen=True)
class FittedModel:
    """An estimator, the columns of its matrix in order, and what it learnt from.

    `trained_from` and `trained_until` are the first and last decision, `base_rate` is the share of profitable rows among them,
    whatever the model was asked to learn, `seconds` were spent on fitting.
    """

    estimator: ProbabilityEstimator
    feature_names: tuple[str, ...]
    trained_rows: int
    trained_from: date
    trained_until: date
    base_rate: float
    seconds: float


@dataclass(frozen=True)
class QuarterPredictions:
    """Out-of-sample predictions of one quarter, from its first day to before `quarter_end`, and what its model learnt from.

    `predictions` are date, symbol, score (Float64: the model's own probability that the net return is above its session's
    median, or above zero, by the configuration's target): a row for every row of the features in the quarter, sorted by date
    and symbol. `importances` are those of `permutation_importance` on these rows; None for a model that reads other rows too.
    """

    quarter_start: date
    quarter_end: date
    predictions: pl.DataFrame
    window: Window
    trained_rows: int
    trained_from: date
    trained_until: date
    base_rate: float
    seconds: float
    importances: pl.DataFrame | None = None


@dataclass(frozen=True)
class FailedQuarter:
    """A quarter that a model could not be fitted for or could not predict, with the reason for a reader."""

    quarter_start: date
    quarter_end: date
    reason: str
    error: Exception
