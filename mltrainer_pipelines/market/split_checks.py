"""Splits and large dividends held against the step of the price on their ex-date, and steps that only a split explains.

Everything is judged by what was known at the close of the ex-date: its own bar and those before it.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations, product
from math import inf, log
from typing import Any, Final

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS

LARGE_DIVIDEND: Final = 0.1
"""Share of the price from which on a dividend has to be seen in it."""
_USUAL_GAPS, _ODDS = 6.0, 0.025
"""By how many usual opening gaps, and by how much at least, another reading has to fit the price better."""
_STRAY_GAPS, _STRAY = 15.0, 0.3
"""Gap beside the expected price from which on no reading is believed that is not small itself."""
_LEAST_GAP, _NEW_GAP = 0.002, 0.01
_WINDOW, _FEWEST = 60, 5
_HALF, _QUIET = 1.9, 2.5
"""From which step on, times, a day that moves less than so many times the usual money is taken for no news."""
_SPLITS: Final = (1.25, 4 / 3, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0)
_REVERSE_SPLITS: Final = tuple(1 / n for n in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 32, 40, 50, 100))

SUSPECTED_SPLITS: Final = pl.Schema({"symbol": pl.String, "date": pl.Date, "ratio": pl.Float64, "step": pl.Float64})


def judged_actions(actions: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Corporate actions with the `reason` for which one is not applied; null where it is believed.

    One split a symbol and day, each dividend once. A split, and a dividend above a tenth of the price, is set aside
    where the price of its ex-date contradicts it: no step came (a day early or late, or applied already), it went the
    other way, or another split of that day, or the dividend that is the same event, explains it alone. What is too
    small to be seen in the price, or has no bar yet, is believed.

    Parameters
    ----------
    actions : pl.DataFrame
        Columns of `CORPORATE_ACTIONS`; rows that cannot be right among them.
    bars : pl.DataFrame
        `date`, `symbol`, `open`, `close`, unadjusted. Symbols without an action may be missing.

    Examples
    --------
    >>> from datetime import date
    >>> days = [date(2024, 6, 6), date(2024, 6, 7)]
    >>> bars = pl.DataFrame({"date": days, "symbol": "AAA", "open": [100.0, 50.2], "close": [100.0, 50.0]})
    >>> terms = {"symbol": "AAA", "ex_date": days[1], "kind": "split", "cash": None, "declared": None}
    >>> splits = pl.DataFrame([terms | {"ratio": ratio} for ratio in (2.0, 3.0)])
    >>> judged_actions(CORPORATE_ACTIONS.cast(splits), bars).select("ratio", "reason").rows()
    [(2.0, None), (3.0, 'another split of that day fits the price better')]
    """
    actions = actions.with_columns(pl.int_range(pl.len()).alias("_row"))
    impossible = _impossible()
    terms = ("symbol", "ex_date", "kind", "ratio", "cash")
    simple = pl.coalesce(impossible, pl.when(~pl.struct(terms).is_first_distinct()).then(pl.lit("listed twice")))
    actions = actions.with_columns(reason=simple)
    placed = _placed(actions.filter(pl.col("reason").is_null()), bars)
    reasons: dict[int, str] = {}
    for day in placed.partition_by("symbol", "ex_date"):
        reasons.update(_contradictions(day.to_dicts()))
    found = pl.DataFrame(
        {"_row": list(reasons), "_found": list(reasons.values())}, schema={"_row": pl.Int64, "_found": pl.String}
    )
    return (
        actions.join(found, on="_row", how="left", maintain_order="left")
        .with_columns(reason=pl.coalesce("reason", "_found"))
        .drop("_row", "_found")
    )


