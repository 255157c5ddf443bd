import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.agent import ledger
from mltrainer_pipelines.agent.action_kinds import ActionError
from mltrainer_pipelines.agent.actions import (
    MOST_PENDING,
    ActionStateError,
    action,
    actions,
    approve,
    finish_ended,
    propose_action,
    reject,
    unreported,
)
from mltrainer_pipelines.agent.autonomy import halt
from mltrainer_pipelines.agent.names import model_named
from mltrainer_pipelines.agent.proposals import proposals, store_proposals
from mltrainer_pipelines.agent.search import propose
from mltrainer_pipelines.agent.stopping import stop
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import AgentAction
from mltrainer_pipelines_tests.agent.laboratory import TEMPLATES, installation

THRESHOLD = {"name": "min_confidence", "value": 0.9}


def test_a_setting_changes_after_the_yes_and_not_before(database: Database, tmp_path: Path) -> None:
    system, _, _ = installation(database, tmp_path)
    waiting = propose_action(system, "s", "change_setting", THRESHOLD, "claude")
    assert (waiting.status, waiting.summary) == ("pending", "Set min_confidence from 0.7 to 0.9")
    assert runtime_settings.get(system.engine, "min_confidence") == 0.7
    done = approve(system, waiting.id, "user")
    assert done.status == "done"
    assert done.result is not None
    assert (done.result["before"], done.result["now"]) == (0.7, 0.9)
    (change,) = runtime_settings.history(system.engine)
    assert (change.changed_by, change.value) == ("user", 0.9)
    kinds = [event["kind"] for event in ledger.events(system.engine)]
    assert kinds == ["outcome", "approval", "action_proposed"]


