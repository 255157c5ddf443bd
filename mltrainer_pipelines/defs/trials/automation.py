"""The weekly look for better champions, the prediction of quarters that have ended, and the skill on this market."""

from datetime import date

import dagster as dg

from mltrainer_pipelines.defs.partitions import quarters, timeframes
from mltrainer_pipelines.defs.resources import DatabaseResource
from mltrainer_pipelines.defs.switches import SCHEDULES, SENSORS
from mltrainer_pipelines.defs.ticks import clock_is_pinned
from mltrainer_pipelines.defs.trials.jobs import measure_skill, promote_champion, walk_forward
from mltrainer_pipelines.settings import get_settings


@dg.schedule(job=promote_champion, cron_schedule="0 9 * * 6", execution_timezone="America/New_York", default_status=SCHEDULES)
def promote_champion_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Every Saturday, for both timeframes."""
    tick = context.scheduled_execution_time
    return clock_is_pinned(tick) or [
        dg.RunRequest(f"{tick.date()} {timeframe}", partition_key=timeframe) for timeframe in timeframes.get_partition_keys()
    ]


@dg.sensor(job=walk_forward, minimum_interval_seconds=60, default_status=SENSORS)
def predict_ended_quarters(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SensorResult | dg.SkipReason:
    """A quarter that has ended is predicted for the trials that matter: champions, voters, the top of the leaderboard.

    It writes requests, as everybody does who wants a trial run; asked once a quarter, when its last features are there.
    """
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.trials.registry.quarter_end import request_quarter

    ended = quarters.get_last_partition_key()
    if ended is None or context.cursor == ended:
        return dg.SkipReason(f"the quarter of {ended} was asked for" if ended else "no quarter has ended")
    requested = request_quarter(database.engine, Lake(get_settings().lake_url), ended)
    if requested is None:
        return dg.SkipReason(f"the quarter of {ended} waits for its last features, or for a first champion")
    return dg.SensorResult(skip_reason=f"requested {ended} of {len(requested)} trials", cursor=ended)


@dg.sensor(job=measure_skill, minimum_interval_seconds=300, default_status=SENSORS)
def measure_skill_once_a_quarter(
    context: dg.SensorEvaluationContext, database: DatabaseResource
) -> dg.RunRequest | dg.SkipReason:
    """Skill on this market is measured once there are champions, and again in each quarter."""
    from mltrainer_pipelines.audits.market_skill import skill_is_due
    from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.trials.registry.records import champion_of

    sessions = Lake(get_settings().lake_url).partitions("daily_bars")
    if not sessions or all(champion_of(database.engine, name) is None for name in TIMEFRAMES):
        return dg.SkipReason("there is no champion yet")
    newest = date.fromisoformat(sessions[-1])
    if not skill_is_due(database.engine, newest):
        return dg.SkipReason("measured in this quarter")
    return dg.RunRequest(f"skill:{newest.year}Q{(newest.month + 2) // 3}")
