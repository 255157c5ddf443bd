"""A copy of the package to change, and processes that import it."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import mltrainer_pipelines


class Scratch:
    """A copy of the package in a folder."""

    def __init__(self, folder: Path):
        source = Path(mltrainer_pipelines.__file__).parent
        self.package = copytree(source, folder / source.name, ignore=ignore_patterns("__pycache__", "app", "exchange"))

    def replace(self, file: str, old: str, new: str) -> None:
        """Change a line of a file; it has to be there."""
        text = (self.package / file).read_text()
        assert old in text
        (self.package / file).write_text(text.replace(old, new, 1))

    def run(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {"PYTHONPATH": str(self.package.parent), **environment}
        return subprocess.run([sys.executable, "-c", code], cwd=self.package.parent, env=env, capture_output=True, text=True)

    def value(self, code: str, **environment: str) -> Any:
        """What the code prints as JSON."""
        done = self.run(code, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
