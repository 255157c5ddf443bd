"""How often a client may ask: token buckets, one for reading, one for writing, one for what starts computing."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from mltrainer_pipelines.api.security import OPEN_PATHS, refuse

_COMPUTING = ("/api/facilitator/execute-model", "/api/facilitator/data-pipeline", "/api/chat")
_MOST_CLIENTS = 10_000


@dataclass
class _Bucket:
    level: float
    filled_at: float


@dataclass(frozen=True)
class Budget:
    """Requests a minute, all of which may come at once."""

    per_minute: int
    buckets: dict[str, _Bucket] = field(default_factory=dict)

    def wait(self, client: str, now: float) -> float:
        """Take one; 0, or the seconds until there is one."""
        rate = self.per_minute / 60
        bucket = self.buckets.get(client)
        if bucket is None:
            if len(self.buckets) >= _MOST_CLIENTS:
                self.buckets.clear()
            bucket = self.buckets[client] = _Bucket(self.per_minute, now)
        bucket.level = min(self.per_minute, bucket.level + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        if bucket.level < 1:
            return (1 - bucket.level) / rate
        bucket.level -= 1
        return 0.0


class RateLimit:
    """Answers 429 with `Retry-After` where a client, by its address, asks more often than it may."""

    def __init__(
        self,
        app: ASGIApp,
        reads_per_minute: int,
        writes_per_minute: int,
        jobs_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.app, self.clock = app, clock
        self.reads, self.writes, self.jobs = (Budget(n) for n in (reads_per_minute, writes_per_minute, jobs_per_minute))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            client = scope["client"][0] if scope.get("client") else "unknown"
            reading = scope["method"] in ("GET", "HEAD", "OPTIONS")
            budget = self.reads if reading else self.jobs if scope["path"] in _COMPUTING else self.writes
            wait = budget.wait(client, self.clock())
            if wait > 0:
                detail = f"more than {budget.per_minute} such requests a minute; wait {wait:.1f} s"
                await refuse(scope, receive, send, 429, detail, {"Retry-After": str(int(wait) + 1)})
                return
        await self.app(scope, receive, send)
