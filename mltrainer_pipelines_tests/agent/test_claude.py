"""Proposals from Claude: validated by us, repaired once, bounded in tokens and dollars."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.dialects.postgresql import insert

from mltrainer_pipelines.agent import autonomy, ledger
from mltrainer_pipelines.agent.briefing import Knowledge, briefing, current_knowledge, verdict
from mltrainer_pipelines.agent.failures import AgentOffError
from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.agent.prices import estimated_tokens
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.agent.proposal_cycle import NO_KEY, ProposalCycle, run_cycle
from mltrainer_pipelines.agent.proposals import (
    Proposal,
    StoredProposal,
    approve,
    mark_launched,
    proposals,
    record_result,
    store_proposals,
)
from mltrainer_pipelines.agent.search import propose
from mltrainer_pipelines.models.registry import get_model, list_models
from mltrainer_pipelines.models.spec import Choices, ModelSpec, Range
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import AgentCall, LeaderboardRow
from mltrainer_pipelines.trials.config import TrialConfig, models_for
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines_tests.servers.anthropic import Fault, Said, Turn, anthropic_server, input_tokens

TEMPLATES = {name: TrialConfig(model="logistic_l2", timeframe=name, universe_size=50) for name in ("short", "long")}
NOW = datetime.now(UTC)
MODELS = [get_model("logistic_l2"), get_model("lightgbm")]


def idea(penalty: float | str = 0.01, model: str = "logistic_l2", timeframe: str = "short", **changes: Any) -> dict[str, Any]:
    return {
        "model": model,
        "timeframe": timeframe,
        "train_sessions": 504,
        "params": [{"name": "C", "value": penalty}],
        "hypothesis": "A weaker penalty lets more of the momentum through.",
        "refuted_if": "it does not beat the best so far",
        "refuted_at_or_below_sharpe": 0.5,
        "expected_gain": 0.1,
    } | changes


def says(*ideas: dict[str, Any]) -> Said:
    return Said(json.dumps({"trials": list(ideas)}))


def round_with(
    database: Database, turns: list[Turn], count: int = 1, proposer: str | None = None, timeout_s: float = 20.0
) -> tuple[ProposalCycle, Any]:
    with anthropic_server(turns) as server:
        claude = Claude(database.engine, "claude-sonnet-5-5", SecretStr("sk"), server.url, timeout_s=timeout_s)
        made = run_cycle(database.engine, claude, count, TEMPLATES, NOW, proposer, regime={"score": 61.0}, models=MODELS)
    return made, server


def test_claudes_trials_are_kept_with_their_hypotheses_and_wait_for_a_yes(database: Database) -> None:
    made, server = round_with(database, [says(idea(), idea(0.02, timeframe="long"))])
    assert (made.proposer, made.fallback_reason, made.approved) == ("claude", None, [])
    assert [stored.status for stored in proposals(database.engine)] == ["proposed", "proposed"]
    first = proposals(database.engine)[0].proposal
    assert first.config.params["C"] == 0.01
    assert (first.config.universe_size, first.config.proposed_by) == (50, "claude")
    assert first.refuted_if.startswith("its out-of-sample Sharpe ratio after costs is not above 0.50; ")
    assert first.expected_gain == 0.1
    assert made.dollars > 0
    assert made.input_tokens == input_tokens(server.requests[0])
    (kept,) = ledger.events(database.engine, "validation")
    assert kept["detail"]["accepted"] == [stored.proposal.config.trial_id for stored in proposals(database.engine)]


def test_what_is_refused_goes_back_once_with_its_reasons_and_is_repaired(database: Database) -> None:
    first = says(idea(model="quantum_forest"), idea(7e9))
    made, server = round_with(database, [first, says(idea(), idea(0.02)), says(idea(0.03))])
    assert len(server.requests) == 2
    back = server.requests[1]["messages"][0]["content"]
    assert back[0] == server.requests[0]["messages"][0]["content"][0]
    assert "the registry has no model 'quantum_forest'" in back[1]["text"]
    assert "is outside of the space of logistic_l2" in back[1]["text"]
    assert [p.config.params["C"] for p in made.proposals] == [0.01, 0.02]
    assert made.refusals == []
    with database.engine.connect() as connection:
        assert list(connection.scalars(sa.select(AgentCall.purpose).order_by(AgentCall.id.desc()))) == ["repair", "propose"]


def test_a_repair_that_is_wrong_again_ends_the_round_with_what_was_right(database: Database) -> None:
    made, server = round_with(database, [says(idea(), idea(model="nope")), says(idea(model="still nope"))])
    assert len(server.requests) == 2
    assert len(made.proposals) == 1
    assert "still nope" in made.refusals[0].reason
    made, server = round_with(database, [says(idea(0.03), idea(model="nope")), Fault(529, headers={"retry-after": "0.01"})])
    assert (made.proposer, len(made.proposals)) == ("claude", 1)


def test_two_hundred_proposals_at_once_give_no_more_than_was_asked_for(database: Database) -> None:
    many = [idea(round(0.0001 * n, 6)) for n in range(1, 201)]
    made, server = round_with(database, [says(*many)], count=2)
    assert len(server.requests) == 1
    assert len(made.stored) == len(proposals(database.engine)) == 4
    assert len(made.refusals) == 196
    assert "more than the 4 trials requested" in made.refusals[0].reason


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (idea(model="claude-sonnet-5-5"), "no model"),
        (idea(model="__import__('os').system('true')"), "no model"),
        (idea(timeframe="intraday"), "timeframe"),
        (idea(train_sessions=3), "train_sessions"),
        (idea(params=[{"name": "C", "value": 0.1}, {"name": "C", "value": 0.2}]), "twice"),
        (idea(params=[{"name": "universe_size", "value": 5000}]), "no parameter"),
        (idea("0.01"), "outside of the space"),
        (idea(True), "outside of the space"),
        (idea(1e308), "outside of the space"),
        (idea(model="catboost\x00"), "no model"),
    ],
)
def test_what_is_not_valid_is_refused_with_a_reason(database: Database, wrong: dict[str, Any], reason: str) -> None:
    made, _ = round_with(database, [says(wrong), says(wrong)])
    assert made.stored == []
    assert reason in made.refusals[0].reason
    assert proposals(database.engine) == []


def test_a_trial_that_was_tried_or_proposed_is_not_proposed_again(database: Database) -> None:
    made, _ = round_with(database, [says(idea(), idea())])
    assert len(made.stored) == 1
    records.register(database.engine, TrialConfig.parse(made.proposals[0].config.model_dump() | {"params": {"C": 0.05}}))
    again, _ = round_with(database, [says(idea(), idea(0.05))])
    assert again.stored == []
    assert all("tried or proposed before" in refusal.reason for refusal in again.refusals)


@pytest.mark.parametrize(
    "turn",
    [
        Fault(401),
        Fault(429, headers={"retry-after": "999"}),
        Fault(529, headers={"retry-after": "0.01"}),
        Fault(silent_s=20),
        Said("no", stop_reason="refusal"),
        Said('{"trials": [', stop_reason="max_tokens"),
        Said('{"trials": 3}'),
    ],
    ids=["401", "429", "529", "time-out", "refusal", "max_tokens", "malformed"],
)
def test_where_claude_cannot_tpe_takes_over_and_says_why(database: Database, turn: Turn) -> None:
    made, _ = round_with(database, [turn], timeout_s=0.5 if getattr(turn, "silent_s", 0) else 30)
    assert (made.asked, made.proposer) == ("claude", "tpe")
    assert made.fallback_reason
    assert len(made.stored) == 2
    assert {stored.status for stored in proposals(database.engine)} == {"proposed"}
    assert ledger.events(database.engine, "fallback")[0]["detail"]["because"] == made.fallback_reason


def test_without_a_key_tpe_takes_over_and_says_so(database: Database) -> None:
    made = run_cycle(database.engine, None, 1, TEMPLATES, NOW)
    assert (made.proposer, made.fallback_reason) == ("tpe", NO_KEY)
    assert {p.proposer for p in made.proposals} == {"tpe"}
    assert run_cycle(database.engine, None, 1, TEMPLATES, NOW, "random").fallback_reason is None


def test_once_the_days_dollars_are_spent_claude_is_not_asked(database: Database) -> None:
    runtime_settings.put(database.engine, "daily_dollars", 0.001, "user", "test")
    made, server = round_with(database, [says(idea())])
    assert server.requests == []
    assert made.proposer == "tpe"
    assert "daily_dollars" in (made.fallback_reason or "")


@pytest.mark.parametrize(("name", "value"), [("autonomy", "off"), ("agent_enabled", False)])
def test_an_agent_that_is_off_proposes_nothing(database: Database, name: str, value: object) -> None:
    runtime_settings.put(database.engine, name, value, "user", "test")
    with pytest.raises(AgentOffError):
        round_with(database, [says(idea())])
    assert proposals(database.engine) == []


def a_thousand_trials(database: Database) -> list[TrialConfig]:
    configs = [p.config for name in TEMPLATES for p in propose("random", 500, TEMPLATES[name], seed=3)]
    with database.engine.begin() as connection:
        from mltrainer_pipelines.store.tables import Trial, TrialScorecard

        rows = [
            {"trial_id": c.trial_id, "model": c.model, "timeframe": c.timeframe, "feature_set": c.feature_set}
            | {"config": c.model_dump(mode="json"), "proposed_by": "random", "rationale": "", "status": "scored"}
            for c in configs
        ]
        connection.execute(insert(Trial), rows)
        cards = [
            {"trial_id": c.trial_id, "grade": "candidate", "metrics": {"sharpe": n / 700}, "sessions": 900}
            for n, c in enumerate(configs)
        ]
        connection.execute(insert(TrialScorecard), cards)
        standings = [
            {"timeframe": c.timeframe, "trial_id": c.trial_id, "rank": n % 500 + 1, "model": c.model, "grade": "candidate"}
            | {"deflated_sharpe": 0.123456, "net_return": 0.0456, "sharpe": n / 700, "rank_ic": 0.0123, "brier_skill": -0.0012}
            for n, c in enumerate(configs)
        ]
        connection.execute(insert(LeaderboardRow), standings)
    return configs


def large_catalogue() -> list[ModelSpec]:
    """As many models as a catalogue may come to hold, each with a search space."""
    space = {f"parameter_{n}": Range(0.0001, 100, 1, log=True) for n in range(6)} | {
        "kind": Choices(("first", "second", "third"))
    }
    known = get_model("lightgbm")
    return [*MODELS] + [
        ModelSpec(
            id=f"some_long_model_name_{n}",
            family=f"family_{n % 20}",
            source="",
            summary="",
            cost="fast",
            handles_missing=True,
            search_space=space,
            builder=known.builder,
        )
        for n in range(150)
    ]


@pytest.mark.parametrize("catalogue", [None, "large"], ids=["the catalogue", "a large catalogue"])
def test_a_round_with_its_repair_stays_under_ten_thousand_tokens_with_a_thousand_trials(
    database: Database, catalogue: str | None
) -> None:
    a_thousand_trials(database)
    long = "x y " * 400
    earlier = propose("random", 16, TEMPLATES["short"].model_copy(update={"seed": 9}), seed=8)
    for number in store_proposals(database.engine, [Proposal(p.config, "claude", long, long, 0.1) for p in earlier]):
        approve(database.engine, number, "user")
        mark_launched(database.engine, number, "run")
    for p in earlier:
        record_result(database.engine, p.config.trial_id, {"sharpe": 0.3})
    bad = [idea(model=f"unknown_model_{n}", hypothesis=long) for n in range(200)]
    with anthropic_server([says(*bad), says(*bad)]) as server:
        claude = Claude(database.engine, "claude-sonnet-5-5", SecretStr("sk"), server.url)
        made = run_cycle(database.engine, claude, 4, TEMPLATES, NOW, models=large_catalogue() if catalogue else None)
    assert len(server.requests) == 2
    sent = [[r["system"], r["messages"], r["output_config"]] for r in server.requests]
    assert sum(map(estimated_tokens, sent)) < 10_000, [[estimated_tokens(x) for x in p] for p in sent]
    assert made.input_tokens < 10_000
    told = server.requests[0]["messages"][0]["content"][0]["text"]
    assert "500 trials" in told
    ids = [spec.id for spec in large_catalogue()] if catalogue else models_for("momentum")
    assert all(name in told for name in ids)
    assert told.count('"outcome":"') >= 3, "no room was left for what became of earlier hypotheses"
    assert earlier[-1].config.trial_id in told
    assert re.search(r"1\. \w+ candidate sharpe", told)


def test_the_prefix_of_both_requests_is_the_same_and_marked_for_the_cache(database: Database) -> None:
    _, server = round_with(database, [says(idea(model="nope")), says(idea())])
    first, second = server.requests
    assert first["system"] == second["system"]
    assert first["messages"][0]["content"][0] == second["messages"][0]["content"][0]
    assert first["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_the_next_prompt_tells_what_became_of_earlier_hypotheses(database: Database) -> None:
    round_with(database, [says(idea(hypothesis="Less penalty is better."), idea(0.02, hypothesis="More penalty is better."))])
    better, worse = proposals(database.engine)
    for stored, sharpe in ((better, 0.9), (worse, 0.4)):
        approve(database.engine, stored.id, "user")
        mark_launched(database.engine, stored.id, "run")
        record_result(database.engine, stored.proposal.config.trial_id, {"sharpe": sharpe})
    assert [verdict(stored) for stored in proposals(database.engine)] == ["confirmed", "refuted"]
    _, server = round_with(database, [says(idea(0.03))])
    told = server.requests[0]["messages"][0]["content"][0]["text"]
    earlier = json.loads(re.search(r'name="earlier_hypotheses">(.*?)</data>', told)[1])  # type: ignore[index]
    assert {one["hypothesis"]: (one["outcome"], one["sharpe"]) for one in earlier} == {
        "Less penalty is better.": ("confirmed", 0.9),
        "More penalty is better.": ("refuted", 0.4),
    }


def test_a_failed_and_a_waiting_hypothesis_are_told_apart() -> None:
    (p,) = propose("random", 1, TEMPLATES["short"])
    assert verdict(StoredProposal(1, "failed", p, "user", "r", {"error": "x"})) == "failed"
    assert verdict(StoredProposal(1, "launched", p, "user", "r", None)) == "waiting"
    odd = Proposal(p.config, "user", "h", "somebody does not like it")
    assert verdict(StoredProposal(1, "done", odd, "user", "r", {"sharpe": 1.0})) == "unjudged"


def test_the_briefing_of_an_empty_system_says_that_nothing_is_known() -> None:
    told = briefing(Knowledge(), list_models(), {"trials": 2}, prompt("propose").text)
    assert '"short, 0 trials":[]' in told
    assert "no closed positions yet" in told
    assert "not known" in told


def test_budgeted_trials_run_without_a_yes_up_to_the_days_number(database: Database) -> None:
    runtime_settings.put(database.engine, "autonomy", "budgeted", "user", "test")
    runtime_settings.put(database.engine, "daily_trials", 3, "user", "test")
    made, _ = round_with(database, [says(idea(), idea(0.02), idea(0.03), idea(0.04))], count=2)
    assert made.approved == made.stored[:3]
    assert autonomy.approve_within_budget(database.engine, NOW) == []
    assert autonomy.budget(database.engine, NOW).left()["trials_left_today"] == 0
    assert [stored.status for stored in proposals(database.engine)] == ["approved"] * 3 + ["proposed"]
    assert len(ledger.events(database.engine, "approval")) == 3
    assert current_knowledge(database.engine).earlier[0].decided_by == "autonomy"
