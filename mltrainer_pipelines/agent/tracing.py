"""Requests to Claude as MLflow traces, where an MLflow server answers; never in the way where none does.

`mlflow.anthropic.autolog` knows no streams: every request gets a span of its own. MLflow would retry
for minutes and hold the process at its exit while a server is gone: here a trace is sent at once, with
one short try.
"""

import os
import socket
import time
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
_SLOW_SECONDS, _PAUSE_SECONDS = 2.0, 300.0
_CONNECT_SECONDS = 0.5


class Traces:
    """Where traces go: `uri` is MLflow's tracking server, None keeps no traces."""

    def __init__(self, uri: str | None):
        self.uri = uri
        self._ready = False
        self._paused_until = 0.0

    def begin(self, name: str, inputs: Mapping[str, object]) -> Any:
        """An open span, or None where no server answers; MLflow is asked for nothing then."""
        if self.uri is None or time.monotonic() < self._paused_until or not _answers(self.uri):
            return None
        from mlflow.exceptions import MlflowException

        began = time.monotonic()
        try:
            self._make_ready(self.uri)
            import mlflow

            began = time.monotonic()
            # Not the span of a context: a stream's consumer may close it from another one.
            return mlflow.start_span_no_context(name=name, span_type="CHAT_MODEL", inputs=dict(inputs))
        except MlflowException:
            return None  # the server went away in between; the record is in PostgreSQL
        finally:
            self._pause_if_slow(began)

    def end(self, span: Any, outputs: Any, attributes: Mapping[str, Any], failed: bool = False) -> None:
        """Close a span that `begin` gave and send it; does nothing for None."""
        if span is not None:
            began = time.monotonic()
            span.set_attributes(dict(attributes))
            span.end(outputs=outputs, status="ERROR" if failed else "OK")
            self._pause_if_slow(began)

    def _pause_if_slow(self, began: float) -> None:
        """Send nothing for a while to a server that made the agent wait."""
        if time.monotonic() - began > _SLOW_SECONDS:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS

    def _make_ready(self, uri: str) -> None:
        if self._ready:
            return
        for variable, value in _BOUNDS.items():
            os.environ.setdefault(variable, value)
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        self._ready = True


def _answers(uri: str) -> bool:
    parts = urlsplit(uri)
    if parts.hostname is None:
        return True
    try:
        with socket.create_connection((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), _CONNECT_SECONDS):
            return True
    except OSError:
        return False
