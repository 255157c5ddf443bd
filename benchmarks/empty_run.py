"""A code location with one empty job: what a Dagster run costs before anything is computed."""

import dagster as dg


@dg.op
def nothing() -> None:
    """Returns at once."""


@dg.job(executor_def=dg.in_process_executor)
def empty() -> None:
    """One step that does nothing."""
    nothing()


DEFS = dg.Definitions(jobs=[empty])
