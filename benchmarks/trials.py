"""Trials: a walk-forward beside plain LightGBM, what the services around it cost, many trials, a long leaderboard."""

import json
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers import BARS, SHARED, bars_file, module, peer_scripts
from mltrainer_pipelines.commands.benchmark import Row, benchmark

PEER = SHARED / "peers/lightgbm_walk_forward.py"
TRAIN, TEST, PURGE, ROUNDS, THREADS = 504, 63, 12, 200, 2
AT_MOST = 0.6
SERVICES, LOGGING = 0.10, 0.03
QUICK_TRIALS, SPREAD = 200, 1.25
LEADERBOARD_TRIALS, LEADERBOARD_SECONDS = 10_000, 5.0
PARAMS = {
    "rounds": ROUNDS, "learning_rate": 0.05, "num_leaves": 31, "feature_fraction": 0.5, "min_data_in_leaf": 100,
    "lambda_l2": 0.0, "max_bin": 63,
}  # fmt: skip
"""The peer's, but for 63 bins a feature in place of 255."""


# a walk-forward beside the peer's


@benchmark("16 windows of LightGBM on Alpha158 beside plain LightGBM", 260, bars_file, peer_scripts)
def walk_forward() -> Iterator[Row]:
    """Sixteen windows of Alpha158, ours and the peer's in turns, the better of two runs each, and both log losses."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        _table(table)
        ours, theirs = [], []
        for _ in range(2):
            ours.append(module("benchmarks.trials", "--ours", table))
            theirs.append(module("benchmarks.trials", "--peer", table))
    best, peer = (min(runs, key=lambda run: run["seconds"]) for runs in (ours, theirs))
    met = best["seconds"] <= AT_MOST * peer["seconds"] and best["log_loss"] <= peer["log_loss"]
    name = f"walk-forward, {best['windows']} windows of Alpha158, log loss {best['log_loss']:.4f} (peer {peer['log_loss']:.4f})"
    bar = f"at most {AT_MOST:g} of its time, log loss no worse"
    yield Row(name, best["seconds"], bar, met, "plain LightGBM", peer["seconds"])


def _table(path: Path) -> None:
    """The peer's input: date, symbol, label, and Alpha158."""
    import polars as pl

    from mltrainer_pipelines.contracts.timeframes import SHORT
    from mltrainer_pipelines.features.files import features_of_file, labels_of_file
    from mltrainer_pipelines.features.labels.barriers import Barriers

    features_of_file(Path(BARS), "alpha158", path.with_name("features.parquet"), THREADS)
    labels_of_file(Path(BARS), SHORT, path.with_name("labels.parquet"), Barriers(), 10.0)
    labels = pl.read_parquet(path.with_name("labels.parquet")).select("date", "symbol", pl.col("label").cast(pl.Float32))
    features = pl.read_parquet(path.with_name("features.parquet"))
    features.join(labels, on=["date", "symbol"], how="left").sort("date", "symbol").write_parquet(path)


def _ours(path: str) -> dict[str, Any]:
    """The windows of the peer through our walk-forward: a label counts as known `PURGE` sessions after its decision."""
    import polars as pl

    from mltrainer_pipelines.trials.config import TrialConfig
    from mltrainer_pipelines.trials.validation.scheduling import predict_quarters
    from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
    from mltrainer_pipelines.trials.validation.windows import Window

    class SameWindows(WalkForward):
        """Windows that begin where the peer's do."""

        def window(self, quarter_start: date, quarter_end: date) -> Window:
            first = self.sessions.index(quarter_start)
            last = min(first + TEST, len(self.sessions)) - 1
            cutoff = self.sessions[first]
            return Window(cutoff, self.sessions[last], self.sessions[first - PURGE - TRAIN], cutoff, cutoff)

        def _quarters(self) -> Any:
            starts = range(TRAIN + PURGE, len(self.sessions), TEST)
            return ((self.sessions[start], self.sessions[min(start + TEST, len(self.sessions) - 1)]) for start in starts)

    table = pl.read_parquet(path)
    sessions = table["date"].unique().sort().to_list()
    known_at = dict(zip(sessions, sessions[PURGE:], strict=False))
    label = pl.col("label").cast(pl.Int8)
    labels = table.select(
        "date", "symbol", label=label, net_return=pl.col("label").cast(pl.Float64),
        barrier=pl.when(label.is_not_null()).then(pl.lit("time")),
        exit_date=pl.col("date").replace_strict(known_at, default=None, return_dtype=pl.Date),
    )  # fmt: skip
    config = TrialConfig.parse(
        {"model": "lightgbm", "timeframe": "short", "feature_set": "alpha158", "train_sessions": TRAIN, "params": PARAMS,
         "normalise": "none", "target": "absolute"}
    )  # fmt: skip
    walk = SameWindows(config, table.drop("label"), labels, sessions)
    begin = time.perf_counter()
    ended: list[Any] = list(predict_quarters(walk, walk.quarters(), at_once=THREADS))
    seconds = time.perf_counter() - begin
    predictions = pl.concat(quarter.predictions for quarter in ended).join(labels, on=["date", "symbol"])
    return {
        "windows": len(ended),
        "seconds": seconds,
        "log_loss": _loss(predictions["score"].to_numpy(), predictions["label"].to_numpy()),
    }


