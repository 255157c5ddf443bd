import time
from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.timeframes import LONG, SHORT
from mltrainer_pipelines.trials.scoring.backtest import (
    LabelsAndPricesDisagreeError,
    PriceGrid,
    top_fraction,
    tranche_returns,
    twelve_one_momentum,
)
from mltrainer_pipelines_tests.trials.markets import SmallMarket, small_market


def random_picks(market: SmallMarket, first: int, last: int, known: int | None = None) -> pl.DataFrame:
    labels = market.labels(SHORT, first, last, known)
    return labels.filter(pl.Series(np.random.default_rng(1).random(labels.height) < 0.3))


def slot_by_slot(picks: pl.DataFrame, market: SmallMarket, slots: int, cost: float, known: int | None) -> dict[date, float]:
    """Equity of the book kept the slow way: money in slots, shares in hand, one session after the other."""
    bars = {(row["date"], row["symbol"]): row for row in market.bars.iter_rows(named=True)}
    start = market.sessions.index(picks["date"].min())
    end = min(len(market.sessions) - 1 if known is None else known, market.sessions.index(picks["date"].max()) + slots)
    cash: list[float] = [1.0 / slots] * slots
    hands: list[list[dict]] = [[] for _ in range(slots)]
    mark: dict[str, float] = {}
    equity = {}
    for place in range(start, end + 1):
        day, free = market.sessions[place], (place - start) % slots
        mark |= {symbol: bar["adj_close"] for (bar_day, symbol), bar in bars.items() if bar_day == day}
        for slot in range(slots):
            kept = []
            for hand in hands[slot]:
                pick = hand["pick"]
                if pick["entry_date"] == day:
                    hand["price"] = bars[day, pick["symbol"]]["adj_open"]
                    hand["shares"] = hand["money"] / (hand["price"] * (1 + cost))
                    cash[slot] -= hand["money"]
                if slot == free or (pick["exit_date"] is not None and pick["exit_date"] <= day):
                    known_price = hand["price"] * (1 + (pick["gross_return"] or 0))
                    price = mark[pick["symbol"]] if pick["exit_date"] is None else known_price
                    cash[slot] += hand["shares"] * price * (1 - cost)
                else:
                    kept.append(hand)
            hands[slot] = kept
        decided = picks.filter(pl.col("date") == day).rows(named=True)
        money = cash[free] / max(len(decided), 1)
        hands[free] = [{"pick": pick, "money": money, "shares": 0.0} for pick in decided if pick["entry_date"] is not None]
        equity[day] = sum(cash) + sum(hand["shares"] * mark[hand["pick"]["symbol"]] for held in hands for hand in held)
    return equity


@pytest.mark.parametrize("holes", [0.0, 0.08])
@pytest.mark.parametrize("known", [None, 112])
def test_the_book_is_the_one_kept_slot_by_slot(holes: float, known: int | None) -> None:
    market = small_market(150, 12, seed=3, holes=holes)
    picks = random_picks(market, 70, 110, known=known)
    assert known is None or picks["exit_date"].null_count() > 0
    bars = market.bars if known is None else market.bars.filter(pl.col("date") <= market.sessions[known])
    book = tranche_returns(picks, PriceGrid.from_bars(bars), SHORT.max_sessions, 10.0)
    expected = slot_by_slot(picks, market, SHORT.max_sessions, 0.001, known)
    assert book["date"].to_list() == list(expected)[1:]
    assert book["equity"].to_list() == pytest.approx(list(expected.values())[1:])
    assert np.cumprod(1 + book["net_return"].to_numpy()) == pytest.approx(book["equity"].to_numpy())


def test_one_pick_ends_with_its_net_return_on_its_slot() -> None:
    market = small_market(120, 5, seed=4)
    pick = market.labels(SHORT, 80, 90).sort(pl.col("exit_date") - pl.col("date"))[:1]
    book = tranche_returns(pick, PriceGrid.from_bars(market.bars), SHORT.max_sessions, 10.0)
    assert book["equity"][-1] == pytest.approx(1 + pick["net_return"][0] / 12)
    assert book["exposure"][-1] == 0.0
    assert book.filter(pl.col("date") > pick["exit_date"][0])["net_return"].abs().max() == pytest.approx(0.0, abs=1e-12)
    # bought for a twelfth of the capital, sold for what it had become
    assert book["turnover"].sum() == pytest.approx((1 / 12 + book["equity"][-1] - 11 / 12) / 2, rel=0.01)


def test_without_costs_and_picks_that_fill_every_slot_the_book_earns_what_its_labels_say() -> None:
    market = small_market(200, 6, seed=5)
    every = market.labels(SHORT, 80, 80 + 24 - 1, cost_bps=0.0)
    book = tranche_returns(every, PriceGrid.from_bars(market.bars), SHORT.max_sessions, 0.0)
    by_session = every.group_by("date", maintain_order=True).agg(pl.col("gross_return").mean())["gross_return"].to_numpy()
    slots = (1 + by_session[:12]) * (1 + by_session[12:])
    assert book["equity"][-1] == pytest.approx(slots.mean())


