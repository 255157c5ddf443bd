"""Trying an expression by the API."""

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store.tables import TrialLook
from mltrainer_pipelines_tests.api.installation import COMPANIES, Installation


def test_an_expression_is_computed_on_the_newest_sessions(installation: Installation) -> None:
    answer = installation.client.get("/api/factors/try", params={"expression": "close / Ref(open, 5)", "sessions": 20})
    assert answer.status_code == 200, answer.text
    tried = answer.json()
    assert tried["expression"] == "(close / Ref(open, 5))"
    assert tried["look_back"] == 5
    assert tried["coverage"] == 1.0
    assert [one["horizon"] for one in tried["decay"]] == [1, 5, 10, 21, 63]
    assert {one["symbol"] for one in tried["newest"]} == set(COMPANIES)
    with installation.database.engine.connect() as connection:
        assert connection.scalars(sa.select(TrialLook.subject)).all() == ["factor: (close / Ref(open, 5))"]
    assert tried["quantiles"]["0"] <= tried["quantiles"]["0.5"] <= tried["quantiles"]["1"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("close + volume", "no common unit"),
        ("Ref(close, -1)", "look ahead"),
        ("cl\u043ese", "CYRILLIC"),
        ("close / close", "for every symbol and session"),
        ("(" * 3000, "nested too deeply"),
        ("Mean(close, 500)", "looks back 499 sessions"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_a_sentence(installation: Installation, expression: str, message: str) -> None:
    answer = installation.client.get("/api/factors/try", params={"expression": expression})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
