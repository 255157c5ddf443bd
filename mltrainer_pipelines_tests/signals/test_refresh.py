import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS, DELAYED_QUOTES
from mltrainer_pipelines.contracts.timeframes import SHORT
from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.market.sessions import NEW_YORK, next_session, session_hours
from mltrainer_pipelines.portfolio.replay import PreparedInputs
from mltrainer_pipelines.signals.inputs import HistoryBehindError, LakeInputs
from mltrainer_pipelines.signals.refresh import newest_refresh, refresh_market, with_refresh
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.signals.scoring import UnusableInputError
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.ensemble_fit import fit_ensemble
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines_tests.trials.markets import SmallMarket, small_market

SYMBOLS, SESSIONS = 16, 600
TRIAL = TrialConfig(model="logistic_l2", timeframe="short", train_sessions=189)
MACRO = pl.DataFrame(schema={"series_id": pl.String, "date": pl.Date, "value": pl.Float64, "published": pl.Date})
ACTIONS = pl.DataFrame(
    schema={
        "symbol": pl.String,
        "ex_date": pl.Date,
        "kind": pl.String,
        "ratio": pl.Float64,
        "cash": pl.Float64,
        "declared": pl.Date,
    }
)


def refreshed_signals(lake: Lake, *rest) -> pl.DataFrame:
    return refresh_market(LakeInputs(lake), *rest).signals


@pytest.fixture(scope="module")
def market() -> SmallMarket:
    return small_market(SESSIONS, SYMBOLS, seed=31)


@pytest.fixture(scope="module")
def bars(market: SmallMarket) -> pl.DataFrame:
    prices = {name: f"adj_{name}" for name in ("open", "high", "low", "close")}
    unknown = {"volume": pl.lit(1e6), "vwap": pl.lit(None), "trades": pl.lit(None)}
    return market.bars.select("date", "symbol", **prices, **unknown).cast(DAILY_BARS.schema)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lake(market: SmallMarket, bars: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """All that a refresh reads, as known after the close of the last but one session."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    for day in market.sessions[-360:-1]:
        lake.write("daily_bars", bars.filter(pl.col("date") == day), str(day))
    for month in market.universe["month"].unique():
        lake.write("universe", market.universe.filter(pl.col("month") == month), str(month))
    lake.write("corporate_actions", ACTIONS)
    lake.write("macro_series", MACRO)
    lake.write("regime", pl.DataFrame({"date": market.sessions[:-1], "score": [60.0] * (SESSIONS - 1)}))
    return lake


@pytest.fixture(scope="module")
def champions(market: SmallMarket, bars: pl.DataFrame) -> Mapping[str, tuple[ChampionEnsemble, ChampionVersion]]:
    adjusted = market.bars.join(bars, on=["date", "symbol"]).with_columns(adj_volume="volume")
    first, last = market.sessions[look_back("momentum")], market.sessions[-2]
    macro = known_macro(MACRO, market.sessions)
    features = compute_features(adjusted, market.universe, macro, first, last)
    labels = market.labels(SHORT, look_back("momentum"), SESSIONS - 2, known=SESSIONS - 2)
    walk = WalkForward(TRIAL, features, labels)
    history = {TRIAL.trial_id: pl.concat(walk.predict_quarter(*quarter).predictions for quarter in walk.quarters())}
    regime = pl.DataFrame({"date": market.sessions, "score": [60.0] * SESSIONS})
    ensemble = fit_ensemble([(TRIAL, 1.0)], features, labels, history, last, refits=1, regime=regime)
    version = ChampionVersion("mltrainer-short", "3", TRIAL.trial_id, "candidate", "run", {}, datetime.now(NEW_YORK))
    return {"short": (ensemble, version)}


def quotes_of(bars: pl.DataFrame, session: date, moment: datetime, stale: tuple[str, ...] = ()) -> pl.DataFrame:
    """The session as its delayed quotes tell it, with the day's bar as it stands."""
    day = bars.filter(pl.col("date") == session)
    updated = moment - timedelta(minutes=15)
    return day.select(
        "date", "symbol", "open", "high", "low", "close", "volume", "vwap",
        as_of=pl.lit(moment), previous_close="close", updated_at=pl.lit(updated), stale=pl.col("symbol").is_in(stale),
    ).pipe(DELAYED_QUOTES.cast)  # fmt: skip


def noon(session: date) -> datetime:
    return session_hours(session)[0] + timedelta(hours=2, minutes=30)


def test_a_signal_is_worth_less_in_a_regime_that_was_never_seen(lake, bars, champions, market) -> None:
    today = market.sessions[-1]
    (regimes,) = {member.calibrator.regimes for member in champions["short"][0].members}
    assert [regime.rows > 0 for regime in regimes] == [False, False, True, False]
    calm, widths = lake.read("regime"), []
    try:
        for score in (60.0, 10.0):
            lake.write("regime", calm.with_columns(score=pl.lit(score)))
            found = refreshed_signals(lake, quotes_of(bars, today, noon(today)), champions, Thresholds(), noon(today))
            assert found["regime_score"].unique().to_list() == [score]
            widths.append(float((found["probability_high"] - found["probability_low"]).mean()))
    finally:
        lake.write("regime", calm)
    assert widths[1] > 1.5 * widths[0]


def test_during_a_session_the_decision_is_todays_on_delayed_prices(lake, bars, champions, market) -> None:
    today = market.sessions[-1]
    quotes = quotes_of(bars, today, noon(today), stale=("S003",))
    signals = refreshed_signals(lake, quotes, champions, Thresholds(), noon(today))
    assert signals["date"].unique().to_list() == [today]
    assert signals["symbol"].n_unique() == SYMBOLS
    assert signals["profit_probability"].null_count() == 0
    fresh = signals.filter(pl.col("symbol") != "S003").sort("symbol")
    assert fresh["price_source"].unique().to_list() == ["delayed"]
    expected = quotes.filter(pl.col("symbol") != "S003").sort("symbol")["close"]
    assert fresh["entry_price"].to_list() == expected.to_list()
    assert (fresh["stop_loss"] < fresh["entry_price"]).all()
    stale = signals.row(by_predicate=pl.col("symbol") == "S003", named=True)
    assert (stale["price_source"], stale["entry_price"], stale["strong_buy"]) == ("stale", None, False)


def test_after_the_close_the_decision_is_the_final_bars(lake, bars, champions, market) -> None:
    closed = market.sessions[-2]
    evening = session_hours(closed)[1] + timedelta(hours=2)
    signals = refreshed_signals(lake, quotes_of(bars, closed, evening), champions, Thresholds(), evening)
    assert signals["date"].unique().to_list() == [closed]
    assert signals["price_source"].unique().to_list() == ["close"]
    again = refreshed_signals(lake, quotes_of(bars, closed, evening), champions, Thresholds(), evening)
    assert again.equals(signals)


def test_before_anything_traded_today_the_decision_stays_with_the_session_before(lake, bars, champions, market) -> None:
    today, before = market.sessions[-1], market.sessions[-2]
    untraded = quotes_of(bars, today, noon(today)).with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "volume", "vwap")
    )
    untraded = untraded.with_columns(stale=pl.lit(True))
    signals = refreshed_signals(lake, untraded, champions, Thresholds(), noon(today))
    assert signals["date"].unique().to_list() == [before]
    assert not signals["strong_buy"].any()


