import json
from datetime import date

import polars as pl
import pytest

from mltrainer_pipelines.learning.figures import learning_figures
from mltrainer_pipelines.learning.outcomes import record_outcomes
from mltrainer_pipelines.learning.report import learning_report, store_report
from mltrainer_pipelines.learning.resolved import FORECAST_SCHEMA
from mltrainer_pipelines.learning.weights import update_weights
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, bars_of, recommend

DAYS = sessions_between(date(2015, 3, 2), date(2015, 3, 31))
FLAT = (100.0,) * 4
NO_FORECASTS = pl.DataFrame(schema=FORECAST_SCHEMA)


def test_with_nothing_closed_the_report_says_so_and_holds_no_number(database: Database) -> None:
    recommend(database.engine, DAYS[0])
    open_positions(database.engine, 10.0)
    update_weights(database.engine, NO_FORECASTS, {"short": ["a", "b"]})
    report = learning_report(database.engine, DAYS[0])
    assert "No closed positions yet (0 open, 1 waiting for their entry): there is nothing to learn from." in report.markdown
    assert "Weights that rest on 0 forecasts are equal because nothing has been observed." in report.markdown
    assert report.json["overall"] is None
    assert "%" not in report.markdown


def test_the_report_tells_over_confidence_by_regime_model_and_timeframe(database: Database) -> None:
    bars = [bars_of(name, DAYS, [FLAT, FLAT, (price,) * 4]) for name, price in (("UP", 120.0), ("DOWN", 80.0), ("ALSO", 80.0))]
    recommend(database.engine, DAYS[0], "UP", profit_probability=0.6, regime_score=80.0)
    recommend(database.engine, DAYS[0], "DOWN", profit_probability=0.9, regime_score=30.0, model_used="lightgbm")
    recommend(database.engine, DAYS[0], "ALSO", profit_probability=0.9, regime_score=None, model_used="lightgbm")
    open_positions(database.engine, 10.0)
    settle(database.engine, adjusted(pl.concat(bars), NO_ACTIONS), DAYS[2])
    record_outcomes(database.engine)

    report = learning_report(database.engine, DAYS[2])
    overall = report.json["overall"]
    assert (overall["closed"], overall["hit_rate"]) == (3, pytest.approx(1 / 3))
    assert overall["over_confidence"] == pytest.approx(0.8 - 1 / 3)
    assert overall["brier"] == pytest.approx((0.4**2 + 0.9**2 + 0.9**2) / 3)
    assert report.json["groups"]["model"]["lightgbm"]["hit_rate"] == 0
    assert set(report.json["groups"]["regime"]) == {"regime 75-100", "regime 25-50", "regime unknown"}
    assert "Fewer than 30 closed positions" in report.markdown
    assert json.loads(json.dumps(report.json)) == report.json
    assert learning_report(database.engine, DAYS[1]).json["overall"] is None  # as it was known a session before


def test_the_report_tells_what_worked_and_what_did_not_where_that_is_more_than_chance(database: Database) -> None:
    days = sessions_between(date(2015, 3, 2), date(2015, 12, 31))
    for number in range(0, 192, 24):  # TECH gains, OIL loses, and each position has two holding periods of its own
        for later, (sector, price) in enumerate((("TECH", 120.0), ("OIL", 80.0))):
            symbol, start = f"{sector}{number}", days[number + later : number + later + 3]
            recommend(database.engine, start[0], symbol, sector=sector)
            open_positions(database.engine, 10.0)
            settle(database.engine, adjusted(bars_of(symbol, start, [FLAT, FLAT, (price,) * 4]), NO_ACTIONS), start[2])
    record_outcomes(database.engine)
    report = learning_report(database.engine, days[-1])
    assert report.json["worked"] == [told for told in report.json["worked"] if "TECH" in told]
    assert any(told.startswith("sector TECH: +") for told in report.json["worked"])
    assert any(told.startswith("sector OIL: -") for told in report.json["did_not_work"])
    assert "## What worked" in report.markdown
    assert set(report.json["groups"]) >= {"timeframe", "model", "regime", "sector"}
    assert set(learning_figures(database.engine, days[-1], "simulated")) == {"promised_and_true", "net_return"}
    assert learning_figures(database.engine, days[0], "simulated") == {}


def test_the_same_report_is_kept_once(database: Database) -> None:
    report = learning_report(database.engine, DAYS[0])
    first = store_report(database.engine, report)
    assert store_report(database.engine, report) == first
    assert store_report(database.engine, learning_report(database.engine, DAYS[1])) != first
