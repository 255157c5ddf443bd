"""Screening: what is planted is accepted, what is not is refused with its reason, and every try counts."""

import math

import polars as pl
import pytest

from mltrainer_pipelines.audits.discovery import screening_market
from mltrainer_pipelines.audits.planted_rules import drawn_rule, market_with
from mltrainer_pipelines.trials.factors.screening import ScreeningMarket, Verdict

RULE = drawn_rule(1)


@pytest.fixture(scope="module")
def market() -> ScreeningMarket:
    return screening_market(RULE, 1)


def test_the_planted_rule_is_accepted_and_described(market: ScreeningMarket) -> None:
    verdict = market.judge(RULE.expression, [], screened=2000, earlier=[0.3, 0.01])
    assert verdict.accepted, verdict.reason
    assert verdict.hidden is not None
    assert verdict.hidden.residual_ic > 0.05
    assert verdict.bonferroni == pytest.approx(2000 * verdict.p)
    assert verdict.p <= verdict.holm <= verdict.bonferroni + 1e-12
    assert verdict.false_discovery_rate <= 0.05
    assert {part.name for part in verdict.years} <= {"2020", "2021", "2022"}
    assert verdict.capacity is not None
    assert verdict.capacity > 0


@pytest.mark.parametrize(
    ("expression", "accepted", "reason"),
    [
        ("Std(log_return, 3)/Std(log_return, 40)", [], "does not survive"),
        (RULE.expression, ["overnight_return * (1 - Std(log_return,4)/Std(log_return,12))"], "structure"),
        (f"Rank({RULE.expression})", [RULE.expression], "rank correlation"),
        ("close/Ref(close, 5)", [], "rank correlation with reversal"),
        ("If(close > 0, Abs(close/Ref(close,1)) * 0 + 1, 1) * market_return", [], "constant"),
    ],
)
def test_what_is_not_new_or_worth_nothing_is_rejected_with_its_reason(
    market: ScreeningMarket, expression: str, accepted: list[str], reason: str
) -> None:
    verdict = market.judge(expression, accepted, screened=2000)
    assert not verdict.accepted
    assert reason in verdict.reason


def test_what_is_true_of_one_try_is_not_true_of_the_best_of_many(market: ScreeningMarket) -> None:
    once = market.judge(RULE.expression, [], screened=1)
    often = market.judge(RULE.expression, [], screened=math.ceil(0.06 / max(once.p, 1e-300)) if once.p > 1e-12 else 10**17)
    assert once.accepted
    assert not often.accepted


def test_the_hidden_quarters_change_nothing_that_authors_are_shown() -> None:
    bars = market_with(RULE, 1)
    whole = screening_market(RULE, 1)
    edge = whole.hidden[0]
    noise = bars.with_columns(
        pl.when(pl.col("date") >= edge).then(pl.col(name) * 1.7).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close", "adj_open", "adj_high", "adj_low", "adj_close")
    )
    other = ScreeningMarket(
        type(whole.tables)(noise, whole.tables.universe), whole.shown[0], whole.hidden[1], whole.horizon, whole.existing
    )
    assert other.shown == whole.shown
    assert other.screen([RULE.expression], other.shown) == whole.screen([RULE.expression], whole.shown)


def test_a_market_that_is_too_short_is_refused() -> None:
    market = screening_market(None, 3)
    with pytest.raises(ValueError, match="too few to screen"):
        ScreeningMarket(market.tables, market.hidden[1], market.hidden[1], 60, market.existing)


def test_verdicts_without_any_hidden_quarter_say_so(market: ScreeningMarket) -> None:
    assert market.judge("Ref(close, 3)/Ref(close, 8)*0 + 1", [], 5) == Verdict(
        False, "constant, or unknown for more than 50% of the rows", screened=5
    )
