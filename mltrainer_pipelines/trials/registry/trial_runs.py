"""Trials in MLflow: one run a trial, in the experiment of its timeframe, found again by its tag `trial_id`."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np

from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.tracking import Provenance, Tracking, experiment_id, find_run, log_files, registered_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METRIC_NAME = re.compile(r"[^A-Za-z0-9_./ -]")
"""What MLflow does not take in the name of a metric (a sector may be called `Health & Care`)."""
_METRICS_A_CALL = 1000
"""MLflow's limit for one call."""


def log_trial(
    tracking: Tracking,
    config: TrialConfig,
    metrics: Mapping[str, float | None],
    quarters: Mapping[date, Mapping[str, float | None]],
    provenance: Provenance,
    figures: Mapping[str, "Figure"] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Log a trial as one run of its timeframe's experiment, and return the run's id; a trial logged before is updated.

    The configuration becomes the run's parameters, and `config.json`. Of the metrics what is None, not finite or not a number is
    left out. The numbers of a quarter, by its first day, are logged as `quarter.<name>`, dated at the quarter; the step counts
    quarters, 1 is the first one of the year 2000. Figures are stored as `figures/<name>.png`.
    """
    from mlflow.entities import Metric, Param, RunTag

    with tracking.client() as client:
        experiment = experiment_id(client, registered_name(config.timeframe))
        run_id = find_run(client, experiment, "trial_id", config.trial_id)
        run_id = run_id or str(client.create_run(experiment, run_name=config.trial_id).info.run_id)
        now = int(time.time() * 1000)
        logged = [Metric(_METRIC_NAME.sub("-", name), value, now, 0) for name, value in _numbers(metrics).items()]
        for start, numbers in sorted(quarters.items()):
            moment = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp() * 1000)
            step = 4 * (start.year - 2000) + (start.month + 2) // 3
            logged += [Metric(f"quarter.{name}", value, moment, step) for name, value in _numbers(numbers).items()]
        params = [Param(name, str(value)[:500]) for name, value in _parameters(config).items()]
        all_tags = {
            "trial_id": config.trial_id,
            "model": config.model,
            "timeframe": config.timeframe,
            "proposed_by": config.proposed_by,
            "mlflow.note.content": _description(config, provenance),
            **provenance.tags(),
            **(tags or {}),
        }
        run_tags = [RunTag(name, str(value)) for name, value in all_tags.items()]
        client.log_batch(run_id, metrics=logged[:_METRICS_A_CALL], params=params, tags=run_tags)
        for first in range(_METRICS_A_CALL, len(logged), _METRICS_A_CALL):
            client.log_batch(run_id, metrics=logged[first : first + _METRICS_A_CALL])
        pictures = {f"figures/{name}": figure for name, figure in (figures or {}).items()}
        log_files(client, run_id, {"config.json": config.model_dump_json(indent=2)}, pictures)
    return run_id


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value)
    }


def _parameters(config: TrialConfig) -> dict[str, object]:
    fields = config.model_dump(mode="json", exclude={"params", "label", "rationale", "proposed_by"})
    label = {"target": config.label.target, "stop": config.label.stop}
    return {
        **fields,
        **{f"params.{name}": value for name, value in config.params.items()},
        **{f"label.{name}": value for name, value in label.items()},
    }


def _description(config: TrialConfig, provenance: Provenance) -> str:
    lines = [f"**{provenance.market_kind} market.** {config.spec.summary.capitalize()}."]
    if config.rationale:
        lines.append(f"Proposed by {config.proposed_by}: {config.rationale}")
    if provenance.dagster_run_url:
        lines.append(f"[Dagster run]({provenance.dagster_run_url})")
    return "\n\n".join(lines)
