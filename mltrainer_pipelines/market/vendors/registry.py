"""The vendors there are: every folder beside this module, found by itself and imported when it is chosen."""

import pkgutil
from importlib import import_module

from mltrainer_pipelines.market import vendors
from mltrainer_pipelines.market.vendors.protocol import Connection, MacroData, MarketData, Vendor


class UnknownVendorError(ValueError):
    """No vendor of that name offers that: names those that are there."""


def vendor_names() -> list[str]:
    """Names of the vendors, sorted.

    >>> vendor_names()
    ['fred', 'polygon']
    """
    return sorted(module.name for module in pkgutil.iter_modules(vendors.__path__) if module.ispkg)


def open_market_data(name: str, connection: Connection) -> MarketData:
    """The client of a vendor of US stocks. Raises `UnknownVendorError` where there is none of that name."""
    vendor = _vendor("MLTRAINER_MARKET_VENDOR", name)
    if vendor.market is None:
        raise UnknownVendorError(f"MLTRAINER_MARKET_VENDOR={name}: it has no US stocks; choose another of {vendor_names()}")
    return vendor.market(connection)


def open_macro_data(name: str, connection: Connection) -> MacroData | None:
    """The client of a vendor of macro series, None without its key. Raises `UnknownVendorError` where there is none."""
    vendor = _vendor("MLTRAINER_MACRO_VENDOR", name)
    if vendor.macro is None:
        raise UnknownVendorError(f"MLTRAINER_MACRO_VENDOR={name}: it has no macro series; choose another of {vendor_names()}")
    return vendor.macro(connection)


def _vendor(variable: str, name: str) -> Vendor:
    if name not in vendor_names():
        raise UnknownVendorError(f"{variable}={name}: there is no such vendor; choose one of {vendor_names()}")
    vendor: Vendor = import_module(f"{vendors.__name__}.{name}").VENDOR
    return vendor
