"""Routes that read: their answer is serialized in the thread that made it."""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel


class JsonRoute(APIRoute):
    """A route whose GETs answer with a model of pydantic's.

    FastAPI would hand such a model to a second thread, which validates what is a valid model already, and write it in
    the event loop, where all other requests wait. The document is made from the function's annotation as ever.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        if set(options.get("methods") or ()) == {"GET"} and not iscoroutinefunction(endpoint):
            endpoint = _as_json(endpoint)
        super().__init__(path, endpoint, **options)


def _as_json(endpoint: Callable[..., object]) -> Callable[..., object]:
    @wraps(endpoint)
    def answer(*args: object, **kwargs: object) -> Any:
        result = endpoint(*args, **kwargs)
        if not isinstance(result, BaseModel):
            return result
        return Response(result.__pydantic_serializer__.to_json(result, by_alias=True), media_type="application/json")

    return answer
