"""MLflow's server behind `ops.request_guard`: its application `mltrainer` (`mlflow server --app-name mltrainer`)."""

import re

from starlette.types import Receive, Scope, Send

from mltrainer_pipelines.ops.impatient_http import BodyDeadline
from mltrainer_pipelines.ops.installation_token import load_token, token_file
from mltrainer_pipelines.ops.request_guard import SAFE_METHODS, RequestGuard
from mltrainer_pipelines.settings import get_settings

_READS = re.compile(r"/(search|search-datasets|get-latest-versions|batchGetInfos|metrics|calculate-filter-correlation)$")
"""Questions that MLflow takes by POST."""


def changes(scope: Scope) -> bool:
    """Whether a request to MLflow would change something."""
    path = scope["path"]
    return path.endswith("/graphql") or (scope.get("method") not in SAFE_METHODS and not _READS.search(path))


async def _mlflow(scope: Scope, receive: Receive, send: Send) -> None:
    # imported as the server begins: `mlflow server` looks at this module too, and serves nothing
    from mlflow.server.fastapi_app import app as mlflow_app

    await mlflow_app(scope, receive, send)


app = RequestGuard(BodyDeadline(_mlflow), load_token(token_file(get_settings())), get_settings().api_hosts, changes)
