"""Virtual positions, their export, and how the books did."""

import csv
import io
from decimal import Decimal

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store import tables
from mltrainer_pipelines_tests.api.installation import SESSIONS, Installation, hold_virtually, recommend


def _three(installation: Installation) -> list[int]:
    numbers = [recommend(installation.database, symbol, SESSIONS[-30]) for symbol in ("AAA", "BBB", "CCC")]
    hold_virtually(installation.database, numbers[0], "AAA")
    hold_virtually(installation.database, numbers[1], "BBB", status="closed", profit_loss=Decimal("250.25"))
    hold_virtually(installation.database, numbers[2], "CCC", status="closed", profit_loss=Decimal("-100.10"), exit_reason="stop")
    return numbers


def test_they_are_filtered_sorted_and_summed_to_the_cent(installation: Installation) -> None:
    _three(installation)
    found = installation.client.get("/api/virtual-positions", params={"sort": "-profit_loss"}).json()
    assert [item["symbol"] for item in found["items"]] == ["BBB", "AAA", "CCC"]
    assert (found["realized"], found["unrealized"], found["hit_rate"]) == (150.15, 178.0, 0.5)
    closed = installation.client.get("/api/virtual-positions", params={"status": "closed", "symbol": "ccc"}).json()
    assert (closed["total"], closed["items"][0]["exit_reason"]) == (1, "stop")


def test_what_was_passed_over_is_what_the_user_did_not_select(installation: Installation) -> None:
    numbers = _three(installation)
    body = {"recommendation_id": numbers[1], "actual_buy_price": 110, "actual_shares": 1}
    assert installation.client.post("/api/portfolio", json=body).status_code == 201

    def symbols(book: str) -> set[str]:
        return {
            item["symbol"] for item in installation.client.get("/api/virtual-positions", params={"book": book}).json()["items"]
        }

    assert (symbols("user"), symbols("passed_over")) == ({"BBB"}, {"AAA", "CCC"})


def test_all_of_them_are_exported_as_csv(installation: Installation) -> None:
    _three(installation)
    answer = installation.client.get("/api/virtual-positions.csv", params={"status": "closed"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["symbol"], row["profit_loss"]) for row in rows] == [("BBB", "250.250000"), ("CCC", "-100.100000")]


def test_the_books_are_told_beside_the_benchmark(installation: Installation) -> None:
    rows = [
        {
            "date": SESSIONS[-3 + day],
            "book": book,
            "equity": Decimal(1_000_000 + 1000 * day),
            "cash": Decimal(500_000),
            "drawdown": 0.0,
            "exposure": 0.5,
            "open_positions": 1,
            "closed_positions": day,
            "realized": Decimal(0),
            "unrealized": Decimal(1000 * day),
            "benchmark_return": 0.01,
        }
        for day in range(3)
        for book in ("recommendations", "user", "passed_over")
    ]
    with installation.database.engine.begin() as connection:
        connection.execute(sa.insert(tables.PortfolioPerformance), rows)
    found = installation.client.get("/api/performance").json()
    assert [day["equity"] for day in found["books"]["user"]] == [1_000_000, 1_001_000, 1_002_000]
    assert [day["equity"] for day in found["benchmark"]] == pytest.approx([1_000_000, 1_010_000, 1_020_100])
    assert found["relived_until"] is None
    later = installation.client.get("/api/performance", params={"first": str(SESSIONS[-2])}).json()
    assert len(later["books"]["recommendations"]) == 2
