"""The sessions before an installation's first recommendation, lived through by the walk-forward models of their time.

A new installation would have nothing to show for weeks. So its last sessions are decided again, each with what was known
then (`learning.point_in_time`), bought on paper, settled and booked session by session. What is recommended so carries the
model version `walk-forward`, wherever it is shown: nobody could have followed it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl
from sqlalchemy.engine import Engine

from mltrainer_pipelines.learning.point_in_time import PointInTime
from mltrainer_pipelines.learning.weights import leaderboard_trials
from mltrainer_pipelines.market.backlog import closures
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.listings import listings_of
from mltrainer_pipelines.portfolio.performance import books_are_kept, performance, universe_returns
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.replay import NothingToReplayError, replay
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.signals.champions import Champions
from mltrainer_pipelines.signals.recommendations import publish
from mltrainer_pipelines.signals.thresholds import thresholds_at
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.quarters import quarter_of
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.validation.lake_tables import training_tables, universe
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

SESSIONS = 60
"""Three months: positions of both holding periods have been closed."""


@dataclass(frozen=True)
class RecentSessions:
    """What was lived through; nothing (0 sessions) where books were kept already, or there was no model of that time."""

    sessions: int
    recommendations: int


def live_through(
    lake: Lake,
    engine: Engine,
    champions: Champions,
    defaults: Mapping[str, float],
    newest: date,
    cost_bps: float,
    market: str,
    sessions: int = SESSIONS,
    on_session: Callable[[date], None] = lambda _: None,
) -> RecentSessions:
    """Live through the sessions before `newest`, the last closed one, which the first refresh decides on.

    `defaults` are of the thresholds, `cost_bps` is fee and slippage a side. Only where no book was kept yet.
    """
    if books_are_kept(engine):
        return RecentSessions(0, 0)
    days = sessions_in_lake(lake, date.min, newest)[-sessions - 1 : -1]
    if not days:
        return RecentSessions(0, 0)
    labels = lake.scan("labels").filter(pl.col("date") <= days[-1]).collect()
    running = running_quarter(lake, engine, newest, cost_bps)
    states = PointInTime(lake, engine, champions, defaults, labels, days[0], days[-1], running=running)
    try:
        made = replay(lake, days[0], days[-1], states, cost_bps, on_session=on_session).recommendations
    except NothingToReplayError:
        return RecentSessions(0, 0)
    if made:
        publish(engine, pl.DataFrame(made, infer_schema_length=None), thresholds_at(engine, defaults), market)
        open_positions(engine, cost_bps)
    months = sorted({str(day.replace(day=1)) for day in days} & set(lake.partitions("universe")))
    bars, known = adjusted_history(lake, days[0], days[-1], look_back=1), (listings_of(lake), closures(lake))
    returns = universe_returns(bars, lake.scan("universe", months).collect())
    for day in days:
        settle(engine, bars.filter(pl.col("date").is_between(days[0], day)), day, *known)
        performance(engine, day, benchmark={day: returns[day]} if day in returns else None, listings=known[0])
    return RecentSessions(len(days), len(made))


def running_quarter(lake: Lake, engine: Engine, newest: date, cost_bps: float) -> dict[str, pl.DataFrame]:
    """By trial of the leaderboard, predictions of the quarter of `newest` by a model fitted before it: date, symbol, score."""
    start, end = quarter_of(newest)
    predictions = {}
    for trial_ids in leaderboard_trials(engine).values():
        for trial_id in trial_ids:
            config = records.config_of(engine, trial_id)
            walk = WalkForward(config, *training_tables(lake, config, end, newest, cost_bps), universe=universe(lake))
            if (start, end) in walk.quarters() and not lake.exists("trial_predictions", f"{trial_id}/{start}"):
                predictions[trial_id] = walk.predict_quarter(start, end).predictions
    return predictions
