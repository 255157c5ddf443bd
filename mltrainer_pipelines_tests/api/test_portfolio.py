"""The user's portfolio: selecting, correcting, closing, and what it is worth."""

from typing import Any

import pytest

from mltrainer_pipelines_tests.api.installation import LAST, SESSIONS, Installation, hold_virtually, recommend


def select(installation: Installation, number: int, **values: Any) -> dict[str, Any]:
    body = {"recommendation_id": number, "actual_buy_price": 100, "actual_shares": 10, **values}
    answer = installation.client.post("/api/portfolio", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/portfolio/{answer.json()['id']}"
    return answer.json()


def test_a_selected_recommendation_is_worth_its_shares_at_the_newest_price(installation: Installation) -> None:
    number = recommend(installation.database, "AAA")
    holding = select(installation, number, notes="half a position")
    close = round(100 * (1 + 0.001 * (len(SESSIONS) - 1)), 4)
    assert holding["priced_on"] == str(LAST)
    assert holding["value"] == pytest.approx(10 * close, abs=0.01)
    assert holding["profit_loss"] == pytest.approx(10 * close - 1000, abs=0.01)
    assert holding["notes"] == "half a position"
    listed = installation.client.get("/api/portfolio").json()
    assert (listed["total"], listed["unrealized"], listed["realized"]) == (1, holding["profit_loss"], 0.0)
    assert installation.client.get("/api/recommendations").json()["items"][0]["in_portfolio"] is True


def test_a_split_since_then_doubles_the_shares(installation: Installation) -> None:
    number = recommend(installation.database, "BBB", SESSIONS[-30])
    before = select(installation, number, actual_buy_price=120, selected_time=f"{SESSIONS[-30]}T15:00:00Z")
    assert before["shares_now"] == 20.0
    assert before["dividends"] == 0.0
    installation.client.delete(f"/api/portfolio/{before['id']}")
    holding = select(installation, number, actual_buy_price=120, selected_time=f"{SESSIONS[-10]}T15:00:00Z")
    assert holding["shares_now"] == 10.0
    assert holding["value"] == pytest.approx(10 * holding["current_price"], abs=0.01)


def test_the_same_request_again_changes_nothing(installation: Installation) -> None:
    asked = {"recommendation_id": recommend(installation.database, "AAA"), "actual_buy_price": 101.25, "actual_shares": 3.5}
    first, again = (installation.client.post("/api/portfolio", json=asked | {"notes": "by phone"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert installation.client.post("/api/portfolio", json=asked | {"notes": "another"}).status_code == 409


def test_the_same_one_is_not_held_twice_at_once(installation: Installation) -> None:
    number = recommend(installation.database, "AAA")
    first = select(installation, number)
    again = installation.client.post(
        "/api/portfolio", json={"recommendation_id": number, "actual_buy_price": 1, "actual_shares": 1}
    )
    assert again.status_code == 409
    assert f"holding {first['id']}" in again.json()["detail"]
    assert installation.client.patch(f"/api/portfolio/{first['id']}", json={"actual_sell_price": 105}).status_code == 200
    assert select(installation, number)["id"] != first["id"]


def test_it_is_closed_at_the_price_it_was_sold_for_and_opened_again(installation: Installation) -> None:
    holding = select(installation, recommend(installation.database, "AAA"))
    path = f"/api/portfolio/{holding['id']}"
    closed = installation.client.patch(path, json={"actual_sell_price": 105.5, "notes": "at the target"}).json()
    assert (closed["status"], closed["profit_loss"], closed["notes"]) == ("closed", 55.0, "at the target")
    assert closed["closed_time"] is not None
    listed = installation.client.get("/api/portfolio", params={"status": "closed"}).json()
    assert (listed["total"], listed["realized"], listed["hit_rate"]) == (1, 55.0, 1.0)
    assert installation.client.get("/api/portfolio", params={"status": "open"}).json()["total"] == 0
    opened = installation.client.patch(path, json={"actual_sell_price": None}).json()
    assert (opened["status"], opened["closed_time"]) == ("open", None)


def test_it_says_what_the_rules_would_do(installation: Installation) -> None:
    number = recommend(installation.database, "AAA", SESSIONS[-30])
    hold_virtually(installation.database, number, "AAA", status="closed")
    assert select(installation, number)["advice"] == f"closed on {LAST} (target): consider selling"


def test_a_selection_is_taken_back(installation: Installation) -> None:
    holding = select(installation, recommend(installation.database, "AAA"))
    assert installation.client.delete(f"/api/portfolio/{holding['id']}").status_code == 204
    assert installation.client.delete(f"/api/portfolio/{holding['id']}").status_code == 404
    assert installation.client.get(f"/api/portfolio/{holding['id']}").status_code == 404
    assert installation.client.patch(f"/api/portfolio/{holding['id']}", json={"notes": "gone"}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"recommendation_id": 1, "actual_buy_price": 0, "actual_shares": 10},
        {"recommendation_id": 1, "actual_buy_price": "NaN", "actual_shares": 10},
        {"recommendation_id": 1, "actual_buy_price": 1e12, "actual_shares": 10},
        {"recommendation_id": 1, "actual_buy_price": 10, "actual_shares": -1},
        {"recommendation_id": 2**63, "actual_buy_price": 10, "actual_shares": 1},
        {"recommendation_id": 1, "actual_buy_price": 10, "actual_shares": 1, "notes": "a\x00b"},
        {"recommendation_id": 1, "actual_buy_price": 10, "actual_shares": 1, "price": 3},
        {"recommendation_id": 1, "actual_buy_price": 10, "actual_shares": 1, "selected_time": "2024-03-28T10:00:00"},
    ],
)
def test_what_cannot_have_been_bought_is_refused(installation: Installation, body: dict[str, Any]) -> None:
    recommend(installation.database, "AAA")
    assert installation.client.post("/api/portfolio", json=body).status_code == 422
    assert installation.client.get("/api/portfolio").json()["total"] == 0


@pytest.mark.parametrize("body", [{}, {"actual_shares": None}, {"closed_time": "2024-03-28T10:00:00Z"}, {"actual_sell_price": 0}])
def test_a_change_that_says_nothing_or_cannot_be_is_refused(installation: Installation, body: dict[str, Any]) -> None:
    holding = select(installation, recommend(installation.database, "AAA"))
    assert installation.client.patch(f"/api/portfolio/{holding['id']}", json=body).status_code == 422


def test_what_was_never_recommended_cannot_be_selected(installation: Installation) -> None:
    body = {"recommendation_id": 3, "actual_buy_price": 10, "actual_shares": 1}
    answer = installation.client.post("/api/portfolio", json=body)
    assert answer.status_code == 404
    assert "no recommendation 3" in answer.json()["detail"]
