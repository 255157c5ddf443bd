import time
from collections.abc import Sequence
from datetime import UTC, date, datetime

import numpy as np
import pytest

from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import ledger, records
from mltrainer_pipelines.trials.registry.leaderboard import COLUMNS, deflated, overfitting, rank
from mltrainer_pipelines.trials.scoring import selection
from mltrainer_pipelines.trials.scoring.deflation import Luck, trial_variance
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard
from mltrainer_pipelines_tests.trials.registry.test_promotion import card, quarter

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
    more = deflated([alone, *later[1:]], Luck(1000, trial_variance([card.daily_sharpe for card in later], 504)))
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


QUARTERS = [date(year, month, 1) for year in range(2010, 2014) for month in (1, 4, 7, 10)]


def by_quarter(name: str, means: Sequence[float], quarters: Sequence[date] = QUARTERS, **changes: object) -> Scorecard:
    scores = tuple(quarter(start, float(mean)) for start, mean in zip(quarters, means, strict=True))
    return trial(name, 0.05, **changes).model_copy(update={"per_quarter": scores})


def test_picking_the_best_of_worthless_trials_is_overfitting_and_a_lasting_one_is_not() -> None:
    rng = np.random.default_rng(0)
    worthless = [by_quarter(f"t{i}", rng.normal(0, 0.001, 16)) for i in range(40)]
    good = by_quarter("good", np.full(16, 0.003))
    found, better = (overfitting(cards)["short"] for cards in (worthless, [*worthless, good]))
    assert found.trials == 40
    assert 0.25 < found.probability < 0.75  # type: ignore[operator]
    assert better.probability == 0.0
    assert set(rank([*worthless, good], NOW)["probability_of_overfitting"]) == {0.0}


def test_blocks_of_quarters_give_what_the_daily_returns_themselves_give() -> None:
    rng = np.random.default_rng(1)
    daily = rng.normal(0.0002, 0.01, (63 * 10, 12))
    cards = []
    for number, returns in enumerate(daily.T):
        parts = returns.reshape(10, 63)
        scores = [
            quarter(start, 0.0).model_copy(update={"daily_mean": part.mean(), "daily_deviation": part.std(ddof=1)})
            for start, part in zip(QUARTERS[:10], parts, strict=True)
        ]
        cards.append(trial(f"t{number}", 0.05).model_copy(update={"per_quarter": tuple(scores)}))
    assert overfitting(cards)["short"].probability == pytest.approx(selection.probability_of_overfitting(daily))


def test_a_trial_that_lost_some_quarters_counts_where_it_has_any() -> None:
    rng = np.random.default_rng(2)
    whole = [by_quarter(f"t{i}", rng.normal(0, 0.001, 16)) for i in range(6)]
    part = by_quarter("part", np.full(8, 0.004), QUARTERS[:8])
    found = overfitting([*whole, part])["short"]
    assert found.trials == 7
    assert found.probability is not None
    assert overfitting([by_quarter("alone", np.full(16, 0.001))])["short"].probability is None


def test_trials_that_failed_or_left_no_scorecard_deflate_too(database: Database) -> None:
    kept = TrialConfig(model="logistic_l2", timeframe="short")
    records.register(database.engine, kept)
    records.save_scorecard(database.engine, trial(kept.trial_id, 0.08), None, None)
    ledger.record_scoring(database.engine, kept, trial(kept.trial_id, 0.08), 10.0, "data", None)
    alone = deflated(records.scorecards(database.engine), ledger.luck(database.engine))[0]
    for number in range(30):
        failed = TrialConfig(model="lightgbm", timeframe="long", seed=number)
        records.register(database.engine, failed)
        records.set_status(database.engine, failed.trial_id, "failed")
    (among,) = deflated(records.scorecards(database.engine), ledger.luck(database.engine))
    assert (alone.trials_counted, among.trials_counted) == (1, 31)
    assert among.deflated_sharpe < alone.deflated_sharpe  # type: ignore[operator]
    ranking = rank(records.scorecards(database.engine), NOW, ledger.luck(database.engine))
    records.save_leaderboard(database.engine, ranking)
    assert ranking["deflated_sharpe"][0] == among.deflated_sharpe