def suspected_splits(bars: pl.DataFrame, actions: pl.DataFrame | None = None) -> pl.DataFrame:
    """Opening steps that no action explains and that look like a split, not like news.

    The price opens at a usual ratio of the last close (3:2, 2:1, 1:10, …), far beyond the symbol's usual gaps, and
    the day then goes on as any other: no more money is traded, and the range is no wider than after a split.

    Parameters
    ----------
    bars : pl.DataFrame
        `date`, `symbol`, `open`, `high`, `low`, `close`, `volume`, unadjusted, sorted by symbol and date.
    actions : pl.DataFrame or None
        What is known; a step on the ex-date of a split is explained, and dividends are taken off the price.

    Returns
    -------
    pl.DataFrame
        `symbol`, `date` (first session after the step), `ratio` (new shares for one old that would explain it), `step`
        (open over the last close, dividends taken off); sorted by symbol and date.
    """
    actions = CORPORATE_ACTIONS.empty() if actions is None else actions
    cash = actions.filter(pl.col("kind") == "dividend").group_by("symbol", date="ex_date").agg(pl.col("cash").sum())
    splits = actions.filter(pl.col("kind") == "split").select("symbol", date="ex_date")
    traded, width = pl.col("close") * pl.col("volume"), (pl.col("high") / pl.col("low")).log()
    usual = {
        name: what.rolling_median(20, min_samples=_FEWEST).shift(1).over("symbol")
        for name, what in (("traded", traded), ("width", width))
    }
    gaps = _with_gaps(bars.join(cash, on=["symbol", "date"], how="left", maintain_order="left"))
    steps = (
        gaps.with_columns(traded=traded / usual["traded"], width=width / usual["width"])
        .filter(pl.col("gap").abs() > log(1.18), pl.col("gap").abs() > _STRAY_GAPS * pl.col("usual_gap"), pl.col("width") < 4.5)
        .join(splits, on=["symbol", "date"], how="anti")
    )
    ratios = pl.DataFrame({"ratio": [*_SPLITS, *_REVERSE_SPLITS]})
    beside = (pl.col("gap") + pl.col("ratio").log()).abs()
    small, reverse = pl.col("ratio").is_between(1.0, 1.4), pl.col("ratio") < 1.0
    most_traded = pl.when(small).then(2.0).when(reverse).then(9.0).when(pl.col("ratio") > 1.9).then(4.5).otherwise(3.5)
    return (
        steps.join(ratios, how="cross")
        .filter(beside == beside.min().over("symbol", "date"))
        .filter(beside < pl.when(small).then(0.03).otherwise(0.1), pl.col("traded") < most_traded)
        .select("symbol", "date", "ratio", step=pl.col("gap").exp())
        .sort("symbol", "date")
        .cast(dict(SUSPECTED_SPLITS))  # type: ignore[arg-type]
    )


