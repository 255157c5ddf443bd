"""When an asset follows what it is made of by itself (declarative automation), and how old it may become."""

from datetime import timedelta

import dagster as dg

from mltrainer_pipelines.defs.switches import SENSORS
from mltrainer_pipelines.settings import get_settings

_LONGEST_GAP, _TOO_LONG = timedelta(days=4, hours=6), timedelta(days=5)
"""From the evening before a long weekend to the evening after it; Dagster's policies know no sessions."""
_A_MONTH = timedelta(days=31)


def follows_inputs(lookback: timedelta | None = None) -> dg.AutomationCondition:
    """Computed again whenever an input was, and where it is missing; of the newest partition, or of those in `lookback`.

    Inputs that are missing do not keep it back: today's bars are missing all day, and one lost session costs that session.
    Where nobody has looked before (the first start after a demo), it is computed once, as its inputs may be newer.
    Listings are looked at each evening with the bars, and hardly ever change: they alone start nothing.
    """
    condition = dg.AutomationCondition
    updated = condition.any_deps_updated().ignore(dg.AssetSelection.assets("listings"))
    due = (condition.newly_missing() | updated).since_last_handled() | condition.initial_evaluation()
    waits = condition.any_deps_in_progress() | condition.in_progress()
    something = condition.any_deps_match(~condition.missing())  # an empty home waits for its first backfill
    return condition.in_latest_time_window(lookback) & due & something & ~waits


follow_inputs = dg.AutomationConditionSensorDefinition(
    "follow_inputs",
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=30,
    default_status=SENSORS,
    description="Universe, features, labels and regime follow the bars, corrections, actions and macro series.",
)


def with_freshness_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
    """How old Dagster lets an asset become, by the wall clock; nothing ages where `MLTRAINER_AS_OF` holds the clock.

    `ops.freshness` says the same more sharply, in sessions.
    """
    from mltrainer_pipelines.ops.cadence import ALLOWED, ON_DEMAND

    name = spec.key.to_user_string()
    if get_settings().mltrainer_as_of or name in ON_DEMAND:
        return spec
    allowed = _A_MONTH if name == "universe" else ALLOWED.get(name, timedelta())
    return spec.replace_attributes(freshness_policy=dg.FreshnessPolicy.time_window(allowed + _TOO_LONG, allowed + _LONGEST_GAP))
