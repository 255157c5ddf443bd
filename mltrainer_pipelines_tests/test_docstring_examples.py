"""Every `>>>` example of the package runs and prints what its docstring shows; only modules that have one are imported."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

from mltrainer_pipelines.settings import PROJECT_ROOT, get_settings

PACKAGE = PROJECT_ROOT / "mltrainer_pipelines"


def modules_with_examples() -> list[str]:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if re.search(r"^\s*>>> ", path.read_text(), re.MULTILINE)]
    return [".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_give_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLTRAINER_HOME", str(tmp_path))
    module = importlib.import_module(name)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    examples = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]
    try:
        for test in examples:
            runner.run(test, out=report.append)
    finally:
        get_settings.cache_clear()  # an example may have read those of this test's folder
    assert not runner.failures, "".join(report)
    assert examples, f"{name} shows an example where doctest does not look: put it into the docstring of a public thing"
