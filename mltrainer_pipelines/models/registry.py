"""The model catalogue: every model that a trial may name.

A model is added by one declaration in its family's file; a family by its file and one line here.
"""

from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType

from mltrainer_pipelines.models import (
    boosters,
    boosting,
    ensembles,
    experts,
    forests,
    kernels,
    linear,
    online,
    regressions,
    rules,
)
from mltrainer_pipelines.models.networks import sequences
from mltrainer_pipelines.models.networks import single_rows as networks
from mltrainer_pipelines.models.series import forecasts as series
from mltrainer_pipelines.models.spec import ModelSpec

FAMILIES = (
    linear,
    boosting,
    forests,
    boosters,
    regressions,
    kernels,
    networks,
    sequences,
    series,
    rules,
    online,
    ensembles,
    experts,
)


class UnknownModelError(LookupError):
    """A model was named that the catalogue does not hold: names the closest ones that it does."""

    def __init__(self, model_id: str):
        known = sorted(_by_id())
        close = get_close_matches(model_id.lower().replace("-", "_"), known, n=3, cutoff=0.4)
        remedy = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known[:20])}"
        super().__init__(f"the catalogue has no model {model_id!r}; {remedy} (`mltrainer models` lists all {len(known)})")


def list_models() -> list[ModelSpec]:
    """All models, families in the order of the catalogue."""
    return list(_by_id().values())


def get_model(model_id: str) -> ModelSpec:
    """The model of that id.

    Raises
    ------
    UnknownModelError
        If there is none; names the closest ids.
    """
    try:
        return _by_id()[model_id]
    except KeyError:
        raise UnknownModelError(model_id) from None


@lru_cache(maxsize=1)
def _by_id() -> MappingProxyType[str, ModelSpec]:
    specs = [spec for family in FAMILIES for spec in family.MODELS]
    models = {spec.id: spec for spec in specs}
    if len(models) != len(specs):
        twice = sorted({spec.id for spec in specs if sum(other.id == spec.id for other in specs) > 1})
        raise ValueError(f"declared twice in the model catalogue: {', '.join(twice)}")
    return MappingProxyType(models)
