"""CONTRIBUTING.md holds: a section's files are put into a copy of the package, and what it says to run prints what it shows."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from mltrainer_pipelines.settings import PROJECT_ROOT

SECTIONS = dict(re.findall(r"^## (Add [^\n]+)\n(.*?)(?=^## |\Z)", (PROJECT_ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S))
FILE = re.compile(r"^`([^`\n]+)`:\n\n```(\w+)\n(.*?)^```$", re.M | re.S)
"""A path alone on its line, and below it the file (python) or a change of it (diff)."""
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
NO_API = "http://127.0.0.1:9"
COMMAND = re.compile(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", re.M)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package in a folder of its own, with what is compiled of it."""
    shutil.copytree(PROJECT_ROOT / "mltrainer_pipelines", tmp_path / "copy/mltrainer_pipelines")
    return tmp_path / "copy"


def changed(text: str, diff: str) -> str:
    """A text with the lines of a diff, which has no line numbers: what it shows as old is there exactly once."""
    old = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " -")
    new = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " +")
    assert text.count(old) == 1, f"these lines are not in the file exactly once:\n{old}"
    return text.replace(old, new)


def newest_migration(copy: Path) -> str:
    folder = ScriptDirectory(str(copy / "mltrainer_pipelines/store/migrations"))
    head = folder.get_current_head()
    assert head is not None
    return head


def run(command: str, copy: Path) -> str:
    program, *arguments = shlex.split(command.replace("\n> ", "\n"))
    start = {"python": [sys.executable], "mltrainer": [sys.executable, "-m", "mltrainer_pipelines.cli"]}[program]
    environment = os.environ | {"PYTHONPATH": str(copy), "MLTRAINER_HOME": str(copy / "home"), "MLTRAINER_API_URL": NO_API}
    done = subprocess.run([*start, *arguments], cwd=copy, env=environment, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_of_a_section_works(section: str, copy: Path) -> None:
    text = SECTIONS[section]
    files = FILE.findall(text)
    assert files
    for name, kind, content in files:
        path = copy / name
        if kind == "diff":
            path.write_text(changed(path.read_text(), content))
        else:
            assert not path.exists(), f"{name} is there already: give the example another name"
            path.parent.mkdir(exist_ok=True)
            path.write_text(re.sub(r'^down_revision = "\d+"', f'down_revision = "{newest_migration(copy)}"', content, flags=re.M))
    commands = [found for block in CONSOLE.findall(text) for found in COMMAND.findall(block)]
    assert commands
    for command, shown in commands:
        printed = run(command, copy)
        assert doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS), printed


def test_the_page_tells_how_to_add_each_kind_of_thing() -> None:
    assert {name.split()[-1] for name in SECTIONS} >= {"feature", "model", "vendor", "page", "proposer", "migration"}
