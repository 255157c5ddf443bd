import numpy as np
import pytest

from mltrainer_pipelines.audits.power import Case, audit_power, simulated_scorecard
from mltrainer_pipelines.trials.registry.promotion import grade


@pytest.mark.parametrize(("timeframe", "rank_ic"), [("short", 0.05), ("long", 0.10)])
def test_a_planted_skill_has_the_rank_ic_that_was_asked_for_and_is_proven_in_a_falling_market(
    timeframe: str, rank_ic: float
) -> None:
    cards = [simulated_scorecard(Case(timeframe, rank_ic, 3, 120, "falling"), seed) for seed in range(4)]
    found = np.mean([card.rank_ic for card in cards])  # type: ignore[arg-type]
    assert found == pytest.approx(rank_ic, abs=0.025)
    assert sum(grade(card) == "proven" for card in cards) >= 3


def test_nothing_is_proven_where_there_is_nothing_and_the_curve_is_told() -> None:
    audit = audit_power(3, rank_ics=[0.0], years=[3], symbols=[60], markets=["flat"])
    assert audit.passed
    assert audit.findings["false_proofs"] == 0.0
    assert [case["timeframe"] for case in audit.findings["cases"]] == ["short", "long"]
    assert audit.lines[1] == "short, 3 years, 60 symbols: 0% at 0"
