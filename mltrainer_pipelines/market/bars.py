"""Daily bars: their columns, and the rules every bar has to obey before it is stored."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS, PRICES, REJECTED_BARS
from mltrainer_pipelines.market.errors import BadBarsError

MOST_REJECTED = 0.01
"""Share of a session's bars that may be set aside: a hundred of ten thousand."""
FEW_REJECTED, OF_SO_MANY = 2, 20
"""As many may be set aside of a session that has no fewer bars than that; a smaller one is refused for its first."""

_NONE_REJECTED = REJECTED_BARS.empty()
_SHOWN = 5
_DUPLICATE = "duplicate of another bar of that symbol and date"
_ROUNDING = 1e-9
"""Relative slack of low ≤ open, close ≤ high: what arithmetic on floats loses, far below a hundredth of a cent."""


def _positive(name: str) -> pl.Expr:
    return (pl.col(name).is_finite() & (pl.col(name) > 0)).fill_null(value=False)


def _rules(session: date | None) -> dict[str, pl.Expr]:
    """What is wrong with a row, as an expression that is true where it is wrong. The first that applies is reported."""
    prices = [pl.col(name) for name in PRICES]
    slack = _ROUNDING * pl.col("high")
    return {
        "no symbol": pl.col("symbol").is_null() | (pl.col("symbol").str.len_chars() == 0),
        "no date": pl.col("date").is_null(),
        **({} if session is None else {f"not a bar of {session}": (pl.col("date") != session).fill_null(value=True)}),
        _DUPLICATE: pl.struct("symbol", "date").is_duplicated(),
        **{f"{name} is not a positive number": ~_positive(name) for name in PRICES},
        "high is below low": pl.col("high") < pl.col("low"),
        "low is above open or close": pl.col("low") - slack > pl.min_horizontal(prices),
        "high is below open or close": pl.col("high") + slack < pl.max_horizontal(prices),
        "volume is negative or not a number": ~(pl.col("volume").is_finite() & (pl.col("volume") >= 0)).fill_null(value=False),
        "vwap is not a positive number": pl.col("vwap").is_not_null() & ~_positive("vwap"),
        "trades is negative": (pl.col("trades") < 0).fill_null(value=False),
    }


@lru_cache(maxsize=2)
def _plainly_good(single_session: bool) -> pl.Expr:
    """Whether no row can break a rule, at a third of the cost of finding out which: the everyday case of a backfill.

    NaN is above every number in Polars, so a finite high that is at least open and close, and these at least a positive
    low, leave no price that is not a positive number.
    """
    low, high = pl.col("low"), pl.col("high")
    rows = [
        low > 0,
        *(pl.col(name) >= low for name in ("open", "close")),
        *(pl.col(name) <= high for name in ("open", "close")),
        high.is_finite(),
        pl.col("volume") >= 0,
        pl.col("volume").is_finite(),
        pl.col("vwap").is_null() | ((pl.col("vwap") > 0) & pl.col("vwap").is_finite()),
        pl.col("trades").is_null() | (pl.col("trades") >= 0),
        pl.col("symbol").str.len_bytes() > 0,
    ]
    unique = pl.col("symbol").n_unique() == pl.len() if single_session else ~pl.struct("symbol", "date").is_duplicated().any()
    dates = pl.col("date").n_unique() == 1 if single_session else pl.col("date").null_count() == 0
    return pl.all_horizontal(rows).fill_null(value=False).all() & unique & dates


@dataclass(frozen=True)
class ValidatedBars:
    """Bars of one session, sorted by symbol: those that obey every rule, and those that do not, as they came, with a `reason`."""

    bars: pl.DataFrame
    rejected: pl.DataFrame


NO_BARS = ValidatedBars(DAILY_BARS.empty(), _NONE_REJECTED)
"""A session that a recording has no bars of."""


def require_valid_bars(frame: pl.DataFrame, session: date | None = None) -> pl.DataFrame:
    """Bars in the columns of `DAILY_BARS`, sorted by symbol (and date), or an error; nothing is repaired or dropped.

    All rows have to be of `session`, where it is given. `vwap` and `trades` may be absent: then they are null. Raises
    `BadBarsError` with symbol, date and rule of the first rows where a column is missing or of a wrong type, or a row
    breaks one of `_rules`.
    """
    return validate_bars(frame, session, most_rejected=0.0).bars


def validate_bars(frame: pl.DataFrame, session: date | None = None, most_rejected: float = MOST_REJECTED) -> ValidatedBars:
    """Bars that obey every rule, apart from those that do not; `BadBarsError` where these are more than a stray few.

    A vendor's session of ten thousand bars holds an impossible one now and then. It must not be stored, and it must
    not keep the others out for ever: it is set aside with its reason. Where more than `most_rejected` (a share, from 0
    to 1) of the rows are wrong, or a column is missing or of a wrong type, the answer as a whole is not believed.

    >>> prices = {"open": 10.0, "high": 11.0, "low": 9.0, "close": [10.5, 20.0], "volume": 1e6}
    >>> bars = pl.DataFrame({"date": date(2024, 3, 1), "symbol": ["AAA", "BBB"], **prices})
    >>> validate_bars(bars, most_rejected=0.5).rejected.select("symbol", "reason").rows()
    [('BBB', 'high is below open or close')]
    """
    what = f"daily bars of {session}" if session else "daily bars"
    frame = _typed(frame, what)
    plainly_good = frame.select(_plainly_good(single_session=session is not None)).item()
    if plainly_good and (session is None or frame["date"][0] == session):
        return ValidatedBars(frame, _NONE_REJECTED)
    judged = frame.with_columns(reason=_first_true(_rules(session)))
    bad = judged.filter(pl.col("reason").is_not_null())
    few = FEW_REJECTED if most_rejected and len(frame) >= OF_SO_MANY else 0
    if len(bad) <= max(few, most_rejected * len(frame)):
        return ValidatedBars(judged.filter(pl.col("reason").is_null()).drop("reason"), bad)
    problems = [
        f"{row['symbol']} on {row['date']}: {row['reason']} "
        f"(open {row['open']}, high {row['high']}, low {row['low']}, close {row['close']}, volume {row['volume']})"
        for row in bad.head(_SHOWN).iter_rows(named=True)
    ]
    raise BadBarsError(what, problems, len(bad))


def impossible_bars(bars: pl.DataFrame) -> pl.DataFrame:
    """The bars that break a rule of one bar alone (not that of being unique), with their `reason`."""
    rules = {rule: wrong for rule, wrong in _rules(None).items() if rule != _DUPLICATE}
    return bars.with_columns(reason=_first_true(rules)).filter(pl.col("reason").is_not_null())


def _first_true(rules: dict[str, pl.Expr]) -> pl.Expr:
    return pl.coalesce(pl.when(wrong).then(pl.lit(rule)) for rule, wrong in rules.items())


def _typed(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    """The contract's columns, sorted by symbol and date."""
    optional = [name for name in ("vwap", "trades") if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None).alias(name) for name in optional)
    missing = [name for name in DAILY_BARS.schema if name not in frame.columns]
    if missing:
        raise BadBarsError(what, [f"the column {name} is missing" for name in missing], max(len(frame), 1))
    try:
        return DAILY_BARS.cast(frame).sort("symbol", "date")
    except pl.exceptions.PolarsError as error:
        raise BadBarsError(what, [f"a column has a wrong type: {error}"], max(len(frame), 1)) from None
