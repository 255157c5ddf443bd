"""Real unadjusted prices with their real splits and dividends, adjusted, against a vendor's adjusted closes: to a cent.

Prices and adjusted closes are Yahoo's, splits and dividends Quandl's: the file `aapl_2000_2013.csv` tells where each
column was published. Yahoo multiplies a close by 1 ÷ ratio for every split after it, and by 1 − dividend ÷ (close
before the ex-date) for every dividend after it. Our factor grows from the first bar on; divided by its last value it
is Yahoo's.
"""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.market.adjustment import adjusted

APPLE = pl.read_csv(Path(__file__).with_name("aapl_2000_2013.csv"), comment_prefix="#", try_parse_dates=True).with_columns(
    symbol=pl.lit("AAPL"), volume=pl.lit(1e6), **{name: pl.col("close") for name in ("open", "high", "low")}
)
ACTIONS = pl.concat(
    APPLE.filter(pl.col(column).is_not_null()).select(
        "symbol", ex_date="date", kind=pl.lit(kind), ratio=ratio, cash=cash, declared=pl.lit(None, pl.Date)
    )
    for column, kind, ratio, cash in (
        ("split_ratio", "split", pl.col("split_ratio"), pl.lit(None, pl.Float64)),
        ("dividend", "dividend", pl.lit(None, pl.Float64), pl.col("dividend")),
    )
)
CENT = 0.01


def as_shown_on(day: date) -> pl.DataFrame:
    """Closes as a vendor shows them on a day: in dollars of that day's share, by the bars and actions known then."""
    found = adjusted(APPLE.filter(pl.col("date") <= day), ACTIONS.filter(pl.col("ex_date") <= day))
    return found.with_columns(shown=pl.col("adj_close") / pl.col("factor").last())


def test_adjusted_closes_are_the_vendors_to_a_cent():
    found = as_shown_on(date(2013, 8, 8)).filter(pl.col("adjusted_close").is_not_null())
    assert found.height == 58
    assert ACTIONS["kind"].value_counts().sort("kind").rows() == [("dividend", 5), ("split", 2)]
    off = (found["shown"] - found["adjusted_close"]).abs()
    assert off.max() < CENT
    # The vendor rounds to a cent: what is left is its rounding, and no drift of ours over thirteen years.
    assert (found["shown"].round(2) - found["adjusted_close"]).abs().round(6).is_in([0.0, CENT]).all()
    assert off.mean() < CENT / 3


def test_without_its_dividends_a_price_is_dollars_off():
    """What the comparison would notice: all seven actions make 31.68 of 130.31, the splits alone 32.58."""
    splits_alone = adjusted(APPLE, ACTIONS.filter(pl.col("kind") == "split"))
    assert splits_alone["adj_close"][0] / splits_alone["factor"][-1] == pytest.approx(130.31 / 4)
    assert APPLE["adjusted_close"][0] == 31.68


@pytest.mark.parametrize(
    ("known_on", "shown"),
    [
        (date(2000, 6, 20), 101.25),  # the split is announced, its ex-date is tomorrow
        (date(2000, 6, 21), 101.25 / 2),
        (date(2005, 2, 25), 101.25 / 2),
        (date(2005, 2, 28), 101.25 / 4),
        (date(2012, 8, 8), 101.25 / 4),
        (date(2012, 8, 9), 101.25 / 4 * (1 - 2.65 / 619.86)),
    ],
)
def test_splits_and_dividends_count_from_their_ex_date_and_not_before(known_on, shown):
    found = as_shown_on(known_on).filter(pl.col("date") == date(2000, 6, 20))
    assert found["close"][0] == 101.25
    assert found["shown"][0] == pytest.approx(shown, rel=1e-12)


def test_the_return_over_a_split_and_over_a_dividend_is_what_was_earned():
    closes = dict(adjusted(APPLE, ACTIONS).select("date", "adj_close").iter_rows())
    over_the_split = closes[date(2005, 2, 28)] / closes[date(2005, 2, 25)]
    assert over_the_split == pytest.approx(2 * 44.86 / 88.99, rel=1e-12)
    over_the_dividend = closes[date(2013, 2, 7)] / closes[date(2013, 2, 6)]
    assert over_the_dividend == pytest.approx(468.22 / (457.35 - 2.65), rel=1e-12)
