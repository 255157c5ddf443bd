"""Trials in PostgreSQL: what was run, how it was judged, how it ranks, who became champion."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl
from sqlalchemy import Select, Text, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from mltrainer_pipelines.features.versions import UNVERSIONED
from mltrainer_pipelines.store.tables import LeaderboardRow, Promotion, Trial, TrialScorecard
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import ledger
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion
from mltrainer_pipelines.trials.registry.promotion import Decision, grade
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard


class UnknownTrialError(LookupError):
    """Nobody submitted this trial: names it and the remedy."""

    def __init__(self, trial_id: str):
        super().__init__(
            f"no trial {trial_id} was ever submitted; submit its configuration with `mltrainer trial submit FILE.json`"
        )


def register(engine: Engine, config: TrialConfig) -> bool:
    """Record a trial before it runs. Returns False where the same configuration is there already."""
    columns = config.model_dump(include={"model", "timeframe", "feature_set", "proposed_by", "rationale"})
    values = {"trial_id": config.trial_id, "config": config.model_dump(mode="json"), **columns}
    with engine.begin() as connection:
        added = connection.execute(insert(Trial).values(values).on_conflict_do_nothing().returning(Trial.trial_id))
        new = added.first() is not None
        if new:
            ledger.record_request(connection, config)
        return new


def config_of(engine: Engine, trial_id: str) -> TrialConfig:
    """Configuration of a recorded trial; UnknownTrialError if it was never recorded."""
    with engine.connect() as connection:
        config = connection.scalar(select(Trial.config).where(Trial.trial_id == trial_id))
    if config is None:
        raise UnknownTrialError(trial_id)
    return TrialConfig.from_record(config)


def feature_set_versions(engine: Engine) -> dict[str, str]:
    """The version of its feature set that each trial was submitted with."""
    version = func.coalesce(Trial.config["feature_set_version"].astext, UNVERSIONED)
    with engine.connect() as connection:
        return {row.trial_id: row.version for row in connection.execute(select(Trial.trial_id, version.label("version")))}


def set_status(engine: Engine, trial_id: str, status: str, run_id: str | None = None) -> None:
    """Note how far a trial is: `created`, `running`, `predicted`, `scored`, `failed` or `cancelled`; and by which run."""
    values = {"status": status} | ({"run_id": run_id} if run_id is not None else {})
    with engine.begin() as connection:
        connection.execute(update(Trial).where(Trial.trial_id == trial_id).values(values))


def first_registered(engine: Engine) -> datetime | None:
    """When the first trial was registered; None before."""
    with Session(engine) as session:
        return session.scalar(select(func.min(Trial.created_at)))


def trials_run(engine: Engine) -> int:
    """How many trials were ever submitted, the failed and discarded ones too: what luck had to choose from."""
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Trial)).scalar_one()


def save_scorecard(engine: Engine, card: Scorecard, mlflow_run_id: str | None, dagster_run_id: str | None) -> None:
    """Record a trial's scorecard in place of an older one."""
    values = {
        **card.model_dump(include={"trial_id", "daily_sharpe", "deflated_sharpe", "sessions"}),
        "grade": grade(card),
        "metrics": card.model_dump(mode="json"),
        "mlflow_run_id": mlflow_run_id,
        "dagster_run_id": dagster_run_id,
        "scored_at": func.now(),
    }
    statement = insert(TrialScorecard).values(values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=[TrialScorecard.trial_id], set_=values))
    set_status(engine, card.trial_id, "scored")


def scorecards(engine: Engine) -> list[Scorecard]:
    """Scorecards of all trials ever scored, of both timeframes; without their scores per regime and per sector."""
    with engine.connect() as connection:
        whole = TrialScorecard.metrics.op("-")("per_regime").op("-")("per_sector").cast(Text)
        rows = connection.scalars(select(whole).order_by(TrialScorecard.trial_id))
        return [Scorecard.model_validate_json(metrics) for metrics in rows]


def save_leaderboard(engine: Engine, ranking: pl.DataFrame) -> None:
    """Replace the leaderboard, as one transaction."""
    with engine.begin() as connection:
        connection.execute(delete(LeaderboardRow))
        if ranking.height:
            connection.execute(insert(LeaderboardRow), ranking.to_dicts())


def champion_of(engine: Engine, timeframe: str) -> str | None:
    """Trial that is champion now: the one of the newest promotion or rollback; None before the first."""
    newest = newest_change(engine, timeframe)
    return newest.trial_id if newest is not None else None


def newest_change(engine: Engine, timeframe: str) -> Promotion | None:
    """The newest promotion or rollback; None before the first."""
    with Session(engine) as session:
        return session.scalars(_changes(timeframe).order_by(Promotion.id.desc()).limit(1)).first()


def withdrawn(engine: Engine, timeframe: str) -> set[str]:
    """Trials that somebody rolled back from, and not to again: they challenge no more."""
    trials: set[str] = set()
    champion: str | None = None
    with Session(engine) as session:
        for change in session.scalars(_changes(timeframe).order_by(Promotion.id)):
            if change.decision == "rolled_back" and champion is not None:
                trials.add(champion)
            champion = change.trial_id
            trials.discard(champion)
    return trials


def _changes(timeframe: str) -> Select[tuple[Promotion]]:
    return select(Promotion).where(Promotion.timeframe == timeframe, Promotion.decision.in_(["promoted", "rolled_back"]))


def record_rollback(
    engine: Engine, timeframe: str, version: ChampionVersion, reasons: Sequence[str], decided_at: datetime
) -> None:
    """Keep that an earlier version scores the market again, with the reasons."""
    values = {
        "timeframe": timeframe,
        "trial_id": version.trial_id,
        "decision": "rolled_back",
        "grade": version.grade,
        "model_version": version.version,
        "reasons": list(reasons),
        "decided_at": decided_at,
    }
    with engine.begin() as connection:
        connection.execute(insert(Promotion).values(values))


def champion_status(engine: Engine, timeframe: str) -> dict[str, str | None]:
    """The champion's `trial_id`, its `grade` on the leaderboard and its newest `model_version`; empty before the first."""
    champion = champion_of(engine, timeframe)
    if champion is None:
        return {}
    version = select(Promotion.model_version).where(Promotion.timeframe == timeframe).order_by(Promotion.id.desc()).limit(1)
    row = LeaderboardRow
    with engine.connect() as connection:
        return {
            "trial_id": champion,
            "grade": connection.scalar(select(row.grade).where(row.timeframe == timeframe, row.trial_id == champion)),
            "model_version": connection.execute(version).scalar_one(),
        }


def record_decision(engine: Engine, timeframe: str, decision: Decision, model_version: str | None, decided_at: datetime) -> None:
    """Keep a promotion or a refusal, with its reasons."""
    values = {"timeframe": timeframe, "model_version": model_version, "decided_at": decided_at}
    values |= decision.model_dump(mode="json")
    with engine.begin() as connection:
        connection.execute(insert(Promotion).values(values))
