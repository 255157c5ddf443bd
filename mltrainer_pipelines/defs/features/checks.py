"""The asset check of the labels: none knows the future."""

import dagster as dg

from mltrainer_pipelines.defs.features.assets import labels
from mltrainer_pipelines.defs.resources import LakeResource


@dg.asset_check(asset=labels)
def no_label_from_the_future(lake: LakeResource) -> dg.AssetCheckResult:
    """Every exit lies after its decision and not after the newest bar."""
    import polars as pl

    newest = lake.partitions("daily_bars")[-1]
    rows = lake.scan("labels").filter(pl.col("exit_date").is_not_null())
    wrong = rows.filter((pl.col("exit_date") <= pl.col("date")) | (pl.col("exit_date") > pl.lit(newest).str.to_date()))
    count = wrong.select(pl.len()).collect().item()
    return dg.AssetCheckResult(passed=count == 0, metadata={"rows_from_the_future": count})
