"""Dynamics of returns, estimated by the libraries of the field on some symbols' own series.

A model of one series is fitted to the whole series of each sampled symbol, and the estimates are averaged: the mean-group
estimator, which stays consistent where symbols differ. The mean is trimmed, because one short series can throw an estimate
anywhere. A symbol whose fit does not converge is left out and counted. Where no symbol has a series that is long enough, nothing
is estimated, and the forecast of every row is the same.

Source: Pesaran & Smith (1995), Estimating Long-Run Relationships from Dynamic Heterogeneous Panels.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltrainer_pipelines.models.libraries import arch, hmmlearn, scipy, sklearn, tsa
from mltrainer_pipelines.models.panel import History
from mltrainer_pipelines.models.series.filters import HAR_LAGS, States, StateSpace, filled, price

SYMBOLS = 32
"""Most symbols whose series are fitted."""
TRIMMED = 0.25
"""Share of a parameter's estimates left out at each end."""
SHORTEST = 20
"""Known values that a symbol's series has to have: the shortest training window of a trial has 26."""


@dataclass(frozen=True)
class Sample:
    """What dynamics are learnt from, in standard deviations of each series or window, NaN where unknown.

    A series holds a sampled symbol's values from the first to the last; `windows` are (rows, length), of random rows.
    """

    series: list[np.ndarray]
    windows: np.ndarray


@dataclass(frozen=True)
class Dynamics:
    """What was estimated, None where no series is long enough; from so many symbols, so many left out."""

    estimate: Any
    symbols: int = 0
    left_out: int = 0

    def __setstate__(self, state: dict[str, object]) -> None:
        """Before December 2026 the estimate was called `found`."""
        self.__dict__.update({"estimate" if name == "found" else name: value for name, value in state.items()})


Learn = Callable[[Sample, Mapping[str, float]], Dynamics]


def own_series(values: np.ndarray, history: History, step: int) -> list[np.ndarray]:
    """Series of sampled symbols, a value every `step` sessions back from the table's last, the same ones for the same table."""
    table = np.append(values, np.nan)[history.grid[::-1][::step][::-1]]
    observed = ~np.isnan(table)
    spread = np.sqrt(np.nansum(table**2, axis=0) / np.maximum(observed.sum(axis=0), 1))
    long_enough = np.flatnonzero((observed.sum(axis=0) >= SHORTEST) & (spread > 1e-6))
    selected = np.random.default_rng(0).permutation(long_enough)[:SYMBOLS]
    series = []
    for symbol in np.sort(selected):
        at = np.flatnonzero(observed[:, symbol])
        series.append(table[at[0] : at[-1] + 1, symbol] / spread[symbol])
    return series


