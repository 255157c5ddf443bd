from pathlib import Path

from docs.build.tables import tables_page

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_page_is_what_the_declarations_say_now():
    assert PAGE.read_text() == tables_page(), "run: make docs"
