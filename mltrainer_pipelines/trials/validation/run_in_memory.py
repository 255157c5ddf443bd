"""A trial run in memory, from features and labels to its scorecard: for audits, experiments and notebooks.

The steps are those of the Dagster assets (`WalkForward`, `calibrate_walk_forward`, `score`), without the lake, the
database and the tracking server between them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.quarters import TRAINING_DAYS
from mltrainer_pipelines.trials.registry.leaderboard import deflated
from mltrainer_pipelines.trials.scoring.score import score
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard
from mltrainer_pipelines.trials.validate_trial import MIN_QUARTERS
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward


class TooShortHistoryError(ValueError):
    """A history with too few whole quarters to judge a trial by: says how many there are and how many it takes."""


@dataclass(frozen=True)
class History:
    """What trials are run on: features, and labels of their timeframe at least.

    Bars are date, symbol, adj_open, adj_close, from 252 sessions before the first quarter on, where there are as many; the
    universe is month, symbol, rank. `other_features` are those of further feature sets, by name.
    """

    features: pl.DataFrame
    labels: pl.DataFrame
    bars: pl.DataFrame
    universe: pl.DataFrame
    other_features: Mapping[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialResult:
    """A trial that was run: its calibrated quarters, its scorecard, and the daily net returns of its book, after costs."""

    config: TrialConfig
    calibrated: pl.DataFrame
    scorecard: Scorecard
    returns: pl.DataFrame
    seconds: float


def run_in_memory(
    configs: Sequence[TrialConfig],
    history: History,
    cost_bps: float = 10.0,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> list[TrialResult]:
    """Run trials one after the other; each scorecard is deflated by all of them.

    `cost_bps` is the cost a side, as in the labels; `progress` is called with a trial's id as it ends. TooShortHistoryError if
    fewer than four whole quarters follow eighteen months of history.
    """
    results = []
    for config in configs:
        results.append(run_one_in_memory(config, history, cost_bps, threads))
        progress(config.trial_id)
    return deflate_together(results)


def run_one_in_memory(config: TrialConfig, history: History, cost_bps: float = 10.0, threads: int = 1) -> TrialResult:
    """Run one trial; its scorecard is deflated by nothing yet. Parameters and errors as for `run_in_memory`."""
    begin = time.perf_counter()
    labels = history.labels.filter(pl.col("timeframe") == config.timeframe)
    features = history.other_features.get(config.feature_set, history.features)
    table = WalkForward(config, features, labels, universe=history.universe, threads=threads)
    predictions = pl.concat(table.predict_quarter(*quarter).predictions for quarter in whole_quarters(table))
    calibrated = calibrate_walk_forward(predictions, labels)
    result = score(config, calibrated, labels, history.bars, cost_bps=cost_bps)
    returns = result.equity.select("date", "net_return")
    return TrialResult(config, calibrated, result.scorecard, returns, time.perf_counter() - begin)


def deflate_together(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """The same trials, each scorecard deflated by all of them."""
    cards = deflated([trial.scorecard for trial in trials])
    return [replace(trial, scorecard=card) for trial, card in zip(trials, cards, strict=True)]


def whole_quarters(table: WalkForward) -> list[tuple[date, date]]:
    """The quarters of a history that have eighteen months before them and ended inside it."""
    first, last = table.rows["date"][0], table.rows["date"][-1]
    whole = [
        (start, end)
        for start, end in table.quarters()
        if start >= first + timedelta(days=TRAINING_DAYS) and end <= last + timedelta(days=4)
    ]
    if len(whole) < MIN_QUARTERS:
        raise TooShortHistoryError(
            f"from {first} to {last} there are {len(whole)} whole quarters with eighteen months of history before them; "
            f"a trial is judged by at least {MIN_QUARTERS}: give a longer history"
        )
    return whole
