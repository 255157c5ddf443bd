"""Forecasts of a symbol's own series: how far its return may go, in units of how sure the forecast is.

The series is `return_5` every five sessions, back from the row's own: returns that do not overlap, or, where features are ranked
within sessions, standings. Dynamics are estimated on the training rows' windows pooled over all symbols; the forecast of the sum
over the next steps, over its standard deviation, is the score that the calibration makes a probability.
"""

from collections.abc import Callable, Mapping

import numpy as np

from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.panel import History, drawn
from mltrainer_pipelines.models.score_model import ScoreModel
from mltrainer_pipelines.models.spec import ModelSpec, ParamValue, Range

STEP, LENGTH, AHEAD = 5, 32, 2
"""Sessions between values, values of a window, values forecast: 155 sessions back, two weeks ahead."""
POOLED = 4000
"""Windows, drawn from all training rows, from which dynamics are estimated."""


class SeriesModel(ScoreModel):
    """A forecast of the catalogue. Parameters as for `ScoreModel`."""

    def _count(self) -> int:
        return 1

    def _learn(self, X: np.ndarray, groups: np.ndarray | None) -> None:
        values = X[:, 0]
        known = values[~np.isnan(values)]
        self.center_ = float(np.median(known)) if len(known) else 0.0
        spread = float(np.std(known)) if len(known) else 0.0
        self.scale_ = spread if spread > 1e-12 else 1.0
        # in no order: a method that takes every k-th window then takes those of all symbols
        rows = np.random.default_rng(0).permutation(drawn(len(X), POOLED))
        self.dynamics_ = _forecast(self.model).learn(self._windows(X, groups, rows), self._params())

    def _params(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in self._names}

    def _windows(self, X: np.ndarray, groups: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        """(rows, LENGTH), in pooled standard deviations, NaN where unknown, the row's own value last."""
        values = np.clip((np.append(X[:, 0], np.nan) - self.center_) / self.scale_, -8.0, 8.0)
        return values[History.of(groups, len(X)).windows(rows, LENGTH, STEP)]

    def _strength(self, X: np.ndarray, groups: np.ndarray | None, shown: int = 0) -> np.ndarray:
        parts = []
        for start in range(shown, len(X), 20_000):
            rows = np.arange(start, min(start + 20_000, len(X)))
            with np.errstate(invalid="ignore", divide="ignore"):
                said = _forecast(self.model).score(self._windows(X, groups, rows), self.dynamics_, self._params())
            parts.append(np.clip(np.nan_to_num(said, nan=0.0, posinf=10.0, neginf=-10.0), -10.0, 10.0))
        return np.concatenate(parts)


Learn = Callable[[np.ndarray, Mapping[str, float]], np.ndarray]
Strength = Callable[[np.ndarray, np.ndarray, Mapping[str, float]], np.ndarray]


class Forecast:
    """How dynamics are learnt from windows, and what they say of a window."""

    def __init__(self, learn: Learn, score: Strength):
        self.learn, self.score = learn, score


FORECASTS: dict[str, Forecast] = {}


def _forecast(model: str) -> Forecast:
    if model not in FORECASTS:
        from mltrainer_pipelines.models import catalogue

        catalogue.get_model(model)
    return FORECASTS[model]


def _nothing(W: np.ndarray, params: Mapping[str, float]) -> np.ndarray:
    return np.empty(0)


def _filled(W: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(W), 0.0, W)


def _count(W: np.ndarray) -> np.ndarray:
    return np.maximum((~np.isnan(W)).sum(axis=1), 1)


def _spread(W: np.ndarray) -> np.ndarray:
    """Each window's standard deviation about 0, drawn to the pooled one, 1, where values are few."""
    return np.sqrt((np.nansum(W**2, axis=1) + 4.0) / (_count(W) + 4.0))


def _minimized(loss: Callable[[np.ndarray], float], start: list[float], bounds: list[tuple[float, float]]) -> np.ndarray:
    from scipy.optimize import minimize

    return np.asarray(minimize(loss, start, bounds=bounds, method="L-BFGS-B", options={"maxiter": 40}).x)


def _drift(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    return np.nansum(W, axis=1) / (_count(W) + 1.0) / _spread(W)


# Autoregressions


def _lagged(W: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
    F = _filled(W)
    x = np.stack([F[:, lags - k - 1 : F.shape[1] - k - 1].ravel() for k in range(lags)], axis=1)
    return np.column_stack([x, np.ones(len(x))]), F[:, lags:].ravel()


def _ar_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    x, y = _lagged(W, int(p["lags"]))
    return np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1]), x.T @ y)


