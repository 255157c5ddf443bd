"""An installation for the agent's tests: a small simulated market, and a launcher that really runs trials on it."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from mltrainer_pipelines.agent.comparison import TrialRunner
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.audits.proposer_comparison import simulated_runner
from mltrainer_pipelines.audits.simulated_market import AuditMarket
from mltrainer_pipelines.contracts.lake_tables import SIGNALS
from mltrainer_pipelines.ops.dagster_client import UNFINISHED, DagsterError, Run
from mltrainer_pipelines.ops.run_launcher import REQUEST, RunLauncher
from mltrainer_pipelines.settings import NEW_YORK, Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials import joint_requests, run_requests
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.leaderboard import rank
from mltrainer_pipelines.trials.validation.stored_quarters import write_quarter

TEMPLATES = {
    name: TrialConfig.parse({"model": "logistic_l2", "timeframe": name, "universe_size": 30, "train_sessions": 252})
    for name in ("short", "long")
}
SETTINGS = Settings(mltrainer_history_start=date(2017, 1, 3), mltrainer_as_of=datetime(2020, 9, 30, 18, 0, tzinfo=NEW_YORK))
"""Eight quarters that a trial is predicted over."""


@lru_cache
def small_laboratory() -> TrialRunner:
    market = AuditMarket(symbols=24, first=date(2019, 1, 2), last=date(2020, 9, 30))
    return simulated_runner(market, first_quarter=date(2020, 4, 1))


class InProcessLauncher:
    """The launcher over runs of this process: they end at the second look at them, and do what Dagster's jobs do."""

    reserves = False

    def __init__(self, database: Database, lake: Lake):
        self.database, self.lake = database, lake
        self.started: list[str] = []
        self.looks: dict[str, int] = {}
        self.fails: dict[str, str] = {}
        self.refuses = ""
        self._runs: dict[str, Run] = {}
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()
        self._launcher = RunLauncher(self, database.engine, lake, SETTINGS)

    def update(self) -> object:
        return self._launcher.update()

    def cancel(self, run_id: Any) -> None:
        """Stop a run of this process (or several), as the launcher and its Dagster are one here."""
        for one in [run_id] if isinstance(run_id, str) else run_id:
            self._runs[one] = replace(self._runs[one], status="CANCELED")

    def cancel_all(self) -> list[str]:
        return self._launcher.cancel_all()

    def launch(self, job: str, tags: dict[str, str]) -> str | None:
        if self.refuses:
            raise DagsterError(self.refuses)
        subject = tags.get("dagster/partition") or tags.get("dagster/asset_partition_range_end", "").split("|")[-1]
        with self._lock:
            run_id = f"{job} {subject}".strip() + f"#{len(self.started)}"
            self.started.append(run_id)
            self._runs[run_id] = Run(run_id, job, "STARTED", tags, datetime.now(UTC), datetime.now(UTC))
        return run_id

    def runs(
        self,
        tags: dict[str, str] | None = None,
        ids: Sequence[str] | None = None,
        limit: int = 100,
        *,
        unfinished: bool = False,
    ) -> list[Run]:
        if ids is None:
            wanted = (tags or {}).items()
            known = list(self._runs.values())
            return [run for run in known if wanted <= run.tags.items() and (run.status in UNFINISHED or not unfinished)]
        for run_id in ids:
            with self._lock:
                self.looks[run_id] = self.looks.get(run_id, 0) + 1
                mine = self._runs[run_id].status == "STARTED" and self.looks[run_id] >= 2
                if mine:
                    self._runs[run_id] = replace(self._runs[run_id], status="STARTING")
            if mine:
                self._runs[run_id] = replace(
                    self._runs[run_id], status=self._ended(self._runs[run_id]), ended_at=datetime.now(UTC)
                )
        return [self._runs[run_id] for run_id in ids]

    def _ended(self, run: Run) -> str:
        """Do what a run does; gives its status."""
        self._failures[run.run_id] = next((message for what, message in self.fails.items() if what in run.run_id), "")
        if self._failures[run.run_id]:
            return "FAILURE"
        engine, subject = self.database.engine, run.run_id.split("#")[0].split(" ")[-1]
        if run.job in ("momentum_screening", "ensemble"):
            try:
                return "SUCCESS" if joint_requests.advance(engine, int(run.tags[REQUEST])) else "STARTED"
            except joint_requests.JointRequestError as error:
                self._failures[run.run_id] = str(error)
                return "FAILURE"
        if run.job == "walk_forward":
            config = records.config_of(engine, subject)
            for quarter in self._launcher.quarters:
                write_quarter(self.lake, config, str(quarter), pl.DataFrame({"score": [0.5]}), None)
            records.set_status(engine, subject, "predicted", run.run_id)
            run_requests.request_missing_scores(engine, self.lake, self._launcher.quarters, subject)
        elif run.job == "score_trials":
            card = small_laboratory().scorecard(records.config_of(engine, subject))
            assert card is not None
            records.save_scorecard(engine, card, None, run.run_id)
            records.save_leaderboard(engine, rank(records.scorecards(engine), datetime.now(UTC)))
        elif run.job == "refresh_signals":
            write_signals(self.lake)
        return "SUCCESS"

    def failure(self, run_id: str) -> str:
        return self._failures[run_id]

    def finished_steps(self, run_id: str) -> tuple[list[str], str | None]:
        return [], "half way"

    def add_partitions(self, definition: str, keys: Iterable[str]) -> None:
        pass

    def materialized_keys(self, asset: str, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if self.lake.exists(asset, "/".join(reversed(key.split("|"))))}


class Clock:
    """Real time that a test can move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def installation(database: Database, folder: Path, launcher: bool = True) -> tuple[System, InProcessLauncher, Clock]:
    lake, clock = Lake(str(folder / "lake")), Clock()
    works = InProcessLauncher(database, lake)
    return System(database.engine, lake, works if launcher else None, TEMPLATES, "simulated", clock=clock), works, clock


def write_signals(lake: Lake, symbols: tuple[str, ...] = ("AAA", "BBB", "CCC")) -> None:
    """A refresh in which the first symbol passes, the second nearly and the third not."""
    rows = [
        {
            "timestamp": datetime(2020, 9, 30, 15, 0, tzinfo=UTC),
            "date": date(2020, 9, 30),
            "symbol": symbol,
            "timeframe": "short",
            "price": 50.0,
            "price_source": "delayed",
            "signal_strength": 0.9,
            "profit_probability": probability,
            "confidence": 0.9 if n == 0 else 0.6,
            "expected_net_return": 0.02,
            "entry_price": 50.0,
            "target_price": 54.0,
            "stop_loss": 47.0,
            "volatility": 0.02,
            "regime_score": 61.0,
            "model_used": "logistic_l2",
            "grade": "candidate",
            "strong_buy": n == 0,
            "reason": "passes" if n == 0 else "confidence 0.60 below 0.70",
        }
        for n, (symbol, probability) in enumerate(zip(symbols, (0.71, 0.64, 0.40), strict=True))
    ]
    lake.write("signals", pl.DataFrame(rows, schema_overrides=SIGNALS.schema), "2020-09-30")
    regime = {"date": [date(2020, 9, 29), date(2020, 9, 30)], "score": [58.0, 61.0], "trend": [60.0, 64.0]}
    lake.write("regime", pl.DataFrame(regime))
