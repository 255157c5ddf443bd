"""What goes wrong, tried many times: `make faults` prints a table and writes it into docs/reliability.md.

Vendors that answer wrongly, flipped bits in the lake, PostgreSQL and writers that are killed, requests that make no sense. A
fault is survived where the right thing came of it or an error that names it; a row is lost where one that was stored is not there
afterwards. Each part has its own seed; the exit code is 1 where anything was lost, or wrong and let in.
`python -m benchmarks.faults SHARE [PART…]` tries a share of it, of the parts whose names begin so, and writes nothing.
"""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from benchmarks.peers import ROOT
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.lake import DamagedPartitionError, Lake

SESSION = date(2024, 3, 4)


@dataclass
class Row:
    """Faults of a kind: how many were tried and survived, rows lost, wrong ones let in, and the longest recovery."""

    kind: str
    tried: int = 0
    survived: int = 0
    lost: int = 0
    let_in: int = 0
    seconds: float = 0.0


def flipped_bits(row: Row, count: int, folder: Path) -> None:
    """Single bits of a file of bars; it is to be damaged, or exactly what was written."""
    lake, rng = Lake(str(folder / "bits")), random.Random(1)
    prices = {name: [round(rng.uniform(1, 500), 2) for _ in range(2000)] for name in ("open", "high", "low", "close")}
    frame = pl.DataFrame({"symbol": [f"S{i}" for i in range(2000)], "date": [SESSION] * 2000, **prices})
    place = Path(lake.write("daily_bars", frame, str(SESSION)))
    whole = place.read_bytes()
    for bit in rng.sample(range(8 * len(whole)), count):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        place.write_bytes(changed)
        row.tried += 1
        try:
            row.let_in += not lake.read("daily_bars", str(SESSION)).equals(frame)
        except DamagedPartitionError:
            row.survived += not lake.exists("daily_bars", str(SESSION))
    begin = time.monotonic()
    lake.write("daily_bars", frame, str(SESSION))
    row.lost += not lake.read("daily_bars", str(SESSION)).equals(frame)
    row.seconds = time.monotonic() - begin


def vendor_faults(row: Row, count: int, _: Path) -> None:
    """Answers that are cut, garbled, late, compressed or wrong: the bars are right, or none are taken."""
    from pydantic import SecretStr

    from mltrainer_pipelines.market.errors import MarketDataError
    from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
    from mltrainer_pipelines.market.vendors.transport import Backoff
    from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

    rng = random.Random(2)
    bars = [
        {"T": f"S{i}", "v": 1e6, "vw": 10.2, "o": 10, "c": 10.5, "h": 11, "l": 9.5, "t": 1709586000000, "n": 9} for i in range(40)
    ]
    good = json.dumps({"queryCount": 40, "resultsCount": 40, "status": "OK", "results": bars}).encode()
    expected = None

    def broken() -> Reply:
        at = rng.randrange(len(good))
        kinds: list[Callable[[], Reply]] = [
            lambda: Reply(good, cut_to=at),
            lambda: Reply(good, cut_to=at, announced=False),
            lambda: Reply(good[:at] + bytes([rng.randrange(256)]) * 3 + good[at + 3 :]),
            lambda: Reply(good, status=rng.choice([301, 400, 404, 408, 429, 500, 502, 503, 504, 520])),
            lambda: Reply(reset=True),
            lambda: Reply(gzip.compress(good)[: rng.randrange(1, 200)], headers={"Content-Encoding": "gzip"}),
            lambda: Reply(good, headers={"Content-Encoding": rng.choice(["gzip", "deflate", "br", "zstd"])}),
            lambda: Reply(rng.randbytes(rng.randrange(2000))),
            lambda: Reply(b"<html>maintenance</html>", content_type="text/html"),
            lambda: Reply(good.replace(b'"resultsCount": 40', b'"resultsCount": %d' % rng.randrange(40))),
            lambda: Reply(b"[" * rng.randrange(1, 100_000)),
            lambda: Reply(good, drip_head_s=0.05),
        ]
        return rng.choice(kinds)()

    for _number in range(count):
        reply = broken()
        with vendor([reply, Reply(good)]) as server:
            client = PolygonMarket(server.url, SecretStr("a-key"), timeout_s=5, total_s=0.5, backoff=Backoff(2, 0.01, 0.01, 1.0))
            if expected is None:
                with vendor([Reply(good)]) as healthy:
                    expected = PolygonMarket(healthy.url, SecretStr("a-key")).grouped_daily(SESSION)
            row.tried += 1
            begin = time.monotonic()
            try:
                came = client.session_bars(SESSION).bars
            except MarketDataError:
                row.survived += 1
            else:
                # three garbled bytes may be another price, as any vendor's mistake may be: such a bar is told from no other
                garbled = reply.body != good and reply.status == 200 and len(reply.body) == len(good)
                right = came.equals(expected) or garbled
                row.survived += right
                row.let_in += not right
            row.seconds = max(row.seconds, time.monotonic() - begin)


