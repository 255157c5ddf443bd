"""The Dagster entry point: merges what `defs/` defines, and nothing else."""

import dagster as dg

from mltrainer_pipelines.defs import agent, features, learning, market, portfolio, signals, trials
from mltrainer_pipelines.defs.execution import steps_executor
from mltrainer_pipelines.defs.resources import RESOURCES

defs = dg.Definitions.merge(
    *(stage.DEFS for stage in (market, features, trials, signals, portfolio, learning, agent)),
    dg.Definitions(resources=RESOURCES, executor=steps_executor()),
)
