"""Audits of the trials themselves, on simulated markets whose truth is known: what is not there must not be found.

Everything is computed in memory by the code that the Dagster assets call; no service has to be up.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from mltrainer_pipelines.audits.simulated_market import simulated_frames
from mltrainer_pipelines.audits.trial_cache import rehearsals
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.universe import universes_of
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.promotion import choose_champion, grade, shortfalls
from mltrainer_pipelines.trials.scoring import statistics
from mltrainer_pipelines.trials.scoring.backtest import top_fraction
from mltrainer_pipelines.trials.scoring.scorecard import TOP
from mltrainer_pipelines.trials.validation.calibrated_quarters import holding_blocks
from mltrainer_pipelines.trials.validation.run_in_memory import History, Rehearsed, deflated_by_all, rehearse

MODELS = ("logistic_l2", "lightgbm")
MIN_RANK_IC_T = 3.0
MAX_CALIBRATION_ERROR = 0.03
COST_BPS = 10.0

Progress = Callable[[str, float], None]
"""Called with what was done, and the share of the whole that is done by now."""


@dataclass(frozen=True)
class AuditMarket:
    """The simulated market of an audit: reproducible, and independent of today's date.

    Parameters
    ----------
    seed, symbols : int
    premium : float
        0: nothing can be predicted; 1: the default strength.
    first, last : date
        Decisions are made from `first` on; the market begins a year of sessions before.
    """

    seed: int = 7
    symbols: int = 120
    premium: float = 1.0
    first: date = date(2021, 1, 4)
    last: date = date(2026, 9, 30)


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Parameters
    ----------
    name : {'null', 'planted', 'calibration'}
    passed : bool
    findings : dict
        Numbers, by name; what `--json` prints beside `passed`.
    lines : tuple of str
        The same for a reader.
    seconds : float
    """

    name: Literal["null", "planted", "calibration"]
    passed: bool
    findings: dict[str, Any]
    lines: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {"passed": self.passed, "market": "simulated", **self.findings, "seconds": round(self.seconds, 1)}

    def text(self) -> str:
        heading = f"{self.name} audit on simulated markets: {'passed' if self.passed else 'FAILED'} in {self.seconds:.0f} s"
        return "\n".join([heading, *(f"  {line}" for line in self.lines)])


