"""Ingestion: a backfill of the whole market from the local exchange, five years of a universe read back, one session more.

A backfill of a few sessions is stretched to 1,260, and says so: every session costs the same.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from mltrainer_pipelines.commands.benchmark import Row, benchmark
from mltrainer_pipelines.store.lake import Lake

SYMBOLS, SESSIONS = 10_000, 1_260
LAST = date(2024, 12, 31)
BACKFILL_SECONDS, BACKFILL_MIB = 600, 2048
LOAD_SECONDS, UNIVERSE = 2.0, 200
MOST_GROWTH = 1.25
"""What one session more may cost of ours after five years, as a multiple of what it costs after nine sessions."""
TURNS = 15
"""Of each; their medians differ by a tenth or two on a busy machine."""


@benchmark("60 sessions of 10,000 symbols from the local exchange, five years read, one session more", 80)
def ingestion() -> Iterator[Row]:
    """The backfill of a few sessions, stretched to five years: every session costs the same."""
    yield from _measured(60)


@benchmark("the same with the backfill of all 1,260 sessions", 600, by_name_only=True)
def ingestion_full() -> Iterator[Row]:
    """The backfill of five years, whole."""
    yield from _measured(SESSIONS)


def _measured(sessions: int) -> Iterator[Row]:
    """Rows: the backfill, the load of five years of 200 symbols, and one session more after five days and five years."""
    from mltrainer_pipelines.market.sessions import previous_session, sessions_between

    days = sessions_between(previous_session(LAST, sessions - 1), LAST)
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder) / "lake"
        with _exchange(days[0]) as (url, server):
            ours = _in_a_process("backfill", url, str(lake), str(days[0]), str(days[-1]))
            whole = ours["seconds"] * SESSIONS / len(days)
            share = ours["cpu_seconds"] / (ours["cpu_seconds"] + _cpu_seconds(server))
            stretched = "" if len(days) == SESSIONS else f", from {len(days)} sessions in {ours['seconds']:.0f} s"
            name = f"backfill of {SESSIONS:,} sessions x {SYMBOLS:,} symbols{stretched}; {share:.0%} of the work is ours"
            yield Row(name, whole, f"at most {BACKFILL_SECONDS} s", whole <= BACKFILL_SECONDS)
            peak = f"memory of the backfill: {ours['mib']:.0f} MiB"
            yield Row(peak, ours["seconds"], f"at most {BACKFILL_MIB} MiB", ours["mib"] <= BACKFILL_MIB)
            _fill(lake, days)
            turns = _one_more(url, lake, days[-10:])
        young, old = (median(turn["seconds"] - turn["server"] for turn in turns[name]) for name in ("young", "old"))
        server_ms = 1000 * median(turn["server"] for turn in turns["old"])
        name = f"one session more after {SESSIONS:,} sessions; after 9: {young * 1000:.0f} ms (and the server's {server_ms:.0f})"
        yield Row(name, old, f"at most {MOST_GROWTH} times", old <= MOST_GROWTH * young)
        loaded = _in_a_process("load", str(lake))
        name = f"{UNIVERSE} adjusted symbols of {SESSIONS:,} sessions, {loaded['rows']:,} rows"
        yield Row(name, loaded["seconds"], f"at most {LOAD_SECONDS} s", loaded["seconds"] <= LOAD_SECONDS)


@contextmanager
def _exchange(first: date) -> Iterator[tuple[str, int]]:
    """The local exchange with ten thousand symbols, in a process of its own: its address and its process."""
    from mltrainer_pipelines.ops.supervisor import free_port

    port = free_port()
    environment = {
        "MLTRAINER_SIMULATED_SYMBOLS": str(SYMBOLS),
        "MLTRAINER_HISTORY_START": str(first),
        "MLTRAINER_AS_OF": f"{LAST}T20:00:00-05:00",
        "MLTRAINER_EXCHANGE": "simulated",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrainer_pipelines.cli", "exchange", "--port", str(port)], env=os.environ | environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError("the exchange did not start") from None
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _in_a_process(*arguments: str) -> dict[str, Any]:
    """What a part of this module prints, run in a process whose time and memory are its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.ingestion", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def backfill(url: str, lake: str, first: str, last: str) -> dict[str, float]:
    """Fetch, check and store every session from first to last, as the asset does."""
    from pydantic import SecretStr

    from mltrainer_pipelines.market.ingestion import fetch_sessions, planned_backfill
    from mltrainer_pipelines.market.sessions import sessions_between
    from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
    from mltrainer_pipelines.settings import LOCAL_EXCHANGE_KEY

    client, store = PolygonMarket(url, SecretStr(LOCAL_EXCHANGE_KEY)), Lake(lake)
    begin = time.perf_counter()
    plan = planned_backfill(client, sessions_between(date.fromisoformat(first), date.fromisoformat(last)))
    for session, found in fetch_sessions(client, plan):
        if isinstance(found, Exception):
            raise found
        store.write("daily_bars", found.bars, str(session))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "mib": used.ru_maxrss / 1024,
    }


