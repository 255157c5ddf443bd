"""Feature sets of factors that were discovered on this installation's market: the default features, and the factors."""

from collections.abc import Mapping
from functools import lru_cache

from mltrainer_pipelines.features.expressions.graph import expression_set
from mltrainer_pipelines.features.registry import DEFAULT, add_source, get_feature_set
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.store.lake import Lake

PREFIX = "discovered_"


def set_name(timeframe: str, number: int) -> str:
    """The name of a timeframe's set; a set never changes, the next factors make one with the next number.

    >>> set_name("short", 1)
    'discovered_short_1'
    """
    return f"{PREFIX}{timeframe}_{number}"


def discovered_sets(lake: Lake) -> Mapping[str, FeatureSet]:
    """The sets that the lake has, by name."""
    if not lake.exists("discovered_factors"):
        return {}
    rows = lake.read("discovered_factors").select("feature_set", "name", "expression")
    sets = {str(key[0]): part for key, part in rows.partition_by("feature_set", as_dict=True, maintain_order=True).items()}
    return {name: _set(name, tuple(part.select("name", "expression").iter_rows())) for name, part in sets.items()}


def follow(lake: Lake) -> None:
    """Have this process know the discovered sets of a lake by name, like those that files declare."""
    add_source(lambda: discovered_sets(lake))


@lru_cache(maxsize=64)
def _set(name: str, factors: tuple[tuple[str, str], ...]) -> FeatureSet:
    base = get_feature_set(DEFAULT)
    found = expression_set(name, dict(factors), "discovered by screening; see the page Factors")
    return FeatureSet(
        name,
        (*base.features, *found.features),
        base.bases,
        f"The features of `{DEFAULT}`, and factors discovered on this market.",
    )
