import json
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.timeframes import SHORT, Timeframe
from mltrainer_pipelines.trials.registry.promotion import grade, shortfalls
from mltrainer_pipelines.trials.scoring.backtest import PriceGrid
from mltrainer_pipelines.trials.scoring.forecast import held_rank_ics, known_rates
from mltrainer_pipelines.trials.scoring.score import NothingToScoreError, ScoreResult, score
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard
from mltrainer_pipelines_tests.trials.markets import SmallMarket, small_market

FIRST, LAST = 260, 620
"""Decisions of about six quarters, after a year that the momentum baseline needs."""


@dataclass(frozen=True)
class Trial:
    trial_id: str = "logistic-l2-short-00000000"
    model: str = "logistic_l2"
    feature_set: str = "momentum"
    horizon: Timeframe = SHORT


@lru_cache(maxsize=1)
def market() -> SmallMarket:
    return small_market(660, 40, seed=21, drift=0.0015)


@lru_cache(maxsize=1)
def labels() -> pl.DataFrame:
    return market().labels(SHORT, FIRST, LAST)


def predictions(foresight: float, seed: int = 0) -> pl.DataFrame:
    """Forecasts that know a share of the outcome: 0 knows nothing. The first quarter is not calibrated."""
    y = labels()["label"].to_numpy().astype(float)
    base = y.mean()
    noise = np.random.default_rng(seed).normal(0, 0.03, y.size)
    probability = np.clip(base + foresight * (y - base) + noise, 0.01, 0.99)
    # what is left of the outcome in a forecast is what a calibrator would have found
    calibrated = np.clip(base + (probability - base) * _slope(probability, y), 0.0, 1.0)
    first_quarter = pl.col("date") < pl.col("date").min().dt.offset_by("3mo")
    return labels().select(
        "date",
        "symbol",
        score=pl.Series(probability),
        probability=pl.when(~first_quarter).then(pl.Series(calibrated)),
        expected_net_return=pl.Series((calibrated - 0.5) * 0.1),
    )


def _slope(forecast: np.ndarray, y: np.ndarray) -> float:
    return float(np.clip(np.cov(forecast, y)[0, 1] / forecast.var(), 0, None))


@lru_cache(maxsize=8)
def scored(foresight: float, others: tuple[float, ...] = (), trials_run: int | None = None) -> ScoreResult:
    return score(Trial(), predictions(foresight), labels(), market().bars, others, trials_run)


def test_a_forecast_that_knows_something_is_proven() -> None:
    card = scored(0.012).scorecard
    assert card.rank_ic is not None
    assert card.rank_ic > 0
    assert card.rank_ic_t is not None
    assert card.rank_ic_t > 3
    assert card.calibration_error is not None
    assert card.calibration_error < 0.03
    assert card.precision_top_decile is not None
    assert card.precision_top_decile > card.base_rate
    assert shortfalls(card) == ()
    assert grade(card) == "proven"
    assert card.too_good == ()


def test_a_forecast_that_knows_the_outcome_is_too_good_to_be_true() -> None:
    card = scored(0.5).scorecard
    assert [reason.split(" of ")[0] for reason in card.too_good] == [
        "its rank IC",
        "its AUC",
        "its gain in Sharpe ratio over the universe",
    ]
    assert grade(card) == "candidate"


def test_a_worthless_forecast_in_a_rising_market_is_not_proven_however_high_its_sharpe_ratio() -> None:
    card = scored(0.0).scorecard
    assert card.deflated_sharpe is not None
    assert card.deflated_sharpe > 0.95  # the market rose: every long book looks good
    assert card.active_deflated_sharpe is not None
    assert card.active_deflated_sharpe < 0.95
    assert grade(card) == "candidate"


def test_twenty_worthless_forecasts_give_no_proven_one() -> None:
    sharpes: list[float] = []
    grades = []
    for seed in range(20):
        card = score(Trial(), predictions(0.0, seed), labels(), market().bars, sharpes).scorecard
        sharpes.append(card.daily_sharpe or 0.0)
        grades.append(grade(card))
    assert set(grades) == {"candidate"}


def test_every_trial_that_was_run_deflates() -> None:
    alone, one_of_many = scored(0.02).scorecard, scored(0.02, (0.01, 0.05, -0.02)).scorecard
    failed_too = scored(0.02, (0.01, 0.05, -0.02), 500).scorecard
    assert (alone.trials_counted, one_of_many.trials_counted, failed_too.trials_counted) == (1, 4, 500)
    values = [card.deflated_sharpe_z for card in (alone, one_of_many, failed_too)]
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]
    assert alone.sharpe == one_of_many.sharpe == failed_too.sharpe


def test_labels_that_are_not_known_are_left_out_of_the_forecast_and_open_in_the_book() -> None:
    now = 600
    known = market().labels(SHORT, FIRST, LAST, known=now)
    until = pl.col("date") <= market().sessions[now]
    result = score(Trial(), predictions(0.02).filter(until), known, market().bars.filter(until))
    assert result.scorecard.rows == known["label"].count()
    assert result.scorecard.rows < predictions(0.02).filter(until).height
    assert result.scorecard.last_session == market().sessions[now]
    assert result.equity["date"][-1] == market().sessions[now]
    # the book up to then is the one that later knowledge gives, but for who was picked after
    assert result.equity.head(200).equals(scored(0.02).equity.head(200))


