"""Real unadjusted prices with their real splits, adjusted, against the vendors' split-adjusted closes: to a cent.

The figures are public: closes as they were printed on the day, the splits' ratios and ex-dates, and the split-adjusted
closes that Yahoo, Nasdaq and Polygon show since. Our factor grows from the first bar on; a vendor's is 1 at the last
one. Divided by its last value ours is theirs.
"""

from datetime import date

import polars as pl
import pytest

from mltrainer_pipelines.market.adjustment import adjusted

SPLITS = [
    ("AAPL", date(2014, 6, 9), 7.0),
    ("AAPL", date(2020, 8, 31), 4.0),
    ("TSLA", date(2020, 8, 31), 5.0),
    ("TSLA", date(2022, 8, 25), 3.0),
    ("NVDA", date(2021, 7, 20), 4.0),
    ("NVDA", date(2024, 6, 10), 10.0),
    ("GOOGL", date(2022, 7, 18), 20.0),
    ("AMZN", date(2022, 6, 6), 20.0),
]
CLOSES = [
    # symbol, session, close as it was printed, close adjusted for the splits since
    ("AAPL", date(2014, 6, 6), 645.57, 23.06),
    ("AAPL", date(2014, 6, 9), 93.70, 23.43),
    ("AAPL", date(2020, 8, 28), 499.23, 124.81),
    ("AAPL", date(2020, 8, 31), 129.04, 129.04),
    ("TSLA", date(2020, 8, 28), 2213.40, 147.56),
    ("TSLA", date(2020, 8, 31), 498.32, 166.11),
    ("TSLA", date(2022, 8, 24), 891.29, 297.10),
    ("TSLA", date(2022, 8, 25), 296.07, 296.07),
    ("NVDA", date(2021, 7, 19), 751.19, 18.78),
    ("NVDA", date(2021, 7, 20), 186.12, 18.61),
    ("NVDA", date(2024, 6, 7), 1208.88, 120.89),
    ("NVDA", date(2024, 6, 10), 121.79, 121.79),
    ("GOOGL", date(2022, 7, 15), 2235.55, 111.78),
    ("GOOGL", date(2022, 7, 18), 109.03, 109.03),
    ("AMZN", date(2022, 6, 3), 2447.00, 122.35),
    ("AMZN", date(2022, 6, 6), 124.79, 124.79),
]
ACTIONS = pl.DataFrame(SPLITS, schema=["symbol", "ex_date", "ratio"], orient="row").with_columns(
    kind=pl.lit("split"), cash=pl.lit(None, pl.Float64)
)
PRINTED = pl.DataFrame(CLOSES, schema=["symbol", "date", "close", "vendor"], orient="row").with_columns(
    *(pl.col("close").alias(name) for name in ("open", "high", "low")), volume=pl.lit(1e6)
)


def split_adjusted(bars: pl.DataFrame, known_on: date) -> pl.DataFrame:
    """Adjusted closes in dollars of the last bar's share, by the bars and splits known on a day."""
    found = adjusted(bars.filter(pl.col("date") <= known_on), ACTIONS.filter(pl.col("ex_date") <= known_on))
    return found.with_columns(shown=pl.col("adj_close") / pl.col("factor").last().over("symbol"))


def test_adjusted_closes_are_the_vendors_to_a_cent():
    found = split_adjusted(PRINTED, date(2024, 12, 31))
    assert found.height == len(CLOSES)
    for symbol, day, shown, vendor in found.select("symbol", "date", "shown", "vendor").iter_rows():
        assert shown == pytest.approx(vendor, abs=0.01), f"{symbol} on {day}"


@pytest.mark.parametrize(
    ("known_on", "day", "shown"),
    [
        (date(2014, 6, 6), date(2014, 6, 6), 645.57),
        (date(2014, 6, 9), date(2014, 6, 6), 92.22),
        (date(2020, 8, 28), date(2014, 6, 6), 92.22),
        (date(2020, 8, 31), date(2014, 6, 6), 23.06),
    ],
)
def test_a_split_counts_from_its_ex_date_and_not_before(known_on, day, shown):
    found = split_adjusted(PRINTED.filter(pl.col("symbol") == "AAPL"), known_on)
    assert found.filter(pl.col("date") == day)["shown"][0] == pytest.approx(shown, abs=0.01)


def test_the_return_over_a_split_is_what_was_earned():
    found = adjusted(PRINTED, ACTIONS).filter(pl.col("symbol") == "AAPL").tail(2)["adj_close"]
    assert found[1] / found[0] - 1 == pytest.approx(129.04 * 4 / 499.23 - 1)
