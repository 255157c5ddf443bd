from datetime import date

import polars as pl
import pytest

from mltrainer_pipelines.market.sessions import previous_session
from mltrainer_pipelines.signals.quote_checks import check_quotes

SESSION = date(2015, 10, 30)
BEFORE = previous_session(SESSION)
NAMES = [f"S{number}" for number in range(10)]
MEMBERS = pl.Series(NAMES)
ACTIONS = {"symbol": pl.String, "ex_date": pl.Date, "kind": pl.String, "ratio": pl.Float64, "cash": pl.Float64}


def told(**changes: tuple[float | None, float | None, float | None, float]) -> pl.DataFrame:
    """Quotes at 100 dollars, but for those given as (open, high, low, close)."""
    rows = [(SESSION, name, *changes.get(name, (100.0, 101.0, 99.0, 100.0))) for name in NAMES]
    return pl.DataFrame(rows, schema=["date", "symbol", "open", "high", "low", "close"], orient="row")


def last(names: list[str] = NAMES) -> pl.DataFrame:
    return pl.DataFrame({"date": [BEFORE] * len(names), "symbol": names, "close": [100.0] * len(names)})


def actions(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=ACTIONS, orient="row")


def test_an_ordinary_session_is_trusted() -> None:
    found = check_quotes(told(), last(), actions(), MEMBERS)
    assert found.failures.is_empty()
    assert found.market_failure is None
    assert (found.present, found.expected) == (10, 10)


@pytest.mark.parametrize(
    ("bar", "complaint"),
    [
        ((1000.0, 1010.0, 990.0, 1000.0), "its price of 1000.0 is 10.0 times the last close of 100.0"),
        ((50.0, 51.0, 49.0, 50.0), "is 0.5 times the last close of 100.0: a split that is not known yet, or an error"),
        ((100.0, 1000.0, 99.0, 100.0), "99.0 to 1000.0, lie too far"),
        ((100.0, 99.0, 98.0, 100.0), "its bar is impossible"),
        ((100.0, 101.0, -1.0, 100.0), "its bar is impossible"),
        ((float("nan"), 101.0, 99.0, 100.0), "its bar is impossible"),
    ],
)
def test_a_price_that_cannot_be_right_is_named_and_the_others_stand(bar: tuple, complaint: str) -> None:
    found = check_quotes(told(S3=bar), last(), actions(), MEMBERS)
    ((symbol, failure),) = found.failures.rows()
    assert symbol == "S3"
    assert complaint in failure
    assert found.market_failure is None


def test_a_symbol_that_just_split_is_trusted_where_the_split_is_known() -> None:
    split = actions(("S3", SESSION, "split", 2.0, None))
    halved = (50.0, 51.0, 49.0, 50.0)
    assert check_quotes(told(S3=halved), last(), split, MEMBERS).failures.is_empty()
    unsplit = check_quotes(told(), last(), split, MEMBERS)  # the price is still the old share's
    assert unsplit.failures["symbol"].to_list() == ["S3"]
    past = actions(("S3", BEFORE, "split", 2.0, None))
    assert check_quotes(told(), last(), past, MEMBERS).failures.is_empty()


def test_a_large_dividend_is_no_fall() -> None:
    paid = actions(("S3", SESSION, "dividend", None, 45.0))
    assert check_quotes(told(S3=(55.0, 56.0, 54.0, 55.0)), last(), paid, MEMBERS).failures.is_empty()


def test_half_a_snapshot_is_no_market() -> None:
    found = check_quotes(told().head(5), last(), actions(), MEMBERS)
    assert found.failures.is_empty()
    assert "only 5 of 10 symbols" in found.market_failure
    stale = told(**dict.fromkeys(NAMES[:5], (None, None, None, 100.0)))
    assert "only 5 of 10 symbols" in check_quotes(stale, last(), actions(), MEMBERS).market_failure


def test_symbols_outside_of_the_universe_do_not_matter() -> None:
    wild = pl.concat([told(), told().head(1).with_columns(symbol=pl.lit("WILD"), close=pl.lit(-1.0))])
    assert check_quotes(wild, last(), actions(), MEMBERS).failures.is_empty()


def test_a_symbol_without_a_past_is_taken_as_it_is() -> None:
    assert check_quotes(told(S9=(900.0, 901.0, 899.0, 900.0)), last(NAMES[:9]), actions(), MEMBERS).failures.is_empty()
