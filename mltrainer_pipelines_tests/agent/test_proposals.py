import threading

import pytest

from mltrainer_pipelines.agent.proposals import (
    Proposal,
    ProposalStateError,
    approve,
    mark_launched,
    proposals,
    record_result,
    reject,
    store_proposals,
)
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records


def proposal(seed: int = 0) -> Proposal:
    config = TrialConfig(model="logistic_l2", timeframe="short", seed=seed)
    return Proposal(config, "user", "a weaker penalty helps", "the Sharpe ratio falls")


def test_a_proposal_goes_from_the_idea_to_its_result(database: Database) -> None:
    engine = database.engine
    (number,) = store_proposals(engine, [proposal()])
    assert proposals(engine, "approved") == []
    approve(engine, number, by="somebody")
    (ready,) = proposals(engine, "approved")
    assert ready.proposal == proposal()
    assert ready.decided_by == "somebody"
    mark_launched(engine, number, "run-1")
    assert proposals(engine, "approved") == []
    assert record_result(engine, proposal().config.trial_id, {"sharpe": 0.4})
    (done,) = proposals(engine, "done")
    assert (done.run_id, done.result) == ("run-1", {"sharpe": 0.4})


def test_the_same_trial_is_proposed_once_and_never_after_it_ran(database: Database) -> None:
    assert len(store_proposals(database.engine, [proposal(), proposal()])) == 1
    assert store_proposals(database.engine, [proposal()]) == []
    records.register(database.engine, proposal(1).config)
    assert len(store_proposals(database.engine, [proposal(1), proposal(2)])) == 1
    assert store_proposals(database.engine, []) == []


def test_no_step_is_taken_twice_or_out_of_order(database: Database) -> None:
    engine = database.engine
    first, second = store_proposals(engine, [proposal(), proposal(1)])
    with pytest.raises(ProposalStateError, match=f"proposal {first} is proposed, so it cannot become launched"):
        mark_launched(engine, first, "run-1")
    reject(engine, first, by="somebody")
    with pytest.raises(ProposalStateError, match=f"proposal {first} is rejected, so it cannot become approved"):
        approve(engine, first, by="else")
    with pytest.raises(ProposalStateError, match="there is no proposal 99"):
        approve(engine, 99, by="somebody")
    assert not record_result(engine, proposal(1).config.trial_id, {})
    assert {p.id: p.status for p in proposals(engine)} == {first: "rejected", second: "proposed"}


def test_of_two_launchers_one_wins(database: Database) -> None:
    (number,) = store_proposals(database.engine, [proposal()])
    approve(database.engine, number, by="somebody")
    outcomes: list[str] = []

    def launch(run_id: str) -> None:
        try:
            mark_launched(database.engine, number, run_id)
            outcomes.append("launched")
        except ProposalStateError:
            outcomes.append("refused")

    threads = [threading.Thread(target=launch, args=(f"run-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["launched", "refused", "refused", "refused"]
