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


class NoPeersError(RuntimeError):
    """The peers' environment is missing: says how to make it."""

    def __init__(self) -> None:
        super().__init__(f"the peers are not installed; run: {INSTALL}")


def peer(script: str, *arguments: object) -> dict[str, Any]:
    """What a script of ``shared/peers`` prints: one JSON line.

    Raises
    ------
    NoPeersError
        If `.peers` has not been made.
    """
    if not PYTHON.is_file():
        raise NoPeersError
    return _last_line([PYTHON, SHARED / "peers" / script, *arguments])


def ours(*arguments: object) -> dict[str, Any]:
    """What a `mltrainer` command prints with ``--json``, run in a process of its own."""
    return _last_line([sys.executable, "-m", "mltrainer_pipelines.cli", *arguments, "--json"])


def module(name: str, *arguments: object) -> dict[str, Any]:
    """What a module of the benchmarks prints, run in a process of its own."""
    return _last_line([sys.executable, "-m", name, *arguments])


def result(
    name: str, seconds: float, bar: str, met: bool, peer: str | None = None, peer_seconds: float | None = None
) -> dict[str, Any]:
    """A row of `mltrainer bench`: `ratio` is how many times as fast as the peer, null without one."""
    ratio = None if peer_seconds is None else round(peer_seconds / seconds, 2)
    return {
        "name": name, "seconds": round(seconds, 4), "peer": peer, "peer_seconds": peer_seconds, "ratio": ratio, "bar": bar,
        "met": met,
    }  # fmt: skip


def _last_line(command: list[object]) -> dict[str, Any]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
