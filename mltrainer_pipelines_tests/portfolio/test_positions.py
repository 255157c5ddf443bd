import math
import threading
from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.features.labels.barriers import Barriers, daily_volatility, net_return
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.learning.outcomes import record_outcomes
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import NotASessionError, next_session, session_hours, sessions_between
from mltrainer_pipelines.portfolio.account import PaperAccount
from mltrainer_pipelines.portfolio.marking import mark
from mltrainer_pipelines.portfolio.positions import entry_session_of, open_positions, positions_of
from mltrainer_pipelines.portfolio.settlement import MissingBarsError, bars_needed_from, settle
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, at, bars_of, positions, random_bars, recommend

DAYS = sessions_between(date(2015, 3, 2), date(2015, 6, 30))
T = DAYS[0]
COST_BPS = 10.0
CENT = Decimal("0.01")


def flat(count: int, price: float = 100.0) -> list[tuple[float, float, float, float]]:
    return [(price, price, price, price)] * count


def market(*prices: tuple[float, float, float, float] | None, actions: pl.DataFrame = NO_ACTIONS) -> pl.DataFrame:
    """Bars of AAA from T on, beside another symbol that always trades."""
    others = bars_of("OTHER", DAYS, flat(len(DAYS), 10.0))
    return adjusted(pl.concat([bars_of("AAA", DAYS, list(prices)), others]), actions)


def action(kind: str, ex_date: date, amount: float, symbol: str = "AAA") -> pl.DataFrame:
    ratio, cash = (amount, None) if kind == "split" else (None, amount)
    return pl.DataFrame([(symbol, ex_date, kind, ratio, cash, None)], schema=NO_ACTIONS.schema, orient="row")


def only(database: Database) -> dict:
    (position,) = positions(database.engine)
    return position


def test_each_recommendation_gets_one_position_however_often_it_is_asked_for(database: Database) -> None:
    for symbol in ("AAA", "BBB"):
        recommend(database.engine, T, symbol)
    assert len(open_positions(database.engine, COST_BPS)) == 2
    assert open_positions(database.engine, COST_BPS) == []
    assert [p["recommendation_id"] for p in positions(database.engine)] == [1, 2]


def test_positions_are_found_by_their_recommendations(database: Database) -> None:
    for symbol in ("AAA", "BBB"):
        recommend(database.engine, T, symbol)
    open_positions(database.engine, COST_BPS)
    assert [p["symbol"] for p in positions_of(database.engine, [2])] == ["BBB"]
    assert positions_of(database.engine, []) == []


def test_decided_after_the_close_it_waits_for_the_next_open(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    pending = only(database)
    assert (pending["status"], pending["entry_session"], pending["entry_price"]) == ("pending", DAYS[1], None)
    assert pending["profit_loss"] == 0

    bars = market(*flat(1), (102.0, 103.0, 101.0, 102.5))
    assert settle(database.engine, bars, T).still_pending == 1
    assert only(database) == pending
    result = settle(database.engine, bars, DAYS[1])
    assert (result.entered, result.still_open, dict(result.closed)) == (1, 1, {})
    filled = only(database)
    assert filled["status"] == "open"
    assert filled["entry_price"] == Decimal(102)
    assert filled["entry_time"] == session_hours(DAYS[1])[0]
    assert float(filled["target_price"]) == pytest.approx(102 * math.exp(0.02 * math.sqrt(12)), abs=1e-6)
    assert float(filled["stop_loss"]) == pytest.approx(102 * math.exp(-0.02 * math.sqrt(12)), abs=1e-6)


def test_decided_within_the_session_it_is_bought_at_once_at_the_delayed_price(database: Database) -> None:
    recommend(database.engine, T, timestamp=at(T, 11, 15))
    open_positions(database.engine, COST_BPS)
    position = only(database)
    assert (position["status"], position["entry_session"], position["entry_price"]) == ("open", T, Decimal(100))
    assert position["entry_time"] == at(T, 11, 15)
    # What it would cost to get in and out again at the same price.
    assert position["profit_loss"] == -position["fees"] == -2 * (position["notional"] / 1000).quantize(CENT)


def test_what_happened_before_an_intraday_entry_does_not_close_it(database: Database) -> None:
    recommend(database.engine, T, timestamp=at(T, 15, 0))
    open_positions(database.engine, COST_BPS)
    settle(database.engine, market((70.0, 150.0, 60.0, 101.0)), T)
    position = only(database)
    assert (position["status"], position["current_price"]) == ("open", Decimal(101))
    settle(database.engine, market((70.0, 150.0, 60.0, 101.0), (101.0, 101.0, 60.0, 61.0)), DAYS[1])
    assert only(database)["exit_reason"] == "stop"


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (at(date(2015, 3, 2), 12), (date(2015, 3, 2), True)),
        (at(date(2015, 3, 2), 16), (date(2015, 3, 3), False)),
        (at(date(2015, 3, 2), 23, 59), (date(2015, 3, 3), False)),
        (at(date(2015, 3, 3), 9, 29), (date(2015, 3, 3), False)),
        # Decided too late for the next open: the price of that open is known already.
        (at(date(2015, 3, 3), 9, 30), (date(2015, 3, 4), False)),
        (at(date(2015, 3, 7), 12), (date(2015, 3, 9), False)),
    ],
)
def test_an_entry_never_precedes_its_decision(moment, expected) -> None:
    assert entry_session_of(date(2015, 3, 2), moment) == expected


