"""The token of an installation: whoever can read its file may command the API, Dagster and MLflow."""

import os
import secrets
from pathlib import Path

from mltrainer_pipelines.redaction import protect
from mltrainer_pipelines.settings import Settings


class TokenFileError(RuntimeError):
    """The file of the installation's token cannot be used: names it, why, and the remedy."""


def token_file(settings: Settings) -> Path:
    """Where the token of an installation is kept."""
    return settings.state / "api-token"


def load_token(path: Path) -> str:
    """The token in a file that only its owner can read, made where there is none; TokenFileError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        if not path.exists():
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(secrets.token_urlsafe(32))
            try:
                os.link(draft, path)  # the first of two that start at once wins, and no reader sees half a token
            except FileExistsError:
                pass
            finally:
                draft.unlink(missing_ok=True)
        path.chmod(0o600)
        token = path.read_text().strip()
    except OSError as error:
        raise TokenFileError(f"the API's token file {path} cannot be used ({error.strerror}); make its folder writable") from None
    if not token:
        raise TokenFileError(f"the API's token file {path} is empty; delete it and start again")
    protect(token)
    return token


def share_token(settings: Settings, environment: "os._Environ[str] | dict[str, str]") -> None:
    """Let MLflow's clients in an environment send the token, where MLflow is this installation's own."""
    if settings.mlflow_tracking_uri is None:
        environment["MLFLOW_TRACKING_TOKEN"] = load_token(token_file(settings))
