"""Submitting a trial from outside of Dagster (`mltrainer trial submit`)."""

from typing import Any

from rich.console import Console

from mltrainer_pipelines.services.dagster_client import DagsterClient
from mltrainer_pipelines.services.databases import database_url
from mltrainer_pipelines.services.session import services_up
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database


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
    from mltrainer_pipelines.defs.partitions import quarters
    from mltrainer_pipelines.trials import records
    from mltrainer_pipelines.trials.config import TrialConfig

    config = TrialConfig.from_json(text)
    with services_up(settings, console) as services:
        dagster = DagsterClient(services.addresses["dagster"])
        dagster.require_loaded()
        database = Database(database_url(settings, "mltrainer"))
        records.register(database.engine, config)
        dagster.add_partitions("trials", [config.trial_id])
        keys = [f"{quarter}|{config.trial_id}" for quarter in quarters.get_partition_keys()]
        done = dagster.materialized_keys("trial_predictions", keys)
        missing = [key for key in keys if key not in done]
        run = dagster.launch_range("walk_forward", missing[0], missing[-1]) if missing else None
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
