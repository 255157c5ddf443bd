"""What a walk-forward gives: a fitted model, and the predictions of a quarter or why it has none."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from mltrainer_pipelines.models.spec import ProbabilityEstimator
from mltrainer_pipelines.trials.validation.windows import Window


@dataclass(frozen=True)
class FittedModel:
    """An estimator and what it learnt from.

    Parameters
    ----------
    estimator : ProbabilityEstimator
    feature_names : tuple of str
        Columns of its matrix, in order.
    trained_rows : int
    trained_from, trained_until : date
        First and last decision learnt from.
    base_rate : float
        Share of profitable rows among them, whatever the model was asked to learn.
    seconds : float
        Spent on fitting.
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
    """Out-of-sample predictions of one quarter.

    Parameters
    ----------
    quarter_start, quarter_end : date
        First day of the quarter, and the first day after it.
    predictions : DataFrame
        date, symbol, score (Float64: the model's own probability that the net return is above its session's median, or
        above zero, by the configuration's target); one row for every row of the features in the quarter, sorted by date
        and symbol.
    window : Window
    trained_rows : int
    trained_from, trained_until : date
        First and last decision that the quarter's model learnt from.
    base_rate : float
        Share of profitable rows among them.
    seconds : float
        Spent on fitting and predicting.
    importances : DataFrame or None
        feature, importance (`permutation_importance`) on the rows of the quarter; None for a model that reads other rows too.
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
    """A quarter that a model could not be fitted for or could not predict.

    Parameters
    ----------
    quarter_start, quarter_end : date
        First day of the quarter, and the first day after it.
    reason : str
        What happened, for a reader.
    error : Exception
    """

    quarter_start: date
    quarter_end: date
    reason: str
    error: Exception
