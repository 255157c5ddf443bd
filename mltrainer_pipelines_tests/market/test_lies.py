"""A vendor that lies at random, over HTTP: afterwards the tables are those of one that does not, but for rows with a reason."""

from datetime import date

import polars as pl
import pytest

from benchmarks.lies import LEAST_FOUND, Market, ingested, judged, lying
from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.exchange.simulated import SimulatedMarket
from mltrainer_pipelines.store.lake import Lake


@pytest.fixture
def truth() -> Market:
    market = SimulatedMarket(seed=5, symbols=60, premium=1.0, first=date(2022, 9, 1), last=date(2022, 12, 30))
    sessions = market.sessions()[-150:]
    frames = []
    for session in sessions:
        day = market.day(session)
        prices = {name: getattr(day, name) for name in ("open", "high", "low", "close", "volume")}
        frames.append(pl.DataFrame({"date": session, "symbol": list(day.symbol), **prices}))
    splits = [(one.symbol, one.ex_date, "split", one.ratio, None, None) for one in market.splits()]
    dividends = [(one.symbol, one.ex_date, "dividend", None, one.cash, None) for one in market.dividends()]
    actions = pl.DataFrame(splits + dividends, schema=CORPORATE_ACTIONS.schema, orient="row")
    return Market(pl.concat(frames), actions.filter(pl.col("ex_date").is_between(sessions[0], sessions[-1])))


def test_lies_are_found_and_leave_no_trace(truth, tmp_path):
    told = lying(truth, seed=3, share=4e-3, few=4)
    lied, clean = ingested(told, Lake(str(tmp_path / "lied"))), ingested(truth, Lake(str(tmp_path / "clean")))
    verdict = judged(told, lied, clean)
    assert verdict.lies.total() > 30
    assert len(verdict.lies) > 10
    assert verdict.found >= LEAST_FOUND, verdict.missed
    assert verdict.differing.is_empty()
    assert verdict.differing_actions == []
    assert verdict.doubted == []
    for key in lied.partitions("rejected_bars"):
        assert lied.read("rejected_bars", key)["reason"].str.len_chars().min() > 0
