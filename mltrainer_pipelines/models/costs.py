"""What a fit of each model costs: `costs.json`, written by `python -m benchmarks.models --measure`."""

import json
from collections.abc import Mapping
from pathlib import Path

from mltrainer_pipelines.models.spec import Cost

FILE = Path(__file__).with_name("costs.json")
SECONDS: Mapping[str, float] = json.loads(FILE.read_text())
"""Processor seconds of one fit with default parameters on 90,000 × 30 rows (600 sessions × 150 symbols) with one thread."""


def cost_of(model: str) -> Cost:
    """`fast` up to 2 s, `medium` up to 20 s, `slow` above; a model that was never measured counts as slow."""
    seconds = SECONDS.get(model, float("inf"))
    return "fast" if seconds <= 2.0 else "medium" if seconds <= 20.0 else "slow"
