"""Asset checks of the quotes and the recommendations."""

from datetime import timedelta

import dagster as dg

from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource
from mltrainer_pipelines.defs.signals.assets import recommendations


@dg.asset_check(asset="delayed_quotes", blocking=True)
def quotes_are_delayed_and_possible(lake: LakeResource) -> dg.AssetCheckResult:
    """Every price of the newest refresh is at least 15 minutes old, and the quotes are as their table declares."""
    import polars as pl

    from mltrainer_pipelines.contracts.lake_tables import DELAYED_QUOTES
    from mltrainer_pipelines.market.quotes import too_young

    stored = lake.read("delayed_quotes", lake.partitions("delayed_quotes")[-1])
    newest = stored.filter(pl.col("as_of") == stored["as_of"].max())
    young, problems = too_young(newest).height, DELAYED_QUOTES.problems(newest)
    return dg.AssetCheckResult(
        passed=young == 0 and not problems,
        metadata={
            "quotes": newest.height,
            "too_young": young,
            "stale": int(newest["stale"].sum()),
            "problems": "; ".join(problems[:10]) or "none",
        },
    )


@dg.asset_check(asset=recommendations)
def levels_ascend(database: DatabaseResource) -> dg.AssetCheckResult:
    """Of every recommendation the stop lies below the entry and the target above it."""
    import polars as pl

    from mltrainer_pipelines.signals.recommendations import recommendations_frame

    made = recommendations_frame(database)
    wrong = made.filter(~((pl.col("stop_loss") < pl.col("entry_price")) & (pl.col("entry_price") < pl.col("target_price"))))
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"recommendations": made.height, "wrong": wrong.height})


@dg.asset_check(asset=recommendations)
def one_position_a_recommendation(database: DatabaseResource) -> dg.AssetCheckResult:
    """No recommendation is there twice, and none that is older than this run's lacks its position."""
    from mltrainer_pipelines.portfolio.positions import unpositioned

    lacking = unpositioned(database.engine, older_than=timedelta(hours=1))
    return dg.AssetCheckResult(passed=not lacking, metadata={"without_position": ", ".join(map(str, lacking[:20])) or "none"})
