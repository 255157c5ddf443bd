"""A trial run in memory, from features and labels to its scorecard: for audits, experiments and notebooks.

The steps are those of the Dagster assets (`WalkForward`, `calibrate_walk_forward`, `score`), without the lake, the
database and the tracking server between them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.leaderboard import deflated
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard, score
from mltrainer_pipelines.trials.validate_trial import MIN_QUARTERS
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

WARM_UP = timedelta(days=548)
"""Eighteen months of history before the first quarter, as the walk-forward's partitions have it."""


class TooShortHistoryError(ValueError):
    """A history with too few whole quarters to judge a trial by: says how many there are and how many it takes."""


@dataclass(frozen=True)
class History:
    """What trials are run on.

    Parameters
    ----------
    features : DataFrame
        date, symbol, features.
    labels : DataFrame
        Of both timeframes, or of that of the trials.
    bars : DataFrame
        date, symbol, adj_open, adj_close, from 252 sessions before the first quarter on, where there are as many.
    universe : DataFrame
        month, symbol, rank.
    """

    features: pl.DataFrame
    labels: pl.DataFrame
    bars: pl.DataFrame
    universe: pl.DataFrame


@dataclass(frozen=True)
class Rehearsed:
    """A trial that was run.

    Parameters
    ----------
    config : TrialConfig
    calibrated : DataFrame
        As `calibrate_walk_forward` gives it, all quarters.
    scorecard : Scorecard
    returns : DataFrame
        date, net_return: daily, of the book, after costs.
    seconds : float
    """

    config: TrialConfig
    calibrated: pl.DataFrame
    scorecard: Scorecard
    returns: pl.DataFrame
    seconds: float


def rehearse(
    configs: Sequence[TrialConfig],
    history: History,
    cost_bps: float = 10.0,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Rehearsed]:
    """Run trials one after the other; each scorecard is deflated by all of them.

    Parameters
    ----------
    configs : sequence of TrialConfig
    history : History
    cost_bps : float
        Cost a side, as in the labels.
    threads : int
    progress : callable
        Called with a trial's id as it ends.

    Raises
    ------
    TooShortHistoryError
        If fewer than four whole quarters follow eighteen months of history.
    """
    done = []
    for config in configs:
        done.append(rehearse_one(config, history, cost_bps, threads))
        progress(config.trial_id)
    return deflated_by_all(done)


def rehearse_one(config: TrialConfig, history: History, cost_bps: float = 10.0, threads: int = 1) -> Rehearsed:
    """Run one trial; its scorecard is deflated by nothing yet. Parameters and errors as for `rehearse`."""
    begin = time.perf_counter()
    labels = history.labels.filter(pl.col("timeframe") == config.timeframe)
    table = WalkForward(config, history.features, labels, universe=history.universe, threads=threads)
    predictions = pl.concat(table.predict_quarter(*quarter).predictions for quarter in whole_quarters(table))
    calibrated = calibrate_walk_forward(predictions, labels)
    result = score(config, calibrated, labels, history.bars, cost_bps=cost_bps)
    returns = result.equity.select("date", "net_return")
    return Rehearsed(config, calibrated, result.scorecard, returns, time.perf_counter() - begin)


def deflated_by_all(trials: Sequence[Rehearsed]) -> list[Rehearsed]:
    """The same trials, each scorecard deflated by all of them."""
    cards = deflated([trial.scorecard for trial in trials], len(trials))
    return [replace(trial, scorecard=card) for trial, card in zip(trials, cards, strict=True)]


def whole_quarters(table: WalkForward) -> list[tuple[date, date]]:
    """The quarters of a history that have eighteen months before them and ended inside it.

    Raises
    ------
    TooShortHistoryError
        If there are fewer than four.
    """
    first, last = table.rows["date"][0], table.rows["date"][-1]
    found = [(start, end) for start, end in table.quarters() if start >= first + WARM_UP and end <= last + timedelta(days=4)]
    if len(found) < MIN_QUARTERS:
        raise TooShortHistoryError(
            f"from {first} to {last} there are {len(found)} whole quarters with eighteen months of history before them; "
            f"a trial is judged by at least {MIN_QUARTERS}: give a longer history"
        )
    return found