def test_a_return_never_changes_when_more_becomes_known() -> None:
    market = small_market(160, 8, seed=6)
    late, early = random_picks(market, 70, 130), random_picks(market, 70, 130, known=120)
    grid = PriceGrid.from_bars(market.bars.filter(pl.col("date") <= market.sessions[120]))
    then = tranche_returns(early.filter(pl.col("date") <= market.sessions[120]), grid, 12)
    now = tranche_returns(late, PriceGrid.from_bars(market.bars), 12)
    assert then["date"][-1] == market.sessions[120]
    assert now.head(then.height).drop("date").to_numpy() == pytest.approx(then.drop("date").to_numpy())


def test_costs_only_ever_cost() -> None:
    market = small_market(160, 8, seed=7)
    picks, grid = random_picks(market, 70, 130), PriceGrid.from_bars(market.bars)
    ends = [tranche_returns(picks, grid, 12, cost)["equity"][-1] for cost in (0.0, 5.0, 10.0, 50.0)]
    assert ends == sorted(ends, reverse=True)


def test_a_symbol_that_stops_trading_is_worth_its_last_close() -> None:
    market = small_market(140, 6, seed=8)
    gone = market.sessions[92]
    bars = market.bars.filter((pl.col("symbol") != "S000") | (pl.col("date") < gone))
    market = SmallMarket(bars, market.sessions, market.universe)
    pick = market.labels(SHORT, 85, 91).filter(pl.col("symbol") == "S000", pl.col("barrier") == "delisted")
    assert pick.height > 0
    book = tranche_returns(pick[-1:], PriceGrid.from_bars(bars), 12, 0.0)
    assert book["equity"][-1] == pytest.approx(1 + pick["gross_return"][-1] / 12)


def test_labels_of_another_timeframe_or_another_market_are_refused() -> None:
    market = small_market(200, 5, seed=9)
    long = market.labels(LONG, 80, 90)
    grid = PriceGrid.from_bars(market.bars)
    with pytest.raises(LabelsAndPricesDisagreeError, match="labels of another timeframe"):
        tranche_returns(long, grid, SHORT.max_sessions)
    with pytest.raises(LabelsAndPricesDisagreeError, match="no symbol 'XYZ'"):
        tranche_returns(long.with_columns(symbol=pl.lit("XYZ")), grid, 70)
    with pytest.raises(LabelsAndPricesDisagreeError, match="no session"):
        tranche_returns(long, PriceGrid.from_bars(market.bars.filter(pl.col("date") < market.sessions[85])), 70)
    with pytest.raises(ValueError, match="no picks"):
        tranche_returns(long.clear(), grid, 70)
    with pytest.raises(ValueError, match="two rows for one date and symbol"):
        PriceGrid.from_bars(pl.concat([market.bars, market.bars[:1]]))


def test_the_top_decile_is_rounded_up_and_ties_go_by_symbol() -> None:
    frame = pl.DataFrame({"date": [date(2020, 1, 2)] * 11, "symbol": list("KJIHGFEDCBA"), "score": [0.5] * 10 + [None]})
    assert top_fraction(frame)["symbol"].to_list() == ["B"]
    assert top_fraction(frame, fraction=0.15)["symbol"].to_list() == ["B", "C"]
    many = pl.DataFrame({"date": [date(2020, 1, 2)] * 120, "symbol": [f"{i:03}" for i in range(120)], "score": np.arange(120.0)})
    assert top_fraction(many)["symbol"].to_list() == [f"{i:03}" for i in range(119, 107, -1)]


def test_momentum_is_the_return_from_252_to_21_sessions_ago_and_knows_no_future() -> None:
    market = small_market(300, 4, seed=10)
    found = twelve_one_momentum(PriceGrid.from_bars(market.bars))
    assert found["date"].min() == market.sessions[252]
    close = {(day, symbol): value for day, symbol, value in market.bars.select("date", "symbol", "adj_close").iter_rows()}
    row = found.filter(pl.col("symbol") == "S002", pl.col("date") == market.sessions[280])["momentum"].item()
    assert row == pytest.approx(close[market.sessions[259], "S002"] / close[market.sessions[28], "S002"] - 1)
    earlier = PriceGrid.from_bars(market.bars.filter(pl.col("date") <= market.sessions[280]))
    assert twelve_one_momentum(earlier).equals(found.filter(pl.col("date") <= market.sessions[280]))


def test_four_years_of_the_whole_universe_are_marked_in_a_second() -> None:
    market = small_market(1140, 120, seed=11)
    labels = market.labels(LONG, 70, 1069)
    grid = PriceGrid.from_bars(market.bars)
    started = time.process_time()
    book = tranche_returns(labels, grid, LONG.max_sessions)
    assert time.process_time() - started < 1.0
    assert book.height == 1069