def _ar_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    lags, F, total = int(p["lags"]), _filled(W), np.zeros(len(W))
    for _ in range(AHEAD):
        ahead = F[:, : -lags - 1 : -1] @ d[:-1] + d[-1]
        total += ahead
        F = np.column_stack([F[:, 1:], ahead])
    return total / _spread(W)


def _arma_errors(F: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    error, total = np.zeros(len(F)), np.zeros(len(F))
    for t in range(1, F.shape[1]):
        error = F[:, t] - d[2] - d[0] * F[:, t - 1] - d[1] * error
        total += error**2
    return error, total


def _arma_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    F = _filled(W[::4])
    return _minimized(lambda d: float(_arma_errors(F, d)[1].mean()), [0.1, -0.1, 0.0], [(-0.95, 0.95), (-0.95, 0.95), (-1, 1)])


def _arma_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    F = _filled(W)
    error, _ = _arma_errors(F, d)
    ahead = d[2] + d[0] * F[:, -1] + d[1] * error
    total = ahead.copy()
    for _ in range(AHEAD - 1):
        ahead = d[2] + d[0] * ahead
        total += ahead
    return total / _spread(W)


def _own_ar_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    F = _filled(W)
    phi = (F[:, 1:] * F[:, :-1]).sum(axis=1) / ((F[:, :-1] ** 2).sum(axis=1) + 4.0)
    return phi * F[:, -1] * (1 + phi) / _spread(W)


# Exponential smoothing and the theta method


def _smoothed(F: np.ndarray, alpha: float) -> tuple[np.ndarray, float]:
    level, loss = np.zeros(len(F)), 0.0
    for t in range(F.shape[1]):
        error = F[:, t] - level
        loss += float((error**2).mean())
        level = level + alpha * error
    return level, loss


def _ses_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    F = _filled(W[::4])
    return _minimized(lambda d: _smoothed(F, d[0])[1], [0.1], [(0.01, 0.9)])


def _ses_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    return _smoothed(_filled(W), float(d[0]))[0] / _spread(W)


def _damped(P: np.ndarray, alpha: float, beta: float, phi: float) -> tuple[np.ndarray, float]:
    level, slope, loss = P[:, 0], np.zeros(len(P)), 0.0
    for t in range(1, P.shape[1]):
        error = P[:, t] - level - phi * slope
        loss += float((error**2).mean())
        level, slope = level + phi * slope + alpha * error, phi * slope + alpha * beta * error
    return level + (phi + phi**2) * slope - P[:, -1], loss


def _holt_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    P = np.cumsum(_filled(W[::4]), axis=1)
    return _minimized(lambda d: _damped(P, *d)[1], [0.8, 0.1, 0.8], [(0.05, 1.0), (0.01, 0.9), (0.1, 0.98)])


def _holt_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    return _damped(np.cumsum(_filled(W), axis=1), *map(float, d))[0] / _spread(W)


def _theta_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    P = np.cumsum(_filled(W[::4]), axis=1)
    return _minimized(lambda d: _smoothed(P - P[:, :1], d[0])[1], [0.9], [(0.05, 1.0)])


def _theta_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    P = np.cumsum(_filled(W), axis=1)
    t = np.arange(P.shape[1]) - (P.shape[1] - 1) / 2
    slope = (P * t).sum(axis=1) / (t**2).sum()
    level = _smoothed(P - P[:, :1], float(d[0]))[0] + P[:, 0]
    return (level - P[:, -1] + 0.5 * slope * AHEAD) / _spread(W)


# Volatility: the drift over how far the next steps may swing


def _variances(F: np.ndarray, d: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
    """Variance of the step after each window, and the mean negative log-likelihood of the windows."""
    variance, loss = np.ones(len(F)), 0.0
    for t in range(F.shape[1]):
        x = F[:, t]
        loss += float((np.log(variance) + x**2 / variance).mean())
        if kind == "egarch":
            z = np.clip(x / np.sqrt(variance), -6, 6)
            variance = np.exp(np.clip(d[2] * np.log(variance) + d[0] * (np.abs(z) - 0.798) + d[1] * z, -5, 5))
        else:
            shock = d[0] * x**2 + (d[1] * np.where(x < 0, x**2, 0.0) if kind == "gjr" else 0.0)
            variance = np.clip((1 - d[0] - d[2] - (d[1] / 2 if kind == "gjr" else 0.0)) + shock + d[2] * variance, 0.01, 100.0)
    return variance, loss


def _garch(kind: str) -> tuple[Learn, Strength]:
    def learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
        F = _filled(W[::4])
        bounds = {"garch": [(0.01, 0.4), (0, 0), (0.1, 0.58)], "gjr": [(0.0, 0.25), (0.0, 0.25), (0.1, 0.6)],
                  "egarch": [(0.0, 0.6), (-0.4, 0.4), (0.1, 0.98)]}[kind]  # fmt: skip
        return _minimized(lambda d: _variances(F, d, kind)[1], [0.05, 0.0, 0.5], bounds)

    def score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
        variance, _ = _variances(_filled(W), d, kind)
        return np.nansum(W, axis=1) / (_count(W) + 1.0) / np.sqrt(variance)

    return learn, score


def _riskmetrics_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    F, variance = _filled(W), np.ones(len(W))
    for t in range(F.shape[1]):
        variance = p["decay"] * variance + (1 - p["decay"]) * F[:, t] ** 2
    return np.nansum(W, axis=1) / (_count(W) + 1.0) / np.sqrt(variance)


def _har_terms(A: np.ndarray) -> np.ndarray:
    return np.stack([A[:, -1], A[:, -4:].mean(axis=1), A[:, -13:].mean(axis=1), np.ones(len(A))], axis=1)


def _har_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    A = np.abs(_filled(W))
    x = np.concatenate([_har_terms(A[:, :t]) for t in range(14, A.shape[1])])
    y = np.concatenate([A[:, t] for t in range(14, A.shape[1])])
    return np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(4), x.T @ y)


def _har_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    return np.nansum(W, axis=1) / (_count(W) + 1.0) / np.maximum(_har_terms(np.abs(_filled(W))) @ d, 0.1)


# State space


def _local_level(W: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Filtered mean return and its variance; an unknown value leaves the mean as it is and only widens its variance."""
    level, variance, loss = np.zeros(len(W)), np.ones(len(W)), 0.0
    for t in range(W.shape[1]):
        variance = variance + noise
        known, error = ~np.isnan(W[:, t]), np.where(np.isnan(W[:, t]), 0.0, W[:, t] - level)
        total = variance + 1.0
        loss += float(np.where(known, np.log(total) + error**2 / total, 0.0).mean())
        gain = np.where(known, variance / total, 0.0)
        level, variance = level + gain * error, variance * (1 - gain)
    return level, variance, loss


def _level_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    sample = W[::4]
    return _minimized(lambda d: _local_level(sample, float(np.exp(d[0])))[2], [-5.0], [(-12.0, 0.0)])


def _level_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    level, variance, _ = _local_level(W, float(np.exp(d[0])))
    return AHEAD * level / np.sqrt(AHEAD**2 * variance + AHEAD * _spread(W) ** 2)


def _local_trend(P: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
    """Filtered slope of a price with a level and a slope that both drift."""
    T, Q = np.array([[1.0, 1.0], [0.0, 1.0]]), np.diag(noise[:2])
    state, C, loss = np.zeros((len(P), 2)), np.diag([4.0, 1.0]), 0.0
    for t in range(P.shape[1]):
        state, C = state @ T.T, T @ C @ T.T + Q
        total, error = C[0, 0] + noise[2], P[:, t] - state[:, 0]
        loss += float(np.log(total) + (error**2).mean() / total)
        gain = C[:, 0] / total
        state, C = state + error[:, None] * gain, C - np.outer(gain, C[0])
    return state[:, 1] * AHEAD + state[:, 0] - P[:, -1], loss


def _trend_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    P = np.cumsum(_filled(W[::4]), axis=1)
    found = _minimized(lambda d: _local_trend(P, np.exp(d))[1], [0.0, -4.0, -2.0], [(-8.0, 2.0), (-10.0, 0.0), (-8.0, 2.0)])
    return np.exp(found)


def _trend_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    return _local_trend(np.cumsum(_filled(W), axis=1), d)[0] / _spread(W)


# Hidden states


def _states_learn(states: int, switching_slope: bool) -> Learn:
    def learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
        """Baum-Welch on the pooled windows: means, scales, slopes, then the transitions row by row."""
        F = _filled(W[::8])
        before = np.column_stack([np.zeros(len(F)), F[:, :-1]])
        mean, scale = np.linspace(-0.5, 0.5, states), np.linspace(1.4, 0.6, states)
        slope, A = (
            np.zeros(states),
            np.full((states, states), 0.1 / max(states - 1, 1)) + (0.9 - 0.1 / max(states - 1, 1)) * np.eye(states),
        )
        for _ in range(15):
            B = _state_densities_of(F, before, mean, scale, slope)
            alpha, beta = np.empty_like(B), np.ones_like(B)
            alpha[:, 0] = B[:, 0] / B[:, 0].sum(axis=1, keepdims=True)
            for t in range(1, F.shape[1]):
                alpha[:, t] = (alpha[:, t - 1] @ A) * B[:, t]
                alpha[:, t] /= alpha[:, t].sum(axis=1, keepdims=True)
            for t in range(F.shape[1] - 2, -1, -1):
                beta[:, t] = (beta[:, t + 1] * B[:, t + 1]) @ A.T
                beta[:, t] /= beta[:, t].sum(axis=1, keepdims=True)
            gamma = alpha * beta
            gamma /= gamma.sum(axis=2, keepdims=True)
            moves = np.einsum("rti,rtj->ij", alpha[:, :-1], B[:, 1:] * beta[:, 1:]) * A + 1e-6
            A = moves / moves.sum(axis=1, keepdims=True)
            mass = gamma.sum(axis=(0, 1)) + 10.0
            rest = F[:, :, None] - (slope * before[:, :, None] if switching_slope else 0.0)
            mean = (gamma * rest).sum(axis=(0, 1)) / mass
            if switching_slope:
                lag = before[:, :, None]
                slope = np.clip(
                    (gamma * (F[:, :, None] - mean) * lag).sum(axis=(0, 1)) / ((gamma * lag**2).sum(axis=(0, 1)) + 10), -0.9, 0.9
                )
            error = F[:, :, None] - mean - slope * before[:, :, None]
            scale = np.sqrt(((gamma * error**2).sum(axis=(0, 1)) + 1.0) / mass)
        return np.vstack([mean, scale, slope, A])

    return learn


def _state_densities_of(F: np.ndarray, before: np.ndarray, mean: np.ndarray, scale: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * ((F[:, :, None] - mean - slope * before[:, :, None]) / scale) ** 2) / scale + 1e-12


def _states_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    mean, scale, slope, A = d[0], d[1], d[2], d[3:]
    F = _filled(W)
    before = np.column_stack([np.zeros(len(F)), F[:, :-1]])
    B = _state_densities_of(F, before, mean, scale, slope)
    belief = np.full((len(F), len(mean)), 1.0 / len(mean))
    for t in range(F.shape[1]):
        belief = (belief @ A) * B[:, t]
        belief /= belief.sum(axis=1, keepdims=True)
    last, total, variance = F[:, -1], np.zeros(len(F)), np.zeros(len(F))
    for _ in range(AHEAD):
        belief = belief @ A
        last = belief @ mean + (belief @ slope) * last
        total, variance = total + last, variance + belief @ scale**2
    return total / np.sqrt(variance)


# Without a model of the dynamics


def _bootstrap_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    """Log-odds that the sum of steps drawn in blocks from the window is above 0; the draws are the same for every row."""
    draws = np.random.default_rng(0).integers(0, LENGTH - AHEAD + 1, 300)
    F = _filled(W)
    ahead = F[:, draws[:, None] + np.arange(AHEAD)].sum(axis=2)
    share = ((ahead > 0).sum(axis=1) + 0.5 * (ahead == 0).sum(axis=1) + 1.0) / (ahead.shape[1] + 2.0)
    return np.log(share / (1 - share))


def _patterns_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    """Shapes of six steps of the training windows and what the two after them summed to."""
    F = _filled(W)
    found = [np.column_stack([F[:, t : t + 6], F[:, t + 6 : t + 6 + AHEAD].sum(axis=1)]) for t in range(0, LENGTH - 7, 4)]
    known = np.vstack(found)
    return known[:: max(1, len(known) // 3000)]


def _patterns_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    shapes, after = d[:, :6], d[:, 6]
    F = _filled(W)[:, -6:]
    count = min(int(p["neighbours"]), len(d))
    out = np.empty(len(F))
    for start in range(0, len(F), 2000):
        x = F[start : start + 2000]
        distance = (x**2).sum(axis=1)[:, None] - 2 * x @ shapes.T + (shapes**2).sum(axis=1)
        near = after[np.argpartition(distance, count - 1, axis=1)[:, :count]]
        out[start : start + 2000] = near.mean(axis=1) / (near.std(axis=1) + 0.1)
    return out * np.sqrt(count)


def _spectrum_learn(W: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    """The linear recurrence of the leading components of windows of the price, pooled."""
    P = np.cumsum(_filled(W), axis=1)
    L = 12
    pieces = np.concatenate([P[:, t : t + L] - P[:, t : t + L].mean(axis=1, keepdims=True) for t in range(0, LENGTH - L + 1, 4)])
    _, vectors = np.linalg.eigh(pieces.T @ pieces)
    U = vectors[:, ::-1][:, : int(p["components"])]
    last = U[-1]
    return (U[:-1] @ last) / max(1 - float(last @ last), 0.05)


def _spectrum_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    P = np.cumsum(_filled(W), axis=1)[:, -len(d) :]
    center = P.mean(axis=1, keepdims=True)
    now, window = P[:, -1] - center[:, 0], P - center
    for _ in range(AHEAD):
        window = np.column_stack([window[:, 1:], window @ d])
    return (window[:, -1] - now) / _spread(W)


def _reversion_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    """Minus the s-score: how far the summed series is from the level that its autoregression is drawn to."""
    P = np.cumsum(_filled(W), axis=1)
    x, y = P[:, :-1], P[:, 1:]
    mx, my = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    b = np.clip(((x - mx) * (y - my)).sum(axis=1) / (((x - mx) ** 2).sum(axis=1) + 1e-9), 0.01, 0.99)
    a = my[:, 0] - b * mx[:, 0]
    error = y - a[:, None] - b[:, None] * x
    level, deviation = a / (1 - b), np.sqrt(error.var(axis=1) / (1 - b**2) + 1e-9)
    return (level - P[:, -1]) / deviation


def _variance_ratio_score(W: np.ndarray, d: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    F = _filled(W)
    one, span = F.var(axis=1) + 1e-9, int(p["span"])
    sums = np.lib.stride_tricks.sliding_window_view(F, span, axis=1).sum(axis=2)
    return (sums.var(axis=1) / (span * one) - 1.0) * F[:, -span:].sum(axis=1) / np.sqrt(span * one)


def _declare(
    id: str,  # noqa: A002 - the field's own name
    learn: Learn,
    score: Strength,
    summary: str,
    source: str,
    space: Mapping[str, Range] | None = None,
) -> ModelSpec:
    FORECASTS[id] = Forecast(learn, score)

    def build(params: Mapping[str, ParamValue], seed: int, threads: int) -> SeriesModel:
        values: dict[str, float] = {name: float(value) for name, value in params.items()}
        return SeriesModel(id, seed=seed, threads=threads, **values)  # type: ignore[arg-type]

    return ModelSpec(
        id=id, family="series", core=False, source=source, summary=summary, cost=cost_of(id), gpu=False, handles_missing=True,
        search_space=space or {}, builder=build, columns=("return_5",), look_back=STEP * (LENGTH - 1),
        limits="reads a symbol's own return_5 and nothing else",
    )  # fmt: skip


MODELS = (
    _declare("random_walk_drift", _nothing, _drift, "the last half year's mean goes on",
             "Hyndman & Athanasopoulos (2021), Forecasting: Principles and Practice, section 5.2"),
    _declare("autoregression", _ar_learn, _ar_score, "how weeks follow on weeks, the same for all symbols",
             "Yule (1927), On a Method of Investigating Periodicities", {"lags": Range(1, 12, default=4, integer=True)}),
    _declare("own_autoregression", _nothing, _own_ar_score, "whether this symbol's weeks go on or turn back",
             "Lo & MacKinlay (1990), When Are Contrarian Profits Due to Stock Market Overreaction?"),
    _declare("arima", _arma_learn, _arma_score, "ARIMA(1,1,1) of the price: shocks that fade and drift that stays",
             "Box & Jenkins (1970), Time Series Analysis: Forecasting and Control"),
    _declare("exponential_smoothing", _ses_learn, _ses_score, "the recent mean, older weeks fading",
             "Brown (1959); Hyndman, Koehler, Snyder & Grose (2002), A State Space Framework (ETS)"),
    _declare("damped_trend", _holt_learn, _holt_score, "a trend that levels off: ETS(A, Ad, N) of the price",
             "Gardner & McKenzie (1985), Forecasting Trends in Time Series"),
    _declare("theta", _theta_learn, _theta_score, "half of the long trend added to the smoothed level",
             "Assimakopoulos & Nikolopoulos (2000); Hyndman & Billah (2003), Unmasking the Theta Method"),
    _declare("garch", *_garch("garch"), "the drift over a volatility that clusters",
             "Bollerslev (1986), Generalized Autoregressive Conditional Heteroskedasticity"),
    _declare("gjr_garch", *_garch("gjr"), "the drift over a volatility that falls raise more than rises",
             "Glosten, Jagannathan & Runkle (1993), On the Relation between Expected Value and Volatility"),
    _declare("egarch", *_garch("egarch"), "the drift over a log-volatility with signed shocks",
             "Nelson (1991), Conditional Heteroskedasticity in Asset Returns: A New Approach"),
    _declare("riskmetrics", _nothing, _riskmetrics_score, "the drift over an exponentially weighted volatility",
             "J.P. Morgan/Reuters (1996), RiskMetrics Technical Document", {"decay": Range(0.5, 0.99, default=0.85)}),
    _declare("har_volatility", _har_learn, _har_score, "the drift over a volatility of three memories",
             "Corsi (2009), A Simple Approximate Long-Memory Model of Realized Volatility"),
    _declare("kalman_local_level", _level_learn, _level_score, "the mean return as a drifting state, with its uncertainty",
             "Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter"),
    _declare("kalman_local_trend", _trend_learn, _trend_score, "the price's slope as a drifting state under noise",
             "Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter, section 2.3"),
    _declare("markov_switching", _states_learn(2, True), _states_score, "two regimes, each with its own mean, swing and memory",
             "Hamilton (1989), A New Approach to the Economic Analysis of Nonstationary Time Series"),
    _declare("hidden_markov", _states_learn(3, False), _states_score, "three hidden states behind the returns",
             "Baum, Petrie, Soules & Weiss (1970); Rydén, Teräsvirta & Åsbrink (1998)"),
    _declare("bootstrap", _nothing, _bootstrap_score, "the chance of a gain if the next weeks are blocks of the last ones",
             "Künsch (1989), The Jackknife and the Bootstrap for General Stationary Observations"),
    _declare("nearest_patterns", _patterns_learn, _patterns_score, "what followed on the most similar six weeks",
             "Lorenz (1969), Atmospheric Predictability as Revealed by Naturally Occurring Analogues",
             {"neighbours": Range(5, 300, default=60, log=True, integer=True)}),
    _declare("singular_spectrum", _spectrum_learn, _spectrum_score, "continues the price's leading shapes",
             "Golyandina, Nekrutkin & Zhigljavsky (2001), Analysis of Time Series Structure: SSA",
             {"components": Range(1, 6, default=3, integer=True)}),
    _declare("mean_reversion", _nothing, _reversion_score, "how far the price is from where it is drawn to",
             "Avellaneda & Lee (2010), Statistical Arbitrage in the US Equities Market"),
    _declare("variance_ratio", _nothing, _variance_ratio_score, "follows where the price trends, fades where it reverts",
             "Lo & MacKinlay (1988), Stock Market Prices Do Not Follow Random Walks",
             {"span": Range(2, 8, default=4, integer=True)}),
)  # fmt: skip