def test_what_the_quotes_say_reaches_price_and_volatility(lake, bars, champions, market) -> None:
    today = market.sessions[-1]
    factor = pl.when(pl.col("symbol") == "S001").then(1.2).otherwise(1.0)
    risen = bars.with_columns(pl.col("open", "high", "low", "close") * factor)
    found = [
        refreshed_signals(lake, quotes_of(prices, today, noon(today)), champions, Thresholds(), noon(today))
        .filter(pl.col("symbol") == "S001")
        .row(0, named=True)
        for prices in (bars, risen)
    ]
    assert found[1]["entry_price"] == pytest.approx(1.2 * found[0]["entry_price"])
    assert found[1]["volatility"] > 1.1 * found[0]["volatility"]


def test_an_old_regime_closes_the_gate(lake, bars, champions, market, tmp_path) -> None:
    today = market.sessions[-1]
    old = Lake(str(tmp_path))
    for asset in ("daily_bars", "universe"):
        Path(tmp_path, asset).symlink_to(Path(lake.url, asset))
    for asset in ("corporate_actions", "macro_series"):
        old.write(asset, lake.read(asset))
    old.write("regime", pl.DataFrame({"date": [market.sessions[-6]], "score": [90.0]}))
    signals = refreshed_signals(old, quotes_of(bars, today, noon(today)), champions, Thresholds(), noon(today))
    assert signals["regime_score"].null_count() == signals.height
    assert not signals["strong_buy"].any()


def test_a_gap_between_the_history_and_now_is_named(lake, bars, champions, market) -> None:
    today = next_session(market.sessions[-1])
    quotes = quotes_of(bars, market.sessions[-1], noon(today)).with_columns(date=pl.lit(today))
    with pytest.raises(HistoryBehindError, match=f"{market.sessions[-1]} traded since; materialize daily_bars"):
        refreshed_signals(lake, quotes, champions, Thresholds(), noon(today))


