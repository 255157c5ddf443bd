"""The weekly look for better champions."""

import dagster as dg

from mltrainer_pipelines.defs.partitions import timeframes
from mltrainer_pipelines.defs.trials.jobs import promote_champion


@dg.schedule(job=promote_champion, cron_schedule="0 9 * * 6", execution_timezone="America/New_York")
def promote_champion_schedule() -> list[dg.RunRequest]:
    """Every Saturday, for both timeframes."""
    return [dg.RunRequest(partition_key=timeframe) for timeframe in timeframes.get_partition_keys()]
