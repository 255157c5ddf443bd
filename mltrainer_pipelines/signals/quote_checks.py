"""Checks of a session's prices: of one that fails nothing is recommended, and no bar is made.

A wrong price does harm twice: in the signal of its symbol, and, through averages and ranks, in all the others. It is
therefore taken out before features are computed. What looks wrong may be true (a takeover, a biotech's trial): then
the final bars of the evening say so, and a day is lost, not money.
"""

import math
from dataclasses import dataclass, replace

import polars as pl

from mltrainer_pipelines.market.adjustment import adjusted

LARGEST_MOVE = 1.5
"""Times the last close, up or down, beyond which a price is not believed without its final bar."""
LARGEST_EXCURSION = 2.0
"""The same for the open, the high and the low."""
LEAST_SHARE = 0.8
"""Share of the universe's members that need a trusted price of the session for the market to be scored."""


@dataclass(frozen=True)
class QuoteChecks:
    """Symbols whose price is not used and why (symbol, failure), and why nothing can be recommended at all, if so.

    `present` members have a valid price of the session, `expected` ones traded in the session before.
    """

    failures: pl.DataFrame
    market_failure: str | None
    present: int
    expected: int

    def also(self, failures: pl.DataFrame) -> "QuoteChecks":
        """With further symbols (symbol, failure) that are not used."""
        return replace(self, failures=pl.concat([self.failures, failures]).unique("symbol", keep="first").sort("symbol"))


def check_quotes(prices: pl.DataFrame, last_bars: pl.DataFrame, actions: pl.DataFrame | None, members: pl.Series) -> QuoteChecks:
    """Look at a session's prices before anything is made of them.

    A price is not trusted where its bar is impossible, or where it lies more than 50 % above, or a third below, the last
    close as splits and dividends known by now restate it: a misplaced decimal point, or a split that is not known yet.

    Parameters
    ----------
    prices : DataFrame
        date, symbol, open, high, low, close of one session, unadjusted: delayed quotes, or final bars. Open, high and
        low are null where the symbol has not traded in it.
    last_bars : DataFrame
        date, symbol, close: the final bar of each symbol before the session, unadjusted; a symbol without one is
        trusted as it is.
    actions : DataFrame or None
        symbol, ex_date, kind, ratio, cash, as known now.
    members : Series of str
        The universe of the session's month.
    """
    quotes = prices.filter(pl.col("symbol").is_in(members.implode()))
    before = last_bars.filter(pl.col("symbol").is_in(members.implode()))
    restated = _restated(before, quotes, actions)
    traded = pl.col("open").is_not_null()
    checked = (
        quotes.join(restated, on="symbol", how="left")
        .with_columns(failure=pl.coalesce(_impossible(), _moved(), _excursion()))
        .select("symbol", "failure", traded=traded)
    )
    failures = checked.filter(pl.col("failure").is_not_null()).select("symbol", "failure").sort("symbol")
    expected = before["symbol"].n_unique()
    present = checked.filter(
        pl.col("failure").is_null() & pl.col("traded") & pl.col("symbol").is_in(before["symbol"].implode())
    ).height
    short = expected > 0 and present < LEAST_SHARE * expected
    note = (
        f"only {present} of {expected} symbols have a valid price of the session, {LEAST_SHARE:.0%} are needed" if short else None
    )
    return QuoteChecks(failures, note, present, expected)


def _restated(before: pl.DataFrame, quotes: pl.DataFrame, actions: pl.DataFrame | None) -> pl.DataFrame:
    """symbol, expected: the last close, restated for what happened between it and the session."""
    if actions is None or actions.is_empty() or before.is_empty():
        return before.select("symbol", expected="close")
    steps = steps_between(before, quotes, actions)
    return before.join(steps, on="symbol").select("symbol", expected=pl.col("close") / pl.col("factor"))


def steps_between(before: pl.DataFrame, after: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """symbol, factor: what the actions between two closes of a symbol (date, symbol, close) multiply a share into.

    Two bars a symbol: the adjustment between them is what settling, or the later session's own bar, will be given.
    """
    own = pl.col("symbol").is_in(before["symbol"].implode())
    closes = pl.concat([frame.select("date", "symbol", "close") for frame in (before, after.filter(own))])
    bars = closes.with_columns(*(pl.col("close").alias(name) for name in ("open", "high", "low")), volume=pl.lit(0.0))
    return adjusted(bars, actions.filter(own)).group_by("symbol", maintain_order=True).agg(factor=pl.col("factor").last())


def _impossible() -> pl.Expr:
    low, high = pl.col("low"), pl.col("high")
    outside = ~(pl.all_horizontal(pl.col("open", "close") >= low * (1 - 1e-9), pl.col("open", "close") <= high * (1 + 1e-9)))
    wrong = (pl.col("open").is_not_null() & (outside.fill_null(True) | ~(low > 0).fill_null(False))) | ~(
        pl.col("close").is_finite() & (pl.col("close") > 0)
    ).fill_null(True)
    text = pl.format("its bar is impossible: open {}, high {}, low {}, close {}", *map(_cents, ("open", "high", "low", "close")))
    return pl.when(wrong).then(text)


def _moved() -> pl.Expr:
    ratio = pl.col("close") / pl.col("expected")
    text = pl.format(
        "its price of {} is {} times the last close of {}: a split that is not known yet, or an error",
        _cents("close"),
        ratio.round(2).cast(pl.String),
        _cents("expected"),
    )
    return pl.when(ratio.log().abs() > math.log(LARGEST_MOVE)).then(text)


def _excursion() -> pl.Expr:
    ratios = [(pl.col(name) / pl.col("expected")).log().abs() for name in ("open", "high", "low")]
    text = pl.format(
        "its prices of the session, {} to {}, lie too far from the last close of {}", *map(_cents, ("low", "high", "expected"))
    )
    return pl.when(pl.max_horizontal(ratios) > math.log(LARGEST_EXCURSION)).then(text)


def _cents(name: str) -> pl.Expr:
    return pl.col(name).round(2).cast(pl.String).fill_null("unknown")