def unexplained_steps(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Opening steps to half the price or less, or to double or more, that nothing explains and that moved no money.

    Columns of `SUSPECTED_SPLITS`; `ratio` is the last close over the open. A company that gives a part of itself away
    opens lower by what that part is worth, at no usual ratio. News so large move many times the usual money: of the
    overnight moves by half or more of 2000 to 2018 that nobody lists as an action, the quietest moved three times as much.
    """
    traded = pl.col("close") * pl.col("volume")
    usual = traded.rolling_median(20, min_samples=_FEWEST).shift(1).over("symbol")
    cash = actions.filter(pl.col("kind") == "dividend").group_by("symbol", date="ex_date").agg(pl.col("cash").sum())
    gaps = _with_gaps(
        bars.with_columns(_traded=traded / usual).join(cash, on=["symbol", "date"], how="left", maintain_order="left")
    )
    far = (pl.col("gap").abs() > log(_HALF)) & (pl.col("gap").abs() > _STRAY_GAPS * pl.col("usual_gap"))
    splits = actions.filter(pl.col("kind") == "split").select("symbol", date="ex_date")
    steps = gaps.filter(far, pl.col("_traded") < _QUIET).join(splits, on=["symbol", "date"], how="anti")
    return steps.select("symbol", "date", ratio=(-pl.col("gap")).exp(), step=pl.col("gap").exp()).cast(dict(SUSPECTED_SPLITS))  # type: ignore[arg-type]


def _impossible() -> pl.Expr:
    split, ratio, cash = pl.col("kind") == "split", pl.col("ratio"), pl.col("cash")
    rules = {
        "no symbol or no ex-date": pl.col("symbol").is_null() | pl.col("ex_date").is_null(),
        "its ratio is not a positive number": split & ~(ratio.is_finite() & (ratio > 0)).fill_null(value=False),
        "its cash is negative or not a number": ~split & ~(cash.is_finite() & (cash >= 0)).fill_null(value=False),
        "neither a split nor a dividend": ~pl.col("kind").is_in(["split", "dividend"]).fill_null(value=False),
    }
    return pl.coalesce(pl.when(wrong).then(pl.lit(rule)) for rule, wrong in rules.items())


def _with_gaps(bars: pl.DataFrame) -> pl.DataFrame:
    """With the close `before`, the opening `gap` (log) after a dividend `cash`, and the `usual_gap` of the sessions before."""
    return (
        bars.with_columns(before=pl.col("close").shift(1).over("symbol"))
        .with_columns(gap=(pl.col("open") / (pl.col("before") - pl.col("cash").fill_null(0.0))).log())
        .with_columns(
            usual_gap=pl.col("gap")
            .abs()
            .rolling_median(_WINDOW, min_samples=_FEWEST)
            .shift(1)
            .over("symbol")
            .fill_nan(None)
            .fill_null(_NEW_GAP)
            .clip(lower_bound=_LEAST_GAP)
        )
    )


def _placed(actions: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Actions of the days on which there is a split or a large dividend, with the prices around each."""
    own = bars.filter(pl.col("symbol").is_in(actions["symbol"].unique().implode())).sort("symbol", "date")
    closes = own.select("symbol", "date", before=pl.col("close").shift(1).over("symbol")).sort("date")
    split = pl.col("kind") == "split"
    placed = (
        actions.sort("ex_date")
        .join_asof(closes, left_on="ex_date", right_on="date", by="symbol", strategy="forward", check_sortedness=False)
        .with_columns(large=split | (pl.col("cash") > LARGE_DIVIDEND * pl.col("before")).fill_null(value=False))
        .filter(pl.col("large").any().over("symbol", "ex_date"))
    )
    few = own.filter(pl.col("symbol").is_in(placed["symbol"].unique().implode()))
    prices = _with_gaps(few.select("symbol", "date", "open", "close", cash=pl.lit(0.0)))
    beside = placed.join(prices.select("symbol", "date", "open", "close", "usual_gap"), on=["symbol", "date"], how="left")
    return beside.sort("symbol", "ex_date", "_row")


def _contradictions(day: Sequence[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """Rows of one symbol and ex-date that are set aside, and why."""
    before, prices, usual = day[0]["before"], (day[0]["open"], day[0]["close"]), day[0]["usual_gap"]
    splits = [row for row in day if row["kind"] == "split"]
    large = [row for row in day if row["kind"] == "dividend" and row["large"]]
    small_cash = sum(row["cash"] for row in day if row["kind"] == "dividend" and not row["large"])
    if before is None:  # no bar to hold them against: one split a day all the same
        yield from ((row["_row"], "another split of that day is listed") for row in splits[1:])
        return
    too_large = [row for row in large if row["cash"] + small_cash >= before]
    yield from ((row["_row"], f"its {row['cash']:g} dollars are not below the price of {before:g}") for row in too_large)
    large = [row for row in large if row not in too_large]

    def beside(reading: Sequence[dict[str, Any]]) -> float:
        """How far the price lies beside what these actions make of the last close: open or close, whichever is nearer."""
        paid = small_cash + sum(row["cash"] for row in reading if row["kind"] == "dividend")
        if paid >= before:
            return inf
        expected = log(before - paid) - sum(log(row["ratio"]) for row in reading if row["kind"] == "split")
        return min(abs(log(price) - expected) for price in prices)

    dividends = list(chain.from_iterable(combinations(large, count) for count in range(len(large), -1, -1)))
    one_split = [[row] for row in splits]
    complete = [[*one, *large] for one in (one_split or [[]])]
    every = [[*one, *paid] for one, paid in product([*one_split, []], dividends)]
    stated, best = min(complete, key=beside), min(every, key=beside)
    margin = max(_USUAL_GAPS * usual, _ODDS)
    chosen = best if beside(stated) - beside(best) > margin else stated
    stray = beside(chosen) > max(_STRAY_GAPS * usual, _STRAY)
    for row in [*splits, *large]:
        size = abs(log(row["ratio"]) if row["kind"] == "split" else log(1 - row["cash"] / before))
        if row in chosen and not (stray and size > _STRAY / 2):
            continue
        if row["kind"] == "split" and any(other in chosen for other in splits if other is not row) and not stray:
            yield row["_row"], "another split of that day fits the price better"
        else:
            what = f"{row['ratio']:g} for 1" if row["kind"] == "split" else f"{row['cash']:g} dollars"
            yield row["_row"], f"{what} does not fit the price, which closed at {before:g} and then opened at {day[0]['open']:g}"