def nothing(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """For forecasts without dynamics of their own."""
    return Dynamics(())


def mean_group(series: list[np.ndarray], fit: Callable[[np.ndarray], np.ndarray | None]) -> Dynamics:
    """The trimmed mean of each parameter's estimates; `fit` gives None where it did not converge."""
    import statsmodels.tools.sm_exceptions  # noqa: F401 - its import asks to show warnings always: before they are silenced

    estimates = []
    with warnings.catch_warnings(action="ignore"):  # of starting values and singular Hessians: what counts is convergence
        for values in series:
            try:
                estimate = fit(values)
            except np.linalg.LinAlgError:
                continue
            if estimate is not None and np.isfinite(estimate).all():
                estimates.append(np.asarray(estimate, dtype=np.float64))
    mean = scipy.stats.trim_mean(estimates, TRIMMED, axis=0) if estimates else None
    return Dynamics(mean, len(estimates), len(series) - len(estimates))


def _state_space(model: Callable[[np.ndarray], Any]) -> Learn:
    """A model of statsmodels with a Kalman filter, which leaves unknown values out by itself."""

    def fit(values: np.ndarray) -> np.ndarray | None:
        result = model(values).fit(disp=0, cov_type="none")
        return result.params if result.mle_retvals["converged"] else None

    def learn(sample: Sample, params: Mapping[str, float]) -> Dynamics:
        dynamics = mean_group(sample.series, fit)
        if dynamics.estimate is None:
            return dynamics
        system = StateSpace.of(model(sample.series[0]), dynamics.estimate)
        return Dynamics(system, dynamics.symbols, dynamics.left_out)

    return learn


def arma_model(returns: np.ndarray) -> Any:
    """ARIMA(1, 0, 1) of returns, which is ARIMA(1, 1, 1) of the price, with a constant."""
    return tsa.SARIMAX(returns, order=(1, 0, 1), trend="c")


def level_model(returns: np.ndarray) -> Any:
    """The mean return as a random walk under noise."""
    return tsa.UnobservedComponents(returns, "local level")


def trend_model(returns: np.ndarray) -> Any:
    """The price's level and slope as random walks under noise."""
    return tsa.UnobservedComponents(price(returns), "local linear trend")


learn_arma, learn_level, learn_trend = _state_space(arma_model), _state_space(level_model), _state_space(trend_model)


def learn_smoothing(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """alpha of simple exponential smoothing of returns."""

    def fit(values: np.ndarray) -> np.ndarray | None:
        result = tsa.SimpleExpSmoothing(filled(values), initialization_method="known", initial_level=0.0).fit()
        return np.array([result.params["smoothing_level"]]) if result.mle_retvals.success else None

    return mean_group(sample.series, fit)


def learn_damped_trend(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """alpha, beta and phi of Holt's damped method for the price."""

    def fit(values: np.ndarray) -> np.ndarray | None:
        initial: dict[str, Any] = {"initialization_method": "known", "initial_level": 0.0, "initial_trend": 0.0}
        result = tsa.Holt(price(values), damped_trend=True, **initial).fit()
        names = ("smoothing_level", "smoothing_trend", "damping_trend")
        return np.array([result.params[name] for name in names]) if result.mle_retvals.success else None

    return mean_group(sample.series, fit)


def learn_theta(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """alpha of the theta method for the price; the slope is each window's own."""
    from statsmodels.tsa.forecasting.theta import ThetaModel

    return mean_group(
        sample.series, lambda values: np.array([ThetaModel(price(values), deseasonalize=False).fit().params["alpha"]])
    )


def learn_switching(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """Two regimes of the regression of a return on the one before, each symbol's calmer one first."""

    def fit(values: np.ndarray) -> np.ndarray | None:
        F = filled(values)
        result = tsa.MarkovRegression(F[1:], 2, exog=F[:-1], switching_variance=True).fit(disp=0, cov_type="none")
        if not result.mle_retvals["converged"]:
            return None
        into_first, *rest = result.params.reshape(4, 2)  # then means, slopes and variances
        estimate = np.array([[into_first[0], 1 - into_first[1]], *rest])
        return estimate[:, np.argsort(estimate[3])]

    dynamics = mean_group(sample.series, fit)
    if dynamics.estimate is None:
        return dynamics
    stay, mean, slope, variance = dynamics.estimate
    transition = np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
    start = (1 - stay[::-1]) / (2 - stay.sum())  # the chain's stationary distribution
    return Dynamics(States(start, transition, mean, np.sqrt(variance), slope), dynamics.symbols, dynamics.left_out)


def learn_volatility(volatility: str, asymmetric: bool) -> Learn:
    """omega, alpha, gamma and beta of one of arch's volatility processes, returns without a mean."""

    def learn(sample: Sample, params: Mapping[str, float]) -> Dynamics:
        def fit(values: np.ndarray) -> np.ndarray | None:
            process = getattr(arch.univariate, volatility)(p=1, o=int(asymmetric), q=1)
            model = arch.univariate.ZeroMean(filled(values), volatility=process, rescale=False)
            result = model.fit(disp="off", show_warning=False)
            fitted = result.params
            estimate = np.array([fitted["omega"], fitted["alpha[1]"], fitted.get("gamma[1]", 0.0), fitted["beta[1]"]])
            return estimate if result.convergence_flag == 0 else None

        return mean_group(sample.series, fit)

    return learn


def learn_har(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """A constant and the weights of a week's, a month's and a quarter's mean size of a return for the next one."""

    def fit(values: np.ndarray) -> np.ndarray:
        model = arch.univariate.HARX(np.abs(filled(values)), lags=list(HAR_LAGS), rescale=False)
        return model.fit(disp="off").params.to_numpy()[:4]

    return mean_group(sample.series, fit)


def learn_hidden_markov(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """Three states behind all the series at once: one fit, nothing to average."""
    if not sample.series:
        return Dynamics(None)
    F = filled(np.concatenate(sample.series))[:, None]
    model = hmmlearn.hmm.GaussianHMM(3, n_iter=100, min_covar=0.05, random_state=0)
    with warnings.catch_warnings(action="ignore"):  # of clusters to begin with that fall together
        model.fit(F, [len(values) for values in sample.series])
    deviation = np.sqrt(model.covars_[:, 0, 0])
    states = States(model.startprob_, model.transmat_, model.means_[:, 0], deviation, np.zeros(3))
    return Dynamics(states, len(sample.series))


def learn_autoregression(sample: Sample, params: Mapping[str, float]) -> Dynamics:
    """A constant and the weights of the last returns, the latest first, for the next one: one regression over all windows."""
    lags, F = int(params["lags"]), filled(sample.windows)
    x = np.lib.stride_tricks.sliding_window_view(F[:, :-1], lags, axis=1)[:, :, ::-1].reshape(-1, lags)
    regression = sklearn.linear_model.Ridge(alpha=1e-3 * len(x)).fit(x, F[:, lags:].ravel())
    return Dynamics(np.append(regression.intercept_, regression.coef_))