def test_an_action_runs_once_however_often_and_by_however_many_it_is_approved(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    waiting = propose_action(system, "s", "refresh_signals", {}, "user")
    outcomes: list[str] = []

    def click() -> None:
        try:
            outcomes.append(approve(system, waiting.id, "user").status)
        except ActionStateError:
            outcomes.append("refused")

    threads = [threading.Thread(target=click) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 5 + ["running"]
    assert launcher.started == ["refresh_signals#0"]
    with pytest.raises(ActionStateError, match="only one that is pending"):
        reject(system, waiting.id, "user")


def test_what_comes_next_starts_once_whoever_looks(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    params = {"models": ["logistic_l2"], "timeframe": "short"}
    running = approve(system, propose_action(system, "s", "momentum_screening", params, "user").id, "user")
    threads = [threading.Thread(target=lambda: [finish_ended(system) for _ in range(4)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while action(system, running.id).status == "running":
        finish_ended(system)
    kinds = [job.split("#")[0].split()[0] for job in launcher.started]
    assert kinds == ["momentum_screening", "walk_forward", "score_trials", "refresh_signals"]


@pytest.mark.parametrize("change", [{"params": THRESHOLD | {"value": 0.1}}, {"summary": "Nothing much"}, {"digest": None}])
def test_only_what_was_shown_runs_also_if_a_row_was_changed_in_between(database: Database, tmp_path: Path, change: dict) -> None:
    system, _, _ = installation(database, tmp_path)
    waiting = propose_action(system, "s", "change_setting", THRESHOLD, "claude")
    with system.engine.begin() as connection:
        connection.execute(sa.update(AgentAction).where(AgentAction.id == waiting.id).values(change))
    failed = approve(system, waiting.id, "user")
    assert (failed.status, "changed after it was shown" in (failed.error or "")) == ("failed", True)
    assert runtime_settings.history(system.engine) == []


def test_a_yes_to_another_version_of_an_action_runs_nothing(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    waiting = propose_action(system, "s", "refresh_signals", {}, "user")
    assert approve(system, waiting.id, "user", digest="0" * 16).status == "failed"
    assert launcher.started == []


def test_a_setting_that_was_changed_since_the_card_was_shown_is_not_changed_by_it(database: Database, tmp_path: Path) -> None:
    system, _, _ = installation(database, tmp_path)
    waiting = propose_action(system, "s", "change_setting", THRESHOLD | {"before": 0.2}, "user")
    assert waiting.summary == "Set min_confidence from 0.7 to 0.9"
    runtime_settings.put(system.engine, "min_confidence", 0.8, "api", "elsewhere")
    assert "is 0.8 by now" in (approve(system, waiting.id, "user").error or "")
    assert runtime_settings.get(system.engine, "min_confidence") == 0.8


def test_an_action_expires_after_an_hour(database: Database, tmp_path: Path) -> None:
    system, _, clock = installation(database, tmp_path)
    waiting = propose_action(system, "s", "change_setting", THRESHOLD, "claude")
    clock.ahead = timedelta(minutes=59)
    assert actions(system, "s", "pending") == [waiting]
    clock.ahead = timedelta(minutes=60, seconds=1)
    with pytest.raises(ActionStateError, match="is expired"):
        approve(system, waiting.id, "user")
    assert action(system, waiting.id).status == "expired"
    assert [one.id for one in unreported(system, "s")] == [waiting.id]
    assert runtime_settings.history(system.engine) == []


def test_a_screening_gives_what_really_came_of_it(database: Database, tmp_path: Path) -> None:
    system, _, _ = installation(database, tmp_path)
    params = {"models": ["Logistic L2"], "timeframe": "short", "min_confidence": 0.85}
    waiting = propose_action(system, "s", "momentum_screening", params, "claude")
    assert approve(system, waiting.id, "user").status == "running"
    while not (over := finish_ended(system, "s")):
        pass
    (done,) = over
    assert done.status == "done", done.error
    assert done.result is not None
    (trial,) = done.result["trials"]
    assert (trial["model"], trial["status"], trial["grade"]) == ("logistic_l2", "scored", "proven")
    assert isinstance(trial["sharpe"], float)
    screening = done.result["screening"]
    assert (screening["passing"], screening["bars"]["min_confidence"]) == (1, 0.85)
    assert screening["symbols"][0]["symbol"] == "AAA"
    assert done.result["market"] == "simulated"


def test_a_screening_takes_a_model_that_was_scored_as_it_is_and_runs_nothing_again(database: Database, tmp_path: Path) -> None:
    """Its best trial, also where that is of another configuration than a new one would be; shown before the yes."""
    system, launcher, _ = installation(database, tmp_path)
    given = {"model": "logistic_l2", "params": {"C": 0.02}}
    trial = approve(system, propose_action(system, "s", "submit_trial", given, "user").id, "user")
    while action(system, trial.id).status == "running":
        finish_ended(system)
    (scored,) = [one["trial_id"] for one in (action(system, trial.id).result or {})["trials"]]
    before = len(launcher.started)
    card = propose_action(system, "s", "momentum_screening", {"models": ["logistic_l2"]}, "user")
    assert card.params["trials"] == [scored]
    assert f"take {scored} as scored, then list" in card.summary
    running = approve(system, card.id, "user")
    while action(system, running.id).status == "running":
        finish_ended(system)
    done = action(system, running.id)
    assert [one["trial_id"] for one in (done.result or {})["trials"]] == [scored]
    assert not [job for job in launcher.started[before:] if job.startswith(("walk_forward", "score_trials"))]


def test_a_job_that_fails_is_told_with_its_reason_and_nothing_after_it_starts(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    launcher.fails["walk_forward"] = "ran out of memory"
    params = {"models": ["logistic_l2"], "timeframe": "short"}
    approve(system, propose_action(system, "s", "momentum_screening", params, "user").id, "user")
    while not (over := finish_ended(system, "s")):
        pass
    (failed,) = over
    assert failed.status == "failed"
    assert "ran out of memory" in (failed.error or "")
    assert [job.split()[0].split("#")[0] for job in launcher.started] == ["momentum_screening", "walk_forward"]


def test_an_action_that_cannot_start_fails_and_does_not_wait_again(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    launcher.refuses = "Dagster does not answer"
    failed = approve(system, propose_action(system, "s", "refresh_signals", {}, "user").id, "user")
    assert (failed.status, failed.error) == ("failed", "refresh_signals: Dagster does not answer")
    nobody, _, _ = installation(database, tmp_path, launcher=False)
    failed = approve(nobody, propose_action(nobody, "s", "refresh_signals", {}, "user").id, "user")
    assert "mltrainer up" in (failed.error or "")


class Killed:
    """A launcher whose process ends before it has launched anything."""

    def update(self) -> object:
        raise KeyboardInterrupt

    def cancel(self, run_ids: object) -> None:
        pass

    def cancel_all(self) -> list[str]:
        return []


def test_an_approval_that_was_interrupted_is_started_by_the_next_look_and_once(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    waiting = propose_action(system, "s", "refresh_signals", {}, "user")
    with pytest.raises(KeyboardInterrupt):
        approve(replace(system, launcher=Killed()), waiting.id, "user")
    assert launcher.started == []
    assert finish_ended(system) == []
    assert launcher.started == ["refresh_signals#0"]
    (done,) = finish_ended(system)
    assert (done.id, done.status) == (waiting.id, "done")
    assert launcher.started == ["refresh_signals#0"]


def test_a_decision_that_was_interrupted_before_it_was_carried_out_does_not_stay_running(
    database: Database, tmp_path: Path
) -> None:
    from mltrainer_pipelines.agent import actions as module

    system, launcher, clock = installation(database, tmp_path)
    waiting = propose_action(system, "s", "change_setting", THRESHOLD, "user")
    with system.engine.begin() as connection:
        module._decide(system, connection, waiting.id, "running", "user")  # the process ends here
    assert finish_ended(system) == []
    clock.ahead = timedelta(minutes=6)
    (failed,) = finish_ended(system)
    assert "interrupted" in (failed.error or "")
    assert launcher.started == []


def test_a_switched_off_agent_starts_no_job_and_still_changes_settings(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    waiting = propose_action(system, "s", "refresh_signals", {}, "user")
    halted = halt(system.engine, launcher, "user", "stop", system.clock())
    assert halted.actions == (waiting.id,)
    later = propose_action(system, "s", "refresh_signals", {}, "user")
    failed = approve(system, later.id, "user")
    assert "agent_enabled" in (failed.error or "")
    assert launcher.started == []
    on = propose_action(system, "s", "change_setting", {"name": "agent_enabled", "value": True}, "user")
    assert approve(system, on.id, "user").status == "done"


def test_what_runs_when_the_agent_is_switched_off_starts_nothing_more(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    params = {"models": ["logistic_l2"], "timeframe": "short"}
    running = approve(system, propose_action(system, "s", "momentum_screening", params, "user").id, "user")
    assert running.status == "running"
    halted = halt(system.engine, launcher, "user", "stop", system.clock())
    assert halted.jobs == tuple(launcher.started) != ()
    (failed,) = finish_ended(system)
    assert (failed.id, failed.status) == (running.id, "failed")
    assert "switched off" in (failed.error or "")
    assert len(launcher.started) == 1


def test_a_running_action_is_stopped_by_itself_and_what_it_finished_stays(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    params = {"models": ["logistic_l2"], "timeframe": "short"}
    running = approve(system, propose_action(system, "s", "momentum_screening", params, "user").id, "user")
    other = approve(system, propose_action(system, "t", "submit_trial", {"model": "lightgbm"}, "user").id, "user")
    while not any(job.startswith("refresh_signals") for job in launcher.started):
        finish_ended(system, "s")
    stopped = stop(system, running.id, "user")
    assert stopped.status == "stopped"
    assert [trial["model"] for trial in (stopped.result or {})["trials"]] == ["logistic_l2"]
    assert runtime_settings.get(system.engine, "agent_enabled") is True
    before = list(launcher.started)
    while action(system, other.id).status == "running":
        finish_ended(system)
    assert action(system, other.id).status == "done"
    assert [job for job in launcher.started[len(before) :] if not job.startswith("score_trials")] == []
    assert action(system, running.id).status == "stopped"
    with pytest.raises(ActionStateError, match="only one that runs"):
        stop(system, running.id, "user")


def test_stopping_one_action_leaves_a_run_that_another_waits_for(database: Database, tmp_path: Path) -> None:
    system, _, _ = installation(database, tmp_path)
    trial, screening = (
        propose_action(system, "s", kind, params, "user")  # type: ignore[arg-type]
        for kind, params in (
            ("submit_trial", {"model": "logistic_l2"}),
            ("momentum_screening", {"models": ["logistic_l2"], "timeframe": "short"}),
        )
    )
    approve(system, trial.id, "user")
    approve(system, screening.id, "user")
    finish_ended(system)
    assert stop(system, screening.id, "user").status == "stopped"
    while action(system, trial.id).status == "running":
        finish_ended(system)
    assert action(system, trial.id).status == "done"


def test_a_proposed_trial_is_decided_on_by_an_action(database: Database, tmp_path: Path) -> None:
    system, _, _ = installation(database, tmp_path)
    first, second = store_proposals(
        system.engine, propose("random", 2, TEMPLATES["short"], seed=1, models=["logistic_l2", "lightgbm"])
    )
    for number, decision in ((first, "approve"), (second, "reject")):
        params = {"proposal_id": number, "decision": decision}
        approve(system, propose_action(system, "s", "decide_proposal", params, "claude").id, "user")
    assert [stored.status for stored in proposals(system.engine)] == ["launched", "rejected"]
    with pytest.raises(ActionError, match="is launched, not waiting"):
        propose_action(system, "s", "decide_proposal", {"proposal_id": first, "decision": "reject"}, "claude")


def test_the_same_action_waits_once_and_a_conversation_has_room_for_a_few(database: Database, tmp_path: Path) -> None:
    system, _, _ = installation(database, tmp_path)
    first = propose_action(system, "s", "change_setting", THRESHOLD, "claude")
    assert propose_action(system, "s", "change_setting", THRESHOLD, "user").id == first.id
    assert propose_action(system, "other", "change_setting", THRESHOLD, "user").id != first.id
    for n in range(MOST_PENDING - 1):
        propose_action(system, "s", "change_setting", {"name": "min_confidence", "value": n / 100}, "claude")
    with pytest.raises(ActionError, match="decide on those first"):
        propose_action(system, "s", "refresh_signals", {}, "claude")


@pytest.mark.parametrize(
    ("kind", "params", "says"),
    [
        ("buy", {}, "no action 'buy'"),
        ("change_setting", {"name": "broker", "value": 1}, "no run-time setting"),
        ("change_setting", {"name": "min_confidence", "value": 9}, "from 0 to 1"),
        ("change_setting", {"name": "min_confidence", "value": 0.9, "run": "rm -rf /"}, "run"),
        ("momentum_screening", {"models": ["oracle"]}, "no model 'oracle'"),
        ("momentum_screening", {"models": []}, "at least 1"),
        ("submit_trial", {"model": "logistic_l2", "params": {"C": 1e99}}, "outside"),
        ("submit_trial", {"model": "logistic_l2", "train_sessions": 1}, "train_sessions"),
        ("ensemble", {"models": ["logistic_l2", "Logistic L2"]}, "two models"),
        ("decide_proposal", {"proposal_id": 7, "decision": "approve"}, "unknown"),
    ],
)
def test_what_cannot_be_done_is_never_put_before_the_user(
    database: Database, tmp_path: Path, kind: str, params: dict, says: str
) -> None:
    system, _, _ = installation(database, tmp_path)
    with pytest.raises(ActionError, match=says):
        propose_action(system, "s", kind, params, "claude")  # type: ignore[arg-type]
    assert actions(system) == []


def test_an_ensemble_is_tried_and_then_refit(database: Database, tmp_path: Path) -> None:
    system, launcher, _ = installation(database, tmp_path)
    params = {"models": ["lightgbm", "logistic_l2"], "timeframe": "short"}
    approve(system, propose_action(system, "s", "ensemble", params, "user").id, "user")
    while not (over := finish_ended(system, "s")):
        pass
    assert over[0].status == "done", over[0].error
    assert launcher.started[-1].startswith("promote_champion short")
    assert {trial["model"] for trial in (over[0].result or {})["trials"]} == {"lightgbm", "logistic_l2"}


@pytest.mark.parametrize("name", ["LightGBM", "light gbm", "LIGHT-GBM", "lgbm", "lightgbm"])
def test_models_are_known_by_the_names_people_use(name: str) -> None:
    assert model_named(name) == "lightgbm"
