"""When an asset follows what it is made of by itself (declarative automation)."""

from datetime import timedelta

import dagster as dg

from mltrainer_pipelines.defs.switches import SENSORS


def follows_inputs(lookback: timedelta | None = None) -> dg.AutomationCondition:
    """Computed again whenever an input was, and where it is missing; of the newest partition, or of those in `lookback`.

    Inputs that are missing do not keep it back: today's bars are missing all day, and one lost session costs that session.
    """
    condition = dg.AutomationCondition
    due = condition.newly_missing() | condition.any_deps_updated()
    waits = condition.any_deps_in_progress() | condition.in_progress()
    return condition.in_latest_time_window(lookback) & due.since_last_handled() & ~waits


follow_inputs = dg.AutomationConditionSensorDefinition(
    "follow_inputs",
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=30,
    default_status=SENSORS,
    description="Universe, features, labels and regime follow the bars, corrections, actions and macro series.",
)
