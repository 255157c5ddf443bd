"""Forecasts of series: what libraries estimate, and our filters over windows beside the libraries' own."""

import warnings

import numpy as np
import pytest

from mltrainer_pipelines.models.panel import History, panel_groups
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.models.series import estimation, filters

ESTIMATED = (
    "arima", "exponential_smoothing", "damped_trend", "theta", "garch", "gjr_garch", "egarch", "har_volatility",
    "kalman_local_level", "kalman_local_trend", "markov_switching", "hidden_markov",
)  # fmt: skip


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    """Five windows of 32 values, whole."""
    rng = np.random.default_rng(5)
    return np.clip(rng.standard_normal((5, 32)) * (1 + (np.arange(32) > 15)), -4, 4)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with_gaps(Z: np.ndarray) -> np.ndarray:
    gaps = Z.copy()
    gaps[1, :20], gaps[2, ::7], gaps[3, -1] = np.nan, np.nan, np.nan
    return gaps


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (estimation.arma_model, [0.1, 0.6, -0.3, 0.9]),
        (estimation.level_model, [0.8, 0.05]),
        (estimation.trend_model, [0.5, 0.02, 0.3]),
    ],
)
def test_the_kalman_filter_says_what_statsmodels_says_also_of_windows_with_gaps(windows, model, params):
    Z = _with_gaps(windows)
    system = filters.StateSpace.of(model(Z[0]), np.array(params))
    Y = np.where(np.isnan(Z), np.nan, filters.price(Z)) if model is estimation.trend_model else Z
    theirs = [model(row).clone(row).filter(params).get_forecast(2) for row in Y]
    for step, weights in enumerate(([1.0, 0.0], [0.0, 1.0])):
        mean, variance = system.forecast(Y, weights)
        np.testing.assert_allclose(mean, [said.predicted_mean[step] for said in theirs], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(variance, [said.se_mean[step] ** 2 for said in theirs], rtol=1e-6)


def test_the_variance_of_a_sum_counts_what_its_steps_share():
    """A level that is known to ± 2 and never moves: two steps of it vary by (2 × 2)² = 16, and their noise by 1 each."""
    one = np.ones((1, 1))
    system = filters.StateSpace(np.ones(1), one, np.zeros(1), 0 * one, 1.0, np.zeros(1), 4 * one)
    _, variance = system.forecast(np.full((1, 3), np.nan), [1.0, 1.0])
    assert variance[0] == pytest.approx(18.0)


def test_smoothing_says_what_statsmodels_says(windows):
    from statsmodels.tsa.forecasting.theta import ThetaModel
    from statsmodels.tsa.holtwinters import Holt, SimpleExpSmoothing

    P = filters.price(windows)
    for row, level, ahead in zip(windows, filters.smoothed(windows, 0.3), filters.damped_trend(P, 0.7, 0.2, 0.9, 2), strict=True):
        simple = SimpleExpSmoothing(row, initialization_method="known", initial_level=0.0)
        assert level == pytest.approx(simple.fit(smoothing_level=0.3, optimized=False).forecast(1)[0])
        holt = Holt(np.cumsum(row), damped_trend=True, initialization_method="known", initial_level=0.0, initial_trend=0.0)
        given = {"smoothing_level": 0.7, "smoothing_trend": 0.2, "damping_trend": 0.9}
        assert ahead == pytest.approx(holt.fit(**given, optimized=False).forecast(2)[1])
    for price in P:
        peer = ThetaModel(price, deseasonalize=False).fit()
        ours = filters.theta(price[None], float(peer.params["alpha"]), 2)[0]
        assert ours == pytest.approx(np.asarray(peer.forecast(2))[1])


def test_variances_are_those_of_arch(windows):
    from arch.univariate import EGARCH, GARCH, HARX, EWMAVariance

    def theirs(process, params: list[float], row: np.ndarray) -> float:
        """Of the step after the window: its value does not enter, so any will do."""
        further = np.append(row, 0.0)
        bounds = np.tile([1e-6, 1e6], (len(further), 1))
        backcast = process.backcast_transform(1.0)
        return process.compute_variance(np.array(params), further, np.empty_like(further), backcast, bounds)[-1]

    for at, row in enumerate(windows):
        garch = theirs(GARCH(1, 0, 1), [0.1, 0.2, 0.7], row)
        assert filters.garch(windows, 0.1, 0.2, 0.0, 0.7)[at] == pytest.approx(garch)
        gjr = theirs(GARCH(1, 1, 1), [0.1, 0.05, 0.2, 0.7], row)
        assert filters.garch(windows, 0.1, 0.05, 0.2, 0.7)[at] == pytest.approx(gjr)
        egarch = theirs(EGARCH(1, 1, 1), [-0.1, 0.2, -0.1, 0.9], row)
        assert filters.egarch(windows, -0.1, 0.2, -0.1, 0.9)[at] == pytest.approx(egarch)
        ewma = theirs(EWMAVariance(0.85), [], row)
        assert filters.garch(windows, 0.0, 0.15, 0.0, 0.85)[at] == pytest.approx(ewma)
        har = HARX(np.abs(row), lags=list(filters.HAR_LAGS), rescale=False).fix([0.4, 0.3, 0.2, 0.1, 1.0]).forecast(horizon=1)
        assert filters.har(windows, 0.4, 0.3, 0.2, 0.1)[at] == pytest.approx(float(har.mean.iloc[-1, 0]))


def test_beliefs_in_regimes_are_those_of_statsmodels(windows):
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    transition = np.array([[0.9, 0.1], [0.3, 0.7]])
    states = filters.States(
        np.array([0.75, 0.25]), transition, np.array([0.2, -0.3]), np.array([0.7, 1.6]), np.array([0.3, -0.2])
    )
    ours = states.belief(windows[:, 1:], previous=windows[:, :-1])
    for at, row in enumerate(windows):
        peer = MarkovRegression(row[1:], 2, exog=row[:-1], switching_variance=True)
        params = [0.9, 0.3, 0.2, -0.3, 0.3, -0.2, 0.7**2, 1.6**2]
        np.testing.assert_allclose(ours[at], peer.filter(params).filtered_marginal_probabilities[-1], rtol=1e-8)


def test_beliefs_in_hidden_states_are_those_of_hmmlearn(windows):
    from hmmlearn.hmm import GaussianHMM

    dynamics = estimation.learn_hidden_markov(estimation.Sample(list(windows), windows), {})
    states = dynamics.estimate
    peer = GaussianHMM(3)
    peer.startprob_, peer.transmat_ = states.start, states.transition
    peer.means_, peer.n_features = states.mean[:, None], 1
    peer.covars_ = states.deviation[:, None] ** 2
    ours = states.belief(windows)
    for at, row in enumerate(windows):
        np.testing.assert_allclose(ours[at], peer.predict_proba(row[:, None])[-1], rtol=1e-6, atol=1e-12)


def _fitted(model: str, values: np.ndarray, **params: float):
    """A model fitted to the series of symbols, (values, symbols), one every fifth session and none between."""
    sessions, symbols = np.divmod(np.arange(values.size), values.shape[1])
    X = values.reshape(-1, 1).astype(np.float32)
    y = np.arange(len(X)) % 2
    return get_model(model).build(params).fit(X, y, panel_groups(sessions, symbols))


def _daily(weekly: np.ndarray) -> np.ndarray:
    """Weeks as they are on the sessions that the series reads, noise between."""
    table = np.random.default_rng(2).standard_normal((5 * len(weekly), weekly.shape[1]))
    table[4::5] = weekly
    return table


def test_dynamics_that_made_the_series_are_found_again():
    rng = np.random.default_rng(0)
    weekly = rng.standard_normal((150, 30))
    for t in range(1, len(weekly)):
        weekly[t] += 0.6 * weekly[t - 1]
    arma = _fitted("arima", _daily(weekly)).dynamics_
    assert arma.symbols + arma.left_out == 30
    assert arma.symbols > 20
    assert arma.estimate.transition[0, 0] == pytest.approx(0.6, abs=0.1)

    shock, variance = rng.standard_normal((150, 30)), np.ones(30)
    for t in range(len(shock)):
        shock[t] *= np.sqrt(variance)
        variance = 0.2 + 0.4 * shock[t] ** 2 + 0.4 * variance
    _, alpha, gamma, beta = _fitted("garch", _daily(shock)).dynamics_.estimate
    assert gamma == 0
    assert alpha == pytest.approx(0.4, abs=0.15)
    assert alpha + beta == pytest.approx(0.8, abs=0.15)

    calm = (np.arange(150) // 25 % 2 == 0)[:, None]
    states = _fitted("markov_switching", _daily(np.where(calm, 0.4, 2.0) * rng.standard_normal((150, 8)))).dynamics_.estimate
    assert states.deviation[1] > 3 * states.deviation[0]
    assert states.transition.diagonal().min() > 0.8


@pytest.mark.parametrize("model", ESTIMATED)
def test_without_a_series_to_estimate_from_every_row_has_the_base_rate(model):
    X = np.random.default_rng(0).standard_normal((60, 1)).astype(np.float32)
    y = (np.arange(60) % 3 == 0).astype(int)
    for groups in (None, panel_groups(np.arange(60), np.zeros(60, dtype=int)), np.arange(60)):
        fitted = get_model(model).build().fit(X, y, groups)
        assert fitted.dynamics_.estimate is None
        said = fitted.predict_proba(X, groups)[:, 1]
        assert np.ptp(said) == 0.0
        assert said[0] == pytest.approx(1 / 3, abs=0.02)


def test_a_symbol_without_enough_or_any_changing_values_is_not_drawn_and_one_that_does_not_converge_is_counted():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((200, 5))
    values[:, 0], values[:150, 1], values[:120, 2] = 0.0, np.nan, np.nan
    values[160:, 2] = np.nan  # listed for 40 sessions: 8 values
    sessions, symbols = np.divmod(np.arange(values.size), 5)
    history = History.of(panel_groups(sessions, symbols), values.size)
    series = estimation.own_series(values.ravel(), history, 5)
    assert [len(own) for own in series] == [40, 40]
    np.testing.assert_allclose(series[0] / series[0][-1], values[4::5, 3] / values[199, 3])

    answers = iter((None, np.array([2.0])))
    assert estimation.mean_group(series, lambda _: next(answers)) == estimation.Dynamics(np.array([2.0]), 1, 1)
    assert estimation.mean_group(series, lambda _: None) == estimation.Dynamics(None, 0, 2)
