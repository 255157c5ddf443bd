"""Requests to Claude as MLflow traces, where an MLflow server answers; never in the way where none does.

`mlflow.anthropic.autolog` records plain requests. It knows neither the SDK's `parse` nor its streams,
so those get a span of their own. MLflow would retry for minutes and hold the process at its exit
while a server is gone: here a trace is sent at once, with one short try.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

EXPERIMENT = "mltrainer-agent"
_BOUNDS = {
    # The queue of asynchronous traces is emptied at exit, however long that takes.
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
_CONNECT_SECONDS = 0.5


class Traces:
    """Where traces go.

    Parameters
    ----------
    uri : str or None
        MLflow's tracking server; None keeps no traces.
    """

    def __init__(self, uri: str | None):
        self.uri = uri
        self._ready = False

    def begin(self, name: str, inputs: Mapping[str, Any]) -> Any:
        """An open span, or None where no server answers; MLflow is asked for nothing then."""
        if self.uri is None or not _answers(self.uri):
            return None
        from mlflow.exceptions import MlflowException

        try:
            return self._started(self.uri, name, inputs)
        except MlflowException:
            return None  # the server went away in between; what is on the record is in PostgreSQL

    def end(self, span: Any, outputs: Any, attributes: Mapping[str, Any], failed: bool = False) -> None:
        """Close a span that `begin` gave and send it; does nothing for None."""
        if span is not None:
            span.set_attributes(dict(attributes))
            span.end(outputs=outputs, status="ERROR" if failed else "OK")

    def _started(self, uri: str, name: str, inputs: Mapping[str, Any]) -> Any:
        for variable, value in _BOUNDS.items():
            os.environ.setdefault(variable, value)
        import mlflow

        if not self._ready:
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment(EXPERIMENT)
            mlflow.anthropic.autolog(silent=True)
            self._ready = True
        # Not the span of a context: a stream's consumer may close it from another one.
        return mlflow.start_span_no_context(name=name, span_type="CHAT_MODEL", inputs=dict(inputs))


def _answers(uri: str) -> bool:
    parts = urlsplit(uri)
    if parts.hostname is None:
        return True
    try:
        with socket.create_connection((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), _CONNECT_SECONDS):
            return True
    except OSError:
        return False
