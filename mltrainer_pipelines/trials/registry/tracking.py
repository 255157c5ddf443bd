"""MLflow, over its tracking server: one run a trial, and the registry that holds the champions.

Experiments and registered models are called `mltrainer-short` and `mltrainer-long`. A trial is found again by its
tag `trial_id`: logging it twice updates its run. The version that scores the market is the one with the alias `champion`.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mltrainer_pipelines.http_client import NoAnswerError, send
from mltrainer_pipelines.trials import ensemble_file
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

CHAMPION = "champion"
"""Alias of the registered version that scores the market."""
_REQUIREMENTS = (
    *("numpy", "scipy", "polars", "scikit-learn", "lightgbm", "xgboost", "catboost", "torch"),
    *("statsmodels", "arch", "hmmlearn", "river", "pydantic", "mlflow"),
)
_QUICK_TO_FAIL = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_METRIC_NAME = re.compile(r"[^A-Za-z0-9_./ -]")
"""What MLflow does not take in the name of a metric (a sector may be called `Health & Care`)."""
_METRICS_A_CALL = 1000
"""MLflow's limit for one call."""


class TrackingUnavailableError(ConnectionError):
    """The MLflow server does not answer: names its address and the remedy."""


class NoChampionError(LookupError):
    """No champion is registered for a timeframe: says what to materialize."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from; every MLflow run carries it as tags.

    Parameters
    ----------
    market_kind : {'real', 'simulated', 'replay'}
    dagster_run_id, dagster_run_url : str
        The Dagster run that computed it, and where to look at it.
    git_commit : str
    data_fingerprint : str
        Of the features and labels it was computed from (`data_fingerprint`).
    """

    market_kind: str
    dagster_run_id: str = ""
    dagster_run_url: str = ""
    git_commit: str = ""
    data_fingerprint: str = ""

    def tags(self) -> dict[str, str]:
        named = {
            "market": self.market_kind,
            "dagster_run_id": self.dagster_run_id,
            "dagster_run_url": self.dagster_run_url,
            "mlflow.source.git.commit": self.git_commit,
            "data_fingerprint": self.data_fingerprint,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True)
class ChampionVersion:
    """A registered version of a champion.

    Parameters
    ----------
    name : str
        The registered model: `mltrainer-short` or `mltrainer-long`.
    version : str
    trial_id : str
        The winner it was refitted from.
    grade : str
        `proven` or `candidate`, as it was registered; empty where it was registered without one.
    run_id : str
        The MLflow run that holds it.
    tags : dict
        All tags of the version.
    registered_at : datetime
    """

    name: str
    version: str
    trial_id: str
    grade: str
    run_id: str
    tags: dict[str, str]
    registered_at: datetime


