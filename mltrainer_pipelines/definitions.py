"""The Dagster entry point: loads what `defs/` holds, and nothing else."""

import dagster as dg

from mltrainer_pipelines import defs as stages
from mltrainer_pipelines.defs.conditions import with_freshness_policy
from mltrainer_pipelines.defs.execution import steps_executor
from mltrainer_pipelines.defs.resources import RESOURCES

defs = dg.load_definitions_from_package_module(stages, resources=RESOURCES, executor=steps_executor()).map_asset_specs(
    func=with_freshness_policy
)
