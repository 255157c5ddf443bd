"""Forecasts of a symbol's own series: how far its return may go, in units of how sure the forecast is.

The series is `return_5` every five sessions, back from the row's own: returns that do not overlap, or, where features are ranked
within sessions, standings. statsmodels, arch and hmmlearn estimate the dynamics on training symbols' own series; the forecast of
the sum over a window's next steps, over its standard deviation, is the score that the calibration makes a probability.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import Declarations
from mltrainer_pipelines.models.libraries import threadpoolctl
from mltrainer_pipelines.models.panel import History, subsample
from mltrainer_pipelines.models.score_model import ScoreModel
from mltrainer_pipelines.models.series import estimation, filters, shapes
from mltrainer_pipelines.models.series.filters import drift, filled, price
from mltrainer_pipelines.models.spec import ModelSpec, Range

STEP, LENGTH, HORIZON = 5, 32, 2
"""Sessions between values, values of a window, values forecast: 155 sessions back, two weeks ahead."""
POOLED = 4000
"""Windows, sampled from all training rows, from which dynamics are learnt that are the same for all symbols."""
AT_ONCE = 20_000
"""Windows filtered at a time."""


class SeriesModel(ScoreModel):
    """A forecast of the registry. Where `dynamics_` holds no estimate, every row has the base rate."""

    look_back = STEP * (LENGTH - 1)

    def _n_columns(self) -> int:
        return 1

    def _learn(self, X: np.ndarray, groups: np.ndarray | None) -> None:
        values = X[~np.isnan(X[:, 0]), 0]
        self.center_ = float(np.median(values)) if len(values) else 0.0
        spread = float(np.std(values)) if len(values) else 0.0
        self.scale_ = spread if spread > 1e-12 else 1.0
        history = History.of(groups, len(X))
        # in no order: a method that takes every k-th window then takes those of all symbols
        rows = np.random.default_rng(0).permutation(subsample(len(X), POOLED))
        scaled = self._scaled(X)
        sample = estimation.Sample(estimation.own_series(scaled, history, STEP), _windows(scaled, history, rows))
        with threadpoolctl.threadpool_limits(1):  # series are short, and sums of several threads differ from fit to fit
            self.dynamics_ = FORECASTS[self.model].learn(sample, self.params)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        """(rows,), in pooled standard deviations, what is far out clipped."""
        return np.clip((X[:, 0] - self.center_) / self.scale_, -8.0, 8.0)

    def _score(self, X: np.ndarray, groups: np.ndarray | None, n_context: int = 0) -> np.ndarray:
        estimate = self.dynamics_.estimate
        if estimate is None:
            return np.zeros(len(X) - n_context)
        history, scaled, parts = History.of(groups, len(X)), self._scaled(X), []
        with threadpoolctl.threadpool_limits(self.threads), np.errstate(invalid="ignore", divide="ignore"):
            for start in range(n_context, len(X), AT_ONCE):
                windows = _windows(scaled, history, np.arange(start, min(start + AT_ONCE, len(X))))
                scores = FORECASTS[self.model].score(windows, estimate, self.params)
                parts.append(np.clip(np.nan_to_num(scores, nan=0.0, posinf=10.0, neginf=-10.0), -10.0, 10.0))
        return np.concatenate(parts)


def _windows(scaled: np.ndarray, history: History, rows: np.ndarray) -> np.ndarray:
    """(rows, LENGTH), in the window's own standard deviations, NaN where unknown, the row's own value last."""
    W = np.append(scaled, np.nan)[history.windows(rows, LENGTH, STEP)]
    # about 0, and shrunk towards the pooled one, 1, where values are few
    return W / np.sqrt((np.nansum(W**2, axis=1) + 4.0) / ((~np.isnan(W)).sum(axis=1) + 4.0))[:, None]


ScoreFunction = Callable[[np.ndarray, Any, Mapping[str, float]], np.ndarray]


@dataclass(frozen=True)
class Forecast:
    """How dynamics are learnt from the training rows, and what they say of windows."""

    learn: estimation.Learn
    score: ScoreFunction


FORECASTS: Declarations[Forecast] = Declarations()


def _autoregression(Z: np.ndarray, estimate: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    lags, F, total = int(p["lags"]), filled(Z), np.zeros(len(Z))
    for _ in range(HORIZON):
        prediction = F[:, : -lags - 1 : -1] @ estimate[1:] + estimate[0]
        total += prediction
        F = np.column_stack([F[:, 1:], prediction])
    return total


def _returns(Z: np.ndarray, estimate: filters.StateSpace, p: Mapping[str, float]) -> np.ndarray:
    """The sum of the next returns by a state space of returns, over its standard deviation."""
    mean, variance = estimate.forecast(Z, [1.0] * HORIZON)
    return mean / np.sqrt(variance)


def _gain(Z: np.ndarray, estimate: filters.StateSpace, p: Mapping[str, float]) -> np.ndarray:
    """How far a state space of the price sees it go, over its standard deviation."""
    P = price(Z)
    mean, variance = estimate.forecast(np.where(np.isnan(Z), np.nan, P), [0.0] * (HORIZON - 1) + [1.0])
    return (mean - P[:, -1]) / np.sqrt(variance)


def _price_gain(Z: np.ndarray, estimate: np.ndarray, p: Mapping[str, float], method: Callable[..., np.ndarray]) -> np.ndarray:
    """How far a method of smoothing sees the price go."""
    P = price(Z)
    return method(P, *map(float, estimate), HORIZON) - P[:, -1]


def _drift_over(swing: ScoreFunction) -> ScoreFunction:
    """The window's drift over how far the next step may swing."""
    return lambda Z, estimate, p: drift(Z) / swing(filled(Z), estimate, p)