def test_a_refresh_of_the_same_moment_takes_the_place_of_the_one_before(bars, market) -> None:
    today = market.sessions[-1]
    first, later = (quotes_of(bars, today, noon(today) + timedelta(minutes=minutes)) for minutes in (0, 15))
    stored = with_refresh(with_refresh(None, first, "as_of"), later, "as_of")
    assert stored.height == 2 * SYMBOLS
    assert with_refresh(stored, later, "as_of").equals(stored)
    assert newest_refresh(stored, "as_of").equals(later)


def test_the_hour_that_comes_twice_in_november_is_two_refreshes(bars, market) -> None:
    first = datetime(2015, 11, 1, 1, 30, tzinfo=NEW_YORK)
    twice = [quotes_of(bars, market.sessions[-1], moment) for moment in (first, first.replace(fold=1))]
    stored = with_refresh(with_refresh(None, twice[0], "as_of"), twice[1], "as_of")
    assert stored.height == 2 * SYMBOLS
    assert newest_refresh(stored, "as_of").equals(twice[1])


def test_a_price_ten_times_yesterdays_is_left_out_and_changes_nothing_else(lake, bars, champions, market) -> None:
    today = market.sessions[-1]
    wild = bars.with_columns(
        pl.col("open", "high", "low", "close") * pl.when(pl.col("symbol") == "S004").then(10.0).otherwise(1.0)
    )
    loose = Thresholds(0.0, 0.0, -1.0, 0.0)
    found = refreshed_signals(lake, quotes_of(wild, today, noon(today)), champions, loose, noon(today))
    row = found.row(by_predicate=pl.col("symbol") == "S004", named=True)
    assert (row["price_source"], row["profit_probability"], row["strong_buy"]) == ("untrusted", None, False)
    assert re.search(r"is (9|10|11)\.\d+ times the last close", row["reason"])
    absent = quotes_of(bars, today, noon(today)).filter(pl.col("symbol") != "S004")
    without = refreshed_signals(lake, absent, champions, loose, noon(today))
    others = pl.col("symbol") != "S004"
    assert found.filter(others).equals(without.filter(others))
    assert found.filter(others)["strong_buy"].all()


def test_from_half_a_snapshot_nothing_is_recommended(lake, bars, champions, market) -> None:
    today = market.sessions[-1]
    half = quotes_of(bars, today, noon(today)).head(SYMBOLS // 2)
    found = refreshed_signals(lake, half, champions, Thresholds(0.0, 0.0, -1.0, 0.0), noon(today))
    assert found["symbol"].n_unique() == SYMBOLS
    assert not found["strong_buy"].any()
    assert found["reason"].str.contains(f"only {SYMBOLS // 2} of {SYMBOLS} symbols").all()


def test_an_empty_snapshot_is_named(lake, bars, champions, market) -> None:
    today = market.sessions[-1]
    with pytest.raises(UnusableInputError, match="no quote"):
        refreshed_signals(lake, quotes_of(bars, today, noon(today)).head(0), champions, Thresholds(), noon(today))


def test_every_signal_says_why_and_every_trial_is_asked_alone(lake, bars, champions, market) -> None:
    today = market.sessions[-1]
    found = refresh_market(LakeInputs(lake), quotes_of(bars, today, noon(today)), champions, Thresholds(version=4), noon(today))
    assert found.signals["drivers"].list.len().to_list() == [5] * SYMBOLS
    assert found.signals["why"].str.contains("(raises|lowers) the chance of profit").all()
    assert found.signals["settings_version"].unique().to_list() == [4]
    alone = found.forecasts.join(found.signals, on=["date", "symbol", "timeframe"])
    assert alone["trial_id"].unique().to_list() == [TRIAL.trial_id]
    assert alone["probability"].to_list() == pytest.approx(alone["uncorrected_probability"].to_list())


def test_a_replay_decides_what_the_refresh_of_that_close_decided(lake, bars, champions, market) -> None:
    """Features of the whole period at once, or a session's own: the same signals."""
    closed = market.sessions[-2]
    evening = session_hours(closed)[1]
    quotes = quotes_of(bars, closed, evening)
    own = refresh_market(LakeInputs(lake), quotes, champions, Thresholds(), evening, explain=False).signals
    prepared = PreparedInputs(lake, market.sessions[-30], closed)
    together = refresh_market(prepared, quotes, champions, Thresholds(), evening, explain=False).signals
    exact = ("symbol", "timeframe", "price", "price_source", "signal_strength", "reason", "strong_buy")
    assert together.select(exact).equals(own.select(exact))
    for name in ("profit_probability", "expected_net_return", "target_price", "volatility"):
        assert together[name].to_list() == pytest.approx(own[name].to_list(), rel=1e-9)
