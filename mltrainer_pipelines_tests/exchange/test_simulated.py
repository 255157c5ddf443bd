"""The simulated market: the same from the same seed, continued by a later end, and as predictable as asked for."""

from collections import Counter
from datetime import date
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrainer_pipelines.exchange.market import Bars, midnight
from mltrainer_pipelines.exchange.regimes import Regime
from mltrainer_pipelines.exchange.simulated import EARLY_CLOSE_BARS, FULL_SESSION_BARS, SimulatedMarket
from mltrainer_pipelines.market.sessions import early_closes_between, sessions_between

FIRST, LAST = date(2021, 1, 1), date(2023, 6, 30)
PRICES = ("open", "high", "low", "close", "volume")


def assert_equal_bars(one: Bars, other: Bars) -> None:
    assert list(one.symbol) == list(other.symbol)
    for column in ("start", *PRICES, "vwap", "trades"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


@cache
def market_of(seed: int, premium: float) -> SimulatedMarket:
    return SimulatedMarket(seed, 100, premium, date(2019, 6, 1), date(2024, 12, 31))


@cache
def total_returns(market: SimulatedMarket) -> np.ndarray:
    """Return of each session with dividends and splits counted in, shape (sessions, symbols), NaN where not traded."""
    symbols = {ticker.symbol: number for number, ticker in enumerate(market.tickers())}
    position = {session: row for row, session in enumerate(market.sessions())}
    closes = np.full((len(position), len(symbols)), np.nan)
    for session, row in position.items():
        bars = market.day(session)
        closes[row, [symbols[symbol] for symbol in bars.symbol]] = bars.close
    worth = closes.copy()
    for split in market.splits():
        worth[position[split.ex_date], symbols[split.symbol]] *= split.ratio
    for dividend in market.dividends():
        worth[position[dividend.ex_date], symbols[dividend.symbol]] += dividend.cash
    return worth[1:] / closes[:-1] - 1


def rank_correlations(returns: np.ndarray, look_back: int = 126, ahead: int = 10) -> np.ndarray:
    """Correlation across symbols of the ranks of past and coming returns, at dates `ahead` sessions apart."""
    logs = np.log1p(returns)
    found = []
    for today in range(look_back, len(logs) - ahead, ahead):
        past, coming = logs[today - look_back : today].sum(axis=0), logs[today : today + ahead].sum(axis=0)
        known = np.isfinite(past) & np.isfinite(coming)
        ranks = [np.argsort(np.argsort(values[known])) for values in (past, coming)]
        found.append(np.corrcoef(*ranks)[0, 1])
    return np.array(found)


def t_statistic(values: np.ndarray) -> float:
    return float(values.mean() / values.std(ddof=1) * np.sqrt(len(values)))


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), premium=st.sampled_from([0.0, 0.7, 2.0]), symbols=st.integers(1, 30))
def test_the_same_seed_gives_the_same_market_and_a_later_end_continues_it(seed, premium, symbols):
    short = SimulatedMarket(seed, symbols, premium, FIRST, date(2022, 3, 15))
    long = SimulatedMarket(seed, symbols, premium, FIRST, LAST)
    again = SimulatedMarket(seed, symbols, premium, FIRST, LAST)
    for session in short.sessions()[:: len(short.sessions()) // 25]:
        assert_equal_bars(short.day(session), long.day(session))
        assert_equal_bars(again.day(session), long.day(session))
    end = short.sessions()[-1]
    assert_equal_bars(short.minutes(end), long.minutes(end))
    assert short.splits() == [split for split in long.splits() if split.ex_date <= end]
    assert short.dividends() == [dividend for dividend in long.dividends() if dividend.ex_date <= end]
    assert short.true_regime().items() <= long.true_regime().items()
    for name, series in short.macro().items():
        assert list(series.values) == [value for value in long.macro()[name].values if value.published <= end]
    by_symbol = {ticker.symbol: ticker for ticker in long.tickers()}
    for ticker in short.tickers():
        later = by_symbol[ticker.symbol]
        assert (ticker.list_date, ticker.name) == (later.list_date, later.name)
        assert ticker.active_on(end) == later.active_on(end)


def test_another_seed_gives_another_market():
    one, other = (SimulatedMarket(seed, 20, 1.0, FIRST, date(2021, 3, 1)) for seed in (1, 2))
    assert list(one.day(FIRST.replace(day=4)).symbol) != list(other.day(FIRST.replace(day=4)).symbol)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_fifteen_minute_bars_add_up_to_the_day_exactly(small_market, data):
    session = data.draw(st.sampled_from(small_market.sessions()))
    day, minutes = small_market.day(session), small_market.minutes(session)
    count = EARLY_CLOSE_BARS if early_closes_between(session, session) else FULL_SESSION_BARS
    assert len(minutes) == count * len(day)
    paths = {column: getattr(minutes, column).reshape(len(day), count) for column in (*PRICES, "vwap", "trades")}
    np.testing.assert_array_equal(paths["open"][:, 0], day.open)
    np.testing.assert_array_equal(paths["close"][:, -1], day.close)
    np.testing.assert_array_equal(paths["high"].max(axis=1), day.high)
    np.testing.assert_array_equal(paths["low"].min(axis=1), day.low)
    np.testing.assert_array_equal(paths["volume"].sum(axis=1), day.volume)
    np.testing.assert_array_equal(paths["trades"].sum(axis=1), day.trades)
    assert (paths["volume"] > 0).all()
    assert (paths["high"] >= np.maximum(paths["open"], paths["close"])).all()
    assert (paths["low"] <= np.minimum(paths["open"], paths["close"])).all()
    assert ((paths["vwap"] >= paths["low"]) & (paths["vwap"] <= paths["high"])).all()
    weighted = (paths["vwap"] * paths["volume"]).sum(axis=1) / day.volume
    np.testing.assert_allclose(day.vwap, weighted, atol=1e-4)
    symbol = data.draw(st.sampled_from(list(day.symbol)))
    alone = small_market.minutes(session, symbol)
    np.testing.assert_array_equal(alone.close, paths["close"][list(day.symbol).index(symbol)])
    row = small_market.history(symbol, session, session)
    place = list(day.symbol).index(symbol)
    assert (row.start[0], row.close[0], row.vwap[0]) == (midnight(session), day.close[place], day.vwap[place])


def test_bars_are_possible_prices_in_cents(small_market):
    for session in small_market.sessions()[::40]:
        bars = small_market.day(session)
        assert (bars.low > 0).all()
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert list(bars.symbol) == sorted(set(bars.symbol))
        dear = bars.close >= 1
        np.testing.assert_allclose(np.round(bars.close[dear], 2), bars.close[dear], atol=1e-12)


@pytest.mark.parametrize("seed", [11, 12])
def test_nothing_can_be_predicted_without_a_premium(seed):
    market = market_of(seed, 0.0)
    returns = total_returns(market)
    assert abs(t_statistic(rank_correlations(returns))) < 3
    states = np.array([market.true_regime()[session] for session in market.sessions()[1:]])
    equal_weight = np.nanmean(returns, axis=1)
    for regime in (Regime.BULL, Regime.BEAR):
        assert abs(t_statistic(equal_weight[states == regime])) < 3.5
    tomorrow_from_today = np.corrcoef(equal_weight[:-1], equal_weight[1:])[0, 1]
    assert abs(tomorrow_from_today) * np.sqrt(len(equal_weight)) < 3.5


@pytest.mark.parametrize("seed", [11, 12])
def test_past_winners_win_again_with_a_premium(seed):
    correlations = rank_correlations(total_returns(market_of(seed, 1.0)))
    assert t_statistic(correlations) > 4
    assert 0.04 < correlations.mean() < 0.2


def test_returns_have_fat_tails_clustered_volatility_and_overnight_gaps():
    market = market_of(11, 0.0)
    returns = total_returns(market)
    standard = (returns - np.nanmean(returns, axis=0)) / np.nanstd(returns, axis=0)
    assert np.nanmean(standard**4) > 4
    sizes = np.abs(standard[:, np.isfinite(standard).all(axis=0)])
    clustering = [np.corrcoef(column[:-1], column[1:])[0, 1] for column in sizes.T]
    assert np.mean(clustering) > 0.05
    bars = market.history(market.tickers()[0].symbol, market.sessions()[0], market.sessions()[-1])
    gaps = bars.open[1:] / bars.close[:-1] - 1
    assert np.std(gaps) > 0.003


def test_the_market_goes_through_bull_bear_and_crash_and_volatility_tells_them_apart():
    market = market_of(12, 1.0)
    states = np.array([market.true_regime()[session] for session in market.sessions()[1:]])
    assert set(Counter(states.tolist())) == set(Regime)
    moves = np.nanmean(total_returns(market), axis=1)
    bull, bear, crash = (moves[states == regime].std() for regime in Regime)
    assert bull < bear < crash


def test_companies_list_split_pay_and_fail_after_a_decline():
    market = market_of(12, 1.0)
    tickers = {ticker.symbol: ticker for ticker in market.tickers()}
    assert {ticker.type for ticker in tickers.values()} == {"CS", "ADRC"}
    assert any(ticker.list_date > market.sessions()[0] for ticker in tickers.values())
    failed = [ticker for ticker in tickers.values() if ticker.delisted]
    assert failed
    for ticker in failed:
        bars = market.history(ticker.symbol, market.sessions()[0], market.sessions()[-1])
        ratio = np.prod([split.ratio for split in market.splits() if split.symbol == ticker.symbol])
        assert bars.start[-1] < midnight(ticker.delisted)
        assert bars.close[-1] * ratio < 0.55 * bars.close[0] or bars.close[-1] < 0.55 * bars.high.max()
    assert any(split.ratio < 1 for split in market.splits()) or any(split.ratio > 1 for split in market.splits())
    for split in market.splits()[:20]:
        before, after = market.history(split.symbol, split.declared, split.ex_date).close[-2:]
        assert after * split.ratio == pytest.approx(before, rel=0.3)
        assert split.declared < split.ex_date
    assert all(dividend.declared < dividend.ex_date and dividend.cash > 0 for dividend in market.dividends())
    assert all(tickers[dividend.symbol].active_on(dividend.ex_date) for dividend in market.dividends())


def test_macro_series_show_the_regime_and_are_published_after_their_date_and_revised():
    market = market_of(12, 1.0)
    macro, states = market.macro(), market.true_regime()
    wanted = {"DGS10", "DGS2", "T10Y2Y", "BAMLH0A0HYM2", "VIXCLS", "UNRATE", "CPIAUCSL", "DTWEXBGS", "M2SL", "FEDFUNDS"}
    assert set(macro) == wanted
    assert all(value.published > value.observed for series in macro.values() for value in series.values)
    fear = {value.observed: value.value for value in macro["VIXCLS"].values}
    by_regime = [np.mean([fear[day] for day in states if states[day] == regime and fear.get(day)]) for regime in Regime]
    assert by_regime == sorted(by_regime)
    for name in ("CPIAUCSL", "M2SL", "UNRATE"):
        versions = Counter(value.observed for value in macro[name].values)
        assert max(versions.values()) > 1
    assert max(Counter(value.observed for value in macro["DGS10"].values).values()) == 1
    slope = {value.observed: value.value for value in macro["T10Y2Y"].values}
    ten, two = ({v.observed: v.value for v in macro[name].values} for name in ("DGS10", "DGS2"))
    assert all(slope[day] == pytest.approx(ten[day] - two[day]) for day in slope if slope[day] is not None)


def test_the_yield_curve_is_flatter_before_a_bull_market_ends_than_in_the_rest_of_it():
    before, rest = [], []
    for seed in range(3):
        market = SimulatedMarket(seed, 1, 1.0, date(2005, 1, 1), date(2024, 12, 31))
        states = list(market.true_regime().values())
        slope = {value.observed: value.value for value in market.macro()["T10Y2Y"].values}
        for row, session in enumerate(market.sessions()[:-40]):
            if states[row] == Regime.BULL and slope.get(session) is not None:
                ends = any(state != Regime.BULL for state in states[row + 1 : row + 21])
                (before if ends else rest).append(slope[session])
    assert np.mean(before) < np.mean(rest) - 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": 0}, "symbols=0"),
        ({"premium": -1.0}, "premium=-1.0"),
        ({"last": date(2020, 1, 1)}, "no session between"),
    ],
)
def test_an_impossible_market_is_refused_with_the_parameter_named(change, message):
    with pytest.raises(ValueError, match=message):
        SimulatedMarket(**{"seed": 1, "symbols": 5, "premium": 1.0, "first": FIRST, "last": LAST} | change)


def test_sessions_are_those_of_new_york(small_market):
    sessions = small_market.sessions()
    assert sessions == sessions_between(sessions[0], sessions[-1])
    assert sessions[252] == date(2021, 1, 4)
    assert len(small_market.day(date(2021, 7, 4))) == 0


def test_a_market_may_begin_where_the_calendar_does():
    market = SimulatedMarket(seed=1, symbols=3, premium=1.0, first=date(1998, 1, 1), last=date(1998, 3, 31))
    assert market.sessions()[0] == date(1998, 1, 2)
    assert len(market.day(date(1998, 1, 2)))
