"""FRED: macro series of the Federal Reserve Bank of St. Louis."""

from mltrainer_pipelines.market.vendors.protocol import Connection, MacroData, Vendor


def _open(connection: Connection) -> MacroData | None:
    from mltrainer_pipelines.market.vendors.fred.client import FredSeries

    if connection.api_key is None:
        return None
    return FredSeries(connection.base_url or "https://api.stlouisfed.org/fred", connection.api_key)


VENDOR = Vendor(macro=_open)