def _peer(path: str) -> dict[str, Any]:
    """The peer's script as it is; its predictions are kept as they pass, for their log loss."""
    import contextlib
    import io

    import lightgbm
    import numpy as np
    import polars as pl

    scores: list[Any] = []
    predict = lightgbm.Booster.predict

    def recorded(self: Any, *arguments: Any, **options: Any) -> Any:
        scores.append(predict(self, *arguments, **options))
        return scores[-1]

    lightgbm.Booster.predict = recorded
    printed = io.StringIO()
    sys.argv = [str(PEER), path, "--train", str(TRAIN), "--test", str(TEST), "--purge", str(PURGE), "--rounds", str(ROUNDS)]
    sys.argv += ["--threads", str(THREADS)]
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(PEER), run_name="__main__")
    table = pl.read_parquet(path)
    first = table["date"].unique().sort()[TRAIN + PURGE]
    label = table.filter(pl.col("date") >= first)["label"].to_numpy()
    return json.loads(printed.getvalue()) | {"log_loss": _loss(np.concatenate(scores), label)}


def _loss(score: Any, label: Any) -> float:
    import numpy as np

    from mltrainer_pipelines.trials.scoring.skill import log_loss

    label = np.asarray(label, dtype=np.float64)
    known = ~np.isnan(label)
    return log_loss(score[known], label[known])


# what is around a trial


@benchmark("what Dagster, PostgreSQL, the lake and MLflow add to a trial", 1500, bars_file, by_name_only=True)
def trial_services() -> Iterator[Row]:
    """One long trial through everything beside its own computing, and many quick ones after each other."""
    yield from (Row(**row) for row in module("benchmarks.trials", "--services", QUICK_TRIALS)["rows"])


def _services(trials: int) -> dict[str, Any]:
    from benchmarks import trial_services

    return {"rows": [asdict(row) for row in trial_services.measured(trials)]}


# the leaderboard


@benchmark("the leaderboard of 10,000 trials", 30)
def leaderboard() -> Iterator[Row]:
    """A refresh of the leaderboard over many trials: read, deflate, rank, estimate the overfitting, write."""
    import numpy as np

    from mltrainer_pipelines.store.database import Database
    from mltrainer_pipelines.store.embedded import EmbeddedPostgres
    from mltrainer_pipelines.trials.registry import leaderboard as board
    from mltrainer_pipelines.trials.registry import records
    from mltrainer_pipelines.trials.scoring.scorecard import Scorecard

    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgres") as server:
        database = Database(server.url("mltrainer"))
        database.migrate()
        rng = np.random.default_rng(0)
        _fill(database.engine, Scorecard, LEADERBOARD_TRIALS, rng)
        begin = time.perf_counter()
        cards = records.scorecards(database.engine)
        ranking = board.rank(cards, datetime.now(UTC), records.trials_run(database.engine))
        records.save_leaderboard(database.engine, ranking)
        seconds = time.perf_counter() - begin
        database.dispose()
    name = f"leaderboard over {ranking.height:,} trials"
    yield Row(name, seconds, f"under {LEADERBOARD_SECONDS:g} s", seconds < LEADERBOARD_SECONDS)


def _fill(engine: Any, kind: Any, trials: int, rng: Any) -> None:
    """Scorecards of sixteen quarters, ten sectors and three regimes each, of random numbers."""
    from sqlalchemy import insert

    from mltrainer_pipelines.store.tables import Trial, TrialScorecard
    from mltrainer_pipelines.trials.scoring.breakdown import PartScore, QuarterScore

    quarters = [date(2020 + number // 4, 1 + 3 * (number % 4), 1) for number in range(16)]
    parts = [
        PartScore(part=part, rows=900, sessions=250, **{
            name: 0.1 for name in PartScore.model_fields if name not in ("part", "rows", "sessions")
        }).model_dump() for part in ("bull", *(f"sector {number}" for number in range(12)))
    ]  # fmt: skip
    rows, cards = [], []
    for number in range(trials):
        timeframe, trial_id = ("short", "long")[number % 2], f"lightgbm-{number:08x}"
        quarter = dict.fromkeys(QuarterScore.model_fields, 0.1) | {"rows": 9000, "sessions": 63, "daily_deviation": 0.01}
        means = rng.normal(0.0003, 0.001, 16).tolist()
        values = dict.fromkeys(kind.model_fields, 0.1) | {
            "trial_id": trial_id, "model": "lightgbm", "timeframe": timeframe, "feature_set": "momentum",
            "first_session": "2020-01-02", "last_session": "2023-12-29", "sessions": 1000, "rows": 90_000,
            "calibrated_rows": 80_000, "quarters": 16, "trials_counted": 10, "too_good": [],
            "daily_sharpe": float(rng.normal(0, 0.05)), "kurtosis": 3.0, "skew": 0.0,
            "per_quarter": [
                quarter | {"quarter": str(start), "daily_mean": mean} for start, mean in zip(quarters, means, strict=True)
            ],
            "per_regime": parts[:1], "per_sector": parts[1:],
        }  # fmt: skip
        rows.append({"trial_id": trial_id, "model": "lightgbm", "timeframe": timeframe, "feature_set": "momentum",
                     "config": {}, "proposed_by": "bench"})  # fmt: skip
        cards.append({"trial_id": trial_id, "grade": "candidate", "metrics": values, "sessions": 1000,
                      "daily_sharpe": values["daily_sharpe"]})  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(Trial), rows)
        connection.execute(insert(TrialScorecard), cards)


if __name__ == "__main__":
    part, argument = sys.argv[1:]
    print(json.dumps({"--ours": _ours, "--peer": _peer, "--services": lambda trials: _services(int(trials))}[part](argument)))
