"""The OpenAPI document, and whether the API keeps it: Schemathesis makes requests of it, valid ones and broken ones.

`MLTRAINER_SCHEMATHESIS_CASES` sets the cases an operation and mode: 40 in continuous integration, thousands in all.
"""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from mltrainer_pipelines_tests.api.installation import TOKEN, Installation, hold_virtually, propose, recommend, submit

CASES = int(os.environ.get("MLTRAINER_SCHEMATHESIS_CASES", "40" if os.environ.get("CI") else "5"))
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "127.0.0.1:8000"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
    ignored_auth,
]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid requests", "broken requests"])
def test_every_answer_is_one_that_the_document_allows(installation: Installation, mode: GenerationMode) -> None:
    for symbol in ("AAA", "BBB"):
        hold_virtually(installation.database, recommend(installation.database, symbol), symbol)
    submit(installation.database, "lightgbm", "short", 1)
    propose(installation.database)
    document = schemathesis.openapi.from_asgi("/openapi.json", installation.app, headers=HEADERS)
    tried = 0
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.path == "/api/events":  # a stream that lasts until its reader leaves has a test of its own
            continue

        @seed(7)
        @settings(
            max_examples=CASES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(headers=HEADERS, checks=CHECKS)

        try:
            answers()
        except Unsatisfiable:  # nothing to break: no parameter and no body
            assert mode is GenerationMode.NEGATIVE, operation.label
    assert tried >= 30 * min(CASES, 2)


def test_every_operation_says_what_it_does_and_what_can_go_wrong(installation: Installation) -> None:
    document = installation.client.get("/openapi.json").json()
    operations = [(path, method, found) for path, methods in document["paths"].items() for method, found in methods.items()]
    assert len(operations) > 35
    for path, method, found in operations:
        assert found["description"].endswith((".", "it.")), (path, method)
        if path != "/health":
            assert {"401", "422", "429", "503"} <= set(found["responses"]), (path, method)
            assert list(found["responses"]["401"]["content"]) == ["application/problem+json"]
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_every_body_has_an_example_that_the_api_would_read(installation: Installation) -> None:
    document = installation.client.get("/openapi.json").json()
    bodies = {
        found["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
        for methods in document["paths"].values()
        for found in methods.values()
        if "requestBody" in found
    }
    assert len(bodies) >= 7
    for name in bodies - {"FollowRequest"}:
        assert document["components"]["schemas"][name]["examples"], name
