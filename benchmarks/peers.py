"""Peers run in an environment of their own (`.peers`), each in a process of its own, on the same input as ours."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
BARS = SHARED / "data/us_equities_2009_2015.parquet"
"""Real daily bars of 200 companies, 293,509 rows."""
PYTHON = ROOT / ".peers/bin/python"
INSTALL = "python3 -m venv .peers && .peers/bin/pip install pyqlib==0.9.7 vectorbt==1.2.0 pyarrow"


def bars_file() -> str | None:
    """What is missing where the shared bars are not there."""
    return None if BARS.is_file() else f"the bars are missing: {BARS}"


def peer_scripts() -> str | None:
    """What is missing where the peers' scripts are not there."""
    return None if (SHARED / "peers").is_dir() else f"the peers' scripts are missing: {SHARED / 'peers'}"


def peer_environment() -> str | None:
    """What is missing where the peers are not installed, and how to install them."""
    return peer_scripts() or (None if PYTHON.is_file() else f"the peers are not installed; run: {INSTALL}")


def peer(script: str, *arguments: object) -> dict[str, Any]:
    """What a script of ``shared/peers`` prints: one JSON line."""
    return _last_line([PYTHON, SHARED / "peers" / script, *arguments])


def ours(*arguments: object) -> dict[str, Any]:
    """What a `mltrainer` command prints with ``--json``, run in a process of its own."""
    return _last_line([sys.executable, "-m", "mltrainer_pipelines.cli", *arguments, "--json"])


def module(name: str, *arguments: object) -> dict[str, Any]:
    """What a module of the benchmarks prints, run in a process of its own."""
    return _last_line([sys.executable, "-m", name, *arguments])


def _last_line(command: list[object]) -> dict[str, Any]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
