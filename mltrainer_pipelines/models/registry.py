"""The model registry: every model that a trial may name.

A family is a file below `models/` that assigns `MODELS`, a tuple of `ModelSpec`: it is found by itself.
"""

import re
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec
from pkgutil import walk_packages
from types import MappingProxyType, ModuleType

from mltrainer_pipelines import models
from mltrainer_pipelines.models.spec import ModelSpec

ORDER = (
    "linear", "boosting", "rankers", "forests", "boosters", "regressions", "kernels", "single_rows", "sequences", "forecasts",
    "rules", "online", "ensembles", "experts",
)  # fmt: skip
"""Families as lists show them; one that is not named here comes after them."""


class UnknownModelError(LookupError):
    """A model was named that the registry does not hold: names the closest ones that it does."""

    def __init__(self, model_id: str):
        ids = sorted(_by_id())
        close = get_close_matches(model_id.lower().replace("-", "_"), ids, n=3, cutoff=0.6)
        closest = f"did you mean {' or '.join(close)}? " if close else ""
        super().__init__(f"the registry has no model {model_id!r}; {closest}`mltrainer models` lists all {len(ids)}")


def list_models() -> list[ModelSpec]:
    """All models, families in the order of `ORDER`.

    >>> [spec.id for spec in list_models() if spec.core][:3]
    ['logistic_l2', 'lightgbm', 'decision_tree']
    """
    return list(_by_id().values())


def get_model(model_id: str) -> ModelSpec:
    """The model of that id.

    Raises
    ------
    UnknownModelError
        If there is none; names the closest ids.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = get_model("logistic_l2").build().fit(X, (X[:, 0] > 0).astype(int))
    >>> model.predict_proba(X[[0, -1]]).argmax(axis=1)
    array([0, 1])
    """
    try:
        return _by_id()[model_id]
    except KeyError:
        raise UnknownModelError(model_id) from None


@lru_cache(maxsize=1)
def families() -> tuple[ModuleType, ...]:
    """The modules that declare models, in order. Other modules are not imported: some of them bring torch."""
    names = [module.name for module in walk_packages(models.__path__, f"{models.__name__}.") if _declares_models(module.name)]
    rank = {family: number for number, family in enumerate(ORDER)}
    return tuple(map(import_module, sorted(names, key=lambda name: (rank.get(name.rpartition(".")[2], len(ORDER)), name))))


def _declares_models(module: str) -> bool:
    """Whether a module's source assigns `MODELS`."""
    spec = find_spec(module)
    source = spec.loader.get_source(module) if spec and isinstance(spec.loader, InspectLoader) else None
    return bool(re.search(r"^MODELS\b", source or "", re.MULTILINE))


@lru_cache(maxsize=1)
def _by_id() -> MappingProxyType[str, ModelSpec]:
    specs: list[ModelSpec] = [spec for family in families() for spec in family.MODELS]
    by_id = {spec.id: spec for spec in specs}
    if len(by_id) != len(specs):
        twice = sorted({spec.id for spec in specs if sum(twin.id == spec.id for twin in specs) > 1})
        raise ValueError(f"declared twice in the model registry: {', '.join(twice)}")
    return MappingProxyType(by_id)
