"""The OpenAPI document: FastAPI's, with every problem an operation can answer in its place."""

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mltrainer_pipelines.api.problems import MEDIA_TYPE, ProblemDocument

_EVERYWHERE = {
    "400": "The Host header is not allowed, or the request cannot be read.",
    "401": "The token is missing or wrong.",
    "422": "The request cannot be used; `errors` says which parts.",
    "429": "Too many requests; `Retry-After` says how long to wait.",
    "503": "PostgreSQL or Dagster does not answer; `Retry-After` says when to try again.",
}
_WITH_AN_OBJECT = {"404": "There is no such thing."}
_CHANGING = {
    "404": "There is no such thing.",
    "409": "It is not in a state that allows this.",
    "413": "The body is too large.",
}


def openapi_document(app: FastAPI) -> dict[str, object]:
    """The document of an app, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app)
    return app.openapi_schema


def _document(app: FastAPI) -> dict[str, object]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    schemas = document["components"]["schemas"]
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {})
    schemas["ProblemDocument"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "The token of the file api-token in mlTrainer's home."}
    }
    document["security"] = [{"token": []}]
    answer = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            problems = dict(_EVERYWHERE)
            if operation.get("security") == []:
                problems = {"400": _EVERYWHERE["400"]}
            elif method != "get":
                problems |= _CHANGING
            elif "{" in path:
                problems |= _WITH_AN_OBJECT
            operation["responses"].pop("422", None)
            for status, text in problems.items():
                operation["responses"].setdefault(status, {"description": text, "content": answer})
    return document