def test_profit_and_loss_is_to_the_cent_after_the_fees_of_both_sides(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    settle(database.engine, market(*flat(1), (101.37, 102.0, 101.0, 101.5), (120.11, 121.0, 120.0, 120.5)), DAYS[2])
    position = only(database)
    assert position["exit_reason"] == "target"
    assert position["exit_price"] == Decimal("120.11")  # gapped through the target: filled at the open
    cost, value = ((position["shares"] * position[name]).quantize(CENT) for name in ("entry_price", "exit_price"))
    fees = (cost / 1000).quantize(CENT) + (value / 1000).quantize(CENT)
    assert position["fees"] == fees
    assert position["profit_loss"] == value - cost - fees
    assert position["net_return"] == pytest.approx(net_return(120.11 / 101.37 - 1, COST_BPS), abs=1e-12)
    assert float(position["profit_loss"] / (cost + cost / 1000)) == pytest.approx(position["net_return"], abs=1e-5)


def test_the_stop_wins_where_one_session_touches_both(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    settle(database.engine, market(*flat(2), (100.0, 130.0, 70.0, 100.0)), DAYS[2])
    position = only(database)
    assert position["exit_reason"] == "stop"
    assert position["exit_price"] == position["stop_loss"]
    assert position["exit_time"] == session_hours(DAYS[2])[1]


def test_the_time_barrier_closes_at_the_close_of_the_last_session(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    bars = market(*flat(12), (100.0, 101.0, 99.0, 100.5), *flat(5))
    settle(database.engine, bars, DAYS[11])
    assert only(database)["status"] == "open"
    settle(database.engine, bars, DAYS[12])
    position = only(database)
    assert (position["exit_reason"], position["exit_session"], position["exit_price"]) == ("time", DAYS[12], Decimal("100.5"))


def test_a_split_changes_shares_and_prices_and_not_the_profit(database: Database) -> None:
    split = action("split", DAYS[3], 4.0)
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    bars = market(*flat(3), *flat(3, 25.5), actions=split)
    settle(database.engine, bars, DAYS[2])
    before = only(database)
    settle(database.engine, bars, DAYS[3])
    after = only(database)
    assert after["status"] == "open"
    assert after["shares"] == before["shares"] * 4
    assert after["entry_price"] == before["entry_price"] / 4
    assert float(after["stop_loss"]) == pytest.approx(float(before["stop_loss"]) / 4, abs=1e-6)
    assert (after["fill_price"], after["fill_shares"]) == (Decimal(100), before["shares"])
    gained = (after["shares"] * Decimal("25.5")).quantize(CENT) - after["notional"]
    assert after["profit_loss"] == gained - after["fees"]


def test_a_dividend_is_reinvested_and_does_not_touch_the_stop(database: Database) -> None:
    # A dividend of 10 takes the price through where the stop was; the holder lost nothing.
    paid = action("dividend", DAYS[3], 10.0)
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    settle(database.engine, market(*flat(3), *flat(3, 90.0), actions=paid), DAYS[5])
    position = only(database)
    assert position["status"] == "open"
    assert float(position["shares"]) == pytest.approx(float(position["fill_shares"]) / 0.9, abs=1e-6)
    assert abs(position["profit_loss"] + position["fees"]) <= CENT


def test_a_delisted_symbol_is_closed_at_its_last_close_once_that_is_known(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    bars = market(*flat(3), (99.0, 99.0, 98.0, 98.5))
    settle(database.engine, bars, DAYS[7])
    assert only(database)["status"] == "open"
    settle(database.engine, bars, DAYS[8])
    position = only(database)
    assert (position["exit_reason"], position["exit_price"], position["exit_session"]) == ("delisted", Decimal("98.5"), DAYS[8])


def test_a_symbol_that_does_not_trade_at_the_entry_is_never_bought(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    result = settle(database.engine, market(*flat(1), None, *flat(3)), DAYS[1])
    assert (result.entered, dict(result.closed)) == (0, {"not_traded": 1})
    position = only(database)
    assert (position["status"], position["profit_loss"], position["shares"], position["fill_price"]) == ("closed", 0, 0, None)


def _labelled_market(seed: int) -> tuple[list[date], pl.DataFrame]:
    days = sessions_between(date(2014, 9, 2), date(2015, 9, 30))
    symbols = [f"S{n}" for n in range(6)]
    bars = random_bars(symbols, days, seed)
    actions = pl.concat(
        [
            action("split", days[100], 2.0, "S0"),
            action("dividend", days[105], 0.8, "S1"),
            *(action("dividend", days[n], 0.3, "S2") for n in range(90, 200, 20)),
        ]
    )
    halved = (pl.col("symbol") == "S0") & (pl.col("date") >= days[100])
    prices = ("open", "high", "low", "close")
    bars = bars.with_columns(pl.when(halved).then(pl.col(name) / 2).otherwise(pl.col(name)).alias(name) for name in prices)
    gone = (pl.col("symbol") == "S3") & (pl.col("date") > days[110])
    halted = (pl.col("symbol") == "S4") & pl.col("date").is_in(days[101:104])
    return days, adjusted(bars.filter(~gone & ~halted), actions)


@pytest.mark.parametrize("timeframe", ["short", "long"])
def test_a_position_ends_as_its_label_says(database: Database, timeframe: str) -> None:
    days, bars = _labelled_market(seed=3)
    first, last = days[95], days[112]
    symbols = bars["symbol"].unique().sort().to_list()
    months = sorted({day.replace(day=1) for day in days})
    universe = pl.DataFrame(
        [(m, s) for m in months for s in symbols], schema={"month": pl.Date, "symbol": pl.String}, orient="row"
    )
    multiples = (1.2, 0.8)
    labels = compute_labels(bars, universe, TIMEFRAMES[timeframe], Barriers(*multiples), COST_BPS, first, last)
    volatility = {(row[0], row[1]): row[2] for row in daily_volatility(bars).iter_rows()}
    closes = {(d, s): c for d, s, c in bars.select("date", "symbol", "close").iter_rows()}
    for row in labels.iter_rows(named=True):
        key = (row["date"], row["symbol"])
        recommend(database.engine, *key, price=closes[key], timeframe=timeframe, volatility=volatility[key], multiples=multiples)
    open_positions(database.engine, COST_BPS)
    settle(database.engine, bars, days[-1])
    found = {(p["decided_session"], p["symbol"]): p for p in positions(database.engine)}
    assert len(found) == labels.height > 80
    for row in labels.iter_rows(named=True):
        position = found[row["date"], row["symbol"]]
        if row["entry_date"] is None:
            assert position["exit_reason"] == "not_traded"
            continue
        assert position["entry_session"] == row["entry_date"]
        assert (position["exit_reason"], position["exit_session"]) == (row["barrier"], row["exit_date"])
        assert position["net_return"] == pytest.approx(row["net_return"], abs=1e-6)
    assert {"target", "stop", "delisted", "not_traded"} <= {p["exit_reason"] for p in found.values()}


def test_living_through_the_sessions_gives_the_same_as_settling_once(database: Database) -> None:
    days, bars = _labelled_market(seed=5)
    lived = days[95:130]

    def live(every: int) -> list[dict]:
        with database.engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE recommendations, virtual_positions, outcomes, user_portfolio RESTART IDENTITY")
        for symbol in ("S0", "S1", "S2", "S3", "S4"):
            price = bars.filter((pl.col("date") == lived[0]) & (pl.col("symbol") == symbol))["close"].item()
            recommend(database.engine, lived[0], symbol, price)
            recommend(
                database.engine, lived[0], symbol, price, timeframe="long", timestamp=at(lived[0], 12), multiples=(3.0, 3.0)
            )
        open_positions(database.engine, COST_BPS)
        for day in lived[every - 1 :: every]:
            settle(database.engine, bars, day)
            settle(database.engine, bars, day)
        return [{k: v for k, v in p.items() if k not in ("opened_at", "updated_at")} for p in positions(database.engine)]

    daily, weekly, once = live(1), live(5), live(len(lived))
    assert daily == weekly == once
    assert {p["status"] for p in once} == {"open", "closed"}


def test_settling_again_touches_no_row(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    bars = market(*flat(4))
    settle(database.engine, bars, DAYS[3])
    before = only(database)
    settle(database.engine, bars, DAYS[3])
    settle(database.engine, bars, DAYS[1])  # an old session again: the newer mark stays
    assert only(database) == before


def test_opening_and_settling_from_many_threads_at_once_does_the_work_once(database: Database) -> None:
    for number in range(30):
        recommend(database.engine, T, f"S{number:02}")
    prices = [*flat(2), (100.0, 130.0, 99.0, 125.0)]
    names = [f"S{number:02}" for number in range(30)]
    bars = adjusted(pl.concat([bars_of(name, DAYS, prices) for name in names]), NO_ACTIONS)
    made: list[int] = []
    closed: list[int] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            made.extend(open_positions(database.engine, COST_BPS))
            closed.append(sum(settle(database.engine, bars, DAYS[2]).closed.values()))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(made) == 30
    assert sum(closed) == 30
    assert [p["exit_reason"] for p in positions(database.engine)] == ["target"] * 30


def test_missing_sessions_are_named_and_nothing_is_changed(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    before = only(database)
    bars = market(*flat(5)).filter(pl.col("date") != DAYS[2])
    with pytest.raises(MissingBarsError, match=rf"{DAYS[2]}; materialize daily_bars"):
        settle(database.engine, bars, DAYS[4])
    with pytest.raises(NotASessionError, match="Saturday"):
        settle(database.engine, bars, date(2015, 3, 7))
    assert only(database) == before
    assert bars_needed_from(database.engine) == DAYS[1]


def test_size_falls_with_volatility_and_is_capped(database: Database) -> None:
    account = PaperAccount(Decimal(100_000), risk_per_position=Decimal("0.01"), largest_position=Decimal("0.10"))
    calm, wild = Decimal("99"), Decimal("80")
    assert account.notional(Decimal(100), wild) == Decimal("5000.00")  # 1 % of the account is lost at the stop
    assert account.notional(Decimal(100), calm) == Decimal("10000.00")  # 100,000 would do that: the cap holds
    recommend(database.engine, T, volatility=0.001)
    open_positions(database.engine, COST_BPS, account)
    settle(database.engine, market(*flat(2)), DAYS[1])
    position = only(database)
    assert position["fill_shares"] == 100
    assert position["notional"] == 10_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"target_price": Decimal(90)}, "must ascend"),
        ({"stop_loss": Decimal(0)}, "must ascend"),
        ({"volatility": 0.0, "target_price": Decimal(110), "stop_loss": Decimal(90)}, "volatility is 0.0"),
    ],
)
def test_a_recommendation_that_cannot_be_traded_is_named(database: Database, changes: dict, complaint: str) -> None:
    recommend(database.engine, T, **changes)
    with pytest.raises(ValueError, match=rf"recommendation 1 \(AAA, short, {T}\).*{complaint}"):
        open_positions(database.engine, COST_BPS)


@pytest.mark.parametrize("cost_bps", [-1.0, 10_000.0, math.nan])
def test_impossible_costs_are_refused(database: Database, cost_bps: float) -> None:
    with pytest.raises(ValueError, match="cost_bps"):
        open_positions(database.engine, cost_bps)


def quotes(day: date, price: float, previous: float = 100.0, stale: bool = False) -> pl.DataFrame:
    return pl.DataFrame({"date": [day], "symbol": ["AAA"], "close": [price], "previous_close": [previous], "stale": [stale]})


def test_quotes_mark_and_do_not_close(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    assert mark(database.engine, quotes(DAYS[1], 101.0)) == 0  # still pending
    settle(database.engine, market(*flat(2)), DAYS[1])
    assert mark(database.engine, quotes(DAYS[2], 150.0)) == 1
    marked = only(database)
    assert (marked["status"], marked["current_price"], marked["marked_session"]) == ("open", Decimal(150), DAYS[1])
    assert mark(database.engine, quotes(DAYS[2], 50.0, stale=True)) == 0
    mark(database.engine, quotes(DAYS[2], 150.0))
    assert only(database) == marked


def test_a_quote_on_the_day_of_a_split_shows_the_same_position(database: Database) -> None:
    split = action("split", DAYS[2], 2.0)
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    settle(database.engine, market(*flat(2)), DAYS[1])
    before = only(database)
    for _ in range(2):
        assert mark(database.engine, quotes(DAYS[2], 50.0), split) == 1
        marked = only(database)
        assert marked["shares"] == 2 * before["shares"]
        assert marked["profit_loss"] == before["profit_loss"]
    settle(database.engine, market(*flat(2), *flat(1, 50.0), actions=split), DAYS[2])
    assert only(database)["shares"] == 2 * before["shares"]
    assert only(database)["profit_loss"] == before["profit_loss"]


def test_ten_thousand_open_positions_are_settled_at_once(database: Database) -> None:
    days = sessions_between(date(2015, 1, 2), next_session(date(2015, 1, 2), 15))
    symbols = [f"S{n:04}" for n in range(2_000)]
    walk = 50 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, (len(days), len(symbols))), axis=0)).round(2)
    bars = pl.DataFrame({"date": np.repeat(np.array(days, dtype="datetime64[D]"), len(symbols)), "symbol": symbols * len(days)})
    bars = bars.with_columns(*(pl.Series(name, walk.ravel()) for name in ("open", "high", "low", "close")), volume=pl.lit(1e6))
    bars = adjusted(bars, NO_ACTIONS)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            """INSERT INTO recommendations (timestamp, symbol, signal_strength, profit_probability, confidence, entry_price,
            target_price, stop_loss, timeframe, model_used, session, volatility, grade, market, thresholds)
            SELECT (d + time '16:00') AT TIME ZONE 'America/New_York', 'S' || lpad(n::text, 4, '0'), 0.9, 0.6, 0.9, 50, 100, 25,
            'long', 'm', d, 0.05, 'candidate', 'simulated', '{}' FROM generate_series(0, 1999) n, unnest(%(days)s::date[]) d""",
            {"days": days[-8:-3]},
        )
    assert len(open_positions(database.engine, COST_BPS)) == 10_000
    result = settle(database.engine, bars, days[-1])
    assert result.marked == result.still_open == 10_000