class Tracking:
    """The MLflow server of this installation.

    Parameters
    ----------
    uri : str
        Its address, `http://…`. Credentials are read from MLflow's own variables.
    patience : float
        Seconds to wait for its first sign of life at each use.

    Notes
    -----
    Sets MLflow's timeout, retries and silence in this process's environment, where they are not set already.
    """

    def __init__(self, uri: str, patience: float = 5.0):
        if not uri.startswith(("http://", "https://")):
            raise ValueError(
                f"MLFLOW_TRACKING_URI={uri}: give the http:// address of an MLflow server (`mltrainer up` starts one)"
            )
        self.uri, self.patience = uri.rstrip("/"), patience

    def check(self) -> None:
        """Ask the server whether it is up.

        Raises
        ------
        TrackingUnavailableError
            If it does not answer within `patience` seconds.
        """
        try:
            answer = send(f"{self.uri}/health", timeout_s=self.patience, follow_redirects=True)
            if answer.status == 200:
                return
            problem = f"answers {answer.status}"
        except NoAnswerError as error:
            problem = f"does not answer ({error})"
        raise TrackingUnavailableError(
            f"the MLflow server at {self.uri} {problem}; start it (`mltrainer up`) or set MLFLOW_TRACKING_URI to one that runs"
        )

    def log_trial(
        self,
        config: TrialConfig,
        metrics: Mapping[str, float | None],
        quarters: Mapping[date, Mapping[str, float | None]],
        provenance: Provenance,
        figures: Mapping[str, "Figure"] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Log a trial as one run of its timeframe's experiment; a trial logged before is updated.

        Parameters
        ----------
        config : TrialConfig
            Its fields and parameters become the run's parameters, and `config.json`.
        metrics : Mapping
            The scorecard's numbers; what is None, not finite or not a number is left out.
        quarters : Mapping of date to Mapping
            First day of a quarter, and its numbers: logged as `quarter.<name>`, dated at the quarter; the step
            counts quarters, 1 is the first one of the year 2000.
        provenance : Provenance
        figures : Mapping of str to matplotlib Figure, optional
            Named without an ending: `equity`, `calibration`; stored as `figures/<name>.png`.
        tags : Mapping of str to str, optional
            Further tags, such as the grade.

        Returns
        -------
        str
            The run's id.

        Raises
        ------
        TrackingUnavailableError
            If the server does not answer.
        """
        from mlflow.entities import Metric, Param, RunTag

        with self._reached() as client:
            experiment = _experiment(client, _name(config.timeframe))
            run_id = _find_run(client, experiment, config.trial_id)
            if run_id is None:
                run_id = client.create_run(experiment, run_name=config.trial_id).info.run_id
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
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                (root / "config.json").write_text(config.model_dump_json(indent=2))
                if figures:
                    (root / "figures").mkdir()
                for name, figure in (figures or {}).items():
                    figure.savefig(root / "figures" / f"{name}.png")
                client.log_artifacts(run_id, folder)
            client.set_terminated(run_id)
        return str(run_id)

    def register_champion(
        self,
        ensemble: ChampionEnsemble,
        example: pl.DataFrame,
        provenance: Provenance,
        grade: str,
        tags: Mapping[str, str] | None = None,
    ) -> ChampionVersion:
        """Register an ensemble as a new version of its timeframe's model and move the alias `champion` to it.

        Parameters
        ----------
        ensemble : ChampionEnsemble
        example : DataFrame
            Rows of features; the last few are stored as the input example, from which the signature is taken.
        provenance : Provenance
        grade : {'proven', 'candidate'}
        tags : Mapping of str to str, optional
            Further tags of the version.

        Raises
        ------
        TrackingUnavailableError
            If the server does not answer.
        """
        import mlflow
        from mlflow.models import infer_signature

        name = _name(ensemble.timeframe)
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
        with self._reached() as client, tempfile.TemporaryDirectory() as folder:
            data = ensemble_file.write_ensemble(ensemble, Path(folder))
            experiment = _experiment(client, name)
            run_id = _find_run(client, experiment, ensemble.champion.trial_id)
            if run_id is None:
                run = client.create_run(experiment, run_name=f"{ensemble.champion.trial_id} champion", tags=provenance.tags())
                run_id = run.info.run_id
                client.set_terminated(run_id)
            mlflow.set_tracking_uri(self.uri)
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
            client.set_registered_model_alias(name, CHAMPION, registered.version)
            return _version(client.get_model_version(name, registered.version))

    def set_champion(self, timeframe: str, version: str) -> ChampionVersion:
        """Move the alias to another registered version: a rollback.

        Raises
        ------
        NoChampionError
            If that version does not exist.
        """
        from mlflow.exceptions import MlflowException

        with self._reached() as client:
            try:
                found = client.get_model_version(_name(timeframe), str(version))
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    versions = ", ".join(known.version for known in self.versions(timeframe)) or "none"
                    raise NoChampionError(f"{_name(timeframe)} has no version {version!r}; it has {versions}") from None
                raise
            client.set_registered_model_alias(_name(timeframe), CHAMPION, found.version)
            return _version(found)

    def versions(self, timeframe: str) -> list[ChampionVersion]:
        """Every registered version of a timeframe's champion, the newest first."""
        with self._reached() as client:
            found = client.search_model_versions(f"name = '{_name(timeframe)}'", max_results=1000)
        return sorted((_version(entry) for entry in found), key=lambda entry: int(entry.version), reverse=True)

    def champion(self, timeframe: str) -> ChampionVersion:
        """The version that scores the market.

        Raises
        ------
        NoChampionError
            If there is none yet.
        """
        from mlflow.exceptions import MlflowException

        with self._reached() as client:
            try:
                return _version(client.get_model_version_by_alias(_name(timeframe), CHAMPION))
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
        raise NoChampionError(
            f"no {timeframe} champion is registered at {self.uri}; materialize champion_model for {timeframe!r} "
            "(after trial_predictions, trial_scorecard and leaderboard)"
        )

    def load_champion(self, timeframe: str) -> tuple[ChampionEnsemble, ChampionVersion]:
        """The champion of a timeframe, ready to score, and which version it is.

        Raises
        ------
        NoChampionError
            If there is none yet.
        TrackingUnavailableError
            If the server does not answer.
        """
        version = self.champion(timeframe)
        return self.load(version), version

    def load(self, version: ChampionVersion) -> ChampionEnsemble:
        """The ensemble of a registered version, from the server.

        Raises
        ------
        NoChampionError
            If the version holds none.
        TrackingUnavailableError
            If the server does not answer.
        """
        with self._reached(), tempfile.TemporaryDirectory() as folder:
            from mlflow.artifacts import download_artifacts

            uri = f"models:/{version.name}/{version.version}"
            place = download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self.uri)
            files = list(Path(place).rglob(ensemble_file.FILE))
            if len(files) != 1:
                raise NoChampionError(
                    f"version {version.version} of {version.name} holds no {ensemble_file.FILE}; "
                    "register a champion anew by materializing champion_model"
                )
            return ensemble_file.read_ensemble(files[0])

    @contextmanager
    def _reached(self) -> Iterator["MlflowClient"]:
        """A client of a server that answers; an answer that fails to come is a `TrackingUnavailableError`."""
        for name, value in _QUICK_TO_FAIL.items():
            os.environ.setdefault(name, value)
        self.check()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            yield MlflowClient(self.uri, self.uri)
        except MlflowException as error:
            if re.match(r"API request to \S+ failed with", str(error)):
                raise TrackingUnavailableError(f"the MLflow server at {self.uri} stopped answering: {error}") from error
            raise


_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Opens an experiment with its runs: MLflow would otherwise begin with the traces of an agent, of which there are none."""
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow calls a model, a version or an alias that does not exist."""


def _name(timeframe: str) -> str:
    return f"mltrainer-{timeframe}"


def _experiment(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, tags=_KIND))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return _experiment(client, name)  # another process has just made it
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _find_run(client: "MlflowClient", experiment: str, trial_id: str) -> str | None:
    found = client.search_runs([experiment], f"tags.trial_id = '{trial_id}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value)
    }


def _parameters(config: TrialConfig) -> dict[str, Any]:
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
