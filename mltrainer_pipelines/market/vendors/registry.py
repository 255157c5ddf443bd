"""The vendors there are: every folder beside this module, found by itself and imported when it is chosen."""

import pkgutil
from datetime import date
from importlib import import_module

from mltrainer_pipelines.market import vendors
from mltrainer_pipelines.market.vendors.protocol import Allowance, Connection, MacroData, MarketData, Vendor


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


def allowance(name: str, connection: Connection, first: date, last: date, today: date) -> Allowance | None:
    """What the key may ask a vendor of US stocks for, of the sessions from `first` to `last`; None where it has no plans.

    Raises `KeyRefusedError` where none of them is to be had, and what the client raises.
    """
    vendor = _vendor("MLTRAINER_MARKET_VENDOR", name)
    return vendor.allowance(connection, first, last, today) if vendor.allowance else None


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
