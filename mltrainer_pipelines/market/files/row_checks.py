"""Rows of files held against what a bar of a US equity has to be: what is set aside, with its reason."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from mltrainer_pipelines.market.files.symbols import clean, not_a_us_equity
from mltrainer_pipelines.market.sessions import FIRST_SUPPORTED, sessions_between

PRICES = ("open", "high", "low", "close")
REJECTED = pl.Schema({"file": pl.String, "symbol": pl.String, "date": pl.String, "reason": pl.String, "row": pl.String})
_SLACK = 1 + 1e-4
"""An open or close this far outside of high and low is rounding, and widens them; further out it cannot be right."""
_WEEKEND = 0.05
"""Share of a symbol's days on weekends above which it is no US equity."""


def equities(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """Rows of US equities under their clean symbols, and what the other symbols are."""
    spelled = frame["symbol"].unique().drop_nulls().to_list()
    names = {symbol: clean(symbol) for symbol in spelled}
    frame = frame.with_columns(pl.col("symbol").replace(names))
    others = {name: what for name in names.values() if name and (what := not_a_us_equity(name))}
    weekends = (
        frame.group_by("symbol")
        .agg(share=(pl.col("date").dt.weekday() > 5).mean(), count=pl.len())
        .filter(pl.col("share") > _WEEKEND, pl.col("count") > 20)
    )
    others |= {
        name: "traded on weekends, so it is no US equity" for name in weekends["symbol"].drop_nulls() if name not in others
    }
    return frame.filter(~pl.col("symbol").is_in(list(others)).fill_null(value=False)), others


def judged(frame: pl.DataFrame, notes: list[str], *, strict: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that can be right, and the others with their reasons."""
    early = frame["date"] < FIRST_SUPPORTED
    if early.any():
        first = frame["date"].drop_nulls().sort()[0]
        notes.append(f"{int(early.sum()):,} rows from {first} on are left out: sessions are known from {FIRST_SUPPORTED} on")
        frame = frame.filter(~early.fill_null(value=False))
    values = [name for name in frame.columns if name not in ("file", "_row", "_date_text")]
    if frame["file"].n_unique() > 1 or not strict:  # the same bar in two files, or twice in one: it counts once
        frame = frame.unique(values, keep="first", maintain_order=True)
    known = frame["date"].drop_nulls()
    calendar = sessions_between(known.min(), known.max()) if len(known) else []  # type: ignore[arg-type]
    frame = frame.with_columns(reason=pl.coalesce(pl.when(wrong).then(text) for wrong, text in _reasons(calendar)))
    wrong = frame["reason"].is_not_null()
    cells = [name for name in (*PRICES, "volume") if name in frame.columns]
    described = pl.concat_str(
        [
            pl.concat_str(pl.lit(f"{name}="), pl.col(name).cast(pl.String).fill_null("None").str.replace("NaN", "nan"))
            for name in cells
        ],
        separator=", ",
    )
    rejected = frame.filter(wrong).select(
        "file",
        "symbol",
        date=pl.coalesce(pl.col("date").cast(pl.String), "_date_text"),
        reason="reason",
        row=pl.coalesce("_row", described),
    )
    good = frame.filter(~wrong).with_columns(
        high=pl.max_horizontal("high", "open", "close"), low=pl.min_horizontal("low", "open", "close")
    )
    return good.drop("reason", "unread", "_row", "_date_text", "file").sort("symbol", "date"), rejected.cast(REJECTED)


def _reasons(calendar: Sequence[date]) -> list[tuple[pl.Expr, pl.Expr]]:
    """What is wrong with a row and how it is said, the first that applies."""
    found: list[tuple[pl.Expr, pl.Expr]] = [
        (pl.col("symbol").is_null() | (pl.col("symbol") == ""), pl.lit("has no symbol")),
        (
            pl.col("date").is_null(),
            pl.coalesce(
                pl.format("has the date {}, which is not one; write YYYY-MM-DD", _quoted("_date_text")),
                pl.lit("is without a date"),
            ),
        ),
        (pl.col("unread").is_not_null(), pl.col("unread")),
        (
            ~pl.col("date").is_in(pl.Series(calendar, dtype=pl.Date).implode()),
            pl.format("has a bar on {}, which is not a trading session of XNYS", pl.col("date").dt.strftime("%Y-%m-%d (%A)")),
        ),
    ]
    for name in PRICES:
        bad = pl.col(name).is_null() | ~pl.col(name).is_finite() | (pl.col(name) <= 0)
        found.append((bad, pl.format("has a price that is not a number above zero in {}", pl.lit(name))))
    beyond = (pl.max_horizontal("open", "close") > pl.col("high") * _SLACK) | (
        pl.min_horizontal("open", "close") < pl.col("low") / _SLACK
    )
    volume = pl.col("volume").is_null() | ~pl.col("volume").is_finite() | (pl.col("volume") < 0)
    return [
        *found,
        (pl.col("high") < pl.col("low"), pl.lit("has its high below its low")),
        (beyond, pl.lit("opens or closes outside of its high and low")),
        (volume, pl.lit("has a volume that is not a number of shares")),
        (pl.struct("symbol", "date").is_duplicated(), pl.lit("is there more than once")),
    ]


def _quoted(column: str) -> pl.Expr:
    return pl.format("'{}'", pl.col(column))
