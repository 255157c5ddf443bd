"""Paper trades: marking 10,000 open positions at delayed quotes."""

import tempfile
import time
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from mltrainer_pipelines.commands.benchmark import Row, benchmark

POSITIONS, MARK_SECONDS = 10_000, 1.0


@benchmark("marking 10,000 open positions", 25)
def paper_trades() -> Iterator[Row]:
    """The best of three."""
    from mltrainer_pipelines.store.database import Database
    from mltrainer_pipelines.store.embedded import EmbeddedPostgres

    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgres") as server:
        database = Database(server.url("mltrainer"))
        database.migrate()
        seconds = _marking(database)
        database.dispose()
    name = f"mark {POSITIONS:,} open positions"
    yield Row(name, seconds, f"under {MARK_SECONDS:g} s", seconds < MARK_SECONDS)


def _marking(database: Any) -> float:
    import polars as pl
    from sqlalchemy.dialects.postgresql import insert

    from mltrainer_pipelines.market.sessions import NEW_YORK
    from mltrainer_pipelines.portfolio.marking import mark
    from mltrainer_pipelines.portfolio.positions import open_positions
    from mltrainer_pipelines.store.tables import Recommendation

    day = date(2015, 3, 3)
    symbols = [f"S{number:05}" for number in range(POSITIONS)]
    row = {
        "timestamp": datetime(2015, 3, 3, 12, tzinfo=NEW_YORK), "session": day, "timeframe": "short", "market": "simulated",
        "signal_strength": 0.9, "profit_probability": 0.65, "confidence": 0.8, "volatility": 0.02, "grade": "candidate",
        "entry_price": Decimal(100), "target_price": Decimal("107.173843"), "stop_loss": Decimal("93.306306"),
        "model_used": "logistic_l2", "thresholds": {},
    }  # fmt: skip
    with database.engine.begin() as connection:
        connection.execute(insert(Recommendation), [{**row, "symbol": symbol} for symbol in symbols])
    open_positions(database.engine, 10.0)
    quotes = pl.DataFrame({"symbol": symbols}).with_columns(
        date=pl.lit(day), close=pl.lit(101.0), previous_close=pl.lit(100.0), stale=pl.lit(value=False)
    )
    best = float("inf")
    for number in range(3):
        moved = quotes.with_columns(pl.col("close") + number)
        begin = time.perf_counter()
        mark(database.engine, moved)
        best = min(best, time.perf_counter() - begin)
    return best
