"""`mltrainer models`: the models of the registry."""

from rich.table import Table

from mltrainer_pipelines.models.registry import list_models


def as_rows() -> list[dict[str, object]]:
    """`id`, `family`, `core`, `source`, `gpu` and `cost` of every model."""
    return [{name: getattr(spec, name) for name in ("id", "family", "core", "source", "gpu", "cost")} for spec in list_models()]


def as_table() -> Table:
    """The models for a reader."""
    table = Table("id", "family", "core", "cost", "good at")
    for spec in list_models():
        table.add_row(spec.id, spec.family, "yes" if spec.core else "", spec.cost, spec.summary)
    return table
