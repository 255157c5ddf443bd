"""Corporate actions that are continued: what is fetched again, what is replaced, what is kept."""

import json
from collections.abc import Callable
from datetime import date

import polars as pl
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.market.corporate_actions import continued_actions, corporate_actions
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines_tests.servers.vendor import Call, Reply, vendor

FIRST, TODAY = date(2019, 1, 2), date(2024, 3, 4)


def paying(cash: dict[str, float]) -> Callable[[Call], Reply]:
    """A vendor of one company that pays at these ex-dates, and splits in 2020."""

    def answer(call: Call) -> Reply:
        name, date_of = ("splits", "execution_date") if "splits" in call.path else ("dividends", "ex_dividend_date")
        splits = [{"execution_date": "2020-08-31", "split_from": 1, "split_to": 4}]
        paid = [{"ex_dividend_date": day, "cash_amount": amount, "currency": "USD"} for day, amount in cash.items()]
        rows = [
            {"id": row[date_of], "ticker": "AAA", **row}
            for row in (splits if name == "splits" else paid)
            if call.query[f"{date_of}.gte"] <= str(row[date_of]) <= call.query[f"{date_of}.lte"]
        ]
        return Reply(json.dumps({"status": "OK", "results": rows}).encode())

    return answer


def test_an_evening_asks_for_the_last_thirty_days_and_what_is_announced_and_keeps_the_rest():
    cash = {"2019-02-08": 0.5, "2024-02-09": 0.6}
    with vendor(paying(cash)) as server:
        client = PolygonMarket(server.url, SecretStr("key"))
        known = corporate_actions(client, FIRST, date(2024, 3, 1))
        server.calls.clear()
        cash |= {"2019-02-08": 9.9, "2024-02-09": 0.65, "2024-03-05": 0.7, "2024-05-10": 0.8}
        found = continued_actions(client, known, date(2024, 3, 1), TODAY)
    assert [call.query["ex_dividend_date.gte"] for call in server.calls if "dividends" in call.path] == ["2024-01-31"]
    assert dict(found.schema) == dict(CORPORATE_ACTIONS.schema)
    assert found.select("ex_date", "ratio", "cash").rows() == [
        (date(2019, 2, 8), None, 0.5),  # years ago: not asked for again
        (date(2020, 8, 31), 4.0, None),
        (date(2024, 2, 9), None, 0.65),  # the vendor corrected it
        (date(2024, 3, 5), None, 0.7),  # tomorrow's, announced
    ]
    assert found.filter(pl.col("ex_date") > TODAY).height == 1
