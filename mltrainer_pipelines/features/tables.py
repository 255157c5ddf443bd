"""Feature tables of the lake: any feature set over any months of its market."""

from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.store.lake import Lake

STORED = "momentum"
"""The feature set that the asset `features` holds; a trial of another one has it computed when it runs."""


def computed_features(lake: Lake, first: date, last: date, feature_set: str = STORED) -> pl.DataFrame:
    """Features of the universe's members for the decisions from `first` to `last`, both included.

    Parameters
    ----------
    lake : Lake
        With daily_bars, corporate_actions and macro_series, the universe of every month of the range, and the regime
        where the set reads it.
    first, last : date
    feature_set : str

    Raises
    ------
    MissingPartitionError
        If something of that was never materialized.
    UnknownFeatureSetError
        If there is no such set.
    """
    months = [key for key in lake.partitions("universe") if str(first.replace(day=1)) <= key <= str(last)]
    members = lake.scan("universe", months or [str(first.replace(day=1))]).collect()
    bars = adjusted_history(lake, first, last, look_back=look_back(feature_set))
    macro = known_macro(lake.read("macro_series"), sessions_in_lake(lake, date.min, last))
    reads = {name for feature in get_feature_set(feature_set).all_features for name in feature.reads}
    regime = lake.read("regime") if any(name.startswith("regime:") for name in reads) else None
    return compute_features(bars, members, macro, first, last, feature_set, regime=regime)


def feature_table(lake: Lake, feature_set: str, end: date) -> pl.DataFrame:
    """Every row of a feature set decided before `end`: as stored, or computed where the lake stores another set.

    Raises
    ------
    MissingPartitionError
        If the asset `features` was never materialized.
    """
    stored = lake.scan("features").filter(pl.col("date") < end)
    names = [feature.name for feature in get_feature_set(feature_set).features]
    if set(names) <= set(stored.collect_schema().names()):
        return stored.select("date", "symbol", *names).collect()
    span = stored.select(first=pl.col("date").min(), last=pl.col("date").max()).collect()
    return computed_features(lake, span["first"][0], min(span["last"][0], end - timedelta(days=1)), feature_set)
