"""Corporate actions that are continued: what is fetched again, what is replaced, what is kept."""

import json
from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS
from mltrainer_pipelines.features.tables import computed_labels
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.corporate_actions import (
    continued_actions,
    corporate_actions,
    doubted,
    listed_before,
    sifted_actions,
    suspected,
)
from mltrainer_pipelines.market.errors import BadActionsError
from mltrainer_pipelines.market.universe import universes_in_lake
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.store.corrections import Correction
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.market.test_split_checks import DAYS, EX, actions, market
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


def test_a_misdated_split_counts_on_the_day_on_which_the_price_steps():
    bars = market({EX: 1.5})
    for listed_on in (EX - 1, EX + 2):
        sifted = sifted_actions(actions((listed_on, "split", 1.5)), bars)
        assert sifted.believed.select("ex_date", "ratio").rows() == [(DAYS[EX], 1.5)]
        assert set(sifted.rejected["ex_date"]) == {DAYS[listed_on], DAYS[EX]}


def test_a_step_to_half_that_nothing_explains_is_no_loss_unless_a_person_says_so():
    bars = market({EX: 2.0})
    sifted = sifted_actions(actions(), bars)
    assert sifted.believed.select("ex_date", "ratio").rows() == [(DAYS[EX], 2.0)]
    assert adjusted(bars, sifted.believed)["adj_close"].pct_change().min() > -0.1
    assert sifted_actions(actions(), bars, [Correction("no_action", DAYS[EX], "AAA")]).believed.is_empty()
    assert sifted_actions(actions(), market({EX: 1.5})).believed.is_empty()  # a loss of a third may be news


def test_a_step_that_may_be_a_split_sets_its_symbol_aside_until_a_person_decides(tmp_path):
    lake, bars = Lake(str(tmp_path)), market({EX: 1.5})
    beside = market(seed=2).with_columns(symbol=pl.lit("BBB"))

    def judged(*corrections: Correction) -> list[date]:
        sifted = sifted_actions(actions(), bars, corrections)
        lake.write("rejected_actions", sifted.rejected)
        lake.write("corporate_actions", sifted.believed)
        assert listed_before(lake).height == 0
        return suspected(lake)["ex_date"].to_list()

    assert judged() == [DAYS[EX]]
    assert "AAA" in doubted(lake.read("rejected_actions"))["symbol"]
    for day in pl.concat([bars, beside]).partition_by("date"):
        lake.write("daily_bars", DAILY_BARS.cast(day.with_columns(vwap=None, trades=None)), str(day["date"][0]))
    ends = DAYS[EX].replace(day=1), (DAYS[EX] + timedelta(days=32)).replace(day=1)
    chosen = universes_in_lake(lake, list(ends), None, 5).filter(pl.col("symbol") == "AAA")
    assert chosen["month"].to_list() == [ends[0]], "aside from the step on, not before it"
    lake.write("universe", chosen, str(ends[0]))
    labels = computed_labels(lake, ends[0], ends[1] - timedelta(days=1), 10.0)
    across = (pl.col("date") == DAYS[EX - 1]) & (pl.col("timeframe") == "short")
    assert labels.filter(across)["label"].to_list() == [None]
    for decision in (Correction("split", DAYS[EX], "AAA", 1.5), Correction("bar", DAYS[EX], "AAA")):
        assert judged(decision) == []
        known = computed_labels(lake, ends[0], ends[1] - timedelta(days=1), 10.0)
        assert known.filter(across)["label"].null_count() == 0 < known.filter(across).height
        assert universes_in_lake(lake, list(ends), None, 5)["symbol"].to_list().count("AAA") == 2
    assert sifted_actions(actions(), bars, suspect=False).rejected.is_empty()


def test_what_was_inferred_or_corrected_is_no_part_of_what_the_vendor_lists(tmp_path):
    lake = Lake(str(tmp_path))
    listed, right = actions((EX, "split", 3.0), (20, "dividend", 1.0)), [Correction("dividend", DAYS[40], "AAA", 0.5)]
    for corrections in (right, []):
        sifted = sifted_actions(listed, market({EX: 2.0}), corrections)
        lake.write("corporate_actions", sifted.believed)
        lake.write("rejected_actions", sifted.rejected)
        assert sifted.believed.filter(pl.col("ratio") == 2.0).height == 1
        assert sifted.believed.filter(pl.col("cash") == 0.5).height == len(corrections)
        before = listed_before(lake)
        assert sorted(before.rows(), key=str) == sorted(listed.rows(), key=str)


def test_a_list_that_is_mostly_wrong_is_not_believed():
    many = pl.concat([actions((place, "split", 4.0)) for place in range(30, 60)])
    with pytest.raises(BadActionsError, match="30 of 30 corporate actions cannot be right"):
        sifted_actions(many, market())
