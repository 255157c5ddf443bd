"""Factor research: proposals, their screening on quarters that nobody was shown, and the sets of what was accepted."""

from typing import Literal, cast

import dagster as dg
from pydantic import Field

from mltrainer_pipelines.defs.features.assets import features
from mltrainer_pipelines.defs.partitions import factors, timeframes
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource
from mltrainer_pipelines.settings import get_settings, now

_EVERYTHING = dg.AllPartitionMapping()


class FactorProposalsConfig(dg.Config):
    """What to propose: expressions of a person, or the fittest of a search."""

    timeframe: Literal["short", "long"] = Field(default="short", description="Holding period that the factors are for.")
    expressions: list[str] = Field(
        default=[], description="Expressions as docs/factors.md describes them; without any, `evolve` searches."
    )
    hypothesis: str = Field(default="", description="Why the expressions should work, and what would refute them.")
    count: int = Field(default=5, ge=1, le=50, description="Factors that a search puts forward.")
    tries: int = Field(default=1200, ge=60, le=20_000, description="Factors that a search computes; each counts as screened.")
    seed: int = Field(default=0, ge=0, description="Of the search.")


@dg.asset(deps=[dg.AssetDep(features, partition_mapping=_EVERYTHING)], group_name="factors", kinds={"postgres"}, owners=OWNERS)
def factor_proposals(
    context: dg.AssetExecutionContext,
    config: FactorProposalsConfig,
    lake: LakeResource,
    database: DatabaseResource,
) -> dg.MaterializeResult:
    """Factors to screen: a person's expressions, or what genetic programming found on the quarters it is shown.

    Each proposal is a partition of `factor_screening`, which nothing starts but a person, or a request.
    """
    import polars as pl

    from mltrainer_pipelines.agent.evolution import evolve
    from mltrainer_pipelines.trials.factors import library
    from mltrainer_pipelines.trials.factors.discovery import lake_market

    moment, by = now(), "user" if config.expressions else "evolve"
    ideas, computed = [library.Idea(text, config.hypothesis) for text in config.expressions], 0
    if not ideas:
        market = lake_market(lake, config.timeframe)
        known = library.expressions_known(database.engine, config.timeframe)
        search = evolve(market, config.seed, config.tries, known, progress=lambda said, _: context.log.info(said))
        computed = len(search.tried)
        tries = {candidate.node.text: candidate.screen for candidate in search.tried}
        library.record_tries(database.engine, config.timeframe, tries, by, moment, context.run.run_id)
        accepted = [one.expression for one in library.factors(database.engine, config.timeframe, ["accepted"])]
        ideas = search.ideas(market, config.count, accepted)
    proposed, refused = library.propose(database.engine, config.timeframe, ideas, by, moment)
    context.instance.add_dynamic_partitions(cast(str, factors.name), [factor.factor_id for factor in proposed])
    rows = pl.DataFrame([{"factor": one.factor_id, "expression": one.expression} for one in proposed])
    return dg.MaterializeResult(
        metadata=frame_metadata(
            rows,
            proposals=table(rows),
            computed=computed,
            refused=[f"{one.expression}: {one.reason}" for one in refused],
            screened_ever=library.screened(database.engine),
        )
    )


@dg.asset(
    partitions_def=factors,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(factor_proposals, partition_mapping=_EVERYTHING), dg.AssetDep(features, partition_mapping=_EVERYTHING)],
    group_name="factors",
    kinds={"numba", "postgres"},
    owners=OWNERS,
)
def factor_screening(context: dg.AssetExecutionContext, lake: LakeResource, database: DatabaseResource) -> dg.MaterializeResult:
    """Whether a factor survives on the quarters that its author was not shown, with every factor ever screened counted.

    A factor that was judged keeps its verdict: a second look at the same quarters would be another one to count.
    """
    from mltrainer_pipelines.trials.factors import library
    from mltrainer_pipelines.trials.factors.discovery import lake_market, screen_factor

    markets = {}
    verdicts = {}
    for factor_id in context.partition_keys:
        factor = library.get_factor(database.engine, factor_id)
        if factor.status != "proposed":
            verdicts[factor_id] = f"kept: {factor.status}"
            continue
        if factor.timeframe not in markets:
            markets[factor.timeframe] = lake_market(lake, factor.timeframe)
        verdict = screen_factor(database.engine, markets[factor.timeframe], factor, now(), context.run.run_id)
        verdicts[factor_id] = verdict.reason
        figures = {"rank_ic": verdict.hidden.rank_ic, "residual_ic": verdict.hidden.residual_ic} if verdict.hidden else {}
        context.add_asset_metadata(
            {
                "expression": factor.expression, "accepted": verdict.accepted, "reason": verdict.reason, "p": verdict.p,
                "bonferroni": verdict.bonferroni, "holm": verdict.holm, "false_discovery_rate": verdict.false_discovery_rate,
                **figures,
            },
            partition_key=factor_id,
        )  # fmt: skip
        context.log.info(f"{factor.expression}: {verdict.reason}")
    return dg.MaterializeResult(metadata={"verdicts": verdicts, "market": get_settings().market_kind})


@dg.asset(
    partitions_def=timeframes,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(factor_screening, partition_mapping=_EVERYTHING)],
    group_name="factors",
    kinds={"parquet"},
    owners=OWNERS,
)
def discovered_factors(context: dg.AssetExecutionContext, lake: LakeResource, database: DatabaseResource) -> dg.MaterializeResult:
    """The accepted factors of a timeframe as a feature set that trials can name; those that stopped working are retired first."""
    from mltrainer_pipelines.trials.factors import library
    from mltrainer_pipelines.trials.factors.discovery import lake_market, retired, write_discovered

    sets = {}
    for timeframe in context.partition_keys:
        gone = []
        if library.factors(database.engine, timeframe, ["accepted"], limit=1):
            gone = retired(database.engine, lake_market(lake, timeframe), timeframe, now())
        name = write_discovered(database.engine, lake, timeframe, now().date())
        sets[timeframe] = name or "none: no factor is accepted"
        about = {"feature_set": sets[timeframe], "retired": [factor.expression for factor in gone]}
        context.add_asset_metadata(about, partition_key=timeframe)
    return dg.MaterializeResult(metadata={"feature_sets": sets, "market": get_settings().market_kind})
