"""What happened in the sessions that `mltrainer live` went through, beside what the calendar asked for."""

from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.market.quotes import DELAY
from mltrainer_pipelines.market.sessions import previous_session, session_hours
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.quarters import quarter_of
from mltrainer_pipelines.trials.registry.quarter_end import trials_that_matter

_REFRESH_EVERY = timedelta(minutes=15)


@dataclass
class LiveResult:
    """What happened in the sessions lived through.

    `recommendations` were made in them and have `positions`; `closed` positions ended in them and have `outcomes`, those that
    were open before among them. `months_begun` have a universe, `quarters_predicted` ended and are predicted by all trials that
    matter. `refreshes_due` is what the calendar says. `state` and `environment` lead to what was made.
    """

    first: str
    last: str
    sessions: int
    refreshes_due: int = 0
    refreshes_done: int = 0
    recommendations: int = 0
    positions: int = 0
    closed: int = 0
    outcomes: int = 0
    months_begun: int = 0
    quarters_predicted: int = 0
    failures: list[str] = field(default_factory=list)
    market: str = ""
    state: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def text(self) -> str:
        lines = [
            f"{self.sessions} sessions, {self.first} to {self.last}: {self.refreshes_done} of {self.refreshes_due} refreshes, "
            f"{self.recommendations} recommendations with {self.positions} positions, {self.closed} closed with {self.outcomes} "
            f"outcomes; months begun: {self.months_begun}, quarters predicted: {self.quarters_predicted}; {self.seconds:.0f} s",
            *(f"Failed: {failure}" for failure in self.failures),
            "Look at it with: " + " ".join(f"{name}={value}" for name, value in self.environment.items()) + " mltrainer up",
        ]
        return "\n".join(lines)


def refreshes_due(session: date) -> list[datetime]:
    """When the calendar asks for a refresh: every 15 minutes from the first delayed price to the closing one.

    >>> len(refreshes_due(date(2024, 7, 2))), len(refreshes_due(date(2024, 7, 3)))  # the day before the holiday ends at 13:00
    (27, 15)
    """
    opens, closes = session_hours(session)
    return [opens + DELAY + i * _REFRESH_EVERY for i in range((closes - opens) // _REFRESH_EVERY + 1)]


def count(
    result: LiveResult, instance: dg.DagsterInstance, engine: Engine, settings: Settings, days: list[date], until: date
) -> None:
    """What has happened until the end of a day."""
    from mltrainer_pipelines.commands.due import RUN_KEY, SCHEDULE
    from mltrainer_pipelines.store.tables import Outcome, Recommendation, VirtualPosition

    ticks = [moment.isoformat() for day in days if day <= until for moment in refreshes_due(day)]
    done = dg.RunsFilter(
        job_name="refresh_signals",
        statuses=[dg.DagsterRunStatus.SUCCESS],
        tags={SCHEDULE: "refresh_signals_schedule", RUN_KEY: ticks},
    )
    result.refreshes_due, result.refreshes_done = len(ticks), instance.get_runs_count(done) if ticks else 0
    made = Recommendation.session.between(days[0], until)
    ended = VirtualPosition.exit_session.between(days[0], until)
    with engine.connect() as connection:

        def count(table: type, *conditions: sa.ColumnElement[bool]) -> int:
            return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0

        mine = VirtualPosition.recommendation_id.in_(sa.select(Recommendation.id).where(made))
        result.recommendations, result.positions = count(Recommendation, made), count(VirtualPosition, mine)
        result.closed = count(VirtualPosition, ended)
        result.outcomes = count(Outcome, Outcome.position_id.in_(sa.select(VirtualPosition.id).where(ended)))
    lake, lived = Lake(settings.lake_url), [day for day in days if day <= until]
    months = {day.replace(day=1) for day in lived if previous_session(day).month != day.month}
    result.months_begun = sum(lake.exists("universe", str(month)) for month in months)
    trials = trials_that_matter(engine)
    quarters = {start for day in lived if (start := quarter_of(previous_session(day))[0]) != quarter_of(day)[0]}
    result.quarters_predicted = sum(
        bool(trials) and all(lake.exists("trial_predictions", f"{trial}/{quarter}") for trial in trials) for quarter in quarters
    )


def line(result: LiveResult, day: date) -> str:
    return (
        f"{day}: refreshes {result.refreshes_done} of {result.refreshes_due}, recommendations {result.recommendations}, "
        f"positions {result.positions}, closed {result.closed}, outcomes {result.outcomes}"
    )
