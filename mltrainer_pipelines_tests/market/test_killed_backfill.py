"""`kill -9` in the middle of a backfill, again and again; then a resume gives what an undisturbed backfill gives."""

import hashlib
import os
import random
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.servers.stocks import Stocks
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

FIRST, LAST = date(2024, 1, 2), date(2024, 2, 29)
SESSIONS = len(sessions_between(FIRST, LAST))
KILLS = 20 if os.environ.get("MLTRAINER_TEST_ALL_KILLS") else 3
"""Each kill costs the start of a Python process with Dagster in it: `MLTRAINER_TEST_ALL_KILLS=1` makes all twenty."""
BACKFILL = """
import sys
import dagster as dg
from pydantic import SecretStr
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
url, database, lake, first, last = sys.argv[1:]
tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
resources = {"lake": Lake(lake), "database": Database(database), "market_data": PolygonMarket(url, SecretStr("key"))}
print("ready", flush=True)
dg.materialize([daily_bars], tags=tags, resources=resources)
"""


def backfill(url: str, database: str, lake: Path) -> subprocess.Popen:
    """The real asset in a process of its own; returns once it is about to begin."""
    arguments = [sys.executable, "-c", BACKFILL, url, database, str(lake), str(FIRST), str(LAST)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def whole_backfill(url: str, database: str, lake: Path) -> None:
    """The same in this process, to its end."""
    from mltrainer_pipelines.defs.market.daily_bars import daily_bars

    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(LAST)}
    client = PolygonMarket(url, SecretStr("key"))
    resources = {"lake": Lake(str(lake)), "database": Database(database), "market_data": client}
    assert dg.materialize([daily_bars], tags=tags, resources=resources).success


def content(lake: Path) -> dict[str, str]:
    """Every file of a lake, hidden ones too, by its digest."""
    files = (path for path in lake.rglob("*") if path.is_file())
    return {str(path.relative_to(lake)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def spoiled(day: date, rows: list[dict]) -> list[dict]:
    """One impossible bar in two sessions, so that what is set aside is compared too."""
    return [{**row, "l": -1.0} if day.day in (16, 17) and row["T"] == "S0003" else row for row in rows]


# With 35 tickers the backfill goes by ticker, with 1,001 by session.
@pytest.mark.parametrize(("symbols", "kills"), [(35, max(KILLS // 4, 1)), (1001, KILLS - max(KILLS // 4, 1))])
def test_a_backfill_that_is_killed_again_and_again_ends_in_the_same_lake(tmp_path, database, postgres, symbols, kills):
    url = postgres.url("mltrainer")
    stocks = Stocks(symbols=tuple(f"S{number:04}" for number in range(symbols)))
    if symbols >= 1000:
        stocks.edit = spoiled
    replies: dict[str, Reply] = {}

    def answer(call):
        name = f"{call.path}?{call.query.get('active')}"
        if name not in replies:
            replies[name] = Reply(stocks(call).body, stall_s=0.02)
        return replies[name]

    with vendor(answer) as server:
        begin = time.monotonic()
        whole_backfill(server.url, url, tmp_path / "undisturbed")
        took = time.monotonic() - begin
        expected = content(tmp_path / "undisturbed")
        assert sum(name.startswith("daily_bars/") for name in expected) == SESSIONS
        assert any(name.startswith("rejected_bars/") for name in expected) == (symbols >= 1000)

        lake, chance = tmp_path / "killed", random.Random(symbols)
        died = 0
        for number in range(kills):
            process = backfill(server.url, url, lake)
            written = len(list((lake / "daily_bars").glob("*.parquet"))) if lake.exists() else 0
            # Every kill lets some sessions through at most, so that the next has something left to interrupt.
            allowed = written + chance.randint(0, max((SESSIONS - written) // (kills - number), 1))
            deadline = time.monotonic() + 10 + 2 * took
            while process.poll() is None and time.monotonic() < deadline:
                if lake.exists() and len(list((lake / "daily_bars").glob("*.parquet"))) >= allowed:
                    break
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.03))
            died += process.poll() is None
            process.kill()
            process.wait()
            partial = content(lake)
            shown = {name: digest for name, digest in partial.items() if not Path(name).name.startswith(".")}
            assert shown.items() <= expected.items()
        assert died >= kills / 2
        whole_backfill(server.url, url, lake)
        assert content(lake) == expected
