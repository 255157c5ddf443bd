from datetime import date

import pytest

from mltrainer_pipelines.trials.registry.promotion import choose_champion, grade, shortfalls
from mltrainer_pipelines.trials.scoring.breakdown import QuarterScore
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard

QUARTERS = [date(year, month, 1) for year in (2012, 2013) for month in (1, 4, 7, 10)]


def quarter(start: date, mean: float, sessions: int = 63) -> QuarterScore:
    return QuarterScore(
        quarter=start, rows=500, sessions=sessions, auc=0.55, log_loss=0.68, brier_skill=0.01, rank_ic=0.05,
        precision_top_decile=0.6, net_return=mean * sessions, universe_net_return=0.01, momentum_net_return=0.01,
        daily_mean=mean, daily_deviation=0.01,
    )  # fmt: skip


def card(name: str, z: float | None = 3.0, mean: float = 0.001, quarters: list[date] = QUARTERS, **changes: object) -> Scorecard:
    values = dict.fromkeys(Scorecard.model_fields, 0.5) | {
        "trial_id": name, "model": "logistic_l2", "timeframe": "short", "feature_set": "momentum",
        "first_session": quarters[0], "last_session": date(2013, 12, 31), "sessions": 504, "rows": 9000,
        "calibrated_rows": 8000, "quarters": len(quarters), "trials_counted": 4, "deflated_sharpe_z": z,
        "deflated_sharpe": 0.99, "rank_ic": 0.05, "ranking_luck": 0.001, "level_z": 0.1, "sharpe": 1.5, "net_return": 0.2,
        "universe_sharpe": 0.8, "universe_net_return": 0.1, "momentum_sharpe": 0.9, "momentum_net_return": 0.12,
        "too_good": (), "per_regime": (), "per_sector": (), "per_quarter": tuple(quarter(start, mean) for start in quarters),
    }  # fmt: skip
    return Scorecard.model_validate(values | changes)


def test_a_trial_that_clears_every_bar_is_proven() -> None:
    assert shortfalls(card("a")) == ()
    assert grade(card("a")) == "proven"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"ranking_luck": 0.0101},
            "the best of 4 worthless trials ranks as well with a probability of 1.1%; at most 1% is allowed",
        ),
        ({"ranking_luck": None}, "whether its ranking is skill is unknown"),
        ({"rank_ic": -0.01}, "its rank IC is -0.010"),
        ({"active_sharpe": 0.0}, "its picks do not earn more than the equal-weight universe"),
        ({"active_sharpe": None}, "Sharpe ratio of it unknown"),
        ({"level_z": -1.7, "level_skill": -0.02}, "worse than the share of profits known at the time (Brier skill -0.0200, 1.7"),
        ({"too_good": ("its rank IC of 0.61 is above 0.25, too good to be true",)}, "too good to be true"),
    ],
)
def test_each_bar_alone_makes_a_candidate_and_says_why(change: dict, reason: str) -> None:
    failing = card("a", **change)
    assert grade(failing) == "candidate"
    assert len(shortfalls(failing)) == 1
    assert reason in shortfalls(failing)[0]


def test_a_falling_market_and_a_simpler_rule_are_no_question_of_proof() -> None:
    fallen = card("a", sharpe=-0.4, net_return=-0.05, deflated_sharpe=0.01, universe_net_return=-0.1, brier_skill=-0.05)
    assert grade(fallen) == "proven"
    assert any("12-1 momentum alone earned +12.0% a year" in reason for reason in choose_champion([fallen]).reasons)
    assert not any("simpler rule" in reason for reason in choose_champion([card("b")]).reasons)


def test_a_proven_trial_comes_before_a_candidate_with_a_higher_z() -> None:
    decision = choose_champion([card("lucky", z=9.0, ranking_luck=0.4), card("solid", z=2.0)])
    assert (decision.trial_id, decision.decision, decision.grade) == ("solid", "promoted", "proven")


def test_without_a_proven_trial_the_best_one_is_a_candidate_with_its_reasons() -> None:
    decision = choose_champion([card("a", z=1.0, ranking_luck=0.4), card("b", z=-1.0, ranking_luck=0.5)])
    assert (decision.trial_id, decision.decision, decision.grade) == ("a", "promoted", "candidate")
    assert any("worthless trials ranks as well" in reason for reason in decision.reasons)


def test_a_challenger_has_to_beat_the_champion_on_the_quarters_both_were_tested_on() -> None:
    champion = card("champion", z=3.0, mean=0.001)
    better = choose_champion([champion, card("better", z=4.0, mean=0.002)], "champion")
    assert (better.trial_id, better.decision) == ("better", "promoted")
    elsewhere = [quarter(start, 0.009) for start in (date(2014, 1, 1), date(2014, 4, 1))]
    same = tuple(quarter(start, 0.0005) for start in QUARTERS)
    challenger = card("lucky-later", z=4.0, per_quarter=(*same, *elsewhere))
    refused = choose_champion([champion, challenger], "champion")
    assert (refused.trial_id, refused.decision) == ("lucky-later", "refused")
    assert any("over the 8 quarters both were tested on" in reason for reason in refused.reasons)


def test_trials_of_different_times_are_not_compared() -> None:
    later = card("later", z=9.0, mean=0.01, quarters=[date(2014, 1, 1), date(2014, 4, 1)])
    decision = choose_champion([card("champion"), later], "champion")
    assert decision.decision == "refused"
    assert any("run both over the same quarters" in reason for reason in decision.reasons)


def test_the_champion_stays_where_it_is_still_the_best() -> None:
    decision = choose_champion([card("champion", z=5.0), card("other", z=1.0)], "champion")
    assert (decision.trial_id, decision.decision) == ("champion", "refused")
    assert "it is the champion already" in decision.reasons


def test_a_trial_that_never_held_anything_is_no_champion() -> None:
    decision = choose_champion([card("idle", z=None, sharpe=None, deflated_sharpe=None)])
    assert decision.decision == "refused"
    assert "no book was ever held" in decision.reasons[0]


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(ValueError, match="score a trial of this timeframe first"):
        choose_champion([])
    with pytest.raises(ValueError, match="timeframes long, short"):
        choose_champion([card("a"), card("b", timeframe="long")])
    with pytest.raises(ValueError, match="the incumbent gone has no scorecard"):
        choose_champion([card("a")], "gone")
