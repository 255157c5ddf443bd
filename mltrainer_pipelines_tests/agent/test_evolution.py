"""`evolve`: the same seed finds the same, nothing is tried twice, and what it makes is always a factor."""

import itertools

from mltrainer_pipelines.agent.evolution import MOST_SIZE, Breeder, evolve, random_search
from mltrainer_pipelines.audits.discovery import FOUND, screening_market
from mltrainer_pipelines.audits.planted_rules import drawn_rule
from mltrainer_pipelines.features.expressions.parser import parse


def test_whatever_is_bred_is_a_factor_that_its_own_text_means() -> None:
    breeder = Breeder(5)
    trees = [breeder.grown() for _ in range(60)]
    trees += [breeder.child(mother, father) for mother, father in itertools.pairwise(trees)]
    for tree in trees:
        assert parse(tree.text) == tree
        assert tree.size <= MOST_SIZE
        assert tree.unit == ()


def test_a_planted_rule_is_found_on_the_shown_quarters_and_the_same_seed_finds_the_same() -> None:
    rule = drawn_rule(7)
    market = screening_market(rule, 7)
    search = evolve(market, 7, 360)
    again = evolve(market, 7, 120)
    assert [one.node for one in evolve(market, 7, 120).tried] == [one.node for one in again.tried]
    assert len({one.node.text for one in search.tried}) == len(search.tried) == 360
    ideas = search.ideas(market, 3, [])
    likeness = [market.likeness(idea.expression, [rule.expression])[rule.expression] for idea in ideas]
    assert max(likeness) >= FOUND, list(zip(ideas, likeness, strict=True))
    known = {one.node.text for one in again.tried}
    assert not known & {one.node.text for one in evolve(market, 7, 60, known).tried}
    assert len(random_search(market, 7, 60).tried) >= 50
