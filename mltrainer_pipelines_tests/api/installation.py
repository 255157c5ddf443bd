"""A small installation for the API: five companies over a hundred and sixty sessions, and what was recommended in the last."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mltrainer_pipelines.api.server import create_api
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines.ops.dagster_client import DagsterClient
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.servers.dagster import Dagster

TOKEN = "a-token-of-the-tests"
SESSIONS = sessions_between(date(2023, 8, 14), date(2024, 3, 28))
LAST = SESSIONS[-1]
NOW = datetime(2024, 3, 28, 18, 0, tzinfo=NEW_YORK)
COMPANIES = {"AAA": "Alpha Arms Inc.", "BBB": "Beta Bricks plc", "CCC": "Gamma Gas Corp.", "DDD": "Delta Dyes", "EEE": "Epsilon"}
SECTORS = {"AAA": "Industrials", "BBB": "Materials", "CCC": "Energy", "DDD": "Materials", "EEE": None}


@dataclass(frozen=True)
class Installation:
    """The app, a client that has its token, and what is behind them."""

    app: FastAPI
    client: TestClient
    settings: Settings
    database: Database
    lake: Lake
    dagster: Dagster


def make_installation(folder: Path, database: Database, dagster: Dagster, **settings: Any) -> Installation:
    given = Settings(
        mltrainer_home=folder,
        mltrainer_as_of=NOW,
        mltrainer_history_start=date(2021, 6, 1),
        dagster_port=1,
        mlflow_port=1,
        exchange_port=1,
        **settings,
    )
    lake = Lake(given.lake_url)
    if not lake.exists("signals", str(LAST)):
        fill_lake(lake)
    app = create_api(given, database, lake, DagsterClient(dagster.url, timeout_s=5.0), lambda: NOW, TOKEN)
    client = TestClient(app, base_url="http://127.0.0.1:8000", headers={"Authorization": f"Bearer {TOKEN}"})
    return Installation(app, client, given, database, lake, dagster)


def fill_lake(lake: Lake) -> None:
    for day, session in enumerate(SESSIONS):
        lake.write("daily_bars", _bars(session, day), str(session))
    actions = {"symbol": "BBB", "ex_date": SESSIONS[-20], "kind": "split", "ratio": 2.0, "cash": None, "declared": None}
    schema = {
        "symbol": pl.String,
        "ex_date": pl.Date,
        "kind": pl.String,
        "ratio": pl.Float64,
        "cash": pl.Float64,
        "declared": pl.Date,
    }
    lake.write("corporate_actions", pl.DataFrame([actions], schema=schema))
    month = LAST.replace(day=1)
    members = [
        {"month": month, "symbol": symbol, "rank": rank, "median_dollar_volume": 1e6, "close": 100.0, "name": name}
        for rank, (symbol, name) in enumerate(COMPANIES.items(), 1)
    ]
    universe = pl.DataFrame(members).with_columns(sector=pl.Series([SECTORS[symbol] for symbol in COMPANIES], dtype=pl.String))
    lake.write("universe", universe, str(month))
    score = pl.DataFrame({"date": SESSIONS, "score": [None, *(50 + 20 * math.sin(day / 9) for day in range(1, len(SESSIONS)))]})
    parts = {name: pl.col("score") for name in ("trend", "breadth", "volatility")}
    unknown = {name: pl.lit(None, pl.Float64) for name in ("credit", "curve")}
    lake.write("regime", score.with_columns(**parts, **unknown))
    lake.write("signals", _signals(), str(LAST))


def _bars(session: date, day: int) -> pl.DataFrame:
    rows = []
    for place, symbol in enumerate(COMPANIES):
        split = 0.5 if symbol == "BBB" and session >= SESSIONS[-20] else 1.0
        close = round((100 + 10 * place) * (1 + 0.001 * day) * split, 4)
        row = {"date": session, "symbol": symbol, "open": close, "high": close * 1.01, "low": close * 0.99, "close": close}
        rows.append({**row, "volume": 1e5, "vwap": close, "trades": 100})
    return pl.DataFrame(rows)


def _signals() -> pl.DataFrame:
    rows = []
    for place, symbol in enumerate(COMPANIES):
        probability = 0.62 - 0.02 * place
        lacked = [] if probability >= 0.6 else [f"probability {probability:.2f} below 0.60"]
        if symbol == "EEE":
            probability, lacked = None, ["it has no price"]
        rows.append(
            {
                "timestamp": NOW,
                "date": LAST,
                "symbol": symbol,
                "timeframe": "short",
                "price": 110.0,
                "signal_strength": 0.9 - 0.1 * place,
                "profit_probability": probability,
                "confidence": 0.8,
                "expected_net_return": 0.02,
                "probability_low": 0.55,
                "probability_high": 0.65,
                "entry_price": 110.0,
                "target_price": 118.0,
                "stop_loss": 104.0,
                "volatility": 0.01,
                "regime_score": 60.0,
                "model_used": "lightgbm",
                "model_version": "1",
                "trial_id": "lightgbm-short-aaaaaaaa",
                "grade": "candidate",
                "strong_buy": not lacked,
                "reason": "; ".join(lacked) or "passes",
            }
        )
    return pl.DataFrame(rows).with_columns(pl.col("timestamp").dt.cast_time_unit("us").dt.convert_time_zone("America/New_York"))


def recommend(database: Database, symbol: str, session: date = LAST, **values: Any) -> int:
    """A recommendation; gives its number."""
    row = {
        "timestamp": datetime.combine(session, datetime.min.time(), NEW_YORK) + timedelta(hours=16, minutes=20),
        "symbol": symbol,
        "signal_strength": 0.9,
        "profit_probability": 0.62,
        "confidence": 0.8,
        "entry_price": Decimal("110"),
        "target_price": Decimal("118"),
        "stop_loss": Decimal("104"),
        "timeframe": "short",
        "model_used": "lightgbm",
        "session": session,
        "expected_net_return": 0.02,
        "probability_low": 0.55,
        "probability_high": 0.65,
        "volatility": 0.01,
        "regime_score": 60.0,
        "grade": "candidate",
        "model_version": "1",
        "trial_id": "lightgbm-short-aaaaaaaa",
        "market": "simulated",
        "thresholds": {"min_probability": 0.6, "min_confidence": 0.7, "min_regime": 25.0, "min_expected_net_return": 0.0},
        **values,
    }
    with database.engine.begin() as connection:
        inserted = sa.insert(tables.Recommendation).values(row).returning(tables.Recommendation.id)
        return connection.execute(inserted).scalar_one()


def hold_virtually(database: Database, recommendation: int, symbol: str, **values: Any) -> int:
    """Its paper trade, open unless told; gives its number."""
    row = {
        "recommendation_id": recommendation,
        "symbol": symbol,
        "timeframe": "short",
        "status": "open",
        "decided_session": SESSIONS[-30],
        "entry_session": SESSIONS[-29],
        "entry_price": Decimal("110"),
        "shares": Decimal("100"),
        "current_price": Decimal("112"),
        "marked_session": LAST,
        "profit_loss": Decimal("178.00"),
        "fees": Decimal("22.00"),
        "target_price": Decimal("118"),
        "stop_loss": Decimal("104"),
        "max_sessions": 12,
        "volatility": 0.01,
        "target_multiple": 1.0,
        "stop_multiple": 1.0,
        "cost_bps": 10.0,
        "notional": Decimal("11000"),
        "intraday": False,
        "fill_price": Decimal("110"),
        "fill_shares": Decimal("100"),
        **values,
    }
    if row["status"] == "closed":
        row = {"exit_session": LAST, "exit_price": row["current_price"], "exit_reason": "target", "net_return": 0.016, **row}
    with database.engine.begin() as connection:
        inserted = sa.insert(tables.VirtualPosition).values(row).returning(tables.VirtualPosition.id)
        return connection.execute(inserted).scalar_one()


def submit(database: Database, model: str, timeframe: str, rank: int, **metrics: Any) -> str:
    """A scored trial on the leaderboard; gives its id."""
    trial_id = f"{model.replace('_', '-')}-{timeframe}-{rank:08d}"
    quarters = [
        {
            **dict.fromkeys(("auc", "brier_skill", "rank_ic"), 0.1),
            "quarter": quarter,
            "net_return": 0.05,
            "universe_net_return": 0.02,
            "momentum_net_return": 0.03,
        }
        for quarter in ("2023-10-01", "2023-07-01")
    ]
    card = {
        "sharpe": 1.5 / rank,
        "net_return": 0.1,
        "net_return_low": -0.01,
        "net_return_high": 0.2,
        "per_quarter": quarters,
    } | metrics
    config = {"model": model, "timeframe": timeframe}
    with database.engine.begin() as connection:
        trial = {"trial_id": trial_id, "model": model, "timeframe": timeframe, "feature_set": "momentum", "config": config}
        connection.execute(sa.insert(tables.Trial).values(**trial, proposed_by="tpe", rationale="", status="scored"))
        scorecard = {"trial_id": trial_id, "grade": "candidate", "metrics": card, "sessions": 500, "deflated_sharpe": 0.9 / rank}
        connection.execute(sa.insert(tables.TrialScorecard).values(**scorecard, mlflow_run_id="abc", dagster_run_id="run-9"))
        row = {"timeframe": timeframe, "trial_id": trial_id, "rank": rank, "model": model, "grade": "candidate"}
        connection.execute(
            sa.insert(tables.LeaderboardRow).values(**row, sharpe=card["sharpe"], net_return=0.1, deflated_sharpe=0.9 / rank)
        )
    return trial_id


def propose(database: Database, trial_id: str = "lightgbm-short-bbbbbbbb") -> int:
    """A proposal that waits for a yes."""
    values = {
        "proposer": "tpe",
        "trial_id": trial_id,
        "config": {"model": "lightgbm", "timeframe": "short"},
        "hypothesis": "smaller trees forget less",
        "refuted_if": "its Sharpe ratio is below 1",
        "expected_gain": 0.1,
        "created_at": datetime.now(UTC),
    }
    with database.engine.begin() as connection:
        return connection.execute(sa.insert(tables.TrialProposal).values(values).returning(tables.TrialProposal.id)).scalar_one()