def load(lake: str) -> dict[str, float]:
    """Read five years of the most traded symbols, adjusted."""
    import polars as pl

    from mltrainer_pipelines.market.history import adjusted_history

    store = Lake(lake)
    newest = store.read("daily_bars", store.partitions("daily_bars")[-1])
    symbols = newest.top_k(UNIVERSE, by=pl.col("close") * pl.col("volume"))["symbol"]
    first = date.fromisoformat(store.partitions("daily_bars")[0])
    adjusted_history(store, LAST, LAST, symbols=symbols)  # what is imported at the first use
    begin = time.perf_counter()
    found = adjusted_history(store, first, LAST, symbols=symbols)
    return {"seconds": time.perf_counter() - begin, "rows": found.height}


def _fill(lake: Path, days: list[date]) -> None:
    """Make five years of the sessions that were fetched, the same bars under earlier dates, and some corporate actions."""
    import polars as pl

    from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
    from mltrainer_pipelines.market.sessions import previous_session, sessions_between

    store = Lake(str(lake))
    frames = [store.read("daily_bars", str(day)) for day in days]
    whole = sessions_between(previous_session(LAST, SESSIONS - 1), LAST)
    for place, day in enumerate(whole):
        if not store.exists("daily_bars", str(day)):
            store.write("daily_bars", frames[place % len(frames)].with_columns(date=pl.lit(day)), str(day))
    symbols = frames[0]["symbol"][:2000]
    actions = pl.DataFrame({"symbol": symbols, "ex_date": [whole[(7 * n) % len(whole)] for n in range(len(symbols))]})
    store.write(
        "corporate_actions",
        actions.with_columns(
            kind=pl.lit("split"), ratio=pl.lit(2.0), cash=pl.lit(None, pl.Float64), declared=pl.lit(None, pl.Date)
        ).cast(dict(CORPORATE_ACTIONS.schema)),  # type: ignore[arg-type]
    )


def _one_more(url: str, lake: Path, few: list[date]) -> dict[str, list[dict[str, float]]]:
    """One session more, again and again, in a lake of five days and in one of five years: what each turn took.

    A process each, whose history begins with its lake's: Dagster has as many partitions, and as many materializations
    on record, as there are sessions. They take turns, so that both see the machine in the same moods.
    """
    large, small = Lake(str(lake)), Lake(str(lake.with_name("small")))
    for day in few:
        small.write("daily_bars", large.read("daily_bars", str(day)), str(day))
    small.write("corporate_actions", large.read("corporate_actions"))
    starts = {"young": (small.url, few[0]), "old": (large.url, date.fromisoformat(large.partitions("daily_bars")[0]))}
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in starts}
    with ExitStack() as stack:
        running = {}
        for name, (place, first) in starts.items():
            environment = {"MLTRAINER_HISTORY_START": str(first), "MLTRAINER_AS_OF": f"{LAST}T20:00:00-05:00"}
            command = [sys.executable, "-m", "benchmarks.ingestion", "more", url, place]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            running[name] = stack.enter_context(subprocess.Popen(command, env=os.environ | environment, text=True, **pipes))  # type: ignore[call-overload]
        for turn in range(TURNS + 1):
            for name, process in running.items():
                process.stdin.write(f"{few[-1 - turn % 5]}\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    raise RuntimeError(f"ingesting {few[-1 - turn % 5]} into the {name} lake failed")
                if turn:  # the first turn imports
                    seconds[name].append(json.loads(answer))
        for process in running.values():
            process.stdin.close()
    return seconds


def more(url: str, place: str) -> None:
    """Ingest the sessions that standard input names, a line each, as the evening does: the asset and its checks, in Dagster."""
    import logging

    import dagster as dg
    from pydantic import SecretStr

    from mltrainer_pipelines.definitions import defs
    from mltrainer_pipelines.defs.market.daily_bars import daily_bars
    from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
    from mltrainer_pipelines.settings import LOCAL_EXCHANGE_KEY
    from mltrainer_pipelines.store.database import Database
    from mltrainer_pipelines.store.embedded import EmbeddedPostgres

    logging.disable(logging.CRITICAL)
    client, store = PolygonMarket(url, SecretStr(LOCAL_EXCHANGE_KEY)), Lake(place)
    days = store.partitions("daily_bars")
    checks = [check for check in defs.asset_checks or [] if {key.asset_key for key in check.check_keys} == {daily_bars.key}]
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        database = Database(server.url("mltrainer"))
        database.migrate()
        resources = {"lake": store, "database": database, "market_data": client}
        whole = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
        dg.materialize([daily_bars], instance=instance, resources=resources, tags=whole)
        for line in sys.stdin:
            day = line.strip()
            store.delete("daily_bars", day)
            waited, begin = client.seconds_waited, time.perf_counter()
            dg.materialize([daily_bars, *checks], instance=instance, resources=resources, partition_key=day, raise_on_error=False)
            seconds = time.perf_counter() - begin
            if not store.exists("daily_bars", day):
                raise RuntimeError(f"{day} was not stored")
            print(json.dumps({"seconds": seconds, "server": client.seconds_waited - waited}), flush=True)


if __name__ == "__main__":
    part, *arguments = sys.argv[1:]
    if part == "more":
        more(*arguments)
    else:
        print(json.dumps({"backfill": backfill, "load": load}[part](*arguments)))
