"""What happens when a quarter has ended: the trials that matter are asked to predict it."""

from datetime import date

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.market.sessions import previous_session
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import LeaderboardRow
from mltrainer_pipelines.trials.quarters import quarter_of
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.run_requests import request_trial

TOP = 5
"""Places of each timeframe's leaderboard that are kept up to date: its champion's voters are among them."""


def trials_that_matter(engine: Engine) -> list[str]:
    """The champions, and the top of each timeframe's leaderboard, from which the voters of the next champion come."""
    chosen: dict[str, None] = {}
    for timeframe in TIMEFRAMES:
        if champion := records.champion_of(engine, timeframe):
            chosen[champion] = None
        best = (
            sa.select(LeaderboardRow.trial_id)
            .where(LeaderboardRow.timeframe == timeframe)
            .order_by(LeaderboardRow.rank)
            .limit(TOP)
        )
        with engine.connect() as connection:
            chosen |= dict.fromkeys(connection.scalars(best))
    return list(chosen)


def request_quarter(engine: Engine, lake: Lake, quarter: str) -> list[str] | None:
    """Request the quarter of the trials that matter and have not predicted it; their ids.

    None while its last features are not in the lake, or while there is no champion.
    """
    last = previous_session(quarter_of(date.fromisoformat(quarter))[1])
    month, chosen = str(last.replace(day=1)), trials_that_matter(engine)
    if not chosen or not lake.exists("features", month) or lake.read("features", month)["date"].max() != last:
        return None
    lacking = [trial_id for trial_id in chosen if not lake.exists("trial_predictions", f"{trial_id}/{quarter}")]
    with engine.begin() as connection:
        for trial_id in lacking:
            reason = f"the quarter from {quarter} has ended"
            request_trial(connection, records.config_of(engine, trial_id), "mltrainer", reason)
    return lacking
