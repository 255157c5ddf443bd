"""Alpha158 of 293,509 bars: ours beside Qlib's, 2 workers each, in turns, the better of two runs each."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import BARS, ours, peer, result

AT_LEAST = 10.0


def run() -> list[dict[str, Any]]:
    """One row: seconds of the computation alone, storage and compilation left out on both sides."""
    times, peer_times = [], []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "alpha158.parquet"
        for _ in range(2):
            times.append(ours("features", "--bars", BARS, "--set", "alpha158", "--out", out, "--workers", 2)["seconds"])
            peer_times.append(peer("qlib_alpha158.py", BARS, "--workers", 2)["seconds"])
    seconds, peer_seconds = min(times), min(peer_times)
    met = peer_seconds >= AT_LEAST * seconds
    return [result("alpha158, 293,509 rows", seconds, f"{AT_LEAST:g} times Qlib", met, "Qlib 0.9.7", peer_seconds)]
