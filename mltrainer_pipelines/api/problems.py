"""Errors as problem documents (RFC 9457): what happened, for people and for programs, in one shape."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from mltrainer_pipelines.ops.dagster_client import DagsterError
from mltrainer_pipelines.store.database import DatabaseUnavailableError
from mltrainer_pipelines.store.lake import MissingPartitionError
from mltrainer_pipelines.store.postgres_programs import EmbeddedPostgresError

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class InvalidField(BaseModel):
    """A part of a request that cannot be used."""

    field: str = Field(description="Where it is: `query.limit`, `body.actual_shares`, …", examples=["body.actual_shares"])
    reason: str = Field(description="What is wrong with it.", examples=["Input should be greater than 0"])


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is no recommendation 7",
                    "instance": "/api/recommendations/7",
                }
            ]
        }
    )

    type: str = Field(description="`about:blank`: the status says what kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What happened and what to do about it.")
    instance: str = Field(description="The path of the request.")
    errors: list[InvalidField] | None = Field(default=None, description="The parts of the request that cannot be used.")


class Problem(Exception):  # noqa: N818  the name of RFC 9457
    """An answer that is not a success; `detail` says to the caller what happened and what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def problem_body(status: int, detail: str, instance: str, errors: list[dict[str, str]] | None = None) -> dict[str, object]:
    """A problem document as plain values."""
    title = HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": instance}
    return document | ({"errors": errors} if errors else {})


def problem_response(
    request: Request,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> JSONResponse:
    body = problem_body(status, detail, request.url.path, errors)
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def answer_problems(app: FastAPI) -> None:
    """Make every error of an app a problem document."""

    @app.exception_handler(Problem)
    def _problem(request: Request, error: Problem) -> JSONResponse:
        return problem_response(request, error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        if error.status_code == 404 and detail == "Not Found":
            detail = f"there is no {request.url.path}; /openapi.json lists all paths"
        return problem_response(request, error.status_code, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"field": ".".join(str(step) for step in part["loc"]), "reason": part["msg"].removeprefix("Value error, ")}
            for part in error.errors()
        ]
        names = ", ".join(dict.fromkeys(invalid["field"] for invalid in errors))
        return problem_response(request, 422, f"the request cannot be used: see {names}", errors=errors)

    @app.exception_handler(DagsterError)
    def _dagster(request: Request, error: DagsterError) -> JSONResponse:
        return problem_response(request, 503, str(error), {"Retry-After": "10"})

    def unavailable(request: Request, error: Exception) -> JSONResponse:
        _log.warning("the database did not answer: %s", error)
        detail = "PostgreSQL does not answer right now; try again in a moment (`mltrainer up` starts the embedded one)"
        return problem_response(request, 503, detail, {"Retry-After": "2"})

    for kind in (OperationalError, InterfaceError, PoolTimeout, DatabaseUnavailableError, EmbeddedPostgresError):
        app.exception_handler(kind)(unavailable)

    @app.exception_handler(MissingPartitionError)
    def _missing(request: Request, error: MissingPartitionError) -> JSONResponse:
        return problem_response(request, 404, str(error))

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> JSONResponse:
        return problem_response(request, 500, f"unexpected error ({type(error).__name__}); the log of the API has the details")
