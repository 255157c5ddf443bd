"""What a fit of each model costs: seconds of processor time, measured by `python -m benchmarks.models --measure`."""

from mltrainer_pipelines.models.spec import Cost

SECONDS: dict[str, float] = {}
"""Of one fit with default parameters on 90,000 × 30 rows (600 sessions × 150 symbols) with one thread."""


def cost_of(model: str) -> Cost:
    """`fast` up to 2 s, `medium` up to 20 s, `slow` above; a model that was never measured counts as slow."""
    seconds = SECONDS.get(model, float("inf"))
    return "fast" if seconds <= 2.0 else "medium" if seconds <= 20.0 else "slow"
