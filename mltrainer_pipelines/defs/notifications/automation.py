"""Telling those who are not looking."""

import dagster as dg

from mltrainer_pipelines.defs.resources import DatabaseResource
from mltrainer_pipelines.defs.switches import SENSORS
from mltrainer_pipelines.settings import get_settings, now


@dg.sensor(minimum_interval_seconds=15, default_status=SENSORS)
def send_notifications(_context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SkipReason:
    """New recommendations, levels reached, failures, drift, champions and proposals become messages, each told once."""
    from mltrainer_pipelines.ops.notifications.delivery import notify

    done = notify(get_settings(), database.engine, now())
    if done.failed:
        return dg.SkipReason(f"{done.failed} messages were not taken by every address; they are tried again")
    return dg.SkipReason(f"{done.sent} messages sent" if done.sent else "there is nothing to tell, or nobody to tell it to")