WRITER = """
import sys, time
import polars as pl, sqlalchemy as sa
from mltrainer_pipelines.store.lake import Lake
lake, engine = Lake(sys.argv[1]), sa.create_engine(sys.argv[2], pool_pre_ping=True)
n = int(sys.argv[3])
while True:
    lake.write("kept", pl.DataFrame({"n": [n] * 20_000}), str(n % 7))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO kept VALUES (:n) ON CONFLICT DO NOTHING"), {"n": n})
    except sa.exc.OperationalError:
        time.sleep(0.05)
        continue
    print(n, flush=True)
    n += 1
"""
_KILLS_A_WRITER = 10


def kills(row: Row, count: int, folder: Path) -> None:
    """PostgreSQL under a writer of the lake and of its tables, and every tenth time the writer, are killed at a random moment."""
    rng, lake, said = random.Random(3), Lake(str(folder / "kills")), 0
    with EmbeddedPostgres(folder / "postgres") as server:
        url = server.url("mltrainer")
        with sa.create_engine(url).begin() as connection:
            connection.execute(sa.text("CREATE TABLE kept (n BIGINT PRIMARY KEY)"))
        while row.tried < count:
            command = [sys.executable, "-c", WRITER, lake.url, url, str(said + 1)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
                assert writer.stdout is not None
                for number in range(min(_KILLS_A_WRITER, count - row.tried)):
                    said = int(writer.stdout.readline())  # it works again
                    time.sleep(rng.uniform(0, 0.05))
                    row.tried += 1
                    begin = time.monotonic()
                    if number < _KILLS_A_WRITER - 1:
                        os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
                        while server.running:
                            time.sleep(0.005)
                        server.revive()
                    else:
                        writer.kill()
                        said = max([said, *(int(line) for line in writer.stdout.read().split())])
                    row.seconds = max(row.seconds, time.monotonic() - begin)
                    stored = _stored(url)
                    lost = len(set(range(1, said + 1)) - stored)
                    damaged, _, _ = lake.damaged_files()
                    row.lost += lost + len(damaged)
                    row.survived += not lost and not damaged
                writer.kill()


def _stored(url: str) -> set[int]:
    database = Database(url)
    with database.engine.connect() as connection:
        stored = set(connection.execute(sa.text("SELECT n FROM kept")).scalars())
    database.dispose()
    return stored


def fuzzed_requests(row: Row, count: int, folder: Path) -> None:
    """Random methods, parameters, headers and bodies at every route of the API: no answer is a server's error."""
    from mltrainer_pipelines_tests.api.installation import make_installation
    from mltrainer_pipelines_tests.servers.dagster import dagster_server

    rng = random.Random(4)
    odd: list[Any] = [
        "",
        "0",
        "-1",
        "1e309",
        "NaN",
        "null",
        "%00",
        "\u202e",
        "' OR 1=1 --",
        "../../etc/passwd",
        "A" * 3000,
        "2024-02-30",
    ]
    odd += ["9" * 30, "true", "short", "AAPL", "{{7*7}}", "<script>", "🏃", "\\x00", "[]", "2024-03-04"]
    values: list[Any] = [*odd, None, True, 0, -1, 2**63, 1e308, [], {}, [[[]]], {"a": {"b": 1}}]
    endless = "/api/events"
    with EmbeddedPostgres(folder / "fuzz") as server, dagster_server() as dagster:
        database = Database(server.url("mltrainer"))
        database.migrate()
        many = {f"mltrainer_api_{kind}_per_minute": 10_000_000 for kind in ("reads", "writes", "jobs")}
        client = make_installation(folder / "home", database, dagster, **many).client
        paths = client.get("/openapi.json").json()["paths"]
        with database.engine.connect() as connection:
            tables = set(sa.inspect(connection).get_table_names())
        for _number in range(count):
            path = rng.choice([name for name in paths if name != endless])
            operation = rng.choice([*paths[path], "get", "post", "put", "delete", "patch"])
            known = paths[path].get(operation, {})
            filled = "/".join(str(rng.choice(odd[3:])) if part.startswith("{") else part for part in path.split("/"))
            names = [one["name"] for one in known.get("parameters", []) if one["in"] == "query"] or ["limit"]
            body = {f"field{n}": rng.choice(values) for n in range(2)}
            for content in known.get("requestBody", {}).get("content", {}).values():
                fields = _fields(content.get("schema", {}), client.app.openapi())  # type: ignore[attr-defined]
                body = {name: rng.choice(values) for name in fields if rng.random() < 0.8}
            raw = rng.choice([json.dumps(body).encode(), json.dumps(body).encode()[:-1], rng.randbytes(40), b"[" * 5000])
            row.tried += 1
            begin = time.monotonic()
            headers = {"Content-Type": rng.choice(["application/json", "text/plain", "application/x-www-form-urlencoded"])}
            params = {name: rng.choice(odd) for name in names if rng.random() < 0.7}
            content = None if operation == "get" else raw
            try:
                answer = client.request(
                    operation.upper(), filled.replace("#", ""), params=params, content=content, headers=headers
                )
                fine = answer.status_code < 500 or answer.status_code == 503  # 503: MLflow does not run here
            except Exception as error:  # what a server would have answered with 500
                fine = "InvalidURL" in type(error).__name__
            row.survived += fine
            row.seconds = max(row.seconds, time.monotonic() - begin)
            if not fine:
                print(f"  {operation} {filled[:80]} {params} {raw[:200]!r}", file=sys.stderr)
        with database.engine.connect() as connection:
            row.lost += len(tables - set(sa.inspect(connection).get_table_names()))
        database.dispose()


def _fields(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return list(schema.get("properties", {})) or ["value"]


PARTS: list[tuple[str, int, Callable[[Row, int, Path], None]]] = [
    ("bits flipped, one at a time, in a file of the lake", 1000, flipped_bits),
    ("vendor's answers cut, garbled, late or wrong", 500, vendor_faults),
    ("PostgreSQL or a writer killed", 200, kills),
    ("requests to the API that make no sense", 10_000, fuzzed_requests),
]


def main() -> None:
    share, wanted = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, sys.argv[2:]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, count, attempt in PARTS:
            if wanted and not kind.startswith(tuple(wanted)):
                continue
            row = Row(kind)
            begin = time.monotonic()
            attempt(row, max(1, round(count * share)), Path(folder))
            rows.append(row)
            print(f"{kind}: {row.survived} of {row.tried} survived, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    lines = ["| faults | tried | survived | rows lost | wrong let in | longest recovery, s |", "|---|---|---|---|---|---|"]
    lines += [f"| {r.kind} | {r.tried:,} | {r.survived:,} | {r.lost} | {r.let_in} | {r.seconds:.1f} |" for r in rows]
    print("\n".join(lines))
    if len(sys.argv) == 1:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        page = ROOT / "docs/reliability.md"
        head, _, _ = page.read_text().partition("## The last run")
        run = f"## The last run\n\n{datetime.now(UTC):%d %B %Y}, commit {commit.stdout.strip()}.\n\n"
        page.write_text(head + run + "\n".join(lines) + "\n")
    sys.exit(any(r.lost or r.let_in or r.survived < r.tried for r in rows))


if __name__ == "__main__":
    main()
