"""Forward adjustment: worked by hand, against the backward convention, and unchanged by what comes later."""

import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import sessions_between

RECORDING = Path(__file__).parents[2].parent / "shared/data/us_equities_2009_2015.parquet"
MONDAY = date(2024, 3, 4)


def bars_of(closes: dict[str, list[float]], days: list[date] | None = None) -> pl.DataFrame:
    """Bars with these closes on consecutive sessions, every price of a bar equal."""
    longest = max(len(values) for values in closes.values())
    days = days or sessions_between(MONDAY, MONDAY + timedelta(days=2 * longest + 10))
    rows = [
        {"date": day, "symbol": symbol, "open": close, "high": close, "low": close, "close": close, "volume": 1000.0}
        for symbol, values in closes.items()
        for day, close in zip(days, values, strict=False)
    ]
    return pl.DataFrame(rows).with_columns(vwap=pl.lit(None, pl.Float64), trades=pl.lit(None, pl.Int64)).sort("date", "symbol")


def actions_of(*rows: tuple[str, date, str, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "symbol": symbol,
                "ex_date": day,
                "kind": kind,
                "ratio": size if kind == "split" else None,
                "cash": size if kind == "dividend" else None,
                "declared": None,
            }
            for symbol, day, kind, size in rows
        ],
        schema=CORPORATE_ACTIONS.schema,
    )


def test_a_split_and_a_dividend_worked_by_hand():
    days = sessions_between(MONDAY, MONDAY + timedelta(days=10))
    # 100; a 4:1 split before 26 (a gain of 4 %); then a dividend of 1.30 after a close of 26, before 24.70 (no gain at all).
    found = adjusted(
        bars_of({"A": [100.0, 26.0, 24.7]}), actions_of(("A", days[1], "split", 4.0), ("A", days[2], "dividend", 1.30))
    )
    assert found["adj_close"].to_list() == pytest.approx([100.0, 104.0, 104.0], rel=1e-12)
    assert found["factor"].to_list() == pytest.approx([1.0, 4.0, 4.0 * 26.0 / 24.7], rel=1e-12)
    assert found["adj_volume"].to_list() == [1000.0, 250.0, 250.0]
    assert found["close"].to_list() == [100.0, 26.0, 24.7]


def test_without_actions_adjusted_prices_are_the_prices():
    bars = bars_of({"A": [10.0, 11.0], "B": [5.0]})
    for none in (None, actions_of()):
        found = adjusted(bars, none)
        assert found["adj_close"].equals(found["close"].alias("adj_close"))
        assert found["factor"].to_list() == [1.0, 1.0, 1.0]


def test_an_action_on_a_day_without_a_bar_counts_from_the_symbols_next_bar():
    days = sessions_between(MONDAY, MONDAY + timedelta(days=20))
    saturday = date(2024, 3, 9)
    monday_after = date(2024, 3, 11)
    assert monday_after in days
    bars = bars_of({"A": [10.0] * 8, "B": [10.0] * 8}).filter(~((pl.col("symbol") == "B") & (pl.col("date") == monday_after)))
    found = adjusted(bars, actions_of(("A", saturday, "split", 2.0), ("B", saturday, "split", 2.0)))
    first_changed = found.filter(pl.col("factor") == 2.0).group_by("symbol").agg(pl.col("date").min()).sort("symbol")
    assert first_changed.rows() == [("A", monday_after), ("B", date(2024, 3, 12))]


def test_actions_at_the_first_bar_before_it_or_after_the_last_change_nothing():
    days = sessions_between(MONDAY, MONDAY + timedelta(days=10))
    actions = actions_of(
        ("A", days[0], "split", 2.0),
        ("A", days[0] - timedelta(days=30), "dividend", 1.0),
        ("A", days[3], "split", 3.0),
        ("GONE", days[1], "split", 5.0),
    )
    assert adjusted(bars_of({"A": [10.0, 11.0, 12.0]}), actions)["factor"].to_list() == [1.0, 1.0, 1.0]


def test_several_actions_before_one_bar_apply_in_the_order_of_their_dates():
    bars = bars_of({"A": [100.0, 40.0]}, [date(2024, 3, 8), date(2024, 3, 13)])  # halted in between
    split_first = adjusted(bars, actions_of(("A", date(2024, 3, 11), "split", 2.0), ("A", date(2024, 3, 12), "dividend", 5.0)))
    # One share at 100 becomes two at 50, each pays 5: 2 × 50 / 45.
    assert split_first["factor"][1] == pytest.approx(2 * 50 / 45, rel=1e-12)
    dividend_first = adjusted(bars, actions_of(("A", date(2024, 3, 12), "split", 2.0), ("A", date(2024, 3, 11), "dividend", 5.0)))
    assert dividend_first["factor"][1] == pytest.approx(2 * 100 / 95, rel=1e-12)
    same_day = adjusted(bars, actions_of(("A", date(2024, 3, 11), "split", 2.0), ("A", date(2024, 3, 11), "dividend", 5.0)))
    assert same_day["factor"][1] == dividend_first["factor"][1]
    two_dividends = adjusted(
        bars, actions_of(("A", date(2024, 3, 11), "dividend", 2.0), ("A", date(2024, 3, 11), "dividend", 3.0))
    )
    assert two_dividends["factor"][1] == pytest.approx(100 / 95, rel=1e-12)


