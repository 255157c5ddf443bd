"""The API's client: one connection pool a process, and errors that can be shown to a reader."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import streamlit as st

_TIMEOUT = httpx.Timeout(20.0, connect=2.0)
_STREAM_TIMEOUT = httpx.Timeout(600.0, connect=2.0)


class ApiDownError(ConnectionError):
    """The API does not answer: names its address and what to do."""


class ApiProblemError(RuntimeError):
    """The API answered with a problem; its message can be shown."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class ServerEvent:
    """A server-sent event."""

    name: str
    data: dict[str, Any]


class Api:
    """The API of an installation; its token file is read for each request, as the API may be started after the pages."""

    def __init__(self, url: str, token_file: str):
        self.url, self.token_file = url, token_file
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False)

    def get(self, path: str, **parameters: object) -> dict[str, Any]:
        """The answer to a GET; parameters that are None are left out. Raises ApiDownError or ApiProblemError."""
        return self._json("GET", path, params=_given(parameters))

    def send(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """The answer to a request that changes something, empty where it has none; raises as `get` does."""
        return self._json(method, path, json=body)

    def download(self, path: str, **parameters: object) -> bytes:
        """The bytes of an answer; raises as `get` does."""
        return self._request("GET", path, params=_given(parameters)).content

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[ServerEvent]:
        """The server-sent events of a POST as they come; raises as `get` does."""
        headers = {**self._headers(), "Accept": "text/event-stream"}
        try:
            with self._client.stream("POST", path, json=body, headers=headers, timeout=_STREAM_TIMEOUT) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _problem(answer)
                yield from _events(answer.iter_lines())
        except httpx.TransportError:
            raise self._down() from None

    def _json(self, method: str, path: str, **more: object) -> dict[str, object]:
        answer = self._request(method, path, **more)
        document: dict[str, Any] = answer.json() if answer.content else {}
        return document

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, headers=self._headers(), **more)
        except httpx.TransportError:
            raise self._down() from None
        if answer.status_code >= 400:
            raise _problem(answer)
        return answer

    def _headers(self) -> dict[str, str]:
        try:
            token = Path(self.token_file).read_text().strip()
        except OSError as error:
            raise ApiDownError(
                f"the API's token file {self.token_file} cannot be read ({error.strerror}); start `mltrainer up`"
            ) from None
        return {"Authorization": f"Bearer {token}"}

    def _down(self) -> ApiDownError:
        return ApiDownError(f"the API at {self.url} does not answer; start it with `mltrainer up`")


@st.cache_resource
def api() -> Api:
    """The API that the environment names."""
    return Api(
        os.environ.get("MLTRAINER_API_URL", "http://127.0.0.1:8000"),
        os.environ.get("MLTRAINER_API_TOKEN_FILE", ".mltrainer/api-token"),
    )


def _given(parameters: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in parameters.items() if value is not None}


def _problem(answer: httpx.Response) -> ApiProblemError:
    try:
        document = answer.json()
    except ValueError:
        return ApiProblemError(answer.status_code, f"the API answered with status {answer.status_code} and no explanation")
    detail = str(document.get("detail", ""))
    reasons = "; ".join(f"{one['field'].removeprefix('body.')}: {one['reason']}" for one in document.get("errors") or [])
    return ApiProblemError(answer.status_code, reasons or detail)


def _events(lines: Iterator[str]) -> Iterator[ServerEvent]:
    name, data = "message", ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data += value
        elif not line and data:
            yield ServerEvent(name, json.loads(data))
            name, data = "message", ""
