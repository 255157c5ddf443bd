"""The agent's jobs: proposals, and the runs that wait for trials and do what follows them."""

import time

import dagster as dg

from mltrainer_pipelines.defs.resources import DatabaseResource
from mltrainer_pipelines.defs.trials.launching import launch_at_once, require_current_run

BY_AGENT = {"mltrainer/started_by": "agent"}
"""Tag of what the agent's switch stops."""

COORDINATING = {"mltrainer/coordinating": "trials"}
"""Tag of runs that wait for other runs; dagster.yaml lets so few of them run that those have room."""

LOOK_S = 1.0
"""How often a coordinating run looks at the runs it waits for."""


propose_trials = dg.define_asset_job(
    "propose_trials",
    selection=dg.AssetSelection.assets("trial_proposals"),
    tags=BY_AGENT,
    description="Ask the proposer for the next trials.",
)


@dg.op
def carry_out(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Asks for the trials of a joint request, waits until they are scored, and has done what follows them."""
    from mltrainer_pipelines.ops.run_launcher import REQUEST
    from mltrainer_pipelines.trials.joint_requests import JointRequestError, advance

    if REQUEST not in context.run.tags:
        raise dg.Failure("this job belongs to a request; ask for it in the chat or over the API", allow_retries=False)
    require_current_run(context, database)
    try:
        while not advance(database.engine, int(context.run.tags[REQUEST])):
            launch_at_once(context, database)
            time.sleep(LOOK_S)
    except JointRequestError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


@dg.job(executor_def=dg.in_process_executor, tags=COORDINATING, description="Trials, then the market scored with what they gave.")
def momentum_screening() -> None:
    """One op, which waits for runs of their own."""
    carry_out()


@dg.job(executor_def=dg.in_process_executor, tags=COORDINATING, description="Trials, then the champion refit with them voting.")
def ensemble() -> None:
    """One op, which waits for runs of their own."""
    carry_out()
