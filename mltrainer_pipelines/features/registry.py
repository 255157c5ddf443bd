"""The feature sets there are: whatever the files of `features/sets` declare, and those that a source of the process adds."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from mltrainer_pipelines.features import sets
from mltrainer_pipelines.features.spec import FeatureSet

DEFAULT = "momentum"
"""The set that trials use, and that the asset `features` stores, unless another one is named."""

ORDER = (DEFAULT, "stock_selection", "technical", "alpha158", "alpha101", "cross_section", "macro")
"""Sets as lists show them; one that is not named here comes after them."""


class UnknownFeatureSetError(LookupError):
    """A feature set was asked for that no file declares: names those there are."""

    def __init__(self, name: str):
        super().__init__(f"there is no feature set {name!r}; the feature sets are {', '.join(feature_sets())}")


class DuplicateFeatureSetError(ValueError):
    """Two files declare a feature set of one name: names both."""


def feature_sets() -> list[str]:
    """Names of the feature sets, and ``default``.

    >>> feature_sets()[:2]
    ['momentum', 'stock_selection']
    """
    return [*_by_name(), *_added(), "default"]


def declared_sets() -> list[str]:
    """Names of the feature sets that files declare."""
    return list(_by_name())


def add_source(source: Callable[[], Mapping[str, FeatureSet]]) -> None:
    """Have this process ask `source`, each time anew, for the sets that no file declares; it replaces the source before."""
    _sources[:] = [source]


def _added() -> Mapping[str, FeatureSet]:
    return _sources[0]() if _sources else {}


_sources: list[Callable[[], Mapping[str, FeatureSet]]] = []


def get_feature_set(name: str) -> FeatureSet:
    """A feature set by name; ``default`` is the one that trials use unless they name another.

    Raises UnknownFeatureSetError, which names the sets there are.

    >>> get_feature_set("default").names[:3]
    ['return_5', 'return_10', 'return_21']
    """
    name = DEFAULT if name == "default" else name
    found = _by_name().get(name) or _added().get(name)
    if found is None:
        raise UnknownFeatureSetError(name)
    return found


def resolved(feature_set: str | FeatureSet) -> FeatureSet:
    """The set itself, where it may be given by name."""
    return get_feature_set(feature_set) if isinstance(feature_set, str) else feature_set


@lru_cache(maxsize=1)
def _by_name() -> MappingProxyType[str, FeatureSet]:
    declared: dict[str, tuple[FeatureSet, str]] = {}
    for file in iter_modules(sets.__path__):
        for value in vars(import_module(f"{sets.__name__}.{file.name}")).values():
            if not isinstance(value, FeatureSet):
                continue
            other, first = declared.setdefault(value.name, (value, file.name))
            if other is not value:  # one file may import the set of another
                raise DuplicateFeatureSetError(
                    f"two feature sets are named {value.name!r}, in features/sets/{first}.py and {file.name}.py; rename one"
                )
    order = sorted(declared, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return MappingProxyType({name: declared[name][0] for name in order})
