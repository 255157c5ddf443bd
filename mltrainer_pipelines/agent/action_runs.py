"""What an action does after its yes: change something now, or ask for a run; and what that run brought about."""

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy.engine import Connection

from mltrainer_pipelines.agent import action_kinds as kinds
from mltrainer_pipelines.agent import market_queries, proposals, queries
from mltrainer_pipelines.agent.action_kinds import ActionParams, ChangeSetting, DecideProposal, Kind, trial_configs
from mltrainer_pipelines.agent.autonomy import stop_started
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.runtime_settings import InvalidSettingError
from mltrainer_pipelines.trials.joint_requests import parts, request_jointly
from mltrainer_pipelines.trials.run_requests import RunRequest, outcome, request_run, request_trial

_SCREENED = ("timeframe", "min_probability", "min_confidence", "min_expected_return")


def request_for(connection: Connection, system: System, checked: ActionParams, reason: str) -> int:
    """Ask for the run of an action; returns the request's id."""
    if isinstance(checked, kinds.SubmitTrial):
        (config,) = trial_configs(system, checked)
        return request_trial(connection, config, "agent", reason)
    if isinstance(checked, kinds.MomentumScreening):
        configs = trial_configs(system, checked)
        return request_jointly(connection, "momentum_screening", configs, "refresh_signals", None, "agent", reason)
    if isinstance(checked, kinds.Ensemble):
        configs = trial_configs(system, checked)
        return request_jointly(connection, "ensemble", configs, "promote_champion", checked.timeframe, "agent", reason)
    job: Literal["refresh_signals", "propose_trials"]
    job = "refresh_signals" if isinstance(checked, kinds.RefreshSignals) else "propose_trials"
    return request_run(connection, job, "agent", reason)


def do_now(system: System, checked: ChangeSetting | DecideProposal, by: str) -> dict[str, object]:
    """Do what takes no run of its own; returns what there is to say about it."""
    if isinstance(checked, ChangeSetting):
        before = runtime_settings.get_all(system.engine, system.defaults)[checked.name]
        if before != checked.before:
            raise InvalidSettingError(
                f"{checked.name} is {before} by now, not {checked.before} as shown; ask for the change again"
            )
        change = runtime_settings.put(system.engine, checked.name, checked.value, by, checked.reason or "asked for in the chat")
        done: dict[str, Any] = {"setting": checked.name, "before": before, "now": change.value, "version": change.id}
        if checked.name == "agent_enabled" and change.value is False:
            stopped = stop_started(system.engine, system.launcher, by, change.reason, system.clock())
            done["stopped"] = {name: list(ids) for name, ids in vars(stopped).items()}
        return done
    if checked.decision == "approve":
        proposals.approve(system.engine, checked.proposal_id, by)
        system.start_requested()
    else:
        proposals.reject(system.engine, checked.proposal_id, by)
    after = {one.id: one.status for one in proposals.proposals(system.engine)}.get(checked.proposal_id)
    return {"proposal": checked.proposal_id, "trial": checked.trial_id, "decision": checked.decision, "status": after}


def result_of(system: System, kind: Kind, params: Mapping[str, Any], request: RunRequest) -> dict[str, object]:
    """What an action's runs brought about, read from where they wrote it."""
    with system.engine.connect() as connection:
        made = parts(connection, request) if "configs" in request.params else [request]
        done = [part for part in made if outcome(connection, part).status == "succeeded"]
    result: dict[str, Any] = {"market": system.market}
    trials = [queries.trial(system, part.trial_id) for part in done if part.trial_id is not None]
    if trials:
        result["trials"] = trials
    jobs = {part.job for part in done}
    if "refresh_signals" in jobs:
        wanted: dict[str, Any] = {} if kind == "refresh_signals" else {name: params.get(name) for name in _SCREENED}
        result["screening"] = market_queries.candidates(system, **wanted)
    if "promote_champion" in jobs:
        result["leaderboard"] = queries.leaderboard(system, params["timeframe"], 5)
    if "propose_trials" in jobs:
        result["proposals"] = queries.proposed(system, "proposed")
    return result
