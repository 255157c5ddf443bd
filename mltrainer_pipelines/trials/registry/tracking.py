"""MLflow's tracking server: whether it answers, and where a result that is logged there comes from.

Experiments and registered models are called `mltrainer-short` and `mltrainer-long`. Whatever takes a `Tracking` raises
`TrackingUnavailableError` where the server does not answer.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_pipelines.http_client import NoAnswerError, send

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

_QUICK_TO_FAIL = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class TrackingUnavailableError(ConnectionError):
    """The MLflow server does not answer: names its address and the remedy."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from; every MLflow run carries it as tags.

    The Dagster run that computed it and its page, and the `data_fingerprint` of the features and labels it was computed from.
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


class Tracking:
    """The MLflow server of this installation, at an `http://` address; credentials are read from MLflow's own variables.

    It has `patience` seconds to give its first sign of life at each use. MLflow's timeout, retries and silence are set in this
    process's environment, where they are not set already.
    """

    def __init__(self, uri: str, patience: float = 5.0):
        if not uri.startswith(("http://", "https://")):
            raise ValueError(
                f"MLFLOW_TRACKING_URI={uri}: give the http:// address of an MLflow server (`mltrainer up` starts one)"
            )
        self.uri, self.patience = uri.rstrip("/"), patience

    def check(self) -> None:
        """Pass if the server answers within `patience` seconds; else TrackingUnavailableError."""
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

    @contextmanager
    def client(self) -> Iterator["MlflowClient"]:
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


def registered_name(timeframe: str) -> str:
    """Of a timeframe: its experiment, and its registered model."""
    return f"mltrainer-{timeframe}"


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Of the experiment of that name, made or brought back where it is not there."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, tags=_KIND))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return experiment_id(client, name)  # another process has just made it
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def find_run(client: "MlflowClient", experiment: str, tag: str, value: str) -> str | None:
    """Id of the run that has a tag, or None."""
    runs = client.search_runs([experiment], f"tags.{tag} = '{value}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def log_files(client: "MlflowClient", run_id: str, texts: Mapping[str, str], figures: Mapping[str, "Figure"]) -> None:
    """Store texts by their file names, and figures as `<name>.png`, with a run, and end the run."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / name).write_text(text)
        for name, figure in figures.items():
            path = Path(folder) / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            figure.savefig(path)
        client.log_artifacts(run_id, folder)
    client.set_terminated(run_id)
