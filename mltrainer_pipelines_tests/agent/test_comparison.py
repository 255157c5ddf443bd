import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.agent.comparison import Comparison, Course, Evaluation, TrialRunner, compare, plot
from mltrainer_pipelines.agent.proposals import Proposal
from mltrainer_pipelines.agent.search import Tried, propose
from mltrainer_pipelines.audits.proposer_comparison import MODELS, text
from mltrainer_pipelines.commands.compare_proposers import compare_proposers
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.tables import TrialLook
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import ledger
from mltrainer_pipelines_tests.agent.laboratory import TEMPLATES, small_laboratory
from mltrainer_pipelines_tests.servers.anthropic import Said, anthropic_server


def searching(name: str, model: str = "logistic_l2"):
    def proposer(many: int, template: TrialConfig, tried: Sequence[Tried], seed: int) -> list[Proposal]:
        return propose(name, many, template, tried, seed=seed, models=[model])

    return proposer


class Hill(TrialRunner):
    """A made-up market with one best learning rate, size and regularisation; the later quarters agree with the earlier."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def evaluate(self, config: TrialConfig) -> Evaluation:
        self.asked.append(config.trial_id)
        best = {"learning_rate": 0.03, "num_leaves": 20, "min_data_in_leaf": 800, "lambda_l2": 30}
        height = 3.0 - sum(abs(math.log10(config.params[name] / value)) for name, value in best.items() if name in config.params)
        return Evaluation(height, height / 2)


def test_a_proposer_that_learns_needs_fewer_trials_than_chance() -> None:
    hill = Hill()
    found = compare({name: searching(name, "lightgbm") for name in ("random", "tpe")}, hill, TEMPLATES["short"], 50, 5, range(3))
    told = found.summary()
    assert told["random"]["speed_up"] == 1.0
    assert told["tpe"]["speed_up"] > 1.0
    assert told["tpe"]["best_by_trials"][-1] > told["random"]["best_by_trials"][-1]
    assert len(hill.asked) == 2 * 3 * 50
    for course in found.courses:
        assert len(course.trials) == len(set(course.trials)) == 50
        assert course.best == sorted(course.best)  # type: ignore[type-var]
        assert course.later == [best / 2 for best in course.best if best is not None]


def test_each_proposer_starts_from_nothing_and_sees_only_its_own_results() -> None:
    seen: dict[str, list[int]] = {"a": [], "b": []}

    def spying(name: str):
        def proposer(many: int, template: TrialConfig, tried: Sequence[Tried], seed: int) -> list[Proposal]:
            seen[name].append(len(tried))
            return searching("random")(many, template, tried, seed)

        return proposer

    compare({name: spying(name) for name in seen}, Hill(), TEMPLATES["short"], 6, 4)
    assert seen == {"a": [0, 4], "b": [0, 4]}


def test_trials_are_really_run_and_judged_on_quarters_that_no_proposer_saw() -> None:
    looks: list[str] = []
    runner = replace(small_laboratory(), _cards={}, on_scored=lambda config, _: looks.append(config.trial_id))
    found = compare({"random": searching("random")}, runner, TEMPLATES["short"], 2, 2)
    (course,) = found.courses
    assert sorted(looks) == sorted(course.trials)
    assert course.best[-1] is not None
    assert course.later[-1] is not None
    card = small_laboratory().scorecard(propose("random", 2, TEMPLATES["short"], seed=0, models=["logistic_l2"])[0].config)
    assert card is not None
    assert len(card.per_quarter) == 2
    assert card.trial_id in course.trials


def test_a_proposer_with_nothing_left_to_say_ends_early() -> None:
    found = compare({"silent": lambda *_: []}, Hill(), TEMPLATES["short"], 6)
    assert found.courses[0].best == []
    assert found.summary()["silent"]["trials_to_random_final"] is None


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_the_courses_are_drawn(tmp_path: Path, ending: str) -> None:
    course = Course("random", 0, [None, 0.5, 0.7], [None, 0.1, 0.2], ["a", "b", "c"])
    plot(Comparison([course], 3), tmp_path / f"plot{ending}")
    assert (tmp_path / f"plot{ending}").stat().st_size > 2000


def test_without_a_key_claude_is_said_not_to_be_measured_and_every_scored_trial_is_a_look(
    tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    settings = Settings(mltrainer_home=tmp_path, mltrainer_database_url=postgres.url("mltrainer"))
    runner = replace(small_laboratory(), _cards={})
    found = compare_proposers(settings, 1, 1, 1, None, runner=runner)
    engine = Database(database_url(settings, "mltrainer")).engine
    with engine.connect() as connection:
        looks = set(connection.execute(sa.select(TrialLook.subject, TrialLook.requested_by)).tuples())
    scored = {trial_id for trial_id, card in runner._cards.items() if card is not None}
    assert scored
    assert looks >= {(trial_id, "agent compare") for trial_id in scored}
    assert ledger.luck(engine).trials >= len(scored)
    assert set(found["proposers"]) == {"random", "tpe"}
    assert found["left_out"] == {"claude": "no key (ANTHROPIC_API_KEY), so it was not measured"}
    assert "not measured" in text(found)
    assert found["models"] == list(MODELS)


def test_with_a_key_claude_takes_part_and_is_told_its_own_results_alone(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    def idea(depth: int) -> Said:
        trial = {"model": "decision_tree", "timeframe": "short", "train_sessions": 504 + depth, "params": []}
        words = {"hypothesis": "H", "refuted_if": "R", "refuted_at_or_below_sharpe": 0.5, "expected_gain": 0.1}
        return Said(json.dumps({"trials": [trial | words]}))

    with anthropic_server([idea(1), idea(2)]) as server:
        keyed = Settings(
            mltrainer_home=tmp_path,
            mltrainer_database_url=postgres.url("mltrainer"),
            anthropic_api_key="sk",
            anthropic_base_url=server.url,
        )
        found = compare_proposers(keyed, 2, 1, 1, tmp_path / "plot.png", runner=Hill())
    (course,) = [course for course in found["courses"] if course["proposer"] == "claude"]
    assert len(course["trials"]) == 2
    assert all(trial.startswith("decision-tree-short-") for trial in course["trials"])
    assert (found["left_out"], found["dollars"] > 0) == ({}, True)
    second = json.dumps(server.requests[1]["messages"])
    assert course["trials"][0] in second
    others = {name for one in found["courses"] if one["proposer"] != "claude" for name in one["trials"]}
    assert not any(name in second for name in others - set(course["trials"]))
