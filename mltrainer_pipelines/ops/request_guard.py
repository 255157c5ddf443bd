"""Who may command Dagster and MLflow: their own pages in a browser of this user, and who has the installation's token.

Anybody on this machine, and every web page that its user visits, can send requests to 127.0.0.1. A browser says where a page
comes from (`Origin`, `Sec-Fetch-Site`) and a page cannot change that; a program can, and is known by its operating-system user:
the token's file says no more than that.
"""

import hmac
import os
from collections.abc import Callable
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names in a Host header under which an installation is found on its own machine."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAY_CHANGE = "mltrainer.may_change"
"""Key of a request's scope: whether who sent it may change something."""
REFUSAL = (
    "send the token in the file api-token of mlTrainer's home as `Authorization: Bearer <token>` "
    "(MLFLOW_TRACKING_TOKEN for MLflow's client), or use the page in a browser of the user who runs mlTrainer"
)
_PROC = Path("/proc/net")
_ESTABLISHED = "01"


def header(scope: Scope, name: bytes) -> str | None:
    """A header of a request, or None."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    return (host[: host.rfind("]") + 1] if host.startswith("[") else host.rsplit(":", 1)[0]).lower()


class RequestGuard:
    """Stands before a server's requests and WebSockets; `changes` tells from a scope whether a request would change something."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str], changes: Callable[[Scope], bool]):
        self.app, self.hosts, self.changes = app, LOCAL_NAMES | hosts, changes
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            status, detail = self._refusal(scope)
            if status and scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "refused"})  # before it is accepted: 403
                return
            if status:
                await JSONResponse({"detail": detail}, status)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        """The status to refuse a request with and why; 0 where it may pass."""
        host = header(scope, b"host") or ""
        if host_name(host) not in self.hosts:
            return 400, "this Host is not allowed; use 127.0.0.1 or localhost, or add it to MLTRAINER_API_HOSTS"
        origin = header(scope, b"origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return 403, "a page of another origin may not use this server"
        if header(scope, b"sec-fetch-site") == "cross-site" and header(scope, b"sec-fetch-mode") != "navigate":
            return 403, "a page of another site may not use this server"
        given = (header(scope, b"authorization") or "").encode("latin-1")
        own_page = origin is not None and is_own_user(scope)
        scope[MAY_CHANGE] = hmac.compare_digest(given, self._expected) or own_page
        if (scope["type"] == "websocket" or self.changes(scope)) and not scope[MAY_CHANGE]:
            return 401, REFUSAL
        return 0, ""


def is_own_user(scope: Scope) -> bool:
    """Whether a process of this user, or of root, is at the other end; true where the system does not tell (no /proc)."""
    client, server = scope.get("client"), scope.get("server")
    if not _PROC.is_dir():
        return True
    if not client or not server:
        return False
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            (
                _,
                local,
                remote,
                state,
                *_,
            ) = fields = line.split()[:8]
            if state == _ESTABLISHED and _port(local) == client[1] and _port(remote) == server[1]:
                return int(fields[7]) in (0, os.geteuid())
    return False


def _port(address: str) -> int:
    return int(address.rsplit(":", 1)[1], 16)