def _by_states(Z: np.ndarray, estimate: filters.States, p: Mapping[str, float], autoregressive: bool) -> np.ndarray:
    F = filled(Z)
    belief = estimate.belief(F[:, 1:], previous=F[:, :-1]) if autoregressive else estimate.belief(F)
    mean, variance = estimate.forecast(belief, F[:, -1], HORIZON)
    return mean / np.sqrt(variance)


def _declare(
    model: str, learn: estimation.Learn, score: ScoreFunction, summary: str, source: str, space: Mapping[str, Range] | None = None
) -> ModelSpec:
    FORECASTS[model] = Forecast(learn, score)
    return ModelSpec(
        id=model, family="series", source=source, summary=summary, cost=cost_of(model), handles_missing=True,
        search_space=space or {}, columns=("return_5",), look_back=SeriesModel.look_back,
        builder=lambda params, seed, threads: SeriesModel(model, seed=seed, threads=threads, **params),
        limits="reads a symbol's own return_5 and nothing else",
    )  # fmt: skip


MODELS = (
    _declare("random_walk_drift", estimation.nothing, lambda Z, d, p: drift(Z),
             "the last half year's mean goes on",
             "Hyndman & Athanasopoulos (2021), Forecasting: Principles and Practice, section 5.2"),
    _declare("autoregression", estimation.learn_autoregression, _autoregression,
             "how weeks follow on weeks, the same for all symbols",
             "Yule (1927), On a Method of Investigating Periodicities", {"lags": Range(1, 12, default=4, integer=True)}),
    _declare("own_autoregression", estimation.nothing, lambda Z, d, p: shapes.own_autoregression(Z),
             "whether this symbol's weeks go on or turn back",
             "Lo & MacKinlay (1990), When Are Contrarian Profits Due to Stock Market Overreaction?"),
    _declare("arima", estimation.learn_arma, _returns, "ARIMA(1,1,1) of the price: shocks that fade and drift that stays",
             "Box & Jenkins (1970), Time Series Analysis: Forecasting and Control"),
    _declare("exponential_smoothing", estimation.learn_smoothing, lambda Z, d, p: filters.smoothed(filled(Z), float(d[0])),
             "the recent mean, older weeks fading",
             "Brown (1959); Hyndman, Koehler, Snyder & Grose (2002), A State Space Framework (ETS)"),
    _declare("damped_trend", estimation.learn_damped_trend, partial(_price_gain, method=filters.damped_trend),
             "a trend that levels off: ETS(A, Ad, N) of the price",
             "Gardner & McKenzie (1985), Forecasting Trends in Time Series"),
    _declare("theta", estimation.learn_theta, partial(_price_gain, method=filters.theta),
             "half of the long trend added to the smoothed level",
             "Assimakopoulos & Nikolopoulos (2000); Hyndman & Billah (2003), Unmasking the Theta Method"),
    _declare("garch", estimation.learn_volatility("GARCH", asymmetric=False),
             _drift_over(lambda F, d, p: np.sqrt(filters.garch(F, *d))), "the drift over a volatility that clusters",
             "Bollerslev (1986), Generalized Autoregressive Conditional Heteroskedasticity"),
    _declare("gjr_garch", estimation.learn_volatility("GARCH", asymmetric=True),
             _drift_over(lambda F, d, p: np.sqrt(filters.garch(F, *d))),
             "the drift over a volatility that falls raise more than rises",
             "Glosten, Jagannathan & Runkle (1993), On the Relation between Expected Value and Volatility"),
    _declare("egarch", estimation.learn_volatility("EGARCH", asymmetric=True),
             _drift_over(lambda F, d, p: np.sqrt(filters.egarch(F, *d))), "the drift over a log-volatility with signed shocks",
             "Nelson (1991), Conditional Heteroskedasticity in Asset Returns: A New Approach"),
    _declare("riskmetrics", estimation.nothing,
             _drift_over(lambda F, d, p: np.sqrt(filters.garch(F, 0.0, 1 - p["decay"], 0.0, p["decay"]))),
             "the drift over an exponentially weighted volatility",
             "J.P. Morgan/Reuters (1996), RiskMetrics Technical Document", {"decay": Range(0.5, 0.99, default=0.85)}),
    _declare("har_volatility", estimation.learn_har,
             _drift_over(lambda F, d, p: np.maximum(filters.har(F, *d), 0.1)), "the drift over a volatility of three memories",
             "Corsi (2009), A Simple Approximate Long-Memory Model of Realized Volatility"),
    _declare("kalman_local_level", estimation.learn_level, _returns, "the mean return as a drifting state, with its uncertainty",
             "Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter"),
    _declare("kalman_local_trend", estimation.learn_trend, _gain, "the price's slope as a drifting state under noise",
             "Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter, section 2.3"),
    _declare("markov_switching", estimation.learn_switching, partial(_by_states, autoregressive=True),
             "two regimes, each with its own mean, swing and memory",
             "Hamilton (1989), A New Approach to the Economic Analysis of Nonstationary Time Series"),
    _declare("hidden_markov", estimation.learn_hidden_markov, partial(_by_states, autoregressive=False),
             "three hidden states behind the returns",
             "Baum, Petrie, Soules & Weiss (1970); Rydén, Teräsvirta & Åsbrink (1998)"),
    _declare("bootstrap", estimation.nothing, lambda Z, d, p: shapes.bootstrap(Z, HORIZON),
             "the chance of a gain if the next weeks are blocks of the last ones",
             "Künsch (1989), The Jackknife and the Bootstrap for General Stationary Observations"),
    _declare("nearest_patterns", shapes.learn_patterns, lambda Z, d, p: shapes.patterns(Z, d, int(p["neighbours"])),
             "what followed on the most similar six weeks",
             "Lorenz (1969), Atmospheric Predictability as Revealed by Naturally Occurring Analogues",
             {"neighbours": Range(5, 300, default=60, log=True, integer=True)}),
    _declare("singular_spectrum", shapes.learn_spectrum, lambda Z, d, p: shapes.spectrum(Z, d, HORIZON),
             "continues the price's leading shapes",
             "Golyandina, Nekrutkin & Zhigljavsky (2001), Analysis of Time Series Structure: SSA",
             {"components": Range(1, 6, default=3, integer=True)}),
    _declare("mean_reversion", estimation.nothing, lambda Z, d, p: shapes.reversion(Z),
             "how far the price is from where it tends to",
             "Avellaneda & Lee (2010), Statistical Arbitrage in the US Equities Market"),
    _declare("variance_ratio", estimation.nothing, lambda Z, d, p: shapes.variance_ratio(Z, int(p["span"])),
             "follows where the price trends, fades where it reverts",
             "Lo & MacKinlay (1988), Stock Market Prices Do Not Follow Random Walks",
             {"span": Range(2, 8, default=4, integer=True)}),
)  # fmt: skip
