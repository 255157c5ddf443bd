"""Prices adjusted for splits and dividends as known at their own date.

The usual backward adjustment rewrites the past whenever a company splits or pays: a value of 2020 then
depends on an event of 2024. Ours goes forward. The factor of a symbol is 1 at its first bar and grows with
each action from its ex-date on, so that what was computed for a date never changes afterwards. Returns are
the same in both.
"""

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import PRICES


def adjusted(bars: pl.DataFrame, actions: pl.DataFrame | None) -> pl.DataFrame:
    """Bars with forward total-return adjustment, as if every dividend bought more of the share at its ex-date.

    The factor F starts at 1 and is multiplied, at the symbol's first bar on or after an action's ex-date, by the
    split's ratio, or by c / (c − cash) for a dividend, where c is the unadjusted close of the symbol's bar before.
    (The same step factors as CRSP's and Yahoo's, accumulated from the other end.) Several actions between two bars
    apply in the order of their ex-dates; on one date the dividend comes first: it is per share held before the split.

    A row of date t uses bars up to t and actions with `ex_date` ≤ t. Cutting bars and actions off after any t
    leaves all rows up to t bit-identical. Actions at or before a symbol's first bar, or after its last, change nothing;
    nor do those that cannot be right: a ratio that is not positive, a negative dividend, or dividends that together are
    at least as large as the close before them. `corporate_actions.sifted_actions` says which those are.

    `bars` are unadjusted and unique in (date, symbol); `actions` have `symbol`, `ex_date`, `kind` ('split' or 'dividend'),
    `ratio` (new shares for one old), `cash` ($ a share). The bars come back sorted by symbol and date, with `adj_open`,
    `adj_high`, `adj_low`, `adj_close` (price × F, dollars of the first bar's share), `adj_volume` (shares of the first
    bar: volume ÷ the splits so far) and `factor` (F).

    >>> from datetime import date
    >>> days = [date(2024, 6, 7), date(2024, 6, 10)]
    >>> bars = pl.DataFrame({"date": days, "symbol": "NVDA", "close": [1208.88, 121.79], "volume": [41e6, 314e6]})
    >>> bars = bars.with_columns(open="close", high="close", low="close")
    >>> split = {"symbol": "NVDA", "ex_date": days[1], "kind": "split", "ratio": 10.0, "cash": None}
    >>> adjusted(bars, pl.DataFrame([split]))["adj_close"].round(2).to_list()
    [1208.88, 1217.9]
    """
    bars = bars.sort("symbol", "date")
    steps = None if actions is None or actions.is_empty() else _steps(bars, actions)
    if steps is None or steps.is_empty():
        stepped = bars.with_columns(factor=pl.lit(1.0), _splits=pl.lit(1.0))
    else:
        stepped = bars.join(steps, on=["symbol", "date"], how="left", maintain_order="left").with_columns(
            factor=pl.col("_step").fill_null(1.0).cum_prod().over("symbol"),
            _splits=pl.col("_ratio").fill_null(1.0).cum_prod().over("symbol"),
        )
    return stepped.select(
        *bars.columns,
        *((pl.col(name) * pl.col("factor")).alias(f"adj_{name}") for name in PRICES),
        (pl.col("volume") / pl.col("_splits")).alias("adj_volume"),
        "factor",
    )


def _steps(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """One row per (symbol, date) at which actions apply: `_step` multiplies the factor, `_ratio` the share count."""
    actions = _possible(actions)
    symbols = actions.get_column("symbol").unique()
    dates = (
        bars.lazy()
        .select("symbol", "date", "close")
        .filter(pl.col("symbol").is_in(symbols.implode()))
        .with_columns(before=pl.col("close").shift(1).over("symbol"))
        .drop("close")
        .sort("date")
    )
    # An action takes effect at the next bar; where it has no bar before (`before` is null) there is nothing to adjust.
    placed = (
        actions.lazy()
        .select(
            "symbol",
            "ex_date",
            "kind",
            ratio=pl.col("ratio").fill_null(1.0),
            cash=pl.col("cash").fill_null(0.0),
        )
        .sort("ex_date")
        .join_asof(dates, left_on="ex_date", right_on="date", by="symbol", strategy="forward", check_sortedness=False)
        .filter(pl.col("before").is_not_null())
        .sort("symbol", "date", "ex_date", "kind", "cash", "ratio")  # 'dividend' sorts before 'split'
        # Shares that one share of the bar before has become by each action: what a later dividend is paid on.
        .with_columns(held=(pl.col("ratio").cum_prod().over("symbol", "date") / pl.col("ratio")))
        .group_by("symbol", "date", maintain_order=True)
        .agg(
            before=pl.col("before").first(),
            cash=(pl.col("cash") * pl.col("held")).sum(),
            _ratio=pl.col("ratio").product(),
        )
        .collect()
    )
    return placed.select(
        "symbol",
        "date",
        "_ratio",
        _step=pl.col("_ratio")
        * pl.when(pl.col("cash") < pl.col("before")).then(pl.col("before") / (pl.col("before") - pl.col("cash"))).otherwise(1.0),
    )


def _possible(actions: pl.DataFrame) -> pl.DataFrame:
    split, dividend = pl.col("kind") == "split", pl.col("kind") == "dividend"
    good = (split & pl.col("ratio").is_finite() & (pl.col("ratio") > 0)) | (
        dividend & pl.col("cash").is_finite() & (pl.col("cash") >= 0)
    )
    return actions.filter(good.fill_null(value=False), pl.col("ex_date").is_not_null(), pl.col("symbol").is_not_null())
