"""The exchange over real HTTP on loopback, with a clock that a test can set."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import pytest
import uvicorn
from fredapi import Fred
from polygon import RESTClient

from mltrainer_pipelines.exchange.market import NEW_YORK, Market
from mltrainer_pipelines.exchange.server import create_app
from mltrainer_pipelines.exchange.simulated import SimulatedMarket

KEY = "a-key-of-the-tests"


@dataclass
class RunningExchange:
    """A served market: its address, and the time it believes it is."""

    market: Market
    url: str
    now: datetime

    def polygon(self, key: str = KEY, retries: int = 0) -> RESTClient:
        return RESTClient(key, base=self.url, retries=retries)

    def fred(self, key: str = KEY) -> Fred:
        client = Fred(api_key=key)
        client.root_url = f"{self.url}/fred"
        return client


@contextmanager
def served(market: Market, now: datetime, calls_per_minute: int | None = None) -> Iterator[RunningExchange]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        exchange = RunningExchange(market, f"http://127.0.0.1:{listener.getsockname()[1]}", now)
        app = create_app(market, lambda: exchange.now, KEY, calls_per_minute)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.005)
        try:
            yield exchange
        finally:
            server.should_exit = True
            thread.join(timeout=20)


@pytest.fixture(scope="session")
def small_market() -> SimulatedMarket:
    return SimulatedMarket(seed=3, symbols=40, premium=1.0, first=date(2021, 1, 1), last=date(2024, 12, 31))


@pytest.fixture(scope="session")
def running(small_market: SimulatedMarket) -> Iterator[RunningExchange]:
    with served(small_market, new_york(2024, 6, 12, 18)) as exchange:
        yield exchange


@pytest.fixture
def exchange(running: RunningExchange) -> RunningExchange:
    """The small simulated market on Wednesday 12 June 2024, 18:00; a test may move the clock."""
    running.now = new_york(2024, 6, 12, 18)
    return running


@pytest.fixture
def serve() -> Callable[..., object]:
    return served


def new_york(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=NEW_YORK)
