"""The champions as a refresh needs them: which version it is from the registry, its file from a folder of this machine.

MLflow's client takes more than a second to import, and a champion's file does not change: a version is fetched once.
"""

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy.engine import Engine

from mltrainer_pipelines.features.versions import FeatureVersionError
from mltrainer_pipelines.http_client import NoAnswerError, send
from mltrainer_pipelines.trials.ensemble_file import FILE, read_ensemble
from mltrainer_pipelines.trials.registry.champion_files import ChangedFileError, require_file
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.model_registry import CHAMPION, ChampionVersion, NoChampionError, fetch_file
from mltrainer_pipelines.trials.registry.tracking import Tracking, TrackingUnavailableError

_KEPT = 4
"""Versions of a timeframe that stay in the folder: the champion, and what a rollback or a replay would ask for."""
_ABSENT = (b"RESOURCE_DOES_NOT_EXIST", b"INVALID_PARAMETER_VALUE")
"""What MLflow calls a model, a version or an alias that does not exist."""


class ChampionUnloadableError(RuntimeError):
    """A registered champion cannot be read by this code: names the version and what to do."""


@dataclass(frozen=True)
class Champions:
    """Champions of both timeframes: asked of the registry within `timeout_s`, their files kept in `folder` of this machine.

    A file is read only if its digest is the one that PostgreSQL (`engine`) has of its version.
    """

    tracking: Tracking
    folder: Path
    engine: Engine
    timeout_s: float = 5.0

    def load(self, timeframe: str, version: str | None = None) -> tuple[ChampionEnsemble, ChampionVersion]:
        """The champion of a timeframe, or another version of it, ready to score.

        Raises
        ------
        NoChampionError
            If there is none yet, or no such version.
        ChampionUnloadableError
            If its file is not the registered one or cannot be read, or the features that it learnt from cannot be computed
            any more.
        TrackingUnavailableError
            If the registry does not answer.
        """
        registered = self.version(timeframe, version)
        folder = self.folder / registered.name / f"{registered.version}-{int(registered.registered_at.timestamp() * 1000)}"
        cached = folder / FILE
        content = cached.read_bytes() if cached.is_file() else fetch_file(self.tracking, registered)
        try:
            require_file(self.engine, registered.name, registered.version, content)
        except ChangedFileError as error:
            cached.unlink(missing_ok=True)
            raise ChampionUnloadableError(str(error)) from None
        ensemble = _readable(registered, content)
        if not cached.is_file():
            _keep(content, folder)
        return ensemble, registered

    def version(self, timeframe: str, version: str | None = None) -> ChampionVersion:
        """Which version the alias `champion` names, or what the registry says of another one. Imports no MLflow."""
        name = f"mltrainer-{timeframe}"
        question = {"name": name, "alias": CHAMPION} if version is None else {"name": name, "version": version}
        route = "registered-models/alias" if version is None else "model-versions/get"
        url = f"{self.tracking.uri}/api/2.0/mlflow/{route}"
        try:
            answer = send(url, params=question, headers=_credentials(), timeout_s=self.timeout_s, follow_redirects=True)
            if answer.status == 200:
                return _version(answer.json()["model_version"])
        except (NoAnswerError, ValueError) as error:
            raise TrackingUnavailableError(
                f"the MLflow server at {self.tracking.uri} does not answer ({error}); "
                "start it (`mltrainer up`) or set MLFLOW_TRACKING_URI to one that runs"
            ) from None
        if answer.status in (400, 404) and any(code in answer.body for code in _ABSENT):
            what = f"no {timeframe} champion is registered" if version is None else f"{name} has no version {version}"
            raise NoChampionError(
                f"{what} at {self.tracking.uri}; materialize champion_model for {timeframe!r} "
                "(after trial_predictions, trial_scorecard and leaderboard)"
            )
        raise TrackingUnavailableError(
            f"the MLflow server at {self.tracking.uri} answers {answer.status} when asked for the {timeframe} champion"
        )


def _readable(version: ChampionVersion, content: bytes) -> ChampionEnsemble:
    try:
        ensemble = read_ensemble(content)
        _ = ensemble.feature_set
        return ensemble
    except FeatureVersionError as error:
        raise ChampionUnloadableError(f"version {version.version} of {version.name} cannot score: {error}") from error
    except Exception as error:  # a pickle of other code can fail in any way
        raise ChampionUnloadableError(
            f"version {version.version} of {version.name} cannot be read by this code ({type(error).__name__}: {error}); "
            "materialize champion_model to train it anew, or set the alias `champion` to a version that can"
        ) from error


def _keep(content: bytes, place: Path) -> None:
    """Write a version's file so that it is there whole or not at all, and drop the oldest ones."""
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f".{uuid4().hex}.part"
    draft.write_bytes(content)
    draft.replace(place / FILE)
    for old in sorted(place.parent.iterdir(), key=lambda folder: folder.stat().st_mtime)[:-_KEPT]:
        with contextlib.suppress(OSError):
            (old / FILE).unlink()
            old.rmdir()


def _version(entry: dict[str, Any]) -> ChampionVersion:
    tags = {tag["key"]: tag["value"] for tag in entry.get("tags", [])}
    return ChampionVersion(
        name=entry["name"],
        version=str(entry["version"]),
        trial_id=tags.get("trial_id", ""),
        grade=tags.get("grade", ""),
        run_id=entry.get("run_id") or "",
        tags=tags,
        registered_at=datetime.fromtimestamp(int(entry["creation_timestamp"]) / 1000, tz=UTC),
    )


def _credentials() -> dict[str, str]:
    """What MLflow's own client would send, from its own variables."""
    import base64

    user, password, token = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD", "TOKEN"))
    if token:
        return {"Authorization": f"Bearer {token}"}
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {}
