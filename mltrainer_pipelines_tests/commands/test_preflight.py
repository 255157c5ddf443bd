"""Looking before anything long starts: recordings, clocks, suspected splits, plans of calls."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.commands import preflight
from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS
from mltrainer_pipelines.data_plan import write_plan
from mltrainer_pipelines.market.sessions import next_session, sessions_between
from mltrainer_pipelines.settings import NEW_YORK, Settings
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.quarters import SHORT_TRAINING_DAYS, predictable_quarters
from mltrainer_pipelines.trials.validate_trial import MIN_QUARTERS
from mltrainer_pipelines_tests.servers.plans import Plan
from mltrainer_pipelines_tests.servers.stocks import Stocks
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

TODAY = date(2015, 12, 31)
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
    later = look(recording(), start=date(2016, 1, 4), as_of="2016-03-01T18:00:00-05:00")
    assert f"MLTRAINER_HISTORY_START={DAYS[0]}" in (later.refusal or "")
    early = look(recording(), start=date(2011, 1, 3))
    assert f"MLTRAINER_HISTORY_START={DAYS[0]}" in (early.refusal or "")
    broken = look(recording().with_columns(close=pl.lit(-1.0)))
    assert "mltrainer import" in (broken.refusal or "")
    unadjusted = look(recording(split=True))
    assert f"AAA on {DAYS[300]}" in (unadjusted.refusal or "")
    assert "--infer-splits" in (unadjusted.refusal or "")


def test_a_recording_that_ends_before_the_clock_costs_these_sessions_and_not_the_run(look):
    seen = look(recording(), as_of="2016-01-05T18:00:00-05:00")
    assert seen.refusal is None
    assert seen.as_of == datetime(2015, 12, 31, 18, tzinfo=NEW_YORK)
    assert "ends 2 sessions before the clock (2016-01-05): this is as of 2015-12-31" in seen.lines[1]


@pytest.fixture
def real(monkeypatch, tmp_path: Path):
    """Settings of a home with a key for a loopback vendor, on the last evening of 2015."""
    for name in ("API_KEY", "BASE_URL", "CALLS_PER_MINUTE"):
        for prefix in ("POLYGON", "MASSIVE"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)

    def settings(url: str, start: date = date(2011, 1, 3), prefix: str = "POLYGON", **changes: object) -> Settings:
        monkeypatch.setenv(f"{prefix}_API_KEY", "a-key")
        monkeypatch.setenv(f"{prefix}_BASE_URL", url)
        given = {"mltrainer_history_start": start, "mltrainer_as_of": f"{TODAY}T18:00:00-05:00"}
        return Settings(mltrainer_home=tmp_path, **given | changes)

    return settings


def looked_at(settings: Settings) -> preflight.Preflight:
    return preflight.look(settings, settings.mltrainer_as_of)


@pytest.mark.parametrize("prefix", ["POLYGON", "MASSIVE"])
def test_the_free_plan_is_recognized_and_history_begins_where_it_does(real, prefix):
    with vendor(Plan(Stocks(), TODAY, 2, calls=5, snapshots=False)) as server:
        settings = real(server.url, prefix=prefix)
        assert settings.market_kind == "real"
        seen = looked_at(settings)
        assert seen.refusal is None
        assert len(server.calls) == 6
        plan = settings.data_plan
        assert (plan.years, plan.calls_per_minute, plan.snapshots, plan.history_start) == (2, 5, False, date(2014, 1, 2))
        assert seen.lines[0] == "the plan of the key has 2 years of history, 5 calls a minute, no prices during a session"
        assert "history begins on 2014-01-02" in seen.lines[1]
        assert "once a session, after its close" in seen.lines[2]
        assert "504 sessions of bars to fetch, a call each, about 101 minutes at 5 calls a minute" in seen.lines[3]
        within = real(server.url, prefix=prefix)
        assert (within.mltrainer_history_start, within.polygon_call_budget) == (date(2014, 1, 2), 5)
        assert len(predictable_quarters(date(2014, 1, 2), date(2015, 12, 31), within.mltrainer_training_days)) >= 4
        assert "a-key" not in (within.state / "data_plan.json").read_text()


@pytest.mark.parametrize(("years", "first"), [(5, date(2011, 1, 3)), (10, date(2011, 1, 3)), (20, date(2000, 1, 3))])
def test_paid_plans_are_recognized_by_what_they_refuse(real, years, first):
    with vendor(Plan(Stocks(), TODAY, years)) as server:
        settings = real(server.url, first)
        assert looked_at(settings).refusal is None
        plan = settings.data_plan
        reaches_back = TODAY.replace(year=TODAY.year - years) <= first
        assert plan.years == (None if reaches_back else years)
        assert (plan.snapshots, plan.calls_per_minute, plan.training_days) == (True, None, 548)
        assert real(server.url, first).polygon_call_budget is None
        assert len(server.calls) <= 8


def test_a_better_plan_is_noticed_and_a_budget_of_ones_own_is_not_taken_for_the_plans(real):
    plan = Plan(Stocks(), TODAY, 2, calls=5, snapshots=False, window_s=0.0)
    with vendor(plan) as server:
        looked_at(real(server.url, polygon_calls_per_minute=700))
        assert real(server.url).data_plan.calls_per_minute is None, "700 is the user's"
        write_plan(real(server.url).state, replace(real(server.url).data_plan, calls_per_minute=900))
        plan.snapshots, plan.years = True, 5
        looked_at(real(server.url))
        assert (real(server.url).data_plan.calls_per_minute, real(server.url).data_plan.snapshots) == (None, True)
        assert real(server.url).mltrainer_history_start == date(2011, 1, 3)


def test_todays_bars_that_are_not_published_yet_are_left_for_later(real):
    with vendor(Plan(Stocks(), TODAY, 2, snapshots=False, published=date(2015, 12, 30))) as server:
        seen = looked_at(real(server.url, date(2014, 3, 3)))
    assert seen.newest == date(2015, 12, 30)
    assert any("2015-12-31 are not published" in line for line in seen.lines)


def test_a_key_that_is_wrong_is_refused_before_anything_starts(real):
    with vendor([Reply(b'{"status":"ERROR","error":"Unknown API Key"}', status=401)]) as server:
        refusal = looked_at(real(server.url)).refusal
    assert "MASSIVE_API_KEY" in refusal
    assert "a-key" not in refusal


def test_a_start_that_was_fetched_is_kept_when_the_plan_moves_on(real, tmp_path):
    plan = Plan(Stocks(), TODAY, 2, snapshots=False)
    with vendor(plan) as server:
        settings = real(server.url, mltrainer_as_of="2015-06-30T18:00:00-04:00")
        plan.today = date(2015, 6, 30)
        looked_at(settings)
        first = settings.data_plan.history_start
        assert first == date(2013, 7, 1)
        Lake(settings.lake_url).write("daily_bars", DAILY_BARS.empty(), str(first))
        plan.today = TODAY
        later = real(server.url)
        seen = looked_at(later)
        assert (later.data_plan.history_start, later.data_plan.training_days) == (first, 270)
        assert "1 are there already" in seen.lines[-1]


def test_two_years_of_a_plan_always_hold_the_quarters_that_a_trial_is_judged_by():
    for today in sessions_between(date(2023, 1, 3), date(2026, 12, 31)):
        start = next_session(today.replace(year=today.year - 2, day=min(today.day, 28)))
        last = today - timedelta(days=1)
        assert len(predictable_quarters(start, last, SHORT_TRAINING_DAYS)) >= MIN_QUARTERS, today
