"""Polygon (also called Massive): bars, corporate actions, reference data and snapshots of US stocks."""

from datetime import date

from pydantic import SecretStr

from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.protocol import Allowance, Connection, MarketData, Vendor


def _open(connection: Connection) -> MarketData:
    from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
    from mltrainer_pipelines.market.vendors.polygon.pool import CALLS

    calls, budget = connection.calls_per_minute, None
    if calls:

        def on_wait(seconds: float) -> None:
            connection.log(f"POLYGON_CALLS_PER_MINUTE={calls}: the next call may be made in {seconds:.0f} s")

        budget = CallBudget(connection.state / CALLS, calls, on_wait=on_wait)
    key = connection.api_key or SecretStr("")
    return PolygonMarket(connection.base_url or "https://api.polygon.io", key, budget=budget)


def _allowance(connection: Connection, first: date, last: date, today: date) -> Allowance:
    from mltrainer_pipelines.market.vendors.polygon.allowance import allowance

    return allowance(connection, first, last, today)


VENDOR = Vendor(market=_open, allowance=_allowance)
