"""Looking before anything long starts: recordings, clocks, suspected splits, plans of calls."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.commands import preflight
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines_tests.servers.stocks import Stocks
from mltrainer_pipelines_tests.servers.vendor import Call, Reply, vendor

DAYS = sessions_between(date(2013, 1, 2), date(2015, 12, 31))


@pytest.fixture
def look(tmp_path: Path):
    """The preflight of a recording, with the clock of its settings."""

    def looked(frame: pl.DataFrame, start: date = DAYS[0], as_of: str = "2015-12-31T18:00:00-05:00") -> preflight.Preflight:
        path = tmp_path / "bars.parquet"
        frame.write_parquet(path)
        settings = Settings(
            mltrainer_home=tmp_path, mltrainer_exchange=f"replay:{path}", mltrainer_history_start=start, mltrainer_as_of=as_of
        )
        return preflight.look(settings, settings.mltrainer_as_of)

    return looked


def recording(split: bool = False) -> pl.DataFrame:
    rows = []
    for n, day in enumerate(DAYS):
        price = 100 * (1 + 0.01 * ((n * 7) % 5 - 2)) / (2 if split and n >= 300 else 1)
        bar = {"open": price, "high": price * 1.01, "low": price * 0.99, "close": price, "volume": 1e8 / price}
        rows.append({"date": day, "symbol": "AAA", **bar})
    return pl.DataFrame(rows)


def test_a_recording_that_can_work_is_described_and_its_gaps_are_named(look):
    seen = look(recording().filter(pl.col("date") != DAYS[50]))
    assert seen.refusal is None
    assert seen.lines == [
        f"1 symbols, {len(DAYS) - 1} bars, {DAYS[0]} to {DAYS[-1]}",
        f"1 sessions of the calendar are missing and stay without bars: {DAYS[50]}",
    ]


def test_what_cannot_work_is_refused_in_one_line_with_the_remedy(look):
    late = look(recording(), as_of="2016-03-01T18:00:00-05:00")
    assert "MLTRAINER_AS_OF=2015-12-31" in (late.refusal or "")
    early = look(recording(), start=date(2011, 1, 3))
    assert f"MLTRAINER_HISTORY_START={DAYS[0]}" in (early.refusal or "")
    broken = look(recording().with_columns(close=pl.lit(-1.0)))
    assert "mltrainer import" in (broken.refusal or "")
    unadjusted = look(recording(split=True))
    assert f"AAA on {DAYS[300]}" in (unadjusted.refusal or "")
    assert "--infer-splits" in (unadjusted.refusal or "")


@pytest.mark.parametrize("prefix", ["POLYGON", "MASSIVE"])
def test_a_plan_is_probed_by_two_calls_and_says_what_it_allows(monkeypatch, prefix, tmp_path):
    for name in ("POLYGON_API_KEY", "MASSIVE_API_KEY", "POLYGON_BASE_URL", "MASSIVE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    first = sessions_between(date(2013, 12, 31), date(2014, 1, 1))[0]
    stocks = Stocks()

    def free_plan(call: Call) -> Reply:
        return Reply(b'{"status":"NOT_AUTHORIZED"}', status=403) if "/snapshot/" in call.path else stocks(call)

    with vendor(free_plan) as server:
        monkeypatch.setenv(f"{prefix}_API_KEY", "a-key")
        monkeypatch.setenv(f"{prefix}_BASE_URL", server.url)
        monkeypatch.setenv("POLYGON_CALLS_PER_MINUTE", "5")
        settings = Settings(mltrainer_home=tmp_path, mltrainer_history_start=first, mltrainer_as_of="2015-12-31T18:00:00-05:00")
        assert settings.market_kind == "real"
        seen = preflight.look(settings, settings.mltrainer_as_of)
        assert seen.refusal is None
        assert "no snapshots" in seen.lines[0]
        assert "505 sessions, a call each, 5 calls a minute: about 101 minutes" in seen.lines[1]
        stocks.faults[first] = [Reply(b'{"status":"NOT_AUTHORIZED","message":"upgrade your plan"}', status=403)]
        refusal = preflight.look(settings, settings.mltrainer_as_of).refusal
        assert "set MLTRAINER_HISTORY_START=2014-01-02" in refusal
        assert "a-key" not in refusal
        assert len(server.calls) == 3
