from pathlib import Path

from mltrainer_pipelines.contracts.documentation import tables_page

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_page_is_what_the_declarations_say_now():
    remedy = "run: python -m mltrainer_pipelines.contracts.documentation > docs/tables.md"
    assert PAGE.read_text() == tables_page(), remedy
