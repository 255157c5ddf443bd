"""Feature tables of the lake: any feature set over any months of its market."""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.registry import DEFAULT, get_feature_set
from mltrainer_pipelines.features.versions import UNVERSIONED, FeatureVersionError, version_of
from mltrainer_pipelines.market.corporate_actions import suspected
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.store.lake import Lake

STORED = DEFAULT
"""The feature set that the asset `features` holds; a trial of another one has it computed when it runs."""

VERSION_NOTE = "feature_set_version"
"""What a partition of the lake notes of the version of the feature set that it was made with; see `versions`."""


def computed_features(lake: Lake, first: date, last: date, feature_set: str = STORED) -> pl.DataFrame:
    """Features of the universe's members for the decisions from `first` to `last`, both included.

    The lake needs daily_bars, corporate_actions and macro_series, the universe of every month of the range, and the regime
    where the set reads it. Raises MissingPartitionError if something of that was never materialized, UnknownFeatureSetError if
    there is no such set.
    """
    months = [key for key in lake.partitions("universe") if str(first.replace(day=1)) <= key <= str(last)]
    members = lake.scan("universe", months or [str(first.replace(day=1))]).collect()
    bars = adjusted_history(lake, first, last, look_back=look_back(feature_set))
    macro = known_macro(lake.read("macro_series"), sessions_in_lake(lake, date.min, last))
    reads_regime = any(read.startswith("regime:") for read in get_feature_set(feature_set).reads)
    regime = lake.read("regime") if reads_regime else None
    return compute_features(bars, members, macro, first, last, feature_set, regime=regime)


def computed_labels(lake: Lake, first: date, last: date, cost_bps: float) -> pl.DataFrame:
    """What the members' decisions from `first` to `last` earned in both timeframes; columns of `LABELS`, null while unknown.

    What lies across a suspected split of its symbol stays unknown.

    The lake needs daily_bars, corporate_actions and the universe of every month of the range; `cost_bps` is paid on each side.
    """
    from mltrainer_pipelines.contracts.timeframes import LONG, TIMEFRAMES
    from mltrainer_pipelines.features.labels.barriers import Barriers
    from mltrainer_pipelines.features.labels.labels import compute_labels
    from mltrainer_pipelines.features.labels.labels import look_ahead as after
    from mltrainer_pipelines.features.labels.labels import look_back as before

    months = [key for key in lake.partitions("universe") if str(first.replace(day=1)) <= key <= str(last)]
    members = lake.scan("universe", months or [str(first.replace(day=1))]).collect()
    bars = adjusted_history(lake, first, last, look_back=before(), look_ahead=after(LONG))
    parts = [compute_labels(bars, members, timeframe, Barriers(), cost_bps, first, last) for timeframe in TIMEFRAMES.values()]
    return _unknown_across(pl.concat(parts).sort("date", "symbol", "timeframe"), suspected(lake))


def _unknown_across(labels: pl.DataFrame, suspects: pl.DataFrame) -> pl.DataFrame:
    """Labels without the outcomes that a step nobody has explained is part of."""
    if suspects.is_empty():
        return labels
    crossed = (
        labels.join(suspects.select("symbol", step="ex_date"), on="symbol")
        .filter(pl.col("date") < pl.col("step"), pl.col("exit_date") >= pl.col("step"))
        .select("date", "symbol", "timeframe", crossed=pl.lit(value=True))
        .unique()
    )
    outcome = ("exit_date", "barrier", "gross_return", "net_return", "label")
    marked = labels.join(crossed, on=["date", "symbol", "timeframe"], how="left", maintain_order="left")
    return marked.with_columns(pl.when(pl.col("crossed").is_null()).then(pl.col(*outcome))).drop("crossed")


def computed_regime(lake: Lake) -> pl.DataFrame:
    """The regime of every session of the lake, of the symbols that were ever in the universe; columns of `REGIME`."""
    from mltrainer_pipelines.features.regime.score import regime_scores

    sessions = sessions_in_lake(lake, date.min, date.max)
    members = lake.scan("universe").select("month", "symbol").collect()
    bars = adjusted_history(lake, sessions[0], sessions[-1], symbols=members["symbol"].unique())
    return regime_scores(bars, known_macro(lake.read("macro_series"), sessions), members)


def noted_versions(lake: Lake, asset: str, partitions: Sequence[str]) -> list[str]:
    """The version of the feature set that each partition was made with."""
    return [notes.get(VERSION_NOTE, UNVERSIONED) for notes in lake.notes(asset, partitions)]


def stored_features(lake: Lake, first: date = date.min, end: date = date.max) -> pl.LazyFrame:
    """The rows of the asset `features` decided from `first` to before `end`.

    Raises MissingPartitionError if none of these months was materialized, FeatureVersionError if another version of the feature
    set computed one of them.
    """
    from_month = str(first.replace(day=1))
    months = [month for month in lake.partitions("features") if from_month <= month < str(end)]
    today = version_of(STORED)
    stale = {
        month: version
        for month, version in zip(months, noted_versions(lake, "features", months), strict=True)
        if version != today
    }
    if stale:
        listed = ", ".join(list(stale)[:5]) + (f" and {len(stale) - 5} more" if len(stale) > 5 else "")
        raise FeatureVersionError(
            f"features of {listed} were computed by version {' and '.join(sorted(set(stale.values())))} of the feature set "
            f"{STORED!r}, which is now version {today}: materialize features for {'it' if len(stale) == 1 else 'them'} again"
        )
    return lake.scan("features", months or [from_month]).filter(pl.col("date").is_between(first, end, closed="left"))


def feature_table(lake: Lake, feature_set: str, end: date) -> pl.DataFrame:
    """Every row of a feature set decided before `end`: as stored, or computed where the lake stores another set.

    Raises MissingPartitionError if the asset `features` was never materialized, FeatureVersionError if the set is the stored
    one and another version of it computed one of the months.
    """
    if get_feature_set(feature_set) is get_feature_set(STORED):
        return stored_features(lake, end=end).collect()
    span = lake.scan("features").select(first=pl.col("date").min(), last=pl.col("date").max()).collect()
    return computed_features(lake, span["first"][0], min(span["last"][0], end - timedelta(days=1)), feature_set)