def audit_null(
    trials: int = 50,
    market: AuditMarket | None = None,
    progress: Progress = lambda *_: None,
    seed: int = 0,
    kept_in: Path | None = None,
    at_once: int = 1,
) -> Audit:
    """Many trials of different models on a market in which nothing can be predicted: none may be graded `proven`.

    Trials are drawn at random from the model catalogue, half of them a timeframe, and each is deflated by all.
    Also counted: predictions that would pass a strong buy's bar of 0.60 for the probability of a profit.

    Parameters
    ----------
    kept_in : Path, optional
        A folder for the trials that have ended: an audit that was stopped goes on there.
    at_once : int
        Trials at a time, each in a process of its own.
    """
    from mltrainer_pipelines.agent.search import propose

    begin = time.perf_counter()
    market = market or AuditMarket(seed=11, symbols=60, premium=0.0)
    if market.premium != 0.0:
        raise ValueError(f"premium={market.premium}: the null audit needs a market without a premium")
    configs = []
    for timeframe, count in zip(TIMEFRAMES, (trials - trials // 2, trials // 2), strict=True):
        if count:
            template = TrialConfig(model=MODELS[0], timeframe=timeframe, universe_size=max(5, market.symbols))
            configs += [proposal.config for proposal in propose("random", count, template, seed=seed)]
    progress(f"a market of {market.symbols} companies", 0.0)
    ended: dict[str, Rehearsed] = {}
    for trial in rehearsals(configs, market, lambda: history_of(market), COST_BPS, kept_in, at_once):
        ended[trial.config.trial_id] = trial
        progress(trial.config.trial_id, len(ended) / len(configs))
    done = deflated_by_all([ended[config.trial_id] for config in configs])
    proven = [trial.config.trial_id for trial in done if grade(trial.scorecard) == "proven"]
    champions, overfitting = {}, {}
    for timeframe in TIMEFRAMES:
        same = [trial for trial in done if trial.config.timeframe == timeframe]
        if same:
            champions[timeframe] = choose_champion([trial.scorecard for trial in same]).grade
            overfitting[timeframe] = _overfitting(same)
    rows = sum(trial.scorecard.calibrated_rows for trial in done)
    confident = sum(trial.calibrated.filter(pl.col("probability") >= 0.6).height for trial in done)
    findings = {
        "trials": len(done),
        "proven": len(proven),
        "proven_trials": proven,
        "false_promotions": len(proven) / len(done),
        "champion_grades": champions,
        "probability_of_overfitting": overfitting,
        "share_of_predictions_from_0.60": confident / rows if rows else 0.0,
        "best_sharpe": max((trial.scorecard.sharpe or 0.0 for trial in done), default=0.0),
        "median_brier_skill": float(np.median([trial.scorecard.brier_skill or 0.0 for trial in done])),
    }
    lines = (
        f"{len(done)} trials, {len(proven)} of them proven ({findings['false_promotions']:.1%} false promotions)",
        f"champions: {', '.join(f'{name} {standing}' for name, standing in champions.items())}",
        f"best Sharpe ratio {findings['best_sharpe']:.2f}, median Brier skill {findings['median_brier_skill']:+.4f}, "
        f"{findings['share_of_predictions_from_0.60']:.2%} of predictions from 0.60 up",
    )
    return Audit("null", not proven and "proven" not in champions.values(), findings, lines, time.perf_counter() - begin)


def audit_planted(
    market: AuditMarket | None = None, timeframes: Sequence[str] = tuple(TIMEFRAMES), progress: Progress = lambda *_: None
) -> Audit:
    """Both core models on a market with the premium: they have to find it, and to know what it is worth.

    A trial passes if its rank IC is above zero with t > 3, it is graded `proven`, and the mean net return that was
    expected of its top decile lies inside the interval of what these picks earned (stationary bootstrap over sessions, in
    blocks of the holding period; 95 % for all trials together, by Bonferroni).
    """
    begin = time.perf_counter()
    configs = [TrialConfig(model=model, timeframe=timeframe) for timeframe in timeframes for model in MODELS]
    market = market or AuditMarket()
    history = history_of(market)
    done = _rehearsed(configs, market, progress, history)
    found: list[dict[str, Any]] = []
    for trial in done:
        card = trial.scorecard
        expected, earned, low, high = _picks(trial, history, 1.0 - 0.05 / len(done))
        checks = {
            "finds_it": (card.rank_ic or 0.0) > 0.0 and (card.rank_ic_t or 0.0) > MIN_RANK_IC_T,
            "proven": grade(card) == "proven",
            "return_agrees": low <= expected <= high,
        }
        found.append(
            {
                "trial_id": card.trial_id,
                "model": card.model,
                "timeframe": card.timeframe,
                "passed": all(checks.values()),
                **checks,
                "rank_ic": card.rank_ic,
                "rank_ic_t": card.rank_ic_t,
                "brier_skill": card.brier_skill,
                "calibration_error": card.calibration_error,
                "sharpe": card.sharpe,
                "momentum_sharpe": card.momentum_sharpe,
                "deflated_sharpe": card.deflated_sharpe,
                "expected_pick_return": expected,
                "pick_return": earned,
                "pick_return_low": low,
                "pick_return_high": high,
                "shortfalls": list(shortfalls(card)),
            }
        )
    lines = tuple(
        f"{row['trial_id']}: rank IC {row['rank_ic']:+.3f} (t {row['rank_ic_t']:.1f}), "
        f"{'proven' if row['proven'] else 'candidate: ' + '; '.join(row['shortfalls'])}, picks expected "
        f"{row['expected_pick_return']:+.2%}, earned {row['pick_return']:+.2%} "
        f"[{row['pick_return_low']:+.2%}, {row['pick_return_high']:+.2%}]"
        for row in found
    )
    return Audit("planted", all(row["passed"] for row in found), {"trials": found}, lines, time.perf_counter() - begin)


def audit_calibration(markets: int = 4, market: AuditMarket | None = None, progress: Progress = lambda *_: None) -> Audit:
    """Probabilities of the core models out of sample, over several markets with the premium: error at most 0.03.

    One market of a few years has few independent holding periods, and how its share of profitable trades falls is luck
    that no calibration can know; over several markets that luck averages out, an error of the method does not. How much
    of it one market shows is told beside: the mean error of a forecast without any, `_error_by_chance`.
    """
    begin = time.perf_counter()
    market = market or AuditMarket()
    configs = [TrialConfig(model=model, timeframe=timeframe) for timeframe in TIMEFRAMES for model in MODELS]
    known: dict[tuple[str, str], list[pl.DataFrame]] = {}
    single: dict[tuple[str, str], list[float]] = {}
    by_chance: dict[tuple[str, str], list[float]] = {}
    for number in range(markets):
        chosen = AuditMarket(market.seed + number, market.symbols, market.premium, market.first, market.last)
        history = history_of(chosen)
        for trial in _rehearsed(configs, chosen, _part(progress, number, markets), history):
            key = trial.config.timeframe, trial.config.model
            outcomes = history.labels.filter(pl.col("timeframe") == trial.config.timeframe)
            rows = trial.calibrated.join(outcomes.select("date", "symbol", "exit_date", "label"), on=["date", "symbol"])
            known.setdefault(key, []).append(rows.drop_nulls(["probability", "label"]).select("probability", "label"))
            single.setdefault(key, []).append(trial.scorecard.calibration_error or float("nan"))
            by_chance.setdefault(key, []).append(_error_by_chance(rows.drop_nulls(["probability", "label"])))
    found: list[dict[str, Any]] = []
    for (timeframe, model), parts in known.items():
        rows = pl.concat(parts)
        probability, label = rows["probability"].to_numpy(), rows["label"].to_numpy().astype(np.float64)
        curve = statistics.reliability(probability, label)
        found.append(
            {
                "timeframe": timeframe,
                "model": model,
                "calibration_error": curve.error,
                "passed": curve.error <= MAX_CALIBRATION_ERROR,
                "brier_skill": statistics.brier_skill(probability, label),
                "rows": rows.height,
                "calibration_error_of_each_market": single[timeframe, model],
                "error_by_chance_of_each_market": by_chance[timeframe, model],
                "forecast": curve.forecast.tolist(),
                "observed": curve.observed.tolist(),
            }
        )
    lines = tuple(
        f"{row['timeframe']} {row['model']}: calibration error {row['calibration_error']:.4f} over {row['rows']:,} rows of "
        f"{markets} markets (each alone: {', '.join(f'{error:.3f}' for error in row['calibration_error_of_each_market'])}; "
        f"by chance alone: {', '.join(f'{error:.3f}' for error in row['error_by_chance_of_each_market'])})"
        for row in found
    )
    findings = {"markets": markets, "bar": MAX_CALIBRATION_ERROR, "trials": found}
    return Audit("calibration", all(row["passed"] for row in found), findings, lines, time.perf_counter() - begin)


def _error_by_chance(known: pl.DataFrame, draws: int = 2000) -> float:
    """Mean calibration error that perfect probabilities would show on outcomes that hang together as these do.

    Outcomes less their probabilities, summed in each bin and holding period, with the signs of whole holding periods drawn
    at random: what is left in a bin is chance (the wild cluster bootstrap; Cameron, Gelbach & Miller 2008, Review of
    Economics and Statistics 90(3)).

    Parameters
    ----------
    known : DataFrame
        date, exit_date, probability, label; no null.
    """
    probability, label = known["probability"].to_numpy(), known["label"].to_numpy().astype(np.float64)
    edges = np.quantile(probability, np.linspace(0, 1, 11)[1:-1], method="lower")
    bins = np.searchsorted(edges, probability, side="left")
    blocks = np.unique(holding_blocks(known), return_inverse=True)[1]
    count = int(blocks.max()) + 1
    apart = np.bincount(blocks * 10 + bins, weights=label - probability, minlength=count * 10).reshape(count, 10)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (draws, count))
    return float(np.abs(signs @ apart).sum(axis=1).mean() / known.height)


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one part of several."""
    return lambda what, share: progress(what, (number + share) / parts)


def history_of(market: AuditMarket) -> History:
    """Adjusted bars, universe, features and labels of both timeframes of a simulated market."""
    frames = simulated_frames(market.seed, market.symbols, market.first, market.last, market.premium)
    bars = adjusted(frames.bars, frames.actions)
    months = bars.filter(pl.col("date") >= market.first)["date"].dt.truncate("1mo").unique().sort().to_list()
    members = universes_of(months, frames.bars, frames.reference, max(5, market.symbols))
    features = compute_features(bars, members, None, months[0], market.last)
    labels = [
        compute_labels(bars, members, timeframe, Barriers(), COST_BPS, months[0], market.last)
        for timeframe in TIMEFRAMES.values()
    ]
    return History(features, pl.concat(labels), bars, members)


def _rehearsed(
    configs: Sequence[TrialConfig], market: AuditMarket, progress: Progress, history: History | None = None
) -> list[Rehearsed]:
    progress(f"a market of {market.symbols} companies", 0.0)
    history = history or history_of(market)
    ended = 0

    def one_more(trial_id: str) -> None:
        nonlocal ended
        ended += 1
        progress(trial_id, ended / len(configs))

    return rehearse(configs, history, COST_BPS, progress=one_more)


def _overfitting(trials: Sequence[Rehearsed]) -> float | None:
    """Probability of backtest overfitting of these trials over the days that all of them have; None for a single one."""
    table = trials[0].returns.select("date", trial_0="net_return")
    for number, trial in enumerate(trials[1:], 1):
        table = table.join(trial.returns.select("date", pl.col("net_return").alias(f"trial_{number}")), on="date")
    found = statistics.probability_of_overfitting(table.drop("date").to_numpy())
    return found if np.isfinite(found) else None


def _picks(trial: Rehearsed, history: History, level: float) -> tuple[float, float, float, float]:
    """Of the top decile, where a return was expected: mean expected, mean earned, and the interval of the latter."""
    outcomes = history.labels.filter(pl.col("timeframe") == trial.config.timeframe).select("date", "symbol", "net_return")
    picks = top_fraction(trial.calibrated.drop_nulls("expected_net_return"), "score", TOP)
    known = picks.join(outcomes, on=["date", "symbol"]).drop_nulls("net_return").sort("date")
    by_session = known.group_by("date", maintain_order=True).agg(pl.col("net_return", "expected_net_return").mean())
    earned = by_session["net_return"].to_numpy()
    low, high = statistics.stationary_bootstrap(
        earned, lambda sample: sample.mean(axis=1), trial.config.horizon.max_sessions, level=level
    )
    expected = by_session["expected_net_return"].to_numpy()
    return (float(expected.mean()) if len(expected) else float("nan"), float(earned.mean()), low, high)
