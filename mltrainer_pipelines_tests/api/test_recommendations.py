"""Recommendations: the list and its filters, one of them, and the nearest misses."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.portfolio.positions import open_leanings
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.api.installation import SESSIONS, Installation, hold_virtually, make_installation, recommend
from mltrainer_pipelines_tests.servers.dagster import Dagster


def test_they_are_filtered_sorted_and_paginated(installation: Installation) -> None:
    for place, symbol in enumerate(("AAA", "BBB", "CCC", "DDD")):
        timeframe, grade = ("long", "proven") if place % 2 else ("short", "candidate")
        recommend(installation.database, symbol, profit_probability=0.6 + 0.01 * place, timeframe=timeframe, grade=grade)
    recommend(installation.database, "AAA", SESSIONS[-5], confidence=0.95)

    def symbols(**parameters: object) -> list[str]:
        answer = installation.client.get("/api/recommendations", params=parameters)
        assert answer.status_code == 200, answer.text
        return [item["symbol"] for item in answer.json()["items"]]

    assert symbols(sort="-profit_probability", latest=True) == ["DDD", "CCC", "BBB", "AAA"]
    assert symbols(timeframe="long", sort="symbol") == ["BBB", "DDD"]
    assert symbols(grade="proven", min_probability=0.62) == ["DDD"]
    assert symbols(sector="Materials", sort="symbol") == ["BBB", "DDD"]
    assert symbols(symbol="aaa", sort="session") == ["AAA", "AAA"]
    assert symbols(min_confidence=0.9) == ["AAA"]
    assert symbols(session=str(SESSIONS[-5])) == ["AAA"]
    assert symbols(since_id=4) == ["AAA"]
    page = installation.client.get("/api/recommendations", params={"sort": "symbol", "limit": 2, "offset": 2}).json()
    assert (page["total"], [item["symbol"] for item in page["items"]]) == (5, ["BBB", "CCC"])
    assert page["newest_id"] == 5
    assert page["market"] == "simulated"
    assert page["items"][0]["company"] == "Beta Bricks plc"
    assert page["sectors"] == ["Energy", "Industrials", "Materials"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "query.limit"),
        ("limit=501", "query.limit"),
        ("sort=entry", "query.sort"),
        ("timefrane=short", "query.timefrane"),
        ("min_probability=nan", "query.min_probability"),
        ("symbol=A%00B", "query.symbol"),
        ("sector=%00", "query.sector"),
    ],
)
def test_a_filter_that_cannot_be_is_named(installation: Installation, query: str, field: str) -> None:
    answer = installation.client.get(f"/api/recommendations?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [found["field"] for found in answer.json()["errors"]] == [field]


def test_one_comes_with_its_reasons_its_prices_its_paper_trade_and_its_history(installation: Installation) -> None:
    drivers = [{"feature": "return_21", "value": 0.1, "percentile": 0.97, "effect": 0.4, "share": 0.5}]
    earlier = recommend(installation.database, "BBB", SESSIONS[-40], timeframe="long")
    number = recommend(installation.database, "BBB", SESSIONS[-30], why="its 21-day return is high", drivers=drivers)
    hold_virtually(installation.database, number, "BBB")
    detail = installation.client.get(f"/api/recommendations/{number}").json()
    assert detail["reasons"]["summary"] == "its 21-day return is high"
    assert detail["reasons"]["drivers"][0]["percentile"] == 0.97
    assert "probability of profit 0.62, threshold 0.60" in detail["reasons"]["rules"]
    assert detail["position"]["profit_loss"] == 178.0
    assert detail["in_portfolio"] is False
    assert [past["id"] for past in detail["history"]] == [earlier]
    prices = {price["date"]: price["close"] for price in detail["prices"]}
    # Twenty sessions ago two shares were made of one; the prices after it are told in those of the decision's session.
    before, after = prices[str(SESSIONS[-21])], prices[str(SESSIONS[-20])]
    assert after / before == pytest.approx(1.0, abs=0.01)
    assert prices[str(SESSIONS[-30])] == pytest.approx(110 * (1 + 0.001 * (len(SESSIONS) - 30)), abs=0.01)
    assert max(prices) == str(SESSIONS[-1])


def test_one_that_there_is_not_is_a_404(installation: Installation) -> None:
    answer = installation.client.get("/api/recommendations/7")
    assert answer.status_code == 404
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no recommendation 7; /api/recommendations lists them",
        "instance": "/api/recommendations/7",
    }


def test_the_nearest_misses_come_nearest_first_with_what_they_lacked(installation: Installation) -> None:
    found = installation.client.get("/api/recommendations/near-misses").json()
    assert (found["signals"], found["strong_buys"]) == (5, 2)
    assert [(miss["symbol"], miss["lacked"]) for miss in found["items"]] == [
        ("CCC", ["probability 0.58 below 0.60"]),
        ("DDD", ["probability 0.56 below 0.60"]),
    ]
    assert installation.client.get("/api/recommendations/near-misses?timeframe=long").json()["items"] == []


def test_leanings_come_strongest_first_and_say_whether_they_are_recommended_too(installation: Installation) -> None:
    found = installation.client.get("/api/recommendations/leanings").json()
    for timeframe in {item["timeframe"] for item in found["items"]}:
        own = [item for item in found["items"] if item["timeframe"] == timeframe]
        assert [item["place"] for item in own] == list(range(1, len(own) + 1))
        strengths = [item["signal_strength"] for item in own]
        assert strengths == sorted(strengths, reverse=True)
    assert {item["strong_buy"] for item in found["items"]} == {True, False}
    first = installation.client.get("/api/recommendations/leanings?timeframe=short&limit=1").json()
    assert [(item["place"], item["timeframe"]) for item in first["items"]] == [(1, "short")]
    assert {worth["timeframe"] for worth in first["worth"]} <= {"short"}
    assert found["paper_trades"] == []
    open_leanings(installation.database.engine, installation.lake.read("signals", str(SESSIONS[-1])), 10.0, "simulated")
    fresh = installation.client.get("/api/recommendations/leanings?limit=2").json()["paper_trades"]
    assert [(one["timeframe"], one["pending"], one["closed"], one["mean_net_return"]) for one in fresh] == [("short", 4, 0, None)]


def test_before_the_first_refresh_there_is_nothing_and_that_is_said(tmp_path: Path, database: Database, dagster: Dagster) -> None:
    fresh = make_installation(tmp_path, database, dagster)
    fresh.lake.delete("signals", str(SESSIONS[-1]))
    assert fresh.client.get("/api/recommendations/near-misses").json()["refreshed_at"] is None
    assert fresh.client.get("/api/recommendations/leanings").json()["items"] == []
    listed = fresh.client.get("/api/recommendations").json()
    assert (listed["total"], listed["items"], listed["newest_id"]) == (0, [], None)


def test_answers_are_kept_for_a_second_and_forgotten_with_the_first_change(installation: Installation) -> None:
    recommend(installation.database, "AAA")
    assert installation.client.get("/api/recommendations").json()["total"] == 1
    recommend(installation.database, "BBB")
    assert installation.client.get("/api/recommendations").json()["total"] == 1
    body = {"recommendation_id": 1, "actual_buy_price": 110, "actual_shares": 1}
    assert installation.client.post("/api/portfolio", json=body).status_code == 201
    assert installation.client.get("/api/recommendations").json()["total"] == 2
    with installation.database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.UserPosition)) == 1
