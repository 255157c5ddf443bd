"""`mltrainer audit calibration`: probabilities of the core models beside what came, over several simulated markets."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.audits.result import AuditResult, Progress, audited_trials, run_trials
from mltrainer_pipelines.audits.simulated_market import AuditMarket, simulated_history
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.scoring import skill
from mltrainer_pipelines.trials.scoring.effective_sample import holding_blocks

MAX_CALIBRATION_ERROR = 0.03


def audit_calibration(
    markets: int = 4,
    market: AuditMarket | None = None,
    progress: Progress = lambda *_: None,
    configs: Sequence[TrialConfig] | None = None,
) -> AuditResult:
    """Probabilities of the default and the core models out of sample, over several markets with the premium: error at most 0.03.

    One market of a few years has few independent holding periods, and how its share of profitable trades falls is luck
    that no calibration can know; over several markets that luck averages out, an error of the method does not. How much
    of it one market shows is reported beside: the mean error of a forecast without any, `_error_by_chance`.
    """
    begin = time.perf_counter()
    market = market or AuditMarket()
    configs = configs or audited_trials()
    pooled: dict[tuple[str, str], list[pl.DataFrame]] = {}
    single: dict[tuple[str, str], list[float]] = {}
    by_chance: dict[tuple[str, str], list[float]] = {}
    for number in range(markets):
        chosen = replace(market, seed=market.seed + number)
        history = simulated_history(chosen, configs=configs)

        def of_all(what: str, share: float, number: int = number) -> None:
            progress(what, (number + share) / markets)

        for trial in run_trials(configs, chosen, history, of_all):
            key = trial.config.timeframe, trial.config.model
            outcomes = history.labels.filter(pl.col("timeframe") == trial.config.timeframe)
            rows = trial.calibrated.join(outcomes.select("date", "symbol", "exit_date", "label"), on=["date", "symbol"])
            resolved = rows.drop_nulls(["probability", "label"])
            pooled.setdefault(key, []).append(resolved.select("probability", "label"))
            single.setdefault(key, []).append(trial.scorecard.calibration_error or float("nan"))
            by_chance.setdefault(key, []).append(_error_by_chance(resolved))
    results: list[dict[str, Any]] = []
    for (timeframe, model), parts in pooled.items():
        rows = pl.concat(parts)
        probability, label = rows["probability"].to_numpy(), rows["label"].to_numpy().astype(np.float64)
        curve = skill.reliability(probability, label)
        results.append(
            {
                "timeframe": timeframe,
                "model": model,
                "calibration_error": curve.error,
                "passed": curve.error <= MAX_CALIBRATION_ERROR,
                "brier_skill": skill.brier_skill(probability, label),
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
        for row in results
    )
    findings = {"markets": markets, "bar": MAX_CALIBRATION_ERROR, "trials": results}
    return AuditResult("calibration", all(row["passed"] for row in results), findings, lines, time.perf_counter() - begin)


def _error_by_chance(resolved: pl.DataFrame, draws: int = 2000) -> float:
    """Mean calibration error that perfect probabilities would show on outcomes that hang together as these do.

    Outcomes less their probabilities, summed in each bin and holding period, with the signs of whole holding periods drawn at
    random: what is left in a bin is chance (the wild cluster bootstrap; Cameron, Gelbach & Miller 2008, Review of Economics and
    Statistics 90(3)).
    """
    probability, label = resolved["probability"].to_numpy(), resolved["label"].to_numpy().astype(np.float64)
    edges = np.quantile(probability, np.linspace(0, 1, 11)[1:-1], method="lower")
    bins = np.searchsorted(edges, probability, side="left")
    blocks = np.unique(holding_blocks(resolved), return_inverse=True)[1]
    count = int(blocks.max()) + 1
    surprises = np.bincount(blocks * 10 + bins, weights=label - probability, minlength=count * 10).reshape(count, 10)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (draws, count))
    return float(np.abs(signs @ surprises).sum(axis=1).mean() / resolved.height)
