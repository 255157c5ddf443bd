"""Trades at fixed barriers, by hand and against vectorbt where it is installed."""

import json
import math
import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.features.labels.fixed_barriers import TRADE_SCHEMA, fixed_barrier_trades
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines_tests.features import panels

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared"
BARS, SCRIPT = SHARED / "data/us_equities_2009_2015.parquet", SHARED / "peers/vectorbt_barriers.py"
VECTORBT = ROOT / ".peers/bin/python"


def rows_of(*rows):
    return panels.bars_of("S00", [(100.0, 101.0, 99.0, 100.0), *rows])


def entry(frame, row=0):
    return pl.DataFrame({"date": [panels.days(frame)[row]], "symbol": ["S00"]})


@pytest.mark.parametrize(
    ("session", "barrier", "price"),
    [
        ((101.0, 108.0, 99.0, 100.0), "target", 107.0),
        ((101.0, 106.0, 94.0, 100.0), "stop", 95.0),
        ((101.0, 108.0, 94.0, 100.0), "stop", 95.0),
        ((110.0, 112.0, 109.0, 111.0), "target", 110.0),
        ((90.0, 94.0, 89.0, 91.0), "stop", 90.0),
        ((110.0, 112.0, 94.0, 95.0), "target", 110.0),
    ],
)
def test_a_session_exits_at_the_first_barrier_it_met(session, barrier, price):
    frame = rows_of(session, (100.0, 100.0, 100.0, 100.0))
    trade = fixed_barrier_trades(frame, entry(frame), 0.07, 0.05).row(0, named=True)
    assert (trade["barrier"], trade["exit_price"]) == (barrier, pytest.approx(price))
    assert trade["exit_date"] == panels.days(frame)[1]
    assert trade["gross_return"] == pytest.approx(price / 100.0 - 1.0)


def test_the_entry_session_itself_meets_no_barrier():
    frame = panels.bars_of("S00", [(100.0, 150.0, 50.0, 100.0), (100.0, 101.0, 99.0, 100.0)])
    trade = fixed_barrier_trades(frame, entry(frame), 0.07, 0.05).row(0, named=True)
    assert trade["exit_date"] is trade["exit_price"] is trade["barrier"] is trade["gross_return"] is None


def test_a_time_barrier_ends_it_at_the_close_and_an_infinite_target_never():
    frame = rows_of(*[(100.0, 500.0, 99.0, 103.0)] * 6)
    timed = fixed_barrier_trades(frame, entry(frame), math.inf, 0.05, max_sessions=4).row(0, named=True)
    assert (timed["exit_date"], timed["barrier"], timed["exit_price"]) == (panels.days(frame)[3], "time", 103.0)
    assert fixed_barrier_trades(frame, entry(frame), math.inf, 0.05)["exit_date"].to_list() == [None]


def test_an_entry_while_a_trade_is_open_or_on_the_session_it_ends_is_left_out():
    frame = rows_of(*[(100.0, 101.0, 99.0, 100.0)] * 3, (100.0, 108.0, 99.0, 100.0), *[(100.0, 101.0, 99.0, 100.0)] * 3)
    days = panels.days(frame)
    every = pl.DataFrame({"date": days, "symbol": ["S00"] * len(days)})
    trades = fixed_barrier_trades(frame, every, 0.07, 0.05)
    assert dict(trades.schema) == TRADE_SCHEMA
    assert trades["entry_date"].to_list() == [days[0], days[5]]
    assert trades["exit_date"].to_list() == [days[4], None]


def test_bad_barriers_and_entries_outside_the_bars_are_named():
    frame = rows_of((100.0, 101.0, 99.0, 100.0))
    with pytest.raises(ValueError, match="must be above 0"):
        fixed_barrier_trades(frame, entry(frame), 0.0, 0.05)
    with pytest.raises(ValueError, match="max_sessions is 1"):
        fixed_barrier_trades(frame, entry(frame), 0.1, 0.05, max_sessions=1)
    for other in ({"date": [date(2030, 1, 2)], "symbol": ["S00"]}, {"date": [date(2019, 1, 2)], "symbol": ["S99"]}):
        with pytest.raises(BadPanelError, match="entries: the bars know no"):
            fixed_barrier_trades(frame, pl.DataFrame(other), 0.07, 0.05)


@pytest.mark.skipif(not BARS.is_file(), reason=f"{BARS} is not there")
@pytest.mark.skipif(not VECTORBT.is_file(), reason="vectorbt is not installed in .peers (see docs/features.md)")
def test_exits_are_vectorbts_trade_by_trade(tmp_path):
    bars = pl.read_parquet(BARS).drop("adj_close").filter(pl.col("symbol").rank("dense") % 4 == 0)
    bars.write_parquet(tmp_path / "bars.parquet")
    command = [VECTORBT, SCRIPT, tmp_path / "bars.parquet", "--out", tmp_path / "trades.parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    theirs = pl.read_parquet(tmp_path / "trades.parquet").select(
        pl.col("Column").alias("symbol"),
        pl.col("Entry Timestamp").cast(pl.Date).alias("entry_date"),
        pl.col("Exit Timestamp").cast(pl.Date).alias("theirs_date"),
        pl.col("Avg Exit Price").alias("theirs_price"),
        (pl.col("Status") == "Open").alias("theirs_open"),
    )
    assert theirs.height == json.loads(done.stdout.strip().splitlines()[-1])["trades"]

    # The script's entries: a draw for each session and symbol of the pivoted panel.
    days, symbols = panels.days(bars), sorted(bars["symbol"].unique())
    drawn = np.random.default_rng(0).random((len(days), len(symbols))) < 0.05
    at, of = np.nonzero(drawn)
    entries = pl.DataFrame({"date": pl.Series(days).gather(at), "symbol": pl.Series(symbols).gather(of)})
    adjusted = panels.with_adjustment(bars)
    ours = fixed_barrier_trades(adjusted, entries, target=0.07, stop=0.05)

    both = ours.join(theirs, on=["symbol", "entry_date"], how="full", coalesce=True)
    assert both["entry_price"].null_count() == both["theirs_price"].null_count() == 0, "the same trades"
    # vectorbt leaves a symbol that stopped trading open until the end; here it is delisted.
    delisted = pl.col("barrier") == "delisted"
    assert both.select((pl.col("theirs_open") == (pl.col("exit_date").is_null() | delisted)).all()).item()
    closed = both.filter(~pl.col("theirs_open"))
    assert closed.height > 1000
    assert closed["exit_date"].equals(closed["theirs_date"])
    # A session that opens above the target and falls to the stop: vectorbt looks at the stop first, here the open is first.
    session = adjusted.select("symbol", pl.col("date").alias("exit_date"), "open", "low")
    closed = closed.join(session, on=["symbol", "exit_date"], maintain_order="left")
    mapped = pl.when((pl.col("barrier") == "target") & (pl.col("low") <= pl.col("entry_price") * 0.95))
    expected = closed.select(mapped.then(pl.col("entry_price") * 0.95).otherwise("exit_price"))["entry_price"]
    np.testing.assert_allclose(expected, closed["theirs_price"], rtol=1e-12)
