"""What a run of a trial asks before it starts, and how it has started what it requests."""

from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.settings import get_settings

if TYPE_CHECKING:
    from mltrainer_pipelines.store.database import Database


def require_current_run(context: dg.AssetExecutionContext | dg.OpExecutionContext, database: "Database") -> None:
    """A run whose request or proposal was withdrawn, or is carried out by another run, ends here without a retry."""
    from mltrainer_pipelines.agent.proposals import ProposalStateError, require_not_rejected
    from mltrainer_pipelines.ops.run_launcher import PROPOSAL, REQUEST
    from mltrainer_pipelines.trials.run_requests import RequestWithdrawnError, require_current

    tags = context.run.tags
    try:
        if PROPOSAL in tags:
            require_not_rejected(database.engine, int(tags[PROPOSAL]))
        if REQUEST in tags:
            require_current(database.engine, int(tags[REQUEST]), context.run.run_id, context.run.parent_run_id)
    except (ProposalStateError, RequestWithdrawnError) as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def launch_at_once(context: dg.AssetExecutionContext | dg.OpExecutionContext, database: "Database") -> None:
    """Start what this run requested without waiting for the sensor, where the webserver can be reached."""
    from mltrainer_pipelines.agent.jobs import JobError
    from mltrainer_pipelines.ops.dagster_client import DagsterClient
    from mltrainer_pipelines.ops.run_launcher import launcher_of

    if context.run.remote_job_origin is None:
        return  # a run in a process of its own: no webserver has its records
    settings = get_settings()
    try:
        launcher_of(settings, database.engine, DagsterClient.of(settings)).update()
    except JobError as error:
        context.log.info(f"the sensor starts what is requested: {error}")
