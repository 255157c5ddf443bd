import time
from datetime import UTC, datetime

import numpy as np
import pytest

from mltrainer_pipelines.trials.leaderboard import COLUMNS, deflated, rank
from mltrainer_pipelines.trials.scorecard import Scorecard
from mltrainer_pipelines_tests.trials.test_promotion import card

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def trial(name: str, daily_sharpe: float | None, **changes: object) -> Scorecard:
    return card(name, daily_sharpe=daily_sharpe, skew=0.0, kurtosis=3.0, active_sharpe_z=5.0, **changes)


def test_ranks_are_per_timeframe_from_one_and_follow_the_deflated_z() -> None:
    cards = [trial("a", 0.05), trial("b", 0.09), trial("c", 0.07, timeframe="long"), trial("d", None), trial("e", 0.01)]
    table = rank(cards, NOW)
    assert dict(table.schema) == COLUMNS
    assert table.select("timeframe", "rank", "trial_id").rows() == [
        ("long", 1, "c"), ("short", 1, "b"), ("short", 2, "a"), ("short", 3, "e"), ("short", 4, "d"),
    ]  # fmt: skip


def test_a_short_lucky_record_ranks_below_a_long_good_one() -> None:
    table = rank([trial("lucky", 0.15, sessions=63), trial("long-run", 0.12, sessions=2000), trial("poor", -0.02)], NOW)
    assert table["trial_id"].to_list() == ["long-run", "lucky", "poor"]


def test_every_scorecard_is_deflated_by_all_of_them_whenever_it_was_made() -> None:
    alone = trial("early", 0.08, trials_counted=1, deflated_sharpe=0.999)
    later = deflated([alone, *(trial(f"t{i}", x) for i, x in enumerate(np.linspace(-0.05, 0.06, 30)))])
    assert {card.trials_counted for card in later} == {31}
    assert len({card.expected_maximum_sharpe for card in later}) == 1
    more = deflated([alone, *later[1:]], trials_run=1000)
    assert more[0].deflated_sharpe < later[0].deflated_sharpe < alone.deflated_sharpe  # type: ignore[operator]


def test_no_trial_gives_an_empty_leaderboard() -> None:
    assert rank([], NOW).is_empty()
    assert dict(rank([], NOW).schema) == COLUMNS


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        rank([], datetime(2026, 1, 5))  # noqa: DTZ001


def test_ten_thousand_trials_are_ranked_in_seconds() -> None:
    one = trial("one", 0.05)
    sharpes = np.random.default_rng(0).normal(0, 0.05, 10_000)
    cards = [one.model_copy(update={"trial_id": f"t{i}", "daily_sharpe": float(x)}) for i, x in enumerate(sharpes)]
    started = time.process_time()
    table = rank(cards, NOW)
    assert time.process_time() - started < 2.0
    assert table["trial_id"][0] == f"t{sharpes.argmax()}"
