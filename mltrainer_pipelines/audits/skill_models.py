"""The models that skill is measured of: the default one, single features and their composite, plain learners, and a peer.

Whatever is fitted is fitted on the same windows, which grow: a year (or more, of a long history) is predicted by what was
known before it.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.audits.skill_market import NoMarketError, SkillMarket
from mltrainer_pipelines.contracts.ranks import session_percentiles
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.models.libraries import lightgbm
from mltrainer_pipelines.trials.config import WHOLE_HISTORY, TrialConfig
from mltrainer_pipelines.trials.defaults import DEFAULT_MODELS, default_trial
from mltrainer_pipelines.trials.validation.table import most_liquid
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines.trials.validation.windows import quarter_window

DEFAULT = DEFAULT_MODELS[0]
COMPOSITE, PEER = "equal-weight rank composite", "qlib_lightgbm_alpha158"
MOMENTUM_12_1 = "momentum_12_1"
SINGLE = ("momentum_", "residual_momentum_", "sector_momentum_", "smooth_momentum_", "reversal_", "long_reversal_")
"""How the names of single features begin that a spreadsheet would rank by, each with its sign from the literature."""
SAME = 1e-3
"""Mean difference of two features' session percentiles below which they are one feature."""
WARM_UP_YEARS, MOST_WINDOWS = 3, 8
QLIB = {
    "objective": "l2", "colsample_bytree": 0.8879, "learning_rate": 0.2, "subsample": 0.8789, "lambda_l1": 205.6999,
    "lambda_l2": 580.9768, "max_depth": 8, "num_leaves": 210, "verbose": -1, "deterministic": True, "force_col_wise": True,
}  # fmt: skip
"""Qlib's published settings (examples/benchmarks/LightGBM, Alpha158): 1,000 rounds, stopped early."""
PEER_EVERY = 3
"""The peer learns from every third session, as our trees do."""

Windows = list[tuple[date, date]]


