"""An installation for the agent's tests: a small simulated market, and a launcher that really runs trials on it."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import polars as pl

from mltrainer_pipelines.agent.comparison import TrialRunner
from mltrainer_pipelines.agent.jobs import Job, JobError, JobProgress
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.audits.proposer_comparison import simulated_runner
from mltrainer_pipelines.audits.simulated_market import AuditMarket
from mltrainer_pipelines.contracts.lake_tables import SIGNALS
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.leaderboard import rank

TEMPLATES = {
    name: TrialConfig.parse({"model": "logistic_l2", "timeframe": name, "universe_size": 30, "train_sessions": 252})
    for name in ("short", "long")
}


@lru_cache
def small_laboratory() -> TrialRunner:
    market = AuditMarket(symbols=24, first=date(2019, 1, 2), last=date(2020, 9, 30))
    return simulated_runner(market, first_quarter=date(2020, 4, 1))


class InProcessLauncher:
    """Runs trials in this process, at the second look at them; scores them when told to, as Dagster's jobs do."""

    def __init__(self, database: Database, lake: Lake):
        self.database, self.lake = database, lake
        self.started: list[str] = []
        self.looks: dict[str, int] = {}
        self.fails: dict[str, str] = {}
        self.refuses = ""
        self._trials: dict[str, TrialConfig] = {}

    def start_trial(self, config: TrialConfig, reason: str) -> str:
        job = self._begin(f"trial {config.trial_id}")
        records.register(self.database.engine, config)
        self._trials[config.trial_id] = config
        return job

    def start_job(self, job: Job, reason: str, partition: str | None = None) -> str:
        return self._begin(f"{job} {partition or ''}".strip())

    def progress(self, job_id: str) -> JobProgress:
        self.looks[job_id] = self.looks.get(job_id, 0) + 1
        name = job_id.split("#")[0]
        if self.looks[job_id] < 2:
            return JobProgress("running", "half way")
        for what, message in self.fails.items():
            if what in name:
                return JobProgress("failed", message)
        if name.startswith("score_trials") and self.looks[job_id] == 2:
            card = small_laboratory().scorecard(self._trials[name.split()[1]])
            assert card is not None
            records.save_scorecard(self.database.engine, card, None, job_id)
            records.save_leaderboard(self.database.engine, rank(records.scorecards(self.database.engine), datetime.now(UTC)))
        if name == "refresh_signals" and self.looks[job_id] == 2:
            write_signals(self.lake)
        return JobProgress("succeeded")

    def cancel_all(self) -> list[str]:
        return [job for job in self.started if self.looks.get(job, 0) < 2]

    def _begin(self, what: str) -> str:
        if self.refuses:
            raise JobError(self.refuses)
        self.started.append(f"{what}#{len(self.started)}")
        return self.started[-1]


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