@pytest.mark.parametrize(
    "bad",
    [
        ("A", date(2024, 3, 5), "split", 0.0),
        ("A", date(2024, 3, 5), "split", -2.0),
        ("A", date(2024, 3, 5), "dividend", -1.0),
        ("A", date(2024, 3, 5), "dividend", float("nan")),
        ("A", date(2024, 3, 5), "dividend", 10.0),
        ("A", date(2024, 3, 5), "spin-off", 1.0),
    ],
)
def test_an_impossible_action_changes_nothing_and_the_others_count(bad):
    bars, good = bars_of({"A": [10.0, 11.0], "B": [10.0, 5.0]}), ("B", date(2024, 3, 5), "split", 2.0)
    assert adjusted(bars, actions_of(bad, good)).equals(adjusted(bars, actions_of(good)))


def random_market(seed: int, symbols: int = 6, sessions: int = 260) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Unadjusted bars with gaps, listings and delistings, and actions on any day of the year."""
    random = np.random.default_rng(seed)
    days = sessions_between(date(2022, 1, 3), date(2023, 6, 30))[:sessions]
    rows, actions = [], []
    for index in range(symbols):
        symbol = f"S{index}"
        begin, end = sorted(random.choice(sessions, 2, replace=False))
        price = 20 + 100 * random.random()
        for day in days[begin : end + 1]:
            if random.random() < 0.95:
                price *= float(np.exp(0.02 * random.standard_normal()))
                rows.append({"date": day, "symbol": symbol, "close": price})
        for _ in range(random.integers(0, 12)):
            day = days[0] + timedelta(days=int(random.integers(0, 380)))
            if random.random() < 0.4:
                actions.append((symbol, day, "split", float(random.choice([0.1, 0.5, 1.5, 2.0, 3.0, 7.0]))))
            else:
                actions.append((symbol, day, "dividend", float(random.random() * 0.5)))
    bars = pl.DataFrame(rows, schema={"date": pl.Date, "symbol": pl.String, "close": pl.Float64}).with_columns(
        open=pl.col("close"), high=pl.col("close"), low=pl.col("close"), volume=pl.lit(1e6)
    )
    return bars, actions_of(*actions)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_cutting_the_data_off_at_any_date_leaves_every_earlier_value_bit_identical(seed):
    bars, actions = random_market(seed)
    whole = adjusted(bars, actions)
    for day in bars.get_column("date").unique().sort()[::23]:
        so_far = adjusted(bars.filter(pl.col("date") <= day), actions.filter(pl.col("ex_date") <= day))
        assert so_far.equals(whole.filter(pl.col("date") <= day))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_returns_agree_with_the_total_return_of_a_holder_who_reinvests(seed):
    """Hold one share, split it and put every dividend back in at the close before less the dividend: the wealth is adj_close."""
    bars, actions = random_market(seed, symbols=3)
    found = adjusted(bars, actions)
    for (symbol,), held in bars.partition_by("symbol", as_dict=True).items():
        mine = actions.filter(pl.col("symbol") == symbol).sort("ex_date", "kind").rows(named=True)
        shares, before, wealth, done = 1.0, None, [], None
        for day, close in held.sort("date").select("date", "close").iter_rows():
            price = before
            for action in mine:
                if before is not None and (done is None or action["ex_date"] > done) and action["ex_date"] <= day:
                    if action["kind"] == "split":
                        shares, price = shares * action["ratio"], price / action["ratio"]
                    else:
                        shares, price = shares * price / (price - action["cash"]), price - action["cash"]
            before, done = close, day
            wealth.append(shares * close)
        assert found.filter(pl.col("symbol") == symbol)["adj_close"].to_list() == pytest.approx(wealth, rel=1e-9)


def test_six_years_of_two_hundred_real_symbols_are_adjusted_in_a_fraction_of_a_second():
    if not RECORDING.exists():
        pytest.skip(f"the shared recording {RECORDING} is missing")
    bars = pl.read_parquet(RECORDING).drop("adj_close").with_columns(vwap=pl.lit(None, pl.Float64), trades=pl.lit(None, pl.Int64))
    symbols = bars.get_column("symbol").unique().sort().to_list()
    actions = actions_of(
        *(
            (symbol, date(year, 3 * quarter, 15), "dividend", 0.01)
            for symbol in symbols
            for year in range(2010, 2016)
            for quarter in range(1, 4)
        ),
        *((symbol, date(2013, 6, 8), "split", 2.0) for symbol in symbols),
    )
    fastest = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        found = adjusted(bars, actions)
        fastest = min(fastest, time.perf_counter() - begin)
    assert len(found) == len(bars)
    assert fastest < 0.3


def test_the_recordings_own_dividends_give_its_adjusted_returns():
    """The vendor's adjusted closes tell which dividends were paid; ours, fed with those, give the vendor's returns back."""
    if not RECORDING.exists():
        pytest.skip(f"the shared recording {RECORDING} is missing")
    bars = (
        pl.read_parquet(RECORDING)
        .filter(pl.col("symbol").is_in(["AAPL", "GE", "JNJ", "KO", "XOM"]))
        .sort("symbol", "date")
        .rename({"adj_close": "vendor"})
    )
    share = pl.col("vendor") / pl.col("close")
    paid = bars.with_columns(step=(share / share.shift(1)).over("symbol"), before=pl.col("close").shift(1).over("symbol")).filter(
        pl.col("step") > 1.001
    )  # the vendor rounds to a cent: smaller steps are that
    assert len(paid) > 50
    actions = paid.select(
        "symbol",
        ex_date="date",
        kind=pl.lit("dividend"),
        ratio=pl.lit(None, pl.Float64),
        cash=pl.col("before") * (1 - 1 / pl.col("step")),
        declared=pl.lit(None, pl.Date),
    )
    growth = pl.col("adj_close", "vendor") / pl.col("adj_close", "vendor").first().over("symbol")
    both = adjusted(bars, actions).select(growth).select(difference=(pl.col("adj_close") / pl.col("vendor") - 1).abs())
    assert both["difference"].max() < 1e-4
