"""Splits and cash dividends in one table."""

from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.market.vendors.protocol import MarketData

CHECKED_AGAIN = timedelta(days=30)
"""How far back actions that are known are fetched again: a vendor corrects the recent ones now and then."""
ANNOUNCED_AHEAD = timedelta(days=14)
"""How far ahead announced actions are fetched: a bar of tomorrow's ex-date can then be adjusted while it forms."""


def corporate_actions(client: MarketData, first: date, last: date) -> pl.DataFrame:
    """All splits and cash dividends with an ex-date from `first` to `last`, both included, sorted by symbol, ex-date and kind.

    Columns of `CORPORATE_ACTIONS`; `declared` is null where the vendor does not say. An error of the client
    (`MarketDataError`) comes through: a partial answer is never returned.
    """
    actions = pl.concat([client.splits(first, last), client.dividends(first, last)])
    return _ordered(CORPORATE_ACTIONS.cast(actions))


def continued_actions(client: MarketData, stored: pl.DataFrame, stored_until: date, today: date) -> pl.DataFrame:
    """What is stored, with what has been announced since; the last 30 days and the coming 14 are fetched.

    An evening costs the same after five years as after five days: of the years before, nothing is asked for again.
    `stored_until` is the day up to which `stored` was complete when it was fetched.
    """
    refetch_from = stored_until - CHECKED_AGAIN
    fresh = corporate_actions(client, refetch_from, today + ANNOUNCED_AHEAD)
    return _ordered(pl.concat([stored.filter(pl.col("ex_date") < refetch_from), fresh]))


def _ordered(actions: pl.DataFrame) -> pl.DataFrame:
    return actions.sort("symbol", "ex_date", "kind", "cash", "ratio")