def windows_of(market: SkillMarket) -> Windows:
    """Spans of whole years, as (first day, first day after), that are predicted: at most eight, after three years of history.

    A history of fewer than five years is predicted after half of it, half a year at a time.
    """
    first: date = market.universe["month"].min()  # type: ignore[assignment]
    last: date = market.bars["date"].max()  # type: ignore[assignment]
    step = 1
    if last.year > first.year + WARM_UP_YEARS:
        starts = [date(year, 1, 1) for year in range(first.year + WARM_UP_YEARS, last.year + 1)]
        step = -(-len(starts) // MOST_WINDOWS)
    else:
        middle = first + (last - first) / 2
        starts = [date(year, month, 1) for year in range(first.year, last.year + 1) for month in (1, 7)]
        starts = [day for day in starts if middle <= day <= last]
    if not starts:
        raise NoMarketError(f"the history from {first} to {last} is too short; skill is measured from two years on")
    starts = starts[::step]
    return list(zip(starts, [*starts[1:], date(last.year + 1, 1, 1)], strict=True))


def trials_of(timeframe: TimeframeName) -> Mapping[str, TrialConfig]:
    """What is fitted by our own code, by name: the default, and plain learners on the momentum features."""
    plain = {"timeframe": timeframe, "train_sessions": WHOLE_HISTORY}
    library = {
        "rounds": 100, "learning_rate": 0.1, "num_leaves": 31, "min_data_in_leaf": 20, "feature_fraction": 1.0, "lambda_l2": 0.0,
        "max_bin": 255,
    }  # fmt: skip
    return {
        DEFAULT: default_trial(timeframe),
        "logistic_regression": TrialConfig.parse({"model": "logistic_l2", **plain}),
        "lightgbm_defaults": TrialConfig.parse({"model": "lightgbm", "params": library, **plain}),
    }


def predict_trial(
    config: TrialConfig, market: SkillMarket, features: pl.DataFrame, windows: Windows, threads: int
) -> Iterator[pl.DataFrame]:
    """Out-of-sample scores, window by window."""
    sessions = features["date"].unique().sort().to_list()
    table = WalkForward(config, features, market.labels, sessions, market.universe, threads=threads)
    for window in windows:
        yield table.predict_quarter(*window).predictions


def predict_peer(
    market: SkillMarket, timeframe: TimeframeName, features: pl.DataFrame, windows: Windows, threads: int
) -> Iterator[pl.DataFrame]:
    """Scores of LightGBM with Qlib's published settings on Alpha158, learnt from the session's z-scores of our own outcomes."""
    features = features.filter(most_liquid(features, market.universe, market.universe.height)).sort("date", "symbol")
    labels = market.labels.filter(pl.col("timeframe") == timeframe)
    outcomes = labels.select("date", "symbol", "exit_date", "barrier", "net_return")
    rows = features.select("date", "symbol").join(outcomes, on=["date", "symbol"], how="left", maintain_order="left")
    X = features.drop("date", "symbol").to_numpy().astype(np.float32)
    days = rows["date"].to_physical().to_numpy()
    sessions = rows["date"].unique().sort().to_list()
    _, at = np.unique(days, return_inverse=True)
    net_return = pl.col("net_return")
    z_score = ((net_return - net_return.mean()) / net_return.std()).over("date")
    for start, end in windows:
        window = quarter_window(start, end, sessions, WHOLE_HISTORY)
        trains = np.flatnonzero(rows.select(window.trains).to_series().to_numpy() & (at % PEER_EVERY == 0))
        target = rows[trains].select(z_score.fill_nan(0.0).fill_null(0.0)).to_series().to_numpy()
        cut = int(0.8 * len(trains))  # the last fifth says when to stop
        params: dict[str, Any] = QLIB | {"num_threads": threads, "seed": 0}
        fitting = lightgbm.Dataset(X[trains[:cut]], target[:cut], params=params)
        watching = fitting.create_valid(X[trains[cut:]], target[cut:])
        stop = lightgbm.early_stopping(50, verbose=False)
        booster = lightgbm.train(params, fitting, 1000, valid_sets=[watching], callbacks=[stop])
        inside = (rows["date"] >= start) & (rows["date"] < end)
        scores = booster.predict(X[inside.to_numpy()], num_threads=threads)
        yield rows.filter(inside).select("date", "symbol", score=pl.Series(np.asarray(scores)))


def single_features(selection: pl.DataFrame, momentum: pl.DataFrame, windows: Windows) -> dict[str, pl.DataFrame]:
    """Each momentum and reversal feature as a score, those that rank alike once, and the mean of their session ranks."""
    names = {name: momentum for name in momentum.columns if name.startswith(SINGLE)}
    names |= {name: selection for name in selection.columns if name.startswith(SINGLE) and not name.endswith("_scaled")}
    begin, end = windows[0][0], windows[-1][1]
    scores = {
        name: table.filter(pl.col("date").is_between(begin, end, closed="left"))
        .select("date", "symbol", score=pl.col(name).cast(pl.Float64))
        .with_columns(score=pl.col("score").fill_null(pl.col("score").median().over("date")).fill_null(0.0))
        .sort("date", "symbol")
        for name, table in names.items()
    }
    first = next(iter(scores.values()))
    days = first["date"].to_physical().to_numpy()
    ranks: dict[str, np.ndarray] = {}
    for name, table in scores.items():
        of_session = session_percentiles(table["score"].to_numpy(), days)
        # two sets may hold the same feature under two names, and without sectors the market stands in for them
        if not any(np.abs(of_session - other).mean() < SAME for other in ranks.values()):
            ranks[name] = of_session
    kept = {name: scores[name] for name in ranks}
    return kept | {COMPOSITE: first.with_columns(score=pl.Series(np.mean(list(ranks.values()), axis=0)))}
