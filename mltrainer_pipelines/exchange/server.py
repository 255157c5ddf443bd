"""The local exchange: one server that speaks Polygon's wire format at its root and FRED's under `/fred`."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_pipelines.exchange.market import Market

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mltrainer_pipelines.settings import Settings

_REPLAY = "replay:"
_AHEAD = timedelta(days=300)
"""How far past the start of the server a simulated market is made, for servers that stay up."""


def create_app(market: Market, now: Callable[[], datetime], api_key: str, calls_per_minute: int | None = None) -> "FastAPI":
    """The exchange over `market`: nothing that was not public by `now` (aware), less 15 minutes for prices, is served.

    Polygon's and FRED's routes accept `api_key` alone. Beyond `calls_per_minute` Polygon calls in any 60 seconds of real
    time, further ones are answered with 429; None: no limit.
    """
    from fastapi import FastAPI

    from mltrainer_pipelines.exchange.fred_api import fred_router
    from mltrainer_pipelines.exchange.polygon_api import polygon_router

    app = FastAPI(title=f"mlTrainer local exchange ({market.name})", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str | int]:
        sessions = market.sessions()
        return {"status": "ok", "market": market.name, "sessions": len(sessions), "now": now().isoformat()}

    app.include_router(fred_router(market, now, api_key), prefix="/fred")
    app.include_router(polygon_router(market, now, api_key, calls_per_minute))
    return app


def load_market(settings: "Settings") -> Market:
    """The simulated market or the recording that `MLTRAINER_EXCHANGE` asks for; `RecordingError` says why one cannot be used."""
    if settings.mltrainer_exchange.startswith(_REPLAY):
        from mltrainer_pipelines.exchange.replay import RecordedMarket

        return RecordedMarket(Path(settings.mltrainer_exchange.removeprefix(_REPLAY)))

    from mltrainer_pipelines.exchange.simulated import SimulatedMarket

    return SimulatedMarket(
        seed=settings.mltrainer_simulated_seed,
        symbols=settings.mltrainer_simulated_symbols,
        premium=settings.mltrainer_simulated_premium,
        first=settings.mltrainer_history_start,
        last=_today(settings) + _AHEAD,
    )


def serve(settings: "Settings", port: int, calls_per_minute: int | None = None) -> None:
    """Load the market and answer on 127.0.0.1 until SIGINT or SIGTERM."""
    import uvicorn

    from mltrainer_pipelines.settings import LOCAL_EXCHANGE_KEY, now

    market = load_market(settings)
    app = create_app(market, now, LOCAL_EXCHANGE_KEY, calls_per_minute)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def _today(settings: "Settings") -> date:
    from mltrainer_pipelines.live_clock import read_clock
    from mltrainer_pipelines.settings import NEW_YORK

    clock = read_clock(settings.state)
    return clock.last if clock else (settings.mltrainer_as_of or datetime.now(NEW_YORK)).date()
