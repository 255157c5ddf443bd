"""Submitting a trial: from the command line, from Dagster's launchpad, and what both ask of it before anything starts."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mltrainer_pipelines.ops.dagster_client import DagsterClient
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.temporary_services import services_up
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from mltrainer_pipelines.trials.config import TrialConfig


def quarters_here() -> list[date]:
    """First days of the quarters that a trial of this installation is predicted over, in order."""
    from mltrainer_pipelines.settings import get_settings, now
    from mltrainer_pipelines.trials.quarters import predictable_quarters

    settings = get_settings()
    # A pinned clock stands at the end of its day.
    last = now().date() if settings.mltrainer_as_of else now().date() - timedelta(days=1)
    return predictable_quarters(settings.mltrainer_history_start, last)


def validate_trial_here(config: "TrialConfig") -> None:
    """Refuse a trial that this installation's history is too short for; raises `InvalidTrialError`."""
    from mltrainer_pipelines.settings import get_settings
    from mltrainer_pipelines.trials.validate_trial import validate_trial

    validate_trial(config, quarters_here(), get_settings().mltrainer_history_start)


def begin(dagster: DagsterClient, engine: "Engine", config: "TrialConfig") -> tuple[list[str], str | None]:
    """Record a trial and launch it over the quarters that are not predicted yet.

    Returns
    -------
    missing : list of str
        These quarters, as partitions of `trial_predictions`.
    run : str or None
        The run's id; None where nothing is missing.
    """
    from mltrainer_pipelines.trials.registry import records

    records.register(engine, config)
    dagster.add_partitions("trials", [config.trial_id])
    keys = [f"{quarter}|{config.trial_id}" for quarter in quarters_here()]
    done = dagster.materialized_keys("trial_predictions", keys)
    missing = [key for key in keys if key not in done]
    return missing, dagster.launch_range("walk_forward", missing[0], missing[-1]) if missing else None


def submit_trial(settings: Settings, text: str, console: Console, wait: bool) -> dict[str, Any]:
    """Run a trial over all quarters that are not predicted yet, and score it.

    Parameters
    ----------
    text : str
        The configuration as JSON.
    wait : bool
        Return when it is scored; otherwise when it is launched, which needs services that go on running.

    Returns
    -------
    dict
        `trial_id`, `status` (`launched`, `scored`), `run_id` (None where nothing had to run), `scorecard` (or None).

    Raises
    ------
    InvalidTrialError
        If the configuration cannot run; nothing is started.
    DagsterError
        If a run does not succeed.
    """
    from mltrainer_pipelines.trials.config import TrialConfig
    from mltrainer_pipelines.trials.registry import records

    config = TrialConfig.from_json(text)
    validate_trial_here(config)
    with services_up(settings, console) as services:
        dagster = DagsterClient(services.addresses["dagster"])
        dagster.require_loaded()
        database = Database(database_url(settings, "mltrainer"))
        missing, run = begin(dagster, database.engine, config)
        if run and (wait or services.owned):
            with console.status(f"{config.trial_id}: {len(missing)} quarters"):
                dagster.wait([run])
        elif run:
            return {"trial_id": config.trial_id, "status": "launched", "run_id": run, "scorecard": None}
        cards = {card.trial_id: card for card in records.scorecards(database.engine)}
        if run or config.trial_id not in cards:
            with console.status(f"{config.trial_id}: scorecard"):
                dagster.wait([dagster.launch("score_trials", {"dagster/partition": config.trial_id})])
            cards = {card.trial_id: card for card in records.scorecards(database.engine)}
        card = cards[config.trial_id].model_dump(mode="json")
        return {"trial_id": config.trial_id, "status": "scored", "run_id": run, "scorecard": card}


def rolled_back(settings: Settings, timeframe: str, to: str | None, reason: str, console: Console) -> dict[str, Any]:
    """Let an earlier champion of a timeframe score the market again.

    Returns
    -------
    dict
        `timeframe`, `changed`, `version`, `trial_id`, `grade`, `before` (the version that scored it until now).

    Raises
    ------
    InvalidTrialError
        If there is no such timeframe.
    NoChampionError
        If there is no champion, no such version, or none before the present one.
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
        found = roll_back(database.engine, Tracking(services.addresses["mlflow"]), timeframe, now(), to, reason)
    return {
        "timeframe": timeframe,
        "changed": found.changed,
        "version": found.now.version,
        "trial_id": found.now.trial_id,
        "grade": found.now.grade,
        "before": found.before.version,
    }
