"""The page of the models."""

from pathlib import Path

from docs.build.models import models_page
from mltrainer_pipelines.models.registry import list_models

PAGE = Path(__file__).parents[2] / "docs/models.md"


def test_the_page_is_current():
    assert PAGE.read_text() == models_page(), "run: make docs"


def test_the_page_names_every_model_with_its_source():
    page = models_page()
    assert all(f"| `{spec.id}`" in page and spec.source.replace("|", "\\|") in page for spec in list_models())
