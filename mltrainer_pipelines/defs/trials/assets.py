"""Out-of-sample predictions quarter by quarter, scorecards, the leaderboard and the champions."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.defs.execution import on_cluster
from mltrainer_pipelines.defs.features.assets import features, labels
from mltrainer_pipelines.defs.figures import svg_of
from mltrainer_pipelines.defs.market.assets import universe
from mltrainer_pipelines.defs.market.daily_bars import PartitionsConfig, daily_bars
from mltrainer_pipelines.defs.partitions import quarters, timeframes, trial_quarters, trials
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, provenance, record_written, table
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource
from mltrainer_pipelines.defs.trials.launching import launch_at_once, require_current_run
from mltrainer_pipelines.features.code_versions import code_versions
from mltrainer_pipelines.market.sessions import last_closed_session
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.trials.registry.tracking import Tracking

if TYPE_CHECKING:
    from mltrainer_pipelines.store.database import Database
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.trials.validation.quarters import FailedQuarter, QuarterPredictions
    from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

_EVERYTHING = dg.AllPartitionMapping()
_SKILL = ("name", "default", "rank_ic", "t", "neutral_rank_ic", "neutral_t", "auc", "top_decile_excess", "turnover")


class QuartersFailedError(RuntimeError):
    """Quarters of trials that could not be predicted: names each with its reason."""

    def __init__(self, reasons: Mapping[str, str], written: int):
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"{len(reasons)} quarters failed, {written} others were written. {listed}")


PROBABILITIES = dg.AssetCheckSpec(
    "predictions_are_probabilities",
    asset="trial_predictions",
    description="Every score that a run was asked for lies between 0 and 1. In the asset's own step: another one would cost "
    "seconds on a cluster, and reading every trial ever run would cost more with each of them.",
)


@dg.asset(
    partitions_def=trial_quarters,
    check_specs=[PROBABILITIES],
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(features, partition_mapping=_EVERYTHING), dg.AssetDep(labels, partition_mapping=_EVERYTHING)],
    group_name="trials",
    kinds={"scikitlearn", "parquet"},
    owners=OWNERS,
    code_version=code_versions().all_sets,
)
def trial_predictions(
    context: dg.AssetExecutionContext,
    config: PartitionsConfig,
    lake: LakeResource,
    database: DatabaseResource,
) -> dg.MaterializeResult:
    """A trial's predictions of one quarter, from a model that knew only what had ended before the quarter.

    Each quarter is written as it ends; one that exists is not computed again, so that a killed run resumes
    where it stopped. A quarter that fails leaves the others: they are written, and the run fails with its reason.
    """
    from mltrainer_pipelines.trials.config import InvalidTrialError
    from mltrainer_pipelines.trials.registry import records
    from mltrainer_pipelines.trials.validation.lake_tables import training_tables, universe
    from mltrainer_pipelines.trials.validation.quarters import FailedQuarter
    from mltrainer_pipelines.trials.validation.stored_quarters import missing_quarters, write_quarter
    from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

    require_current_run(context, database)
    rows, written, failed = 0, list[str](), dict[str, str]()
    by_trial: dict[str, list[str]] = {}
    for key in context.partition_keys:
        parts = trial_quarters.get_partition_key_from_str(key).keys_by_dimension
        by_trial.setdefault(parts["trial"], []).append(parts["quarter"])
    for trial_id, wanted in by_trial.items():
        trial = records.config_of(database.engine, trial_id)
        missing = wanted if config.overwrite else missing_quarters(lake, trial, wanted)
        context.log.info(f"{trial_id}: {len(missing)} quarters to predict, {len(wanted) - len(missing)} are there already")
        if not missing:
            continue
        try:
            trial.require_today()
        except InvalidTrialError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        records.set_status(database.engine, trial_id, "running", context.run.run_id)
        spans = [quarters.time_window_for_partition_key(key) for key in missing]
        tables = training_tables(lake, trial, spans[-1].end.date(), last_closed_session(now()), get_settings().cost_bps)
        walk = WalkForward(trial, *tables, universe=universe(lake))
        for ended in _predicted(walk, [(span.start.date(), span.end.date()) for span in spans]):
            key = str(ended.quarter_start)
            if isinstance(ended, FailedQuarter):
                failed[f"{trial_id} {key}"] = ended.reason
                context.log.error(f"{trial_id} {key}: {ended.reason}", exc_info=ended.error)
                continue
            write_quarter(lake, trial, key, ended.predictions, ended.importances)
            written.append(dg.MultiPartitionKey({"quarter": key, "trial": trial_id}))
            context.add_asset_metadata(
                {
                    "dagster/row_count": ended.predictions.height,
                    "trained_rows": ended.trained_rows,
                    "trained_from": str(ended.trained_from),
                    "trained_until": str(ended.trained_until),
                    "seconds": ended.seconds,
                },
                partition_key=written[-1],
            )
            context.log.info(
                f"{trial_id} {key}: {ended.predictions.height} predictions in {ended.seconds:.1f} s, trained on "
                f"{ended.trained_rows} rows decided from {ended.trained_from} to {ended.trained_until}"
            )
            rows += ended.predictions.height
        lost = any(name.startswith(f"{trial_id} ") for name in failed)
        records.set_status(database.engine, trial_id, "failed" if lost else "predicted", context.run.run_id)
    _request_scores(context, database, lake, by_trial)
    if failed:
        record_written(context, "trial_predictions", written)
        raise QuartersFailedError(failed, len(written))
    return dg.MaterializeResult(
        metadata={"predicted_quarters": len(written), "predicted_rows": rows, "market": get_settings().market_kind},
        check_results=[_are_probabilities(lake, [f"{trial_id}/{key}" for trial_id in by_trial for key in by_trial[trial_id]])],
    )


@dg.asset(
    partitions_def=trials,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(trial_predictions, partition_mapping=dg.MultiToSingleDimensionPartitionMapping("trial")),
        dg.AssetDep(labels, partition_mapping=_EVERYTHING),
    ],
    group_name="trials",
    kinds={"postgres", "mlflow"},
    owners=OWNERS,
)
def trial_scorecard(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    tracking: dg.ResourceParam[Tracking],
) -> dg.MaterializeResult[None]:
    """How good a trial was out of sample, beside both baselines, with every trial ever run counted against it."""
    import polars as pl

    from mltrainer_pipelines.trials.registry import ledger, records
    from mltrainer_pipelines.trials.registry.evaluation import evaluate
    from mltrainer_pipelines.trials.registry.promotion import grade
    from mltrainer_pipelines.trials.registry.trial_runs import log_trial
    from mltrainer_pipelines.trials.scoring.figures import figures
    from mltrainer_pipelines.trials.scoring.scorecard import PARTS, part_metrics
    from mltrainer_pipelines.trials.validation.stored_quarters import stored_importances

    settings, grades = get_settings(), {}
    for trial_id in context.partition_keys:
        trial = records.config_of(database.engine, trial_id)
        result, fingerprint = evaluate(database.engine, lake, trial, last_closed_session(now()), settings.cost_bps)
        card, own_grade = result.scorecard, grade(result.scorecard)
        numbers = card.model_dump(exclude=set(PARTS))
        importances, begin = stored_importances(lake, trial_id), time.perf_counter()
        mlflow_run = log_trial(
            tracking,
            trial,
            {**numbers, **part_metrics(card)},
            {quarter.quarter: quarter.model_dump(exclude={"quarter"}) for quarter in card.per_quarter},
            provenance(context.run_id, fingerprint),
            figures(result, settings.market_kind, importances),
            {"grade": own_grade},
        )
        mlflow_seconds = time.perf_counter() - begin
        records.save_scorecard(database.engine, card, mlflow_run, context.run_id)
        ledger.record_scoring(database.engine, trial, card, settings.cost_bps, fingerprint, context.run_id)
        grades[trial_id] = own_grade
        parts = {"per_quarter": table(result.per_quarter)}
        parts |= {
            name: table(pl.DataFrame([part.model_dump() for part in scores], infer_schema_length=None))
            for name, scores in (("per_regime", card.per_regime), ("per_sector", card.per_sector))
            if scores
        }
        metadata = {name: value for name, value in numbers.items() if isinstance(value, float | int)} | {
            "mlflow_run": dg.MetadataValue.url(f"{settings.mlflow_link}/#/runs/{mlflow_run}"),
            "grade": own_grade,
            "mlflow_seconds": mlflow_seconds,
        }
        context.add_asset_metadata(metadata | parts, partition_key=trial_id)
    return dg.MaterializeResult(metadata={"grades": grades, "market": settings.market_kind})


@dg.asset(
    deps=[dg.AssetDep(trial_scorecard, partition_mapping=_EVERYTHING)], group_name="trials", kinds={"postgres"}, owners=OWNERS
)
def leaderboard(database: DatabaseResource) -> dg.MaterializeResult[None]:
    """All trials in order, by what is left of their Sharpe ratio once every trial ever run is counted."""
    import polars as pl

    from mltrainer_pipelines.trials.registry import ledger, records
    from mltrainer_pipelines.trials.registry.leaderboard import rank

    cards, trials_run = records.scorecards(database.engine), records.trials_run(database.engine)
    luck = ledger.luck(database.engine)
    ranking = rank(cards, now(), luck)
    records.save_leaderboard(database.engine, ranking)
    picking = ranking.group_by("timeframe").agg(pl.col("probability_of_overfitting").first()).drop_nulls()
    picked = {f"probability_of_overfitting_{name}": probability for name, probability in picking.rows()}
    return dg.MaterializeResult(
        metadata=frame_metadata(
            ranking,
            leaderboard=table(ranking),
            trials_run=trials_run,
            trials_counted=luck.trials,
            trials_scored=len(cards),
            **picked,
        )
    )


@dg.asset(
    partitions_def=timeframes,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[leaderboard, dg.AssetDep(features, partition_mapping=_EVERYTHING), dg.AssetDep(labels, partition_mapping=_EVERYTHING)],
    group_name="trials",
    kinds={"mlflow"},
    owners=OWNERS,
    code_version=code_versions().all_sets,
)
def champion_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    tracking: dg.ResourceParam[Tracking],
) -> dg.MaterializeResult[None]:
    """The model that recommends: the best trial refit on all that is known, and the next best voting beside it."""
    from mltrainer_pipelines.contracts.content_hash import data_fingerprint
    from mltrainer_pipelines.trials.registry import records
    from mltrainer_pipelines.trials.registry.model_registry import register_champion
    from mltrainer_pipelines.trials.registry.promotion import grade
    from mltrainer_pipelines.trials.registry.succession import decide_succession, deflated_scorecards, refit

    cards, as_of, settings = deflated_scorecards(database.engine), last_closed_session(now()), get_settings()
    decisions = {}
    for timeframe in context.partition_keys:
        succession = decide_succession(database.engine, timeframe, cards)
        champion, decision = succession.champion, succession.decision
        if not succession.weights:
            decisions[timeframe] = f"kept as it was fitted: {champion}, whose feature set has changed since"
            context.add_asset_metadata({"champion": champion, "decision": decisions[timeframe]}, partition_key=timeframe)
            continue
        ensemble, rows, outcomes = refit(database.engine, lake, succession, as_of, settings.cost_bps)
        source = provenance(context.run_id, data_fingerprint(rows, outcomes))
        version = register_champion(database.engine, tracking, ensemble, rows, source, grade(succession.scorecard))
        records.record_decision(database.engine, timeframe, decision, version.version, now())
        decisions[timeframe] = f"{decision.decision}: {decision.trial_id} ({decision.grade})"
        context.add_asset_metadata(
            {
                "champion": champion,
                "grade": version.grade,
                "model_version": version.version,
                "decision": decisions[timeframe],
                "reasons": list(decision.reasons),
                "weights": ensemble.weights,
            },
            partition_key=timeframe,
        )
        context.log.info(f"{timeframe}: {decisions[timeframe]}; {'; '.join(decision.reasons)}")
    return dg.MaterializeResult(metadata={"decisions": decisions, "market": settings.market_kind})


@dg.asset(
    deps=[dg.AssetDep(one, partition_mapping=_EVERYTHING) for one in (daily_bars, universe, labels)],
    group_name="trials",
    kinds={"lightgbm", "postgres"},
    owners=OWNERS,
    code_version=code_versions().all_sets,
)
def market_skill(context: dg.AssetExecutionContext, lake: LakeResource, database: DatabaseResource) -> dg.MaterializeResult[None]:
    """What the default models are worth on this market out of sample, beside every baseline and the peer: `audit skill`.

    A history that is too short to tell is said, and is no failure.
    """
    import polars as pl

    from mltrainer_pipelines.audits.market_skill import record_skill
    from mltrainer_pipelines.audits.skill import audit_skill
    from mltrainer_pipelines.audits.skill_market import NoMarketError, ingested_market

    market = get_settings().market_kind
    try:
        audit = audit_skill(ingested_market(lake), threads=1)
    except NoMarketError as error:
        context.log.warning(f"skill is not measured: {error}")
        return dg.MaterializeResult(metadata={"status": f"not measured: {error}", "market": market})
    record_skill(database.engine, audit)
    tables = {
        name: table(pl.DataFrame(one["models"], infer_schema_length=None).select(_SKILL).sort("rank_ic", descending=True))
        for name, one in audit.findings["timeframes"].items()
    }
    status = {name: audit.findings[name] for name in ("passed", "verdict", "first", "last", "seconds")}
    plot = svg_of(audit.figure(), "sums of rank ICs")
    return dg.MaterializeResult(metadata={**status, **tables, "sums_of_rank_ics": plot, "market": market})


def _are_probabilities(lake: "Lake", names: list[str]) -> dg.AssetCheckResult:
    import polars as pl

    scores = lake.scan("trial_predictions", names)
    wrong = scores.filter(~pl.col("score").is_between(0, 1)).select(pl.len()).collect().item()
    return dg.AssetCheckResult(check_name=PROBABILITIES.name, passed=wrong == 0, metadata={"scores_outside": wrong})


def _predicted(walk: "WalkForward", windows: list[tuple[date, date]]) -> "Iterator[QuarterPredictions | FailedQuarter]":
    """Quarters as they end: computed in this process or, by a step on a cluster, as tasks of it where that pays."""
    from mltrainer_pipelines.trials.validation import ray_windows, scheduling

    if not on_cluster():
        return scheduling.predict_quarters(walk, windows, scheduling.quarters_at_once())
    return ray_windows.predict_quarters(walk, windows)


def _request_scores(
    context: dg.AssetExecutionContext, database: "Database", lake: "Lake", by_trial: Mapping[str, Sequence[str]]
) -> None:
    """Ask for the scorecards of what is predicted now: the run itself does, whoever launched it and whatever is switched off."""
    from mltrainer_pipelines.ops.run_launcher import quarters_of
    from mltrainer_pipelines.trials.run_requests import request_missing_scores

    wanted = quarters_of(get_settings())
    requested = [request_missing_scores(database.engine, lake, wanted, trial_id) for trial_id in by_trial]
    if any(requested):
        launch_at_once(context, database)
