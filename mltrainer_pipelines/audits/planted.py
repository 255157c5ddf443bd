"""`mltrainer audit planted`: the core models on a simulated market with a premium that they have to find."""

import time
from collections.abc import Sequence
from typing import Any

import polars as pl

from mltrainer_pipelines.audits.result import AuditResult, Progress, audited_trials, run_trials
from mltrainer_pipelines.audits.simulated_market import AuditMarket, simulated_history
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.promotion import grade, shortfalls
from mltrainer_pipelines.trials.scoring.backtest import top_fraction
from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time
from mltrainer_pipelines.trials.scoring.score import TOP
from mltrainer_pipelines.trials.validation.run_in_memory import History, TrialResult

MIN_RANK_IC_T = 3.0
METRICS = ("rank_ic", "rank_ic_t", "brier_skill", "calibration_error", "sharpe", "momentum_sharpe", "deflated_sharpe")
"""Of a scorecard, in the findings."""


def audit_planted(
    market: AuditMarket | None = None, configs: Sequence[TrialConfig] | None = None, progress: Progress = lambda *_: None
) -> AuditResult:
    """The default and the core models on a market with the premium: they have to find it, and to know what it is worth.

    A trial passes if its rank IC is above zero with t > 3, it is graded `proven`, and the mean net return that was
    expected of its top decile lies inside the interval of what these picks earned (by `mean_over_time`; 95 % for all
    trials together, by Bonferroni).
    """
    begin = time.perf_counter()
    configs = configs or audited_trials()
    market = market or AuditMarket()
    history = simulated_history(market, configs=configs)
    trials = run_trials(configs, market, history, progress)
    rows: list[dict[str, Any]] = []
    for trial in trials:
        card = trial.scorecard
        expected, earned, low, high = _picks(trial, history, 1.0 - 0.05 / len(trials))
        checks = {
            "finds_it": (card.rank_ic or 0.0) > 0.0 and (card.rank_ic_t or 0.0) > MIN_RANK_IC_T,
            "proven": grade(card) == "proven",
            "return_agrees": low <= expected <= high,
        }
        rows.append(
            {
                "trial_id": card.trial_id,
                "model": card.model,
                "timeframe": card.timeframe,
                "passed": all(checks.values()),
                **checks,
                **{name: getattr(card, name) for name in METRICS},
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
        for row in rows
    )
    return AuditResult("planted", all(row["passed"] for row in rows), {"trials": rows}, lines, time.perf_counter() - begin)


def _picks(trial: TrialResult, history: History, level: float) -> tuple[float, float, float, float]:
    """Of the top decile, where a return was expected: mean expected, mean earned, and the interval of the latter."""
    outcomes = history.labels.filter(pl.col("timeframe") == trial.config.timeframe).select("date", "symbol", "net_return")
    picks = top_fraction(trial.calibrated.drop_nulls("expected_net_return"), "score", TOP)
    resolved = picks.join(outcomes, on=["date", "symbol"]).drop_nulls("net_return").sort("date")
    by_session = resolved.group_by("date", maintain_order=True).agg(pl.col("net_return", "expected_net_return").mean())
    earned = by_session["net_return"].to_numpy()
    low, high = mean_over_time(earned, trial.config.horizon.max_sessions).interval(level)
    expected = by_session["expected_net_return"].to_numpy()
    return (float(expected.mean()) if len(expected) else float("nan"), float(earned.mean()), low, high)
