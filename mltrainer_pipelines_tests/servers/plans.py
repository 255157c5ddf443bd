"""The loopback vendor with the limits of a data plan: what is not in it, or comes too often, is refused as Polygon does."""

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from mltrainer_pipelines_tests.servers.stocks import GROUPED
from mltrainer_pipelines_tests.servers.vendor import Call, Reply

NOT_AUTHORIZED = Reply(
    b'{"status":"NOT_AUTHORIZED","message":"You are not entitled to this data. Please upgrade your plan"}', status=403
)
TOO_MANY = Reply(json.dumps({"status": "ERROR", "error": "You've exceeded the maximum requests per minute"}).encode(), status=429)


@dataclass
class Plan:
    """`market` as a plan of `years` of history shows it on `today`.

    `calls` in any `window_s` seconds (None: no limit), `snapshots` or none; sessions after `published` are not to be had yet.
    """

    market: Callable[[Call], Reply]
    today: date
    years: int
    calls: int | None = None
    snapshots: bool = True
    published: date | None = None
    window_s: float = 60.0
    _times: deque[float] = field(default_factory=deque)

    def __call__(self, call: Call) -> Reply:
        moment = time.monotonic()
        while self._times and self._times[0] <= moment - self.window_s:
            self._times.popleft()
        if self.calls is not None and len(self._times) >= self.calls:
            return TOO_MANY
        self._times.append(moment)
        if "/snapshot/" in call.path and not self.snapshots:
            return NOT_AUTHORIZED
        if call.path.startswith(GROUPED):
            day = date.fromisoformat(call.path.removeprefix(GROUPED))
            oldest = self.today.replace(year=self.today.year - self.years)
            if day < oldest or (self.published and day > self.published):
                return NOT_AUTHORIZED
        if call.path == "/v1/marketstatus/now":
            return Reply(b'{"market":"closed","serverTime":"2015-12-31T18:00:00-05:00"}')
        return self.market(call)
