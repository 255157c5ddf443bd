"""Libraries that are imported at their first use: reading the registry and building its models imports none of them."""

from importlib import import_module
from typing import Any


class _Library:
    """A package in the place of its import; its submodules are attributes."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, part: str) -> Any:
        if part.startswith("__"):  # what doctest and pickle ask any object
            raise AttributeError(part)
        package = import_module(self._name)
        return getattr(package, part) if hasattr(package, part) else import_module(f"{self._name}.{part}")


arch: Any = _Library("arch")
catboost: Any = _Library("catboost")
hmmlearn: Any = _Library("hmmlearn")
lightgbm: Any = _Library("lightgbm")
river: Any = _Library("river")
scipy: Any = _Library("scipy")
sklearn: Any = _Library("sklearn")
threadpoolctl: Any = _Library("threadpoolctl")
tsa: Any = _Library("statsmodels.tsa.api")
xgboost: Any = _Library("xgboost")
