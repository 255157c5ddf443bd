"""MLflow's model registry: every champion of a timeframe is a version of `mltrainer-<timeframe>`.

The version that scores the market is the one with the alias `champion`.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy.engine import Engine

from mltrainer_pipelines.trials import ensemble_file
from mltrainer_pipelines.trials.registry.champion_files import record_file
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.tracking import Provenance, Tracking, experiment_id, find_run, registered_name

CHAMPION = "champion"
"""Alias of the registered version that scores the market."""
_REQUIREMENTS = (
    *("numpy", "scipy", "polars", "scikit-learn", "lightgbm", "xgboost", "catboost", "torch"),
    *("statsmodels", "arch", "hmmlearn", "river", "pydantic", "mlflow"),
)
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow calls a model, a version or an alias that does not exist."""


class NoChampionError(LookupError):
    """No champion is registered for a timeframe: says what to materialize."""


@dataclass(frozen=True)
class ChampionVersion:
    """A registered version of a champion: of the trial that it was refitted from, in the MLflow run that holds it.

    `name` is the registered model, `mltrainer-short` or `mltrainer-long`; the grade is that of its registration, empty where it
    was registered without one.
    """

    name: str
    version: str
    trial_id: str
    grade: str
    run_id: str
    tags: dict[str, str]
    registered_at: datetime


def register_champion(
    engine: Engine,
    tracking: Tracking,
    ensemble: ChampionEnsemble,
    example: pl.DataFrame,
    provenance: Provenance,
    grade: str,
    tags: Mapping[str, str] | None = None,
) -> ChampionVersion:
    """Register an ensemble as a new version of its timeframe's model, keep its file's digest, move the alias `champion` to it.

    The last few rows of `example` (features) are stored as the input example, from which the signature is taken; `tags` are added
    to the version's own.
    """
    import mlflow
    from mlflow.models import infer_signature

    name = registered_name(ensemble.timeframe)
    rows = ensemble_file.example_rows(ensemble, example)
    served = ensemble_file.ServedEnsemble(ensemble)
    version_tags = {
        "trial_id": ensemble.champion.trial_id,
        "grade": grade,
        "as_of": str(ensemble.as_of),
        "members": str(len(ensemble.members)),
        **provenance.tags(),
        **(tags or {}),
    }
    with tracking.client() as client, tempfile.TemporaryDirectory() as folder:
        data = ensemble_file.write_ensemble(ensemble, Path(folder))
        experiment = experiment_id(client, name)
        run_id = find_run(client, experiment, "trial_id", ensemble.champion.trial_id)
        if run_id is None:
            run = client.create_run(experiment, run_name=f"{ensemble.champion.trial_id} champion", tags=provenance.tags())
            run_id = run.info.run_id
            client.set_terminated(run_id)
        mlflow.set_tracking_uri(tracking.uri)
        info = mlflow.models.Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            name=f"champion-{ensemble.as_of}",
            run_id=run_id,
            loader_module=ensemble_file.__name__,
            data_path=str(data),
            signature=infer_signature(rows, served.predict(rows)),
            input_example=rows,
            pip_requirements=_pinned(),
        )
        registered = mlflow.register_model(info.model_uri, name, await_registration_for=0, tags=version_tags)
        record_file(engine, name, str(registered.version), data.read_bytes())
        client.set_registered_model_alias(name, CHAMPION, registered.version)
        return _version(client.get_model_version(name, registered.version))


def set_champion(tracking: Tracking, timeframe: str, version: str) -> ChampionVersion:
    """Move the alias to another registered version, a rollback; NoChampionError if it does not exist."""
    from mlflow.exceptions import MlflowException

    with tracking.client() as client:
        try:
            target = client.get_model_version(registered_name(timeframe), str(version))
        except MlflowException as error:
            if error.error_code in _ABSENT:
                versions = ", ".join(entry.version for entry in registered_versions(tracking, timeframe)) or "none"
                raise NoChampionError(f"{registered_name(timeframe)} has no version {version!r}; it has {versions}") from None
            raise
        client.set_registered_model_alias(registered_name(timeframe), CHAMPION, target.version)
        return _version(target)


def registered_versions(tracking: Tracking, timeframe: str) -> list[ChampionVersion]:
    """Every registered version of a timeframe's champion, the newest first."""
    with tracking.client() as client:
        entries = client.search_model_versions(f"name = '{registered_name(timeframe)}'", max_results=1000)
    return sorted((_version(entry) for entry in entries), key=lambda entry: int(entry.version), reverse=True)


def champion_version(tracking: Tracking, timeframe: str) -> ChampionVersion:
    """The version that scores the market; NoChampionError if there is none yet."""
    from mlflow.exceptions import MlflowException

    with tracking.client() as client:
        try:
            return _version(client.get_model_version_by_alias(registered_name(timeframe), CHAMPION))
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
    raise NoChampionError(
        f"no {timeframe} champion is registered at {tracking.uri}; materialize champion_model for {timeframe!r} "
        "(after trial_predictions, trial_scorecard and leaderboard)"
    )


def fetch_file(tracking: Tracking, version: ChampionVersion) -> bytes:
    """The file of a registered version, from the server; NoChampionError if the version holds none."""
    with tracking.client(), tempfile.TemporaryDirectory() as folder:
        from mlflow.artifacts import download_artifacts

        uri = f"models:/{version.name}/{version.version}"
        place = download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking.uri)
        files = list(Path(place).rglob(ensemble_file.FILE))
        if len(files) != 1:
            raise NoChampionError(
                f"version {version.version} of {version.name} holds no {ensemble_file.FILE}; "
                "register a champion anew by materializing champion_model"
            )
        return files[0].read_bytes()


def _version(entry: Any) -> ChampionVersion:
    tags = dict(entry.tags)
    return ChampionVersion(
        name=entry.name,
        version=str(entry.version),
        trial_id=tags.get("trial_id", ""),
        grade=tags.get("grade", ""),
        run_id=entry.run_id or "",
        tags=tags,
        registered_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, tz=UTC),
    )


def _pinned() -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in _REQUIREMENTS]
