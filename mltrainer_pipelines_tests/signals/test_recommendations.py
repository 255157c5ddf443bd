from datetime import date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.signals.recommendations import alert_where_crowded, publish, recommendations_frame
from mltrainer_pipelines.signals.rules import CROWDED, Thresholds
from mltrainer_pipelines.signals.scoring import Champion, closing_prices, score_market
from mltrainer_pipelines.store.alerts import alerts
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import Recommendation

SESSION = date(2015, 10, 30)
MOMENT = datetime(2015, 10, 30, 18, 0, tzinfo=ZoneInfo("America/New_York"))


class Forecast:
    """An ensemble whose forecast is a function of one feature, so that a test knows it."""

    def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame:
        p = pl.col("edge")
        return features.select(
            "date", "symbol", profit_probability=p, probability_low=p - 0.05, probability_high=p + 0.05,
            expected_net_return=p - 0.5, agreement=(p >= threshold).cast(pl.Float64), confidence=(p >= threshold) * 0.9,
        )  # fmt: skip


def signals(edges: dict[str, float], moment: datetime = MOMENT) -> pl.DataFrame:
    symbols = list(edges)
    features = pl.DataFrame({"date": [SESSION] * len(symbols), "symbol": symbols, "edge": list(edges.values())})
    bars = pl.DataFrame({"symbol": symbols, "close": [100.123456789] * len(symbols)})
    volatility = pl.DataFrame({"symbol": symbols, "volatility": [0.02] * len(symbols)})
    champion = Champion("lightgbm-short-1234abcd", "lightgbm", "3", "candidate", Barriers())
    return score_market(features, {"short": (Forecast(), champion)}, closing_prices(bars), volatility, 60.0, Thresholds(), moment)


def test_a_refresh_that_runs_twice_changes_nothing(database: Database) -> None:
    scored = signals({"AAA": 0.7, "BBB": 0.65, "CCC": 0.4})
    first = publish(database, scored, Thresholds(), "simulated")
    before = recommendations_frame(database)
    again = publish(database, scored, Thresholds(), "simulated")
    assert (first.new, first.existing) == (2, 0)
    assert (again.new, again.existing) == (0, 2)
    assert recommendations_frame(database).equals(before)


def test_a_later_refresh_adds_what_is_new_and_keeps_what_was_said(database: Database) -> None:
    publish(database, signals({"AAA": 0.7}), Thresholds(), "simulated")
    later = publish(database, signals({"AAA": 0.9, "BBB": 0.8}, MOMENT.replace(hour=19)), Thresholds(), "simulated")
    assert (later.new, later.existing) == (1, 1)
    kept = recommendations_frame(database).filter(symbol="AAA")
    assert kept["profit_probability"].to_list() == [0.7]
    assert kept["timestamp"].to_list() == [MOMENT]


def test_what_is_read_is_what_was_scored(database: Database) -> None:
    scored = signals({"AAA": 0.7, "BBB": 0.65, "CCC": 0.4}).filter("strong_buy")
    result = publish(database.engine, scored, Thresholds(), "replay")
    read = recommendations_frame(database, SESSION)
    assert read["id"].to_list() == list(result.new_ids)
    assert read["market"].unique().to_list() == ["replay"]
    money = ("entry_price", "target_price", "stop_loss")
    shared = [name for name in scored.columns if name in read.columns and name not in money]
    assert read.select(shared).equals(scored.select(shared))
    for name in money:  # NUMERIC(18, 6)
        assert read[name].to_list() == pytest.approx(scored[name].to_list(), abs=1e-6)
    with database.engine.connect() as connection:
        kept = connection.execute(sa.select(Recommendation.thresholds)).scalars().first()
    assert kept == {"min_probability": 0.6, "min_confidence": 0.7, "min_expected_net_return": 0.0, "min_regime": 25.0}


def test_a_session_without_a_strong_buy_recommends_nothing(database: Database) -> None:
    result = publish(database, signals({"AAA": 0.5}), Thresholds(), "simulated")
    assert (result.new, result.existing) == (0, 0)
    empty = recommendations_frame(database, SESSION)
    assert empty.is_empty()
    assert empty.schema["entry_price"] == pl.Float64
    assert empty.schema["timestamp"] == pl.Datetime("us", "America/New_York")


def test_hundreds_of_strong_buys_are_written_in_one_go(database: Database) -> None:
    scored = signals({f"S{i:03}": 0.61 + i / 1000 for i in range(300)})
    result = publish(database, scored, Thresholds(), "simulated")
    read = recommendations_frame(database).sort("id")
    assert list(result.new_ids) == read["id"].to_list()
    assert read["symbol"].sort().to_list() == scored.filter("strong_buy")["symbol"].sort().to_list()


def test_a_recommendation_always_says_which_market_it_is_of(database: Database) -> None:
    with pytest.raises(ValueError, match="there is no market 'paper'"):
        publish(database, signals({"AAA": 0.7}), Thresholds(), "paper")
    assert recommendations_frame(database).is_empty()


def test_a_recommendation_remembers_the_thresholds_and_the_version_it_was_made_under(database: Database) -> None:
    scored = signals({"AAA": 0.7})
    for version, least in ((7, 0.8), (8, 0.5)):
        bars = Thresholds(min_confidence=least, version=version)
        publish(database, scored.with_columns(settings_version=pl.lit(version)), bars, "simulated")
    with database.engine.connect() as connection:
        (row,) = connection.execute(sa.select(Recommendation.settings_version, Recommendation.thresholds)).all()
    assert row.settings_version == 7
    assert row.thresholds["min_confidence"] == 0.8


def test_most_of_the_market_passing_raises_one_alert_a_session_and_timeframe(database: Database) -> None:
    scored = pl.DataFrame({"timeframe": ["short"] * 3 + ["long"], "reason": [CROWDED] * 3 + ["passes"]})
    scored = scored.with_columns(date=pl.lit(date(2024, 3, 28)))
    for _ in range(2):
        (message,) = alert_where_crowded(database.engine, scored, None)
    (told,) = alerts(database.engine)
    assert (told["kind"], told["message"]) == ("crowded", message)
    assert message.startswith("nothing is recommended for short on 2024-03-28: 3 symbols pass")
