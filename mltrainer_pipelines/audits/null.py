"""`mltrainer audit null`: many trials on a simulated market in which nothing can be predicted."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import get_args

import numpy as np
import polars as pl

from mltrainer_pipelines.agent.search import propose
from mltrainer_pipelines.audits.result import MODELS, AuditResult, Progress
from mltrainer_pipelines.audits.simulated_market import AuditMarket
from mltrainer_pipelines.audits.trial_cache import cached_trials
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES, TimeframeName
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.defaults import DEFAULT_MODELS, default_trial
from mltrainer_pipelines.trials.registry.promotion import choose_champion, grade
from mltrainer_pipelines.trials.scoring import selection
from mltrainer_pipelines.trials.validation.run_in_memory import TrialResult, deflate_together


def audit_null(
    trials: int = 50,
    market: AuditMarket | None = None,
    progress: Progress = lambda *_: None,
    seed: int = 0,
    cache: Path | None = None,
    at_once: int = 1,
    defaults: Sequence[str] = DEFAULT_MODELS,
) -> AuditResult:
    """Many trials of different models on a market in which nothing can be predicted: none may be graded `proven`.

    The trials of the default models come first; the others are drawn at random from the model registry, half of them a
    timeframe; each is deflated by all. What the leanings of each were worth (its picks above all symbols alike) has to be zero
    within its interval, of all trials together 95 % (by Bonferroni). Also counted: predictions that would pass a strong buy's
    bar of 0.60 for the probability of a profit. `cache` is a folder for the trials that have ended, in which a stopped audit
    goes on; `at_once` trials run at a time, each in a process of its own.
    """
    begin = time.perf_counter()
    market = market or AuditMarket(seed=11, symbols=60, premium=0.0)
    if market.premium != 0.0:
        raise ValueError(f"premium={market.premium}: the null audit needs a market without a premium")
    configs = [
        default_trial(timeframe, model, universe_size=max(5, market.symbols))
        for timeframe in get_args(TimeframeName)
        for model in defaults
    ]
    for timeframe, count in zip(TIMEFRAMES, (trials - trials // 2, trials // 2), strict=True):
        if count:
            template = TrialConfig(model=MODELS[0], timeframe=timeframe, universe_size=max(5, market.symbols))
            configs += [proposal.config for proposal in propose("random", count, template, seed=seed)]
    progress(f"a market of {market.symbols} companies", 0.0)
    ended: dict[str, TrialResult] = {}
    for trial in cached_trials(configs, market, cache, at_once):
        ended[trial.config.trial_id] = trial
        progress(trial.config.trial_id, len(ended) / len(configs))
    trials_run = deflate_together([ended[config.trial_id] for config in configs])
    proven = [trial.config.trial_id for trial in trials_run if grade(trial.scorecard) == "proven"]
    champions, overfitting = {}, {}
    for timeframe in TIMEFRAMES:
        same = [trial for trial in trials_run if trial.config.timeframe == timeframe]
        if same:
            champions[timeframe] = choose_champion([trial.scorecard for trial in same]).grade
            overfitting[timeframe] = _overfitting(same)
    rows = sum(trial.scorecard.calibrated_rows for trial in trials_run)
    confident = sum(trial.calibrated.filter(pl.col("probability") >= 0.6).height for trial in trials_run)
    most = NormalDist().inv_cdf(1.0 - 0.025 / len(trials_run))
    leanings = {
        trial.config.trial_id: {name: getattr(trial.scorecard, f"pick_excess{name}") for name in ("", "_low", "_high", "_z")}
        for trial in trials_run
    }
    worth_something = [name for name, worth in leanings.items() if worth["_z"] is not None and abs(worth["_z"]) > most]
    own = {config.trial_id: leanings[config.trial_id] for config in configs[: len(TIMEFRAMES) * len(defaults)]}
    told = (f"{name} {one['']:+.2%} ({one['_low'] or 0:+.2%} to {one['_high'] or 0:+.2%})" for name, one in own.items())
    findings = {
        "trials": len(trials_run),
        "proven": len(proven),
        "proven_trials": proven,
        "false_promotions": len(proven) / len(trials_run),
        "champion_grades": champions,
        "leanings_worth_something": worth_something,
        "worth_of_default_leanings": {name: [worth[""], worth["_low"], worth["_high"]] for name, worth in own.items()},
        "probability_of_overfitting": overfitting,
        "share_of_predictions_from_0.60": confident / rows if rows else 0.0,
        "best_sharpe": max((trial.scorecard.sharpe or 0.0 for trial in trials_run), default=0.0),
        "median_brier_skill": float(np.median([trial.scorecard.brier_skill or 0.0 for trial in trials_run])),
    }
    lines = (
        f"{len(trials_run)} trials, {len(proven)} of them proven ({findings['false_promotions']:.1%} false promotions)",
        f"champions: {', '.join(f'{name} {champion_grade}' for name, champion_grade in champions.items())}",
        f"leanings of {len(worth_something)} trials are worth anything beyond luck; of the default ones: " + ", ".join(told),
        f"best Sharpe ratio {findings['best_sharpe']:.2f}, median Brier skill {findings['median_brier_skill']:+.4f}, "
        f"{findings['share_of_predictions_from_0.60']:.2%} of predictions from 0.60 up",
    )
    passed = not proven and "proven" not in champions.values() and not worth_something
    return AuditResult("null", passed, findings, lines, time.perf_counter() - begin)


def _overfitting(trials: Sequence[TrialResult]) -> float | None:
    """Probability of backtest overfitting of these trials over the days that all of them have; None for a single one."""
    table = trials[0].returns.select("date", trial_0="net_return")
    for number, trial in enumerate(trials[1:], 1):
        table = table.join(trial.returns.select("date", pl.col("net_return").alias(f"trial_{number}")), on="date")
    probability = selection.probability_of_overfitting(table.drop("date").to_numpy())
    return probability if np.isfinite(probability) else None
