"""The table of the specification's sentences in docs/agent.md names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_sentence_of_the_specification_has_a_test_that_exists() -> None:
    table = (ROOT / "docs" / "agent.md").read_text().split("## The sentences of the specification")[1].split("\n## ")[0]
    named = re.findall(r"`(test_\w+)` \|$", table, re.M)
    written = "\n".join(path.read_text() for path in (ROOT / "mltrainer_pipelines_tests").rglob("test_*.py"))
    assert len(named) == table.count("\n|") - 2
    assert [name for name in named if f"def {name}(" not in written] == []
