"""What was learnt from closed positions and resolved forecasts."""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, Day, Id, Json, RecordedAt, one_of


class Outcome(Base):
    """A closed position beside what was predicted for it when it was recommended."""

    __tablename__ = "outcomes"

    position_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("virtual_positions.id"), primary_key=True)
    recommendation_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("recommendations.id"))
    symbol: Mapped[str]
    timeframe: Mapped[str]
    model_used: Mapped[str]
    trial_id: Mapped[str | None]
    predicted_probability: Mapped[float]
    expected_net_return: Mapped[float | None]
    confidence: Mapped[float]
    regime_score: Mapped[float | None]
    net_return: Mapped[float]
    profitable: Mapped[bool]
    exit_reason: Mapped[str]
    closed_session: Mapped[Day]
    recorded_at: Mapped[RecordedAt]


class ModelWeight(Base):
    """The weight of a trial's model in the ensemble of its timeframe; `brier` is null before any observation."""

    __tablename__ = "model_weights"
    __table_args__ = (CheckConstraint("weight BETWEEN 0 AND 1", name="weight"),)

    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[float]
    observations: Mapped[int]
    brier: Mapped[float | None]
    updated_at: Mapped[RecordedAt]


class ModelWeightHistory(Base):
    """The weights as they stood once the outcomes of session `as_of` were known; a refresh uses those before its session."""

    __tablename__ = "model_weight_history"

    as_of: Mapped[Day] = mapped_column(primary_key=True)
    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[float]
    observations: Mapped[int]
    brier: Mapped[float | None]


class Recalibration(Base):
    """How a champion's probabilities are corrected after session `as_of`: log-odds become intercept + slope × log-odds."""

    __tablename__ = "recalibrations"

    as_of: Mapped[Day] = mapped_column(primary_key=True)
    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    intercept: Mapped[float]
    slope: Mapped[float]
    observations: Mapped[int]
    effective_observations: Mapped[float]
    brier_before: Mapped[float | None]
    brier_after: Mapped[float | None]


class DriftCheck(Base):
    """One look for drift; without any, `p_value` falls to `false_alarm_rate` or below that often."""

    __tablename__ = "drift_checks"
    __table_args__ = (one_of("kind", "features", "predictions", "calibration"),)

    as_of: Mapped[Day] = mapped_column(primary_key=True)
    timeframe: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str]
    subject: Mapped[str]
    statistic: Mapped[float]
    threshold: Mapped[float]
    p_value: Mapped[float]
    false_alarm_rate: Mapped[float]
    crossed: Mapped[bool]
    advice: Mapped[str]


class LearningReport(Base):
    """What was learned as of a session: for people (`markdown`) and for programs (`report`)."""

    __tablename__ = "learning_reports"

    id: Mapped[Id]
    created_at: Mapped[RecordedAt]
    as_of: Mapped[Day]
    report: Mapped[Json]
    markdown: Mapped[str]
