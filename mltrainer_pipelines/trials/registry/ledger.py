"""The ledger of looks: every scoring of anything on this market is a row, and no row is ever changed or removed.

What the deflated Sharpe ratio and the grade count is read from here. A trial is on it from when it is submitted
(`record_request`), so that one that fails or is deleted counts; every scoring adds a row, over another span or at another cost
another look. So do factors that somebody tries and the trials of a comparison of proposers: whoever picks by them had these to
choose from. The ledger belongs to the market: with another start of its history the same companies and years are looked at
again, so its rows go on counting.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.store.tables import RunRequest, Trial, TrialLook
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.leaderboard import look_of
from mltrainer_pipelines.trials.scoring.deflation import Look, Luck, luck_of
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard


@dataclass(frozen=True)
class Source:
    """What was looked at: the version of the feature set, the fingerprint of the data, who asked, and the run that looked."""

    feature_set_version: str | None
    data_fingerprint: str | None
    requested_by: str
    run_id: str | None


def record_scoring(
    engine: Engine, config: TrialConfig, card: Scorecard, cost_bps: float, data_fingerprint: str, run_id: str | None
) -> None:
    """Add the scoring of a trial, asked for by whoever last requested a run of it."""
    asked = select(RunRequest.requested_by).where(RunRequest.trial_id == card.trial_id).order_by(RunRequest.id.desc()).limit(1)
    with engine.connect() as connection:
        by = connection.scalar(asked) or config.proposed_by
    record(engine, look_of(card, cost_bps), card, Source(config.feature_set_version, data_fingerprint, by, run_id))


def record_request(connection: Connection, config: TrialConfig) -> None:
    """Add a trial that was submitted: until it is scored it counts as one look, whatever becomes of it."""
    look = _unscored(config.trial_id, config.timeframe, datetime.now(UTC).date())
    source = Source(config.feature_set_version, None, config.proposed_by, None)
    connection.execute(insert(TrialLook).values({**asdict(look), **asdict(source)}))


def record_factor(
    engine: Engine,
    expression: str,
    first_session: date,
    requested_by: str,
    data_fingerprint: str | None = None,
    run_id: str | None = None,
) -> None:
    """Add a factor whose worth somebody looked at; tried again over the same sessions it stays one look."""
    look = _unscored(f"factor: {expression}", "factor", first_session)
    record(engine, look, None, Source(None, data_fingerprint, requested_by, run_id))


def _unscored(subject: str, timeframe: str, day: date) -> Look:
    """A look that left no book: it counts once for its subject."""
    return Look(subject, timeframe, day, None, 0, None, {})


def record(engine: Engine, look: Look, card: Scorecard | None, source: Source) -> None:
    """Add a row; `card` tells the last session of a trial, and is None for whatever else was looked at."""
    values = {**asdict(look), **asdict(source), "last_session": card.last_session if card else None}
    with engine.begin() as connection:
        connection.execute(insert(TrialLook).values(values))


def luck(engine: Engine, own: Look | None = None) -> Luck:
    """What luck had to choose from on this market until now, with a look that is about to be added."""
    names = list(Look.__dataclass_fields__)
    unseen = select(func.count()).where(Trial.trial_id.not_in(select(TrialLook.subject)))
    if own is not None:
        unseen = unseen.where(Trial.trial_id != own.subject)
    with engine.connect() as connection:
        rows = connection.execute(select(*(getattr(TrialLook, name) for name in names)).order_by(TrialLook.id))
        looks = [Look(**row._asdict()) for row in rows]
        never_scored = connection.execute(unseen).scalar_one()
    return luck_of([*looks, own] if own is not None else looks, never_scored)
