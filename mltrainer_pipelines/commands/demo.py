"""The main job (`mltrainer demo`): from bars to paper trades, through Dagster, with what it took.

The demo is a client like any other. It brings the services up, or uses those that run, and asks the
webserver for a backfill and for runs of jobs; everything it makes is there in the UI afterwards.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, get_args

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mltrainer_pipelines.commands.preflight import clock_in, look
from mltrainer_pipelines.commands.stages import Stages
from mltrainer_pipelines.commands.trial import outcomes, wait_until_scored
from mltrainer_pipelines.ops.dagster_client import DagsterClient, Run
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.run_launcher import launcher_of, quarters_of
from mltrainer_pipelines.ops.temporary_services import services_up
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.run_requests import Outcome, RunRequest, request_trial

_RANGE_OF_LABELS = timedelta(days=125)
"""A label of 125 days ago is known by now: months before that do not change when a session is added."""


class DemoError(RuntimeError):
    """The demo cannot go on: says at which stage and why."""


@dataclass
class DemoResult:
    """What a demo made and what it took.

    `sessions` have bars in the lake and `symbols` traded in the newest; `trial_partitions` are the predicted quarters of the
    `trials`. `signals` (rows of both timeframes), `recommendations` and their `virtual_positions` are of the newest session;
    `dagster_runs` counts the instance's runs, `seconds` is the wall time of each stage, and `total`; `computing` how much of
    it steps of runs were computing, `overhead` the rest of the total.
    """

    exchange: str
    sessions: int = 0
    symbols: int = 0
    trials: list[str] = field(default_factory=list)
    trial_partitions: int = 0
    champions: dict[str, Any] = field(default_factory=dict)
    signals: int = 0
    recommendations: list[dict[str, Any]] = field(default_factory=list)
    virtual_positions: int = 0
    dagster_runs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    computing: dict[str, float] = field(default_factory=dict)
    overhead: float = 0.0


def run_demo(settings: Settings, console: Console) -> DemoResult:
    """Run the loop once: what is there already is used, what is missing is made. `console` takes the progress bars.

    Raises `DemoError` if the history is too short for a trial, `DagsterError` if a run does not succeed, and what
    `services_up` raises.
    """
    stages = Stages()
    with console.status("Looking at the market and what may be asked of it …"):
        seen = look(settings)
    for line in seen.lines:
        console.print(line, highlight=False)
    if seen.refusal:
        raise DemoError(seen.refusal)
    settings = settings.in_its_plan()
    if seen.as_of:
        settings = settings.standing_at(seen.as_of)
    require_quarters(settings)
    with ExitStack() as running:
        with stages.stage("start"):
            services = running.enter_context(services_up(settings, console, late=("mlflow",)))
        dagster = DagsterClient.of(settings, services.addresses["dagster"])
        demo = Preparation(settings, console, seen.newest, stages)
        demo.prepare(dagster, services.wait_for, relive=True)
        demo.score_market(dagster)
        demo.learn(dagster)
        demo.result.dagster_runs = dagster.run_count()
        stages.note_steps(dagster)
        with stages.stage("stop"):
            running.close()
    stages.end()
    demo.result.seconds, demo.result.computing = stages.seconds, stages.computing
    demo.result.overhead = round(stages.seconds["total"] - stages.computing["total"], 1)
    return demo.result


def require_quarters(settings: Settings) -> None:
    """Refuse dates that leave too little to predict, before anything is started."""
    from mltrainer_pipelines.market.sessions import last_closed_session
    from mltrainer_pipelines.settings import now
    from mltrainer_pipelines.trials.validate_trial import MIN_QUARTERS

    count = len(quarters_of(settings))
    if count < MIN_QUARTERS:
        start, days = settings.mltrainer_history_start, settings.mltrainer_training_days
        raise DemoError(
            f"from MLTRAINER_HISTORY_START={start} to {last_closed_session(now())} {count} whole quarters have {days} days of "
            f"history before them, and a trial is judged by {MIN_QUARTERS}: start the history earlier, or train on less before "
            "the first quarter (with MLTRAINER_TRAINING_DAYS=270 two years are enough)"
        )


def seconds_left(done: int, total: int, elapsed_s: float, calls_per_minute: int | None) -> float:
    """How long the rest of a backfill takes, at the pace it has had so far, or at least that of the plan's calls a minute.

    >>> seconds_left(0, 500, 0.0, 5), seconds_left(100, 500, 1320.0, 5), seconds_left(50, 500, 1.0, None)
    (6000.0, 5280.0, 9.0)
    """
    pace_s = elapsed_s / done if done else 0.0
    return (total - done) * max(pace_s, 60.0 / calls_per_minute if calls_per_minute else 0.0)


class Preparation:
    """The stages in order; each looks at what is there before it asks Dagster for more. `result` says what they made.

    `newest` is the newest session to be had, by default the last that closed.
    """

    def __init__(self, settings: Settings, console: Console, newest: date | None = None, stages: Stages | None = None):
        self.settings, self.console, self.newest, self.stages = settings, console, newest, stages or Stages()
        self.lake = Lake(settings.lake_url)
        self.result = DemoResult(settings.market_source)
        self.relived = False

    def prepare(self, dagster: DagsterClient, wait_for: Callable[[str], None] = lambda _: None, relive: bool = False) -> None:
        """Whatever a market needs before it is scored: its past, trials, champions.

        `wait_for` is called with "mlflow" before MLflow is needed. With `relive` a market without books also gets its last
        sessions decided again, beside the champions (`learning.recent_sessions`).
        """
        from mltrainer_pipelines.defs import partitions
        from mltrainer_pipelines.market.sessions import last_closed_session
        from mltrainer_pipelines.settings import now

        newest = self.newest or last_closed_session(now())
        sessions = [key for key in partitions.sessions.get_partition_keys() if key <= str(newest)]
        months = [key for key in partitions.months.get_partition_keys() if key <= str(newest)]
        quarters = [str(quarter) for quarter in quarters_of(self.settings)]
        dagster.require_loaded()
        database = Database(database_url(self.settings, "mltrainer"))
        self._bars(dagster, sessions)
        self._features(dagster, sessions, months, newest)
        with self.stages.stage("waiting for MLflow"):
            wait_for("mlflow")
        scored = self._trials(dagster, database, quarters)
        self._champions(dagster, database, scored, relive)

    def _bars(self, dagster: DagsterClient, sessions: list[str]) -> None:
        with self.stages.stage("daily_bars"):
            done = dagster.materialized_keys("daily_bars", sessions)
            missing = [key for key in sessions if key not in done]
            if missing:
                run = dagster.launch_assets(
                    ["daily_bars"], missing[0], missing[-1]
                )  # sessions that are there are left as they are
                what, begin = "Daily bars, a call a session", time.monotonic()
                with self._bar(what, len(missing)) as advance:

                    def follow(_: object) -> None:
                        done = self._present("daily_bars", missing)
                        left_s = seconds_left(done, len(missing), time.monotonic() - begin, self.settings.polygon_call_budget)
                        there = f"; there at about {clock_in(left_s)}" if left_s >= 60 else ""
                        advance(done, what + there)

                    dagster.wait([run], follow)
        self.result.sessions = len(self.lake.partitions("daily_bars"))
        self.result.symbols = self.lake.read("daily_bars", sessions[-1])["symbol"].n_unique()

    def _features(self, dagster: DagsterClient, sessions: list[str], months: list[str], newest: date) -> None:
        present = self.lake.partitions("features")
        last = self.lake.read("features", months[-1])["date"].max() if months[-1] in present else None
        complete = set(months) <= set(present) and set(months) <= set(self.lake.partitions("labels"))
        if complete and last == newest and self.lake.exists("regime"):
            for name in ("corporate_actions, macro_series", "universe, features, labels, regime"):
                with self.stages.stage(name):
                    pass
            return
        with self.stages.stage("corporate_actions, macro_series"):
            run = dagster.launch("ingest_session", {"dagster/partition": sessions[-1]})
            self._steps(dagster, run, "Corporate actions and macro series")
        start = months[0] if not complete else max(months[0], str((newest - _RANGE_OF_LABELS).replace(day=1)))
        with self.stages.stage("universe, features, labels, regime"):
            run = dagster.launch_range("build_features", start, months[-1])
            self._steps(dagster, run, f"Universe, features, labels and regime of {len(months) - months.index(start)} months")

    def _trials(self, dagster: DagsterClient, database: Database, quarters: list[str]) -> bool:
        """Predict and score the trials; returns whether anything was scored anew."""
        from mltrainer_pipelines.contracts.timeframes import TimeframeName
        from mltrainer_pipelines.trials.defaults import default_trials

        about = {"proposed_by": "demo", "rationale": "a first look at this market"}
        configs = [config for timeframe in get_args(TimeframeName) for config in default_trials(timeframe, **about)]
        ids = [config.trial_id for config in configs]
        wanted = [f"{trial_id}/{quarter}" for trial_id in ids for quarter in quarters]
        launcher = launcher_of(self.settings, database.engine, dagster, self.lake)
        with self.stages.stage("trials"):
            with database.engine.begin() as connection:
                requests = [request_trial(connection, config, "demo", "a first look at this market") for config in configs]
            launcher.update()
            pairs = outcomes(database.engine, requests)
            if refused := next((outcome for _, outcome in pairs if outcome.status == "failed"), None):
                raise DemoError(refused.message)
            running = sum(request.run_id is not None for request, _ in pairs)
            if running:
                with self._bar(f"{running} trials over {len(quarters)} quarters", len(wanted)) as advance:

                    def follow(_: object) -> None:
                        advance(self._present("trial_predictions", wanted), None)

                    wait_until_scored(launcher, requests, predicted_is_enough=True, on_poll=follow)
        with self.stages.stage("scorecards, leaderboard"):
            unscored = sum(outcome.status == "running" for _, outcome in outcomes(database.engine, requests))
            if unscored:
                with self._bar("Scorecards and the leaderboard", len(ids)) as advance:

                    def count(pairs: list[tuple[RunRequest, Outcome]]) -> None:
                        advance(sum(outcome.status == "succeeded" for _, outcome in pairs), None)

                    wait_until_scored(launcher, requests, on_poll=count)
        self.result.trials = ids
        self.result.trial_partitions = self._present("trial_predictions", wanted)
        return bool(running or unscored)

    def _champions(self, dagster: DagsterClient, database: Database, scored: bool, relive: bool) -> None:
        from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
        from mltrainer_pipelines.portfolio.performance import books_are_kept
        from mltrainer_pipelines.trials.registry import records

        names = list(TIMEFRAMES)
        missing = scored or any(records.champion_of(database.engine, name) is None for name in names)
        with self.stages.stage("champions"):
            run = dagster.launch_range("promote_champion", names[0], names[-1]) if missing else None
            # neither waits for the other: the past is decided on by the walk-forward models
            new = relive and not books_are_kept(database.engine)
            relived = dagster.launch("live_recent_sessions") if new else None
            if run:
                self._steps(dagster, run, "Champions: refit on all that is known, and registered")
        with self.stages.stage("the last 60 sessions"):
            if relived:
                self._steps(dagster, relived, "The last 60 sessions, decided again by the models of their time")
        self.relived = relived is not None
        self.result.champions = {name: records.champion_status(database.engine, name) for name in names}

    def score_market(self, dagster: DagsterClient) -> None:
        """The first refresh: signals, recommendations, their paper trades."""
        from mltrainer_pipelines.portfolio.positions import positions_of
        from mltrainer_pipelines.signals.recommendations import recommendations_frame

        with self.stages.stage("signals, recommendations, virtual positions"):
            run = dagster.launch("refresh_signals")
            self._steps(dagster, run, "Signals, recommendations, paper trades")
        database, session = Database(database_url(self.settings, "mltrainer")), max(self.lake.partitions("signals"))
        latest = self.lake.read("signals", session)
        latest = latest.filter(pl.col("timestamp") == latest["timestamp"].max())
        self.result.signals = latest.height
        made = recommendations_frame(database.engine, date.fromisoformat(session))
        self.result.recommendations = made.to_dicts()
        self.result.virtual_positions = len(positions_of(database.engine, made["id"].to_list()))

    def learn(self, dagster: DagsterClient) -> None:
        """What became of the sessions that were decided again."""
        with self.stages.stage("learning"):
            if self.relived:
                self._steps(dagster, dagster.launch("learn"), "Outcomes, weights, drift, the learning report")

    def _present(self, asset: str, partitions: list[str]) -> int:
        """How many of these partitions the lake has."""
        return len(set(partitions).intersection(self.lake.partitions(asset)))

    @contextmanager
    def _bar(self, what: str, total: int) -> Iterator[Callable[[int, str | None], None]]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=total)

            def advance(done: int, now_doing: str | None) -> None:
                progress.update(task, completed=done, description=now_doing or what)

            yield advance
            progress.update(task, completed=total)

    def _steps(self, dagster: DagsterClient, run_id: str, what: str) -> None:
        """Follow a run step by step."""
        with self._bar(what, 1) as advance:

            def follow(_: list[Run]) -> None:
                _done, doing = dagster.finished_steps(run_id)
                advance(0, f"{what}: {doing}" if doing else None)

            dagster.wait([run_id], follow)
