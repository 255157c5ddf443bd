import math
import subprocess
import sys
from datetime import date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import SIGNALS
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.signals.scoring import Champion, UnusableInputError, closing_prices, delayed_prices, score_market

SESSION = date(2015, 10, 30)
MOMENT = datetime(2015, 10, 30, 18, 0, tzinfo=ZoneInfo("America/New_York"))
SYMBOLS = ["AAA", "BBB", "CCC", "DDD"]
CHAMPION = Champion("lightgbm-short-1234abcd", "lightgbm", "3", "candidate", Barriers(target=2.0, stop=1.0))


class Forecast:
    """An ensemble whose forecast is a function of one feature, so that a test knows it."""

    def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame:
        p = pl.col("edge")
        return features.select(
            "date", "symbol", profit_probability=p, probability_low=p - 0.05, probability_high=p + 0.05,
            expected_net_return=p - 0.5, agreement=(p >= threshold).cast(pl.Float64), confidence=(p >= threshold) * 0.9,
        ).reverse()  # fmt: skip


FEATURES = pl.DataFrame({"date": [SESSION] * 4, "symbol": SYMBOLS, "edge": [0.7, 0.7, 0.55, 0.65]})
BARS = pl.DataFrame({"symbol": SYMBOLS, "close": [10.0, 20.0, 30.0, 40.0]})
VOLATILITY = pl.DataFrame({"symbol": SYMBOLS, "volatility": [0.02, 0.03, 0.02, None]})


def scored(**changes: object) -> pl.DataFrame:
    given = {
        "features_now": FEATURES,
        "ensembles": {"short": (Forecast(), CHAMPION)},
        "prices": closing_prices(BARS),
        "volatility": VOLATILITY,
        "regime_score": 60.0,
        "thresholds": Thresholds(),
        "moment": MOMENT,
    } | changes
    return score_market(**given)  # type: ignore[arg-type]


def row(frame: pl.DataFrame, symbol: str) -> dict:
    return frame.row(by_predicate=pl.col("symbol") == symbol, named=True)


def test_signals_have_the_documented_columns_and_one_row_a_symbol_and_timeframe() -> None:
    frame = scored(ensembles={"short": (Forecast(), CHAMPION), "long": (Forecast(), CHAMPION)})
    assert dict(frame.schema) == SIGNALS.schema
    assert frame.group_by("timeframe").len().sort("timeframe").rows() == [("long", 4), ("short", 4)]
    assert frame["date"].unique().to_list() == [SESSION]
    assert frame["timestamp"].unique().to_list() == [MOMENT]


def test_signal_strength_is_the_percentile_of_the_expected_return_with_ties_sharing_theirs() -> None:
    strength = dict(scored().select("symbol", "signal_strength").iter_rows())
    assert strength == pytest.approx({"AAA": 2.5 / 3, "BBB": 2.5 / 3, "CCC": 0.0, "DDD": 1 / 3})


def test_target_and_stop_lie_where_the_labels_put_them() -> None:
    signal = row(scored(), "BBB")
    width = 0.03 * math.sqrt(12)
    assert signal["entry_price"] == 20.0
    assert signal["target_price"] == pytest.approx(20.0 * math.exp(2 * width))
    assert signal["stop_loss"] == pytest.approx(20.0 * math.exp(-width))


def test_a_symbol_without_volatility_is_scored_but_never_a_strong_buy() -> None:
    signal = row(scored(), "DDD")
    assert signal["profit_probability"] == 0.65
    assert signal["target_price"] is None
    assert not signal["strong_buy"]
    assert "volatility" in signal["reason"]


def test_a_stale_or_missing_price_keeps_the_forecast_and_loses_the_levels() -> None:
    quotes = pl.DataFrame({"symbol": ["AAA", "BBB", "CCC"], "close": [11.0, 21.0, None], "stale": [True, False, False]})
    frame = scored(prices=delayed_prices(quotes))
    stale, fresh, unpriced, unknown = (row(frame, symbol) for symbol in SYMBOLS)
    assert (stale["price"], stale["entry_price"], stale["strong_buy"]) == (11.0, None, False)
    assert stale["reason"] == "its last price is stale"
    assert (fresh["price_source"], fresh["entry_price"], fresh["reason"]) == ("delayed", 21.0, "passes")
    assert "it has no price" in unpriced["reason"]
    assert "it has no price" in unknown["reason"]


def test_a_market_in_a_bad_or_unknown_regime_has_no_strong_buy() -> None:
    assert scored()["strong_buy"].sum() == 2
    bad = scored(regime_score=24.9)
    assert not bad["strong_buy"].any()
    assert row(bad, "AAA")["reason"] == "regime 24.9 below 25.0"
    assert row(scored(regime_score=None), "AAA")["reason"] == "regime unknown below 25.0"
    assert scored(regime_score=None, thresholds=Thresholds(min_regime=0.0))["strong_buy"].sum() == 2


def test_an_ensemble_is_told_the_regime_it_is_asked_in() -> None:
    told = []

    class Listening(Forecast):
        def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame:
            told.append(features["regime_score"].unique().to_list())
            return super().predict(features, threshold)

    scored(ensembles={"short": (Listening(), CHAMPION)})
    scored(ensembles={"short": (Listening(), CHAMPION)}, regime_score=None)
    assert told == [[60.0], [None]]


def test_what_cannot_be_scored_is_named() -> None:
    with pytest.raises(UnusableInputError, match="no time zone"):
        scored(moment=MOMENT.replace(tzinfo=None))
    with pytest.raises(UnusableInputError, match="materialize champion_model"):
        scored(ensembles={})
    with pytest.raises(UnusableInputError, match="no timeframe is called weekly; there are short, long"):
        scored(ensembles={"weekly": (Forecast(), CHAMPION)})
    with pytest.raises(UnusableInputError, match="2 sessions, 2015-10-29 to 2015-10-30"):
        scored(features_now=FEATURES.with_columns(date=pl.Series([date(2015, 10, 29)] + [SESSION] * 3)))
    with pytest.raises(UnusableInputError, match="prices have AAA more than once"):
        scored(prices=pl.concat([closing_prices(BARS), closing_prices(BARS[:1])]))


def test_importing_the_stage_loads_no_heavy_library() -> None:
    heavy = ["torch", "mlflow", "sklearn", "lightgbm", "xgboost", "anthropic", "scipy", "matplotlib", "numba", "pandas"]
    modules = [
        "signals.scoring",
        "signals.rules",
        "trials.scoring.scorecard",
        "trials.registry.leaderboard",
        "trials.scoring.figures",
    ]
    script = "\n".join(f"import mltrainer_pipelines.{name}" for name in modules)
    script += f"\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
