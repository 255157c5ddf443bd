import math

import pytest
from sqlalchemy.dialects.postgresql import insert

from mltrainer_pipelines.agent.proposals import store_proposals
from mltrainer_pipelines.agent.search import STARTUP, Tried, propose, proposed_trials, tried_trials
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.models.registry import UnknownModelError, list_models
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import TrialScorecard
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records

TEMPLATE = TrialConfig(model="logistic_l2", timeframe="long", label=Barriers(1.5, 1.0), universe_size=50, seed=3)


def quality(config: TrialConfig) -> float:
    """A made-up objective with its best at C = 0.001."""
    return 2.0 - abs(math.log10(config.params["C"]) + 3)


@pytest.mark.parametrize("proposer", ["random", "tpe"])
def test_proposals_are_new_valid_trials_of_the_template(proposer: str) -> None:
    found = propose(proposer, 12, TEMPLATE, seed=1)
    assert len({p.config.trial_id for p in found}) == 12
    assert {p.config.model for p in found} < {spec.id for spec in list_models()}
    assert len({p.config.model for p in found}) > 6
    for p in found:
        config = p.config
        assert (config.timeframe, config.label, config.universe_size, config.seed) == ("long", Barriers(1.5, 1.0), 50, 3)
        assert TrialConfig.parse(config.model_dump(mode="json")) == config
        assert config.proposed_by == p.proposer == proposer
        assert "drawn at random" in p.hypothesis
        assert p.refuted_if == "its out-of-sample Sharpe ratio after costs is not above 0"
        assert p.expected_gain is None


def test_the_same_seed_proposes_the_same_and_what_is_taken_is_not_proposed_again() -> None:
    first = propose("random", 5, TEMPLATE, seed=4)
    assert propose("random", 5, TEMPLATE, seed=4) == first
    again = propose("random", 5, TEMPLATE, seed=4, taken={p.config.trial_id for p in first})
    assert not {p.config.trial_id for p in first} & {p.config.trial_id for p in again}


def test_tpe_learns_from_results_where_random_does_not() -> None:
    tried: list[Tried] = []
    for batch in range(8):
        found = propose("tpe", 5, TEMPLATE, tried, seed=batch, models=["logistic_l2"])
        tried += [Tried(p.config, quality(p.config)) for p in found]
    informed = propose("tpe", 10, TEMPLATE, tried, seed=99, models=["logistic_l2"])
    blind = propose("random", 40, TEMPLATE, tried, seed=99, models=["logistic_l2"])
    average = [sum(quality(p.config) for p in found) / len(found) for found in (informed, blind)]
    assert average[0] > average[1] + 0.3
    best = max(tried, key=lambda t: t.value or 0)
    assert f"the best so far, {best.config.trial_id}, has a Sharpe ratio of {best.value:.2f}" in informed[0].hypothesis
    assert "lies where the results so far were good" in informed[0].hypothesis


def test_trials_of_another_kind_teach_nothing() -> None:
    other = TEMPLATE.model_copy(update={"timeframe": "short"})
    tried = [Tried(p.config, 1.0) for p in propose("random", STARTUP + 5, other, seed=0)]
    (p,) = propose("tpe", 1, TEMPLATE, tried, seed=0)
    assert f"TPE has fewer than {STARTUP} results" in p.hypothesis
    assert "no trial of this timeframe has a result yet" in p.hypothesis


def test_unknown_proposers_and_models_are_named() -> None:
    with pytest.raises(ValueError, match="there are random, tpe"):
        propose("oracle", 1, TEMPLATE)
    with pytest.raises(ValueError, match="count=0"):
        propose("random", 0, TEMPLATE)
    with pytest.raises(UnknownModelError, match="lightgbm"):
        propose("random", 1, TEMPLATE, models=["lightgmb"])


def test_what_was_tried_is_read_from_the_database(database: Database) -> None:
    scored, waiting = (p.config for p in propose("random", 2, TEMPLATE, seed=1))
    for config in (scored, waiting):
        records.register(database.engine, config)
    values = {"trial_id": scored.trial_id, "grade": "candidate", "metrics": {"sharpe": 0.8}, "sessions": 100}
    with database.engine.begin() as connection:
        connection.execute(insert(TrialScorecard).values(values))
    assert {t.config.trial_id: t.value for t in tried_trials(database.engine)} == {scored.trial_id: 0.8, waiting.trial_id: None}
    new = propose("tpe", 3, TEMPLATE, tried_trials(database.engine), proposed_trials(database.engine), seed=1)
    assert len(store_proposals(database.engine, new)) == 3
    assert proposed_trials(database.engine) == {p.config.trial_id for p in new}
