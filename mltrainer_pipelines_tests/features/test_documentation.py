from pathlib import Path

import pytest

from docs.build.features import features_page
from mltrainer_pipelines.contracts.lake_tables import REGIME
from mltrainer_pipelines.features.expressions.operators import OPERATORS
from mltrainer_pipelines.features.registry import feature_sets, get_feature_set

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_declarations_say_now():
    assert (DOCS / "features.md").read_text() == features_page(), "run: make docs"


@pytest.mark.parametrize("name", feature_sets())
def test_every_feature_of_every_set_is_on_it_with_a_meaning_and_a_source(name):
    page = features_page()
    for feature in get_feature_set(name).features:
        assert f"`{feature.name}`" in page
        assert feature.summary
        assert feature.source
        assert feature.look_back >= 0


def test_every_set_has_its_section():
    page = features_page()
    for name in feature_sets()[:-1]:
        description = get_feature_set(name).description.strip()
        assert description
        assert f"## {name}\n\n{description}\n" in page


def test_the_regimes_page_names_every_column():
    page = (DOCS / "regime.md").read_text()
    for column in REGIME.schema:
        assert f"`{column}`" in page


def test_the_factors_page_has_every_operator_of_the_language():
    page = (DOCS / "factors.md").read_text()
    for operator in OPERATORS:
        names = "".join(f", `{name}`" for name in operator.aliases).removeprefix(", ")
        assert f"| `{operator.name}({', '.join(operator.arguments)})` | {operator.summary} | {names} |" in page
