"""The weekly look for better champions, and the prediction of quarters that have ended."""

import dagster as dg

from mltrainer_pipelines.defs.partitions import quarters, timeframes
from mltrainer_pipelines.defs.switches import SCHEDULES, SENSORS
from mltrainer_pipelines.defs.ticks import clock_is_pinned
from mltrainer_pipelines.defs.trials.jobs import promote_champion, walk_forward
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake


@dg.schedule(job=promote_champion, cron_schedule="0 9 * * 6", execution_timezone="America/New_York", default_status=SCHEDULES)
def promote_champion_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Every Saturday, for both timeframes."""
    tick = context.scheduled_execution_time
    return clock_is_pinned(tick) or [
        dg.RunRequest(f"{tick.date()} {timeframe}", partition_key=timeframe) for timeframe in timeframes.get_partition_keys()
    ]


@dg.sensor(job=walk_forward, minimum_interval_seconds=60, default_status=SENSORS)
def predict_ended_quarters(
    context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
) -> dg.SensorResult | dg.SkipReason:
    """A quarter that has ended is predicted for the trials that matter: champions, voters, the top of the leaderboard.

    It writes requests, as everybody does who wants a trial run; asked once a quarter, when its last features are there.
    """
    from mltrainer_pipelines.trials.registry.quarter_end import request_quarter

    ended = quarters.get_last_partition_key()
    if ended is None or context.cursor == ended:
        return dg.SkipReason(f"the quarter of {ended} was asked for" if ended else "no quarter has ended")
    requested = request_quarter(database.engine, Lake(get_settings().lake_url), ended)
    if requested is None:
        return dg.SkipReason(f"the quarter of {ended} waits for its last features, or for a first champion")
    return dg.SensorResult(skip_reason=f"requested {ended} of {len(requested)} trials", cursor=ended)
