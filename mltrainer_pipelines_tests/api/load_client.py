"""Fifty clients in a process of their own: `load_client.py URL TOKEN SECONDS [different]` prints what they met."""

import asyncio
import json
import statistics
import sys
import time
from datetime import date, timedelta

CLIENTS = 50
READS = (
    "/api/recommendations?limit=100&sort=-profit_probability",
    "/api/recommendations/1",
    "/api/portfolio",
    "/api/virtual-positions?limit=100",
    "/api/performance",
    "/api/trials",
    "/api/models",
    "/api/regime",
    "/api/settings",
)


def different(turn: int) -> str:
    """A read like one of `READS` that nobody asked for within the same second, so that none is answered from memory."""
    return (
        f"/api/recommendations?limit=100&sort=-profit_probability&min_probability={turn % 500_000 / 1_000_000:.6f}",
        f"/api/recommendations/{1 + turn % 100}",
        f"/api/portfolio?offset={turn}",
        f"/api/virtual-positions?limit={100 - turn % 11}&offset={turn % 20}",
        f"/api/performance?first={date(1970, 1, 1) + timedelta(days=turn % 15_000)}",
        f"/api/trials?limit={1 + turn % 500}&offset=0",
        f"/api/recommendations/near-misses?limit={1 + turn % 50}",
        f"/api/regime?sessions={200 + turn % 4000}",
        f"/api/settings?history={turn % 500}",
    )[turn % 9]


async def load(url: str, token: str, seconds: float, all_different: bool = False) -> dict:
    """As many clients, each asking for one thing after the other on a connection of its own."""
    asked = 0
    waits: list[float] = []
    failed: list[str] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        nonlocal asked
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        turn = number
        while time.monotonic() < end:
            asked += 1
            path = different(asked) if all_different else READS[turn % len(READS)]
            turn += 1
            begin = time.monotonic()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
            await reader.readexactly(length)
            waits.append(time.monotonic() - begin)
            if " 200 " not in head.split("\r\n")[0]:
                failed.append(f"{path}: {head.splitlines()[0]}")
        writer.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    cuts = statistics.quantiles(waits, n=100)
    return {
        "clients": CLIENTS,
        "seconds": seconds,
        "answers": len(waits),
        "a_second": round(len(waits) / seconds),
        "p50_ms": round(1000 * cuts[49], 1),
        "p95_ms": round(1000 * cuts[94], 1),
        "p99_ms": round(1000 * cuts[98], 1),
        "failed": failed[:10],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(sys.argv[1], sys.argv[2], float(sys.argv[3]), "different" in sys.argv[4:]))))
