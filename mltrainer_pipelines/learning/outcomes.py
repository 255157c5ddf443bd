"""Outcomes: each closed position beside what was predicted for it when it was recommended."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.tables import Outcome, Recommendation, VirtualPosition

_WITHOUT_OUTCOME = sa.and_(
    VirtualPosition.status == "closed",
    VirtualPosition.net_return.is_not(None),
    ~sa.exists().where(Outcome.position_id == VirtualPosition.id),
)


def record_outcomes(engine: Engine) -> int:
    """Record the outcome of every closed position that has none; returns how many were added.

    `profitable` is the label's definition: a net return above zero. Positions that were never entered have no
    outcome. What is recorded stays as it is: a second call, or two at once, add nothing.
    """
    closed = (
        sa.select(
            VirtualPosition.id,
            Recommendation.id,
            Recommendation.symbol,
            Recommendation.timeframe,
            Recommendation.model_used,
            Recommendation.trial_id,
            Recommendation.profit_probability,
            Recommendation.expected_net_return,
            Recommendation.confidence,
            Recommendation.regime_score,
            VirtualPosition.net_return,
            VirtualPosition.net_return > 0,
            VirtualPosition.exit_reason,
            VirtualPosition.exit_session,
        )
        .join(Recommendation, Recommendation.id == VirtualPosition.recommendation_id)
        .where(_WITHOUT_OUTCOME)
        .order_by(VirtualPosition.id)
    )
    columns = (
        *("position_id", "recommendation_id", "symbol", "timeframe", "model_used", "trial_id", "predicted_probability"),
        *("expected_net_return", "confidence", "regime_score", "net_return", "profitable", "exit_reason", "closed_session"),
    )
    statement = insert(Outcome).from_select(columns, closed, include_defaults=False).on_conflict_do_nothing()
    with engine.begin() as connection:
        return len(connection.execute(statement.returning(Outcome.position_id)).all())


def closed_without_outcome(engine: Engine) -> list[int]:
    """Ids of closed positions, entered ones, whose outcome is not recorded yet, ascending."""
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(VirtualPosition.id).where(_WITHOUT_OUTCOME).order_by(VirtualPosition.id)))
