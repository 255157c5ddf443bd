"""The command tree: every subcommand explains itself with an example, quickly, and speaks JSON alone where it is asked to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mltrainer_pipelines import cli


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_the_help_of_every_command_shows_an_example_of_itself(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli.app, [*path, "--help"])
    assert done.exit_code == 0
    words = done.stdout.split("Example", 1)[1]
    assert " ".join(["mltrainer", *path]) in " ".join(words.split())


def test_help_imports_nothing_heavy() -> None:
    heavy = ("polars", "pandas", "numpy", "dagster", "sklearn", "sqlalchemy", "pydantic", "anthropic")
    code = f"import sys, mltrainer_pipelines.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_json_is_the_only_thing_on_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mltrainer_pipelines.models.registry import list_models

    monkeypatch.setenv("MLTRAINER_HOME", str(tmp_path))
    done = CliRunner().invoke(cli.app, ["models", "--json"])
    rows = json.loads(done.stdout)
    assert [row["id"] for row in rows] == [spec.id for spec in list_models()]
    assert set(rows[0]) == {"id", "family", "core", "source", "gpu", "cost"}


def test_a_wrong_setting_is_one_line_and_exit_code_1() -> None:
    # a process of its own: this one may have read its settings already
    command = [sys.executable, "-m", "mltrainer_pipelines.cli", "doctor"]
    environment = os.environ | {"MLTRAINER_UNIVERSE_SIZE": "many"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "MLTRAINER_UNIVERSE_SIZE" in done.stderr
    assert done.stdout == ""


def test_a_file_that_does_not_exist_is_named() -> None:
    done = CliRunner().invoke(cli.app, ["trial", "submit", "nowhere.json"])
    assert done.exit_code == 2
    assert "nowhere.json does not exist" in " ".join(done.stderr.split())
