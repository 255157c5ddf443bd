"""Splits and cash dividends in one table."""

from datetime import date
from typing import Protocol

import polars as pl

ACTION_SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "ex_date": pl.Date,
        "kind": pl.String,
        "ratio": pl.Float64,
        "cash": pl.Float64,
        "declared": pl.Date,
    }
)
"""`kind` is 'split' (`ratio`: new shares for one old, `cash` null) or 'dividend' (`cash`: $ a share, `ratio` null)."""


class ActionsClient(Protocol):
    """What `PolygonMarket` does: splits and dividends by ex-date."""

    def splits(self, first: date, last: date) -> pl.DataFrame: ...

    def dividends(self, first: date, last: date) -> pl.DataFrame: ...


def corporate_actions(client: ActionsClient, first: date, last: date) -> pl.DataFrame:
    """All splits and cash dividends with an ex-date from `first` to `last`, both included.

    Returns
    -------
    pl.DataFrame
        Columns of `ACTION_SCHEMA`, sorted by symbol, ex-date and kind. `declared` is null where the vendor does not say.

    Raises
    ------
    MarketDataError
        From the client; a partial answer is never returned.
    """
    found = pl.concat([client.splits(first, last), client.dividends(first, last)])
    return found.select(pl.col(name).cast(kind) for name, kind in ACTION_SCHEMA.items()).sort(
        "symbol", "ex_date", "kind", "cash", "ratio"
    )