def test_probabilities_are_judged_only_where_there_are_some() -> None:
    card = scored(0.02).scorecard
    assert card.calibrated_rows == predictions(0.02)["probability"].count()
    assert card.calibrated_rows < card.rows
    assert card.per_quarter[0].log_loss is None
    assert card.per_quarter[0].auc is not None
    without = score(Trial(), predictions(0.02).with_columns(probability=pl.lit(None, pl.Float64)), labels(), market().bars)
    assert (without.scorecard.brier_skill, without.scorecard.hit_rate, without.scorecard.log_loss) == (None, None, None)
    assert without.calibration.is_empty()
    assert grade(without.scorecard) == "candidate"


def test_quarters_compound_to_the_whole() -> None:
    result = scored(0.02)
    assert result.per_quarter.height == result.scorecard.quarters == len(result.scorecard.per_quarter)
    assert result.per_quarter["rows"].sum() == result.scorecard.rows
    last = result.per_quarter["quarter"].max()
    inside = result.equity.filter(pl.col("date").dt.truncate("1q") <= last)
    assert result.per_quarter["sessions"].sum() == inside.height
    for book in ("", "universe_", "momentum_"):
        whole = (1 + result.per_quarter[f"{book}net_return"]).product()
        assert whole == pytest.approx((1 + inside[f"{book}net_return"]).product())


def test_both_baselines_hold_something_and_pay_the_same_costs() -> None:
    of_fifty = market().labels(SHORT, FIRST, LAST, cost_bps=50.0)
    dear = score(Trial(), predictions(0.02), of_fifty, market().bars, cost_bps=50.0).scorecard
    cheap = scored(0.02).scorecard
    assert cheap.momentum_sharpe is not None
    assert dear.universe_net_return < cheap.universe_net_return
    assert dear.momentum_net_return < cheap.momentum_net_return
    assert dear.net_return < cheap.net_return


def test_labels_and_book_of_different_costs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels have a cost of 10\.00 basis points a side and the book 2\.00"):
        score(Trial(), predictions(0.0), labels(), market().bars, cost_bps=2.0)


def test_level_and_ranking_are_told_apart() -> None:
    ranking = scored(0.02).scorecard
    assert ranking.ranking_skill > 0.0  # type: ignore[operator]
    rate = labels()["label"].mean()
    level_only = predictions(0.0).with_columns(probability=pl.when(pl.col("probability").is_not_null()).then(pl.lit(rate)))
    level = score(Trial(), level_only, labels(), market().bars).scorecard
    assert level.ranking_skill == 0.0
    assert level.level_skill > 0.0  # type: ignore[operator]
    wrong = score(Trial(), level_only.with_columns(pl.col("probability") * 0.2), labels(), market().bars).scorecard
    assert wrong.level_z < -3  # type: ignore[operator]
    assert any("level of its probabilities is worse than the share of profits known" in why for why in shortfalls(wrong))


def test_what_was_known_of_the_level_ends_before_the_session() -> None:
    outcomes = pl.DataFrame({"exit_date": [date(2020, 1, 2), date(2020, 1, 2), date(2020, 1, 6)], "label": [1, 0, 1]})
    assert known_rates(outcomes).rows() == [(date(2020, 1, 3), 0.5), (date(2020, 1, 7), pytest.approx(2 / 3))]


def test_a_score_of_the_next_sessions_ranks_single_sessions() -> None:
    prices = PriceGrid.from_bars(market().bars)
    opens = pl.DataFrame(prices.adj_open, schema=prices.symbols.tolist())
    ahead = opens.select((pl.all().shift(-2) / pl.all().shift(-1) - 1).name.keep()).with_columns(date=pl.Series(prices.sessions))
    rows = ahead.unpivot(index="date", variable_name="symbol", value_name="score").drop_nulls().drop_nans().sort("date", "symbol")
    assert held_rank_ics(rows, prices, 1) == pytest.approx(1.0)
    assert 0.2 < held_rank_ics(rows, prices, 12).mean() < 0.45  # one of twelve scores is that of the next session: 1 / sqrt(12)


def test_a_scorecard_survives_json() -> None:
    card = scored(0.0).scorecard
    assert Scorecard.model_validate(json.loads(card.model_dump_json())) == card


def test_intervals_hold_what_they_are_about() -> None:
    card = scored(0.02).scorecard
    assert card.net_return_low < card.net_return < card.net_return_high  # type: ignore[operator]
    assert card.pick_return_low < card.pick_return < card.pick_return_high  # type: ignore[operator]


def test_what_cannot_be_scored_is_named() -> None:
    unknown = labels().with_columns(label=pl.lit(None, pl.Int8))
    with pytest.raises(NothingToScoreError, match=r"logistic-l2-short-00000000: none of its \d+ predictions has a known label"):
        score(Trial(), predictions(0.0), unknown, market().bars)
    with pytest.raises(ValueError, match="two rows for one date and symbol"):
        score(Trial(), pl.concat([predictions(0.0)] * 2), labels(), market().bars)
    with pytest.raises(ValueError, match="a score is null or not finite"):
        score(Trial(), predictions(0.0).with_columns(score=pl.lit(float("nan"))), labels(), market().bars)
