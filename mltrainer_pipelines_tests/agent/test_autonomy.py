import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.agent import autonomy, ledger
from mltrainer_pipelines.agent.autonomy import ASSUMED_MINUTES, approve_within_budget, budget, halt, note_finish, note_launch
from mltrainer_pipelines.agent.prices import Usage
from mltrainer_pipelines.agent.proposals import mark_launched, proposals, reject, store_proposals
from mltrainer_pipelines.agent.search import propose
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import AgentCall
from mltrainer_pipelines.trials.config import TrialConfig

NOW = datetime(2026, 11, 10, 17, 0, tzinfo=UTC)
TEMPLATE = TrialConfig(model="logistic_l2", timeframe="short")


def waiting(database: Database, count: int, seed: int = 0) -> list[int]:
    return store_proposals(database.engine, propose("random", count, TEMPLATE, seed=seed, models=["logistic_l2"]))


def setting(database: Database, **values: object) -> None:
    for name, value in values.items():
        runtime_settings.put(database.engine, name, value, "user", "test")


@pytest.fixture
def budgeted(database: Database) -> Database:
    setting(database, autonomy="budgeted", daily_trials=100, daily_compute_minutes=10_000)
    return database


@pytest.mark.parametrize("mode", ["manual", "off"])
def test_only_budgeted_autonomy_approves(database: Database, mode: str) -> None:
    setting(database, autonomy=mode)
    waiting(database, 2)
    assert approve_within_budget(database.engine, NOW) == []


def test_the_days_minutes_bound_what_is_approved_first_by_assumption_then_by_what_it_took(budgeted: Database) -> None:
    assumed = ASSUMED_MINUTES[get_model("logistic_l2").cost]
    setting(budgeted, daily_compute_minutes=assumed * 2.5)
    ids = waiting(budgeted, 6)
    assert approve_within_budget(budgeted.engine, NOW) == ids[:2]
    assert approve_within_budget(budgeted.engine, NOW) == []
    for stored in proposals(budgeted.engine, "approved"):
        mark_launched(budgeted.engine, stored.id, "run")
        note_launch(budgeted.engine, stored.id, NOW)
        assert note_finish(budgeted.engine, stored.proposal.config.trial_id, NOW, 30.0)
        assert not note_finish(budgeted.engine, stored.proposal.config.trial_id, NOW, 99.0)
    assert budget(budgeted.engine, NOW).minutes == pytest.approx(1.0)
    # half a minute each, now that it is known: everything that waits fits
    assert approve_within_budget(budgeted.engine, NOW) == ids[2:]
    assert budget(budgeted.engine, NOW).minutes == pytest.approx(3.0)


def test_the_next_day_has_a_budget_of_its_own_by_new_york_time(budgeted: Database) -> None:
    setting(budgeted, daily_trials=1)
    ids = waiting(budgeted, 3)
    evening = datetime(2026, 11, 11, 4, 59, tzinfo=UTC)  # 23:59 of the 10th in New York
    assert approve_within_budget(budgeted.engine, NOW) == ids[:1]
    assert approve_within_budget(budgeted.engine, evening) == []
    assert approve_within_budget(budgeted.engine, evening + timedelta(minutes=1)) == ids[1:2]


def test_a_user_who_says_yes_uses_nothing_of_the_budget(budgeted: Database) -> None:
    from mltrainer_pipelines.agent.proposals import approve

    setting(budgeted, daily_trials=1)
    ids = waiting(budgeted, 3)
    approve(budgeted.engine, ids[0], "user")
    reject(budgeted.engine, ids[1], "user")
    assert approve_within_budget(budgeted.engine, NOW) == ids[2:]


def test_spent_dollars_stop_approvals(budgeted: Database) -> None:
    waiting(budgeted, 1)
    call = ledger.open_call(budgeted.engine, NOW, "chat", "claude-sonnet-5-5", "chat-1", {}, Decimal("1.5"), 2.0)
    ledger.close_call(budgeted.engine, call, 1.0, Usage(output=1_000_000))
    assert ledger.spent(budgeted.engine, NOW).dollars == 10
    assert approve_within_budget(budgeted.engine, NOW) == []


def test_many_approvers_at_once_stay_within_the_budget(budgeted: Database) -> None:
    setting(budgeted, daily_trials=5)
    waiting(budgeted, 20)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.extend(approve_within_budget(budgeted.engine, NOW))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 5
    assert len(proposals(budgeted.engine, "approved")) == 5


class Cancelled:
    """A launcher with two jobs to cancel."""

    def __init__(self) -> None:
        self.asked = 0

    def cancel(self, run_ids: object) -> None:
        raise AssertionError("all are to be cancelled")

    def cancel_all(self) -> list[str]:
        self.asked += 1
        return ["run-1", "run-2"]

    def update(self) -> None:
        raise AssertionError("nothing may start")


def test_the_switch_stops_everything_and_keeps_it_stopped(budgeted: Database) -> None:
    ids = waiting(budgeted, 3)
    setting(budgeted, daily_trials=2)
    assert approve_within_budget(budgeted.engine, NOW) == ids[:2]
    launcher = Cancelled()
    halted = halt(budgeted.engine, launcher, "user", "too much", NOW)
    assert halted.proposals == tuple(ids[:2])
    assert halted.jobs == ("run-1", "run-2")
    setting(budgeted, daily_trials=100)
    assert approve_within_budget(budgeted.engine, NOW) == []
    assert [stored.status for stored in proposals(budgeted.engine)] == ["rejected", "rejected", "proposed"]
    assert len(ledger.events(budgeted.engine, "halt")) == 2
    setting(budgeted, agent_enabled=True)
    assert approve_within_budget(budgeted.engine, NOW) == ids[2:]


def test_what_nobody_proposed_has_no_run_to_note(database: Database) -> None:
    assert not note_finish(database.engine, "lightgbm-short-00000000", NOW, 1.0)
    with database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(AgentCall)) == 0
    assert autonomy.budget(database.engine, NOW).left()["autonomy"] == "manual"
