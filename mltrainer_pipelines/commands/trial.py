"""What `mltrainer trial` does: submit a trial, let an earlier champion score the market again."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from sqlalchemy.engine import Engine

from mltrainer_pipelines.ops.dagster_client import DagsterClient, DagsterError
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.run_launcher import RunLauncher, launcher_of
from mltrainer_pipelines.ops.temporary_services import services_up
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials import run_requests
from mltrainer_pipelines.trials.run_requests import Outcome, RunRequest

POLL_S = 0.5


def submit_trial(settings: Settings, text: str, console: Console, wait: bool) -> dict[str, object]:
    """Run a trial, given as JSON, over all quarters that are not predicted yet, and score it.

    Returns when it is scored; without `wait` when it is launched, which needs services that go on running. The answer has
    `trial_id`, `status` (`launched`, `scored`), `run_id` (None where nothing had to run) and `scorecard` (or None). Raises
    `InvalidTrialError` if the configuration cannot run, and nothing is started; `DagsterError` if a run does not succeed.
    """
    from mltrainer_pipelines.trials.config import TrialConfig
    from mltrainer_pipelines.trials.registry import records

    config = TrialConfig.from_json(text)
    with services_up(settings, console) as services:
        dagster = DagsterClient.of(settings, services.addresses["dagster"])
        dagster.require_loaded()
        engine = Database(database_url(settings, "mltrainer")).engine
        launcher = launcher_of(settings, engine, dagster)
        launcher.validate(config)
        with engine.begin() as connection:
            number = run_requests.request_trial(connection, config, "cli", config.rationale or "")
        launcher.update()
        ((request, _),) = outcomes(engine, [number])
        if request.run_id and not (wait or services.owned):
            return {"trial_id": config.trial_id, "status": "launched", "run_id": request.run_id, "scorecard": None}
        with console.status(f"{config.trial_id}: {len(launcher.quarters)} quarters, then its scorecard"):
            wait_until_scored(launcher, [number])
        card = next(card for card in records.scorecards(engine) if card.trial_id == config.trial_id)
        scorecard = card.model_dump(mode="json")
        return {"trial_id": config.trial_id, "status": "scored", "run_id": request.run_id, "scorecard": scorecard}


def outcomes(engine: Engine, requests: Sequence[int]) -> list[tuple[RunRequest, Outcome]]:
    """Requests by id, each with what became of it."""
    with engine.connect() as connection:
        rows = [run_requests.get_request(connection, number) for number in requests]
        return [(request, run_requests.outcome(connection, request)) for request in rows]


def wait_until_scored(
    launcher: RunLauncher,
    requests: Sequence[int],
    predicted_is_enough: bool = False,
    on_poll: Callable[[list[tuple[RunRequest, Outcome]]], None] = lambda _: None,
) -> None:
    """Wait until the trials of requests are scored, or only predicted; `DagsterError` if one fails: names it and why."""
    while True:
        launcher.update()
        pairs = outcomes(launcher.engine, requests)
        on_poll(pairs)
        for request, outcome in pairs:
            if outcome.status == "failed":
                raise DagsterError(f"the trial {request.trial_id} failed: {outcome.message} (run {request.run_id})")
        if all(outcome.status == "succeeded" or (predicted_is_enough and request.finished_at) for request, outcome in pairs):
            return
        time.sleep(POLL_S)


def roll_back_champion(settings: Settings, timeframe: str, to: str | None, reason: str, console: Console) -> dict[str, object]:
    """Let an earlier champion of a timeframe score the market again; in the answer `before` is the version until now.

    Raises `InvalidTrialError` if there is no such timeframe, `NoChampionError` if there is no champion, no such version, or
    none before the present one.
    """
    from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
    from mltrainer_pipelines.settings import now
    from mltrainer_pipelines.trials.config import InvalidTrialError
    from mltrainer_pipelines.trials.registry.rollback import roll_back
    from mltrainer_pipelines.trials.registry.tracking import Tracking

    if timeframe not in TIMEFRAMES:
        raise InvalidTrialError(f"there is no timeframe {timeframe!r}; give {' or '.join(TIMEFRAMES)}")
    with services_up(settings, console) as services:
        database = Database(database_url(settings, "mltrainer"))
        rollback = roll_back(database.engine, Tracking(services.addresses["mlflow"]), timeframe, now(), to, reason)
    return {
        "timeframe": timeframe,
        "changed": rollback.changed,
        "version": rollback.now.version,
        "trial_id": rollback.now.trial_id,
        "grade": rollback.now.grade,
        "before": rollback.before.version,
    }
