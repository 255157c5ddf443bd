"""Splits and large dividends are held against the price of their ex-date; every lie here is one that vendors tell."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.market.corporate_actions import sifted_actions
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.split_checks import judged_actions, suspected_splits, unexplained_steps

DAYS = sessions_between(date(2024, 1, 2), date(2024, 6, 28))
EX = 80


def market(steps: dict[int, float] | None = None, seed: int = 1) -> pl.DataFrame:
    """A stock at about 100 dollars whose price is divided by a step at the open of a session."""
    rng = np.random.default_rng(seed)
    steps = steps or {}
    divided = np.cumprod([steps.get(place, 1.0) for place in range(len(DAYS))])
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.015, len(DAYS)))) / divided
    before = np.concatenate([[100.0], close[:-1]]) / np.array([steps.get(place, 1.0) for place in range(len(DAYS))])
    opened = before * np.exp(rng.normal(0, 0.005, len(DAYS)))
    high, low = np.maximum(opened, close) * 1.005, np.minimum(opened, close) * 0.995
    prices = {"open": opened, "high": high, "low": low, "close": close, "volume": 1e6 * divided}
    return pl.DataFrame({"date": DAYS, "symbol": "AAA", **prices})


def actions(*rows: tuple[int, str, float]) -> pl.DataFrame:
    """(session, kind, ratio or cash)."""
    terms = [
        {
            "symbol": "AAA",
            "ex_date": DAYS[place],
            "kind": kind,
            "ratio": amount if kind == "split" else None,
            "cash": amount if kind == "dividend" else None,
            "declared": None,
        }
        for place, kind, amount in rows
    ]
    return CORPORATE_ACTIONS.cast(pl.DataFrame(terms, schema=CORPORATE_ACTIONS.schema))


def believed(bars: pl.DataFrame, *rows: tuple[int, str, float]) -> list[bool]:
    return judged_actions(actions(*rows), bars)["reason"].is_null().to_list()


@pytest.mark.parametrize("ratio", [1.25, 1.5, 2.0, 3.0, 20.0, 0.5, 0.1, 1 / 30])
def test_a_split_that_the_price_shows_is_believed_and_every_lie_about_it_is_not(ratio: float) -> None:
    bars = market({EX: ratio})
    assert believed(bars, (EX, "split", ratio)) == [True]
    assert believed(bars, (EX, "split", ratio), (EX, "split", ratio)) == [True, False]
    assert believed(bars, (EX, "split", ratio * 1.08), (EX, "split", ratio)) == [False, True]
    for lie in ((EX - 1, "split", ratio), (EX + 1, "split", ratio), (EX, "split", 1 / ratio), (EX + 20, "split", ratio)):
        assert believed(bars, lie) == [False]


def test_a_split_that_was_applied_before_it_came_is_set_aside_and_says_why() -> None:
    (reason,) = judged_actions(actions((EX, "split", 4.0)), market())["reason"]
    assert reason.startswith("4 for 1 does not fit the price, which closed at ")


def test_what_is_too_small_to_see_or_has_no_bar_yet_is_believed() -> None:
    bars = market()
    assert believed(bars, (EX, "split", 1.01)) == [True]
    assert believed(bars.head(EX), (EX, "split", 4.0), (EX, "split", 5.0)) == [True, False]
    assert judged_actions(actions((EX, "split", 4.0)), bars.clear())["reason"].to_list() == [None]


def test_a_split_on_a_day_of_bad_news_is_still_believed() -> None:
    crash = market({EX: 0.1 * 1.3})
    assert believed(crash, (EX, "split", 0.1)) == [True]


def test_a_large_dividend_is_held_against_the_price_a_small_one_is_not() -> None:
    before = market()["close"][EX - 1]
    paid = market({EX: 1 / (1 - 20 / before)})
    assert believed(paid, (EX, "dividend", 20.0)) == [True]
    assert believed(market(), (EX, "dividend", 20.0)) == [False]
    assert believed(market(), (EX, "dividend", 1.0), (EX, "dividend", 1.0)) == [True, False]
    assert believed(market(), (EX, "dividend", 1.0), (EX, "dividend", 2.0)) == [True, True]  # regular and special


def test_a_spin_off_listed_as_split_and_as_dividend_counts_once() -> None:
    bars = market({EX: 1.3})
    cash = bars["close"][EX - 1] * (1 - 1 / 1.3)
    assert sorted(believed(bars, (EX, "split", 1.3), (EX, "dividend", cash))) == [False, True]


@pytest.mark.parametrize(("kind", "amount"), [("split", 0.0), ("split", -2.0), ("split", float("nan")), ("dividend", -0.5)])
def test_what_cannot_be_right_costs_itself_alone(kind: str, amount: float) -> None:
    assert believed(market({EX: 2.0}), (EX, "split", 2.0), (30, kind, amount)) == [True, False]


def test_a_dividend_that_is_not_below_the_price_is_set_aside() -> None:
    (reason,) = judged_actions(actions((EX, "dividend", 500.0)), market())["reason"]
    assert "are not below the price" in reason


def test_a_judgement_uses_nothing_after_the_ex_date() -> None:
    bars, listed = market({EX: 2.0, EX + 1: 2.0}), actions((EX, "split", 2.0), (EX, "split", 3.0))
    assert judged_actions(listed, bars).equals(judged_actions(listed, bars.head(EX + 1)))


def test_an_unlisted_split_is_suspected_and_a_crash_is_not() -> None:
    assert suspected_splits(market({EX: 2.0})).select("date", "ratio").rows() == [(DAYS[EX], 2.0)]
    assert suspected_splits(market({EX: 2.0}), actions((EX, "split", 2.0))).is_empty()
    news = market({EX: 2.0}).with_columns(volume=pl.when(pl.col("date") == DAYS[EX]).then(3e7).otherwise("volume"))
    assert suspected_splits(news).is_empty()
    assert suspected_splits(market()).is_empty()


def test_a_step_that_nothing_explains_on_a_quiet_day_is_no_loss_and_news_is() -> None:
    """Kansas City Southern gave Stilwell away on 2000-07-13: 187.50 dollars, and then 5.375."""
    bars = market()
    days = bars.filter(pl.col("symbol") == bars["symbol"][0])["date"].to_list()
    day, symbol = days[len(days) // 2], bars["symbol"][0]
    after = (pl.col("symbol") == symbol) & (pl.col("date") >= day)
    for times, shares, found in ((0.37, 2.5, 1), (0.0287, 30.0, 1), (0.37, 20.0, 0), (0.7, 1.4, 0)):
        prices = {name: pl.when(after).then(pl.col(name) * times).otherwise(name) for name in ("open", "high", "low", "close")}
        volume = pl.when(after).then(pl.col("volume") * shares).otherwise("volume")
        steps = unexplained_steps(bars.with_columns(**prices, volume=volume), CORPORATE_ACTIONS.empty())
        assert steps.select("symbol", "date").rows() == [(symbol, day)] * found
        applied = sifted_actions(CORPORATE_ACTIONS.empty(), bars.with_columns(**prices, volume=volume)).believed
        assert applied["ex_date"].to_list() == [day] * found


REAL = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.skipif(not (REAL / "us_market_2000_2018.parquet").exists(), reason="the real market is not on this machine")
def test_on_a_real_market_lies_are_found_and_the_truth_is_not_doubted() -> None:
    stem = str(REAL / "us_market_2000_2018")
    every = pl.read_parquet(f"{stem}.splits.parquet")
    few = every.filter(pl.col("ratio").log().abs() > 0.2)["symbol"].unique(maintain_order=True).gather_every(4)
    splits = every.filter(pl.col("symbol").is_in(few.implode()))
    bars = pl.read_parquet(f"{stem}.parquet", columns=["date", "symbol", "open", "high", "low", "close", "volume"])
    bars = bars.filter(pl.col("symbol").is_in(splits["symbol"].unique().implode())).sort("symbol", "date")
    given = pl.read_parquet(f"{stem}.dividends.parquet").filter(pl.col("symbol").is_in(bars["symbol"].unique().implode()))
    true = CORPORATE_ACTIONS.cast(
        pl.concat(
            [splits.with_columns(kind=pl.lit("split")), given.with_columns(kind=pl.lit("dividend"))], how="diagonal"
        ).with_columns(declared=None)
    )
    doubted = judged_actions(true, bars).filter(pl.col("reason").is_not_null())
    # Five spin-offs that are listed as a split and as a dividend.
    assert set(doubted["symbol"]) <= {"ABT", "CNP", "DHR", "ETN", "VTR"}
    dividends, truth = true.filter(pl.col("kind") == "dividend"), true.filter(pl.col("ratio").log().abs() > 0.2)
    days = bars.select(pl.col("date").unique().sort())["date"].to_list()
    places = {day: place for place, day in enumerate(days)}
    wrong = {
        "early": truth.with_columns(pl.col("ex_date").map_elements(lambda day: days[places[day] - 1], pl.Date)),
        "late": truth.with_columns(
            pl.col("ex_date").map_elements(lambda day: days[min(places[day] + 1, len(days) - 1)], pl.Date)
        ),
        "upside down": truth.with_columns(ratio=1 / pl.col("ratio")),
    }
    for lie in wrong.values():
        judged = judged_actions(pl.concat([dividends, lie]), bars)
        assert judged.filter(pl.col("kind") == "split")["reason"].is_not_null().mean() > 0.95
    found = suspected_splits(bars, dividends).join(truth, left_on=["symbol", "date"], right_on=["symbol", "ex_date"], how="semi")
    assert found.height >= 0.9 * truth.height
    assert suspected_splits(bars, true).height <= 3 + bars.height / 100_000
