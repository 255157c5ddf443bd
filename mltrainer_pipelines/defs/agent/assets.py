"""The asset `trial_proposals`: what the proposer would try next."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource
from mltrainer_pipelines.defs.trials.launching import launch_at_once
from mltrainer_pipelines.settings import get_settings


class ProposeConfig(dg.Config):
    """What to propose."""

    proposer: str | None = Field(
        default=None, description="`claude`, `tpe` (Optuna over the search spaces) or `random`; the run-time setting by default."
    )
    count: int = Field(default=2, ge=1, le=50, description="New trials for each timeframe.")


@dg.asset(deps=["learning_report"], group_name="agent", kinds={"postgres"}, owners=OWNERS)
def trial_proposals(
    context: dg.AssetExecutionContext,
    config: ProposeConfig,
    database: DatabaseResource,
    lake: LakeResource,
) -> dg.MaterializeResult:
    """New trials with the hypothesis behind each; what the day's budget does not cover waits for a yes.

    Here the loop closes: an approved proposal requests a run of `trial_predictions`. It is no edge of the graph, because
    a graph of assets has no cycles.
    """
    import polars as pl

    from mltrainer_pipelines.agent import autonomy, ledger, market_queries
    from mltrainer_pipelines.agent.failures import AgentOffError
    from mltrainer_pipelines.agent.proposal_cycle import run_cycle
    from mltrainer_pipelines.ops.agent import claude_of, templates_of

    settings, moment = get_settings(), datetime.now(UTC)
    claude = claude_of(settings, database.engine)
    regime = market_queries.regime(lake)
    try:
        made = run_cycle(database.engine, claude, config.count, templates_of(settings), moment, config.proposer, regime)
    except AgentOffError as error:
        context.log.warning(str(error))
        return dg.MaterializeResult(metadata={"new": 0, "off": str(error), "market": settings.market_kind})
    launch_at_once(context, database)
    if made.fallback_reason is not None:
        context.log.warning(f"{made.proposer} proposes instead of {made.asked}: {made.fallback_reason}")
    proposed = pl.DataFrame(
        [
            {"trial": one.config.trial_id, "hypothesis": one.hypothesis, "refuted_if": one.refuted_if, "gain": one.expected_gain}
            for one in made.proposals
        ],
        schema={"trial": pl.String, "hypothesis": pl.String, "refuted_if": pl.String, "gain": pl.Float64},
    )
    refused = pl.DataFrame(
        [{"model": one.trial.model[:80], "reason": one.reason[:300]} for one in made.refusals],
        schema={"model": pl.String, "reason": pl.String},
    )
    today = ledger.spent(database.engine, moment)
    return dg.MaterializeResult(
        metadata=frame_metadata(
            proposed,
            new=len(made.stored),
            proposals=table(proposed),
            proposer=made.proposer,
            in_place_of=f"{made.asked}: {made.fallback_reason}" if made.fallback_reason else "",
            approved_within_budget=len(made.approved),
            refused=table(refused),
            input_tokens=made.input_tokens,
            output_tokens=made.output_tokens,
            dollars=float(made.dollars),
            tokens_today=today.input_tokens + today.cache_write_tokens + today.cache_read_tokens + today.output_tokens,
            dollars_today=float(today.dollars),
            budget=autonomy.budget(database.engine, moment).left(),
        )
    )
