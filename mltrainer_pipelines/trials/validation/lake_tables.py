"""What a trial learns from and is judged by, read from the lake: features, labels, the universe and the regime."""

from datetime import date

import polars as pl

from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels, look_ahead, look_back
from mltrainer_pipelines.features.tables import feature_table
from mltrainer_pipelines.market.history import adjusted_history
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig


def training_tables(lake: Lake, trial: TrialConfig, end: date, last: date, cost_bps: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features of a trial's feature set decided before `end`, and the labels that its model learns from (`trial_labels`)."""
    labels = trial_labels(lake, trial, last, cost_bps)
    if trial.spec.both_timeframes:
        others = lake.scan("labels").filter(pl.col("timeframe") != trial.timeframe).collect()
        labels = pl.concat([labels, others], how="diagonal")
    return feature_table(lake, trial.feature_set, end), labels


def trial_labels(lake: Lake, trial: TrialConfig, last: date, cost_bps: float) -> pl.DataFrame:
    """Labels of a trial's timeframe and barriers: those of the lake, or computed where the trial has its own barriers.

    `last` is the last closed session, `cost_bps` the cost of one side of a trade.
    """
    if trial.label == Barriers():
        return lake.scan("labels").filter(pl.col("timeframe") == trial.timeframe).collect()
    members = universe(lake)
    first = members["month"].sort()[0]
    bars = adjusted_history(lake, first, last, look_back(), look_ahead(trial.horizon))
    return compute_labels(bars, members, trial.horizon, trial.label, cost_bps, first, last)


def universe(lake: Lake) -> pl.DataFrame:
    """The members of every month: month, symbol, rank and, where known, sector."""
    return lake.scan("universe").collect()


def regime(lake: Lake) -> pl.DataFrame | None:
    """The regime of every session; None before it was ever computed."""
    return lake.read("regime") if lake.exists("regime") else None
