"""Who may use the API: those with its token, under one of its own host names."""

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mltrainer_pipelines.api.problems import MEDIA_TYPE, problem_body
from mltrainer_pipelines.ops.request_guard import header, host_name

OPEN_PATHS = frozenset({"/health"})
"""Paths that need no token."""
LARGEST_BODY = 256 * 1024
"""Bytes of a request's body."""


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, detail: str, headers: dict[str, str] | None = None
) -> None:
    """Answer a request with a problem before it reaches a route."""
    body = problem_body(status, detail, scope["path"])
    await JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)(scope, receive, send)


class HostCheck:
    """Refuses requests to another host name: a foreign page whose name was made to point here (DNS rebinding)."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]):
        self.app, self.allowed = app, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = header(scope, b"host") or ""
            if host_name(host) not in self.allowed:
                detail = "this Host is not allowed; use 127.0.0.1 or localhost, or add it to MLTRAINER_API_HOSTS"
                await refuse(scope, receive, send, 400, detail)
                return
        await self.app(scope, receive, send)


class BearerToken:
    """Asks for `Authorization: Bearer <token>` everywhere but at `OPEN_PATHS`."""

    def __init__(self, app: ASGIApp, token: str):
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            given = (header(scope, b"authorization") or "").encode("latin-1")
            if not hmac.compare_digest(given, self.expected):
                detail = "send the token in the file api-token of mlTrainer's home as `Authorization: Bearer <token>`"
                await refuse(scope, receive, send, 401, detail, {"WWW-Authenticate": 'Bearer realm="mlTrainer"'})
                return
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses bodies above a size, announced or not; what is smaller is read whole before a route sees it."""

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY):
        self.app, self.largest = app, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced = header(scope, b"content-length") if scope["type"] == "http" else None
        chunked = scope["type"] == "http" and header(scope, b"transfer-encoding") is not None
        if not chunked and announced in (None, "0"):
            await self.app(scope, receive, send)
            return
        detail = f"the body is larger than {self.largest} bytes"
        if announced and announced.isdigit() and int(announced) > self.largest:
            await refuse(scope, receive, send, 413, detail)
            return
        messages: list[Message] = []
        size = 0
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            if messages[-1]["type"] == "http.disconnect":
                await refuse(scope, receive, send, 408, "the body did not come to its end", {"Connection": "close"})
                return
            size += len(messages[-1].get("body", b""))
            if size > self.largest:
                await refuse(scope, receive, send, 413, detail)
                return
        waiting = iter(messages)

        async def replayed() -> Message:
            return next(waiting, None) or await receive()

        await self.app(scope, replayed, send)
