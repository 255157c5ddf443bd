"""Whether the API is well, and its metrics."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.metrics import Metrics
from mltrainer_pipelines.api.status import database_answers

router = APIRouter(tags=["system"])
_METRICS_EXAMPLE = "# TYPE mltrainer_recommendations gauge\nmltrainer_recommendations 93.0\n"


class Health(BaseModel):
    """Whether the API can do its work."""

    status: Literal["ok", "unavailable"]
    database: bool = Field(description="Whether PostgreSQL answers.")


@router.get(
    "/health", responses={503: {"model": Health, "description": "PostgreSQL does not answer."}}, openapi_extra={"security": []}
)
def get_health(installation: Installation, response: Response) -> Health:
    """Whether the API can do its work; the only thing that needs no token."""
    well = database_answers(installation)
    response.status_code = 200 if well else 503
    return Health(status="ok" if well else "unavailable", database=well)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": _METRICS_EXAMPLE}}}},
)
def get_metrics(installation: Installation, request: Request) -> Response:
    """Metrics for Prometheus: requests, and the state of the system."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(installation), media_type="text/plain; version=0.0.4; charset=utf-8")