def test_a_position_closed_on_a_false_print_is_settled_again_when_that_is_mended(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    right = market(*flat(6))
    false = right.with_columns(adj_low=pl.when(pl.col("date") == DAYS[3]).then(10.0).otherwise("adj_low"))
    settle(database.engine, false, DAYS[5])
    assert only(database)["exit_reason"] == "stop"
    record_outcomes(database.engine)
    mended = pl.DataFrame({"date": [DAYS[3]], "symbol": ["AAA"]})
    assert bars_needed_from(database.engine) is None
    assert bars_needed_from(database.engine, mended) == DAYS[1]
    for _ in range(2):
        settle(database.engine, right, DAYS[5], mended=mended)
        again = only(database)
        assert (again["status"], again["exit_session"], again["exit_reason"], again["marked_session"]) == (
            "open",
            None,
            None,
            DAYS[5],
        )
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM outcomes")).scalar_one() == 0


def test_an_open_that_is_mended_fills_the_position_anew(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    false = market(*flat(1), (50.0, 101.0, 50.0, 100.0), *flat(4))
    settle(database.engine, false, DAYS[5])
    assert (only(database)["fill_price"], only(database)["status"]) == (Decimal(50), "closed")
    settle(database.engine, market(*flat(6)), DAYS[5], mended=pl.DataFrame({"date": [DAYS[1]], "symbol": ["AAA"]}))
    assert (only(database)["fill_price"], only(database)["status"]) == (Decimal(100), "open")


def test_a_day_on_which_the_market_was_closed_is_no_session_of_a_position(database: Database) -> None:
    recommend(database.engine, T)
    open_positions(database.engine, COST_BPS)
    bars = market(*flat(6)).filter(pl.col("date") != DAYS[1])
    with pytest.raises(MissingBarsError):
        settle(database.engine, bars, DAYS[5])
    settle(database.engine, bars, DAYS[5], closures=[DAYS[1]])
    entered = only(database)
    assert (entered["status"], entered["entry_session"]) == ("open", DAYS[2])
    assert entered["entry_time"] == session_hours(DAYS[2])[0]
