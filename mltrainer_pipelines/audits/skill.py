"""`mltrainer audit skill`: what the default models are worth on a market, beside what anybody could rank by."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import polars as pl

from mltrainer_pipelines.audits import skill_models
from mltrainer_pipelines.audits.result import Progress
from mltrainer_pipelines.audits.skill_market import SkillMarket
from mltrainer_pipelines.audits.skill_models import COMPOSITE, DEFAULT, PEER, Windows
from mltrainer_pipelines.audits.skill_scores import ModelScores, paired_difference, score_models
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.05
"""Chance of a wrong verdict that is accepted, over all comparisons together."""
FITTED = (DEFAULT, "logistic_regression", "lightgbm_defaults", PEER)


@dataclass(frozen=True)
class SkillAudit:
    """The measurement: `findings` as `--json` prints them, and the default models' predictions by timeframe."""

    market: str
    findings: dict[str, Any]
    predictions: pl.DataFrame
    curves: dict[str, dict[str, pl.DataFrame]]

    @property
    def passed(self) -> bool:
        return bool(self.findings["passed"])

    def as_dict(self) -> dict[str, object]:
        return self.findings

    def text(self) -> str:
        lines = [f"skill on {self.market}, out of sample {self.findings['first']} to {self.findings['last']}"]
        for name, timeframe in self.findings["timeframes"].items():
            lines.append(f"\n{name}: {timeframe['sessions']} sessions, {timeframe['rows']:,} rows")
            lines.append(
                f"  {'':34} {'rank IC':>8} {'t':>6} {'neutral':>8} {'t':>6} {'AUC':>6} {'top decile':>11} {'turnover':>9}"
            )
            for model in sorted(timeframe["models"], key=lambda row: -(row["rank_ic"] or 0.0)):
                mark = "*" if model["default"] else " "
                lines.append(
                    f" {mark}{model['name']:34} {_cell(model['rank_ic'], 8, 4)} {_cell(model['t'], 6, 1)} "
                    f"{_cell(model['neutral_rank_ic'], 8, 4)} {_cell(model['neutral_t'], 6, 1)} {_cell(model['auc'], 6, 3)} "
                    f"{_cell(100 * model['top_decile_excess'], 9, 2)} % {_cell(model['turnover'], 9, 2)}"
                )
            lines.append(f"  {timeframe['verdict']}")
        return "\n".join([*lines, "", "* the default model. " + self.findings["verdict"]])

    def write_predictions(self, path: Path) -> None:
        """date, symbol, timeframe, score, probability, net_return of the default models, as Parquet or CSV."""
        if path.suffix.lower() == ".csv":
            self.predictions.write_csv(path)
        else:
            self.predictions.write_parquet(path)

    def figure(self) -> "Figure":
        """The sum of rank ICs over time, of the default model and of the best baselines."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 4.0), dpi=110)
        for number, (name, curves) in enumerate(self.curves.items()):
            axes = figure.add_subplot(1, len(self.curves), number + 1)
            for model, ics in curves.items():
                default = model == DEFAULT
                axes.plot(
                    ics["date"].to_numpy(), ics["ic"].cum_sum().to_numpy(), label=model, linewidth=2.0 if default else 1.0,
                    color="#1f5fa8" if default else None,
                )  # fmt: skip
            axes.axhline(0.0, color="#8a8a8a", linewidth=0.8)
            axes.set_title(f"{name}: sum of rank ICs, {self.market}", fontsize=9, loc="left")
            axes.tick_params(labelsize=7)
            axes.legend(frameon=False, fontsize=6)
        figure.tight_layout()
        return figure


def audit_skill(market: SkillMarket, progress: Progress = lambda *_: None, threads: int = 2) -> SkillAudit:
    """Measure the default models and every baseline on a market, both holding periods, on the same rows, windows and outcomes.

    `passed` means: for both holding periods the default model's rank IC is above that of every baseline, and above zero beyond
    luck, given how many models were compared; and so it is after scores were made free of size and illiquidity.

    Raises NoMarketError if the history is too short.
    """
    begin = time.perf_counter()
    windows = skill_models.windows_of(market)
    steps = len(TIMEFRAMES) * len(FITTED) * len(windows) + len(TIMEFRAMES)
    done = 0

    def step(doing: str) -> None:
        nonlocal done
        done += 1
        progress(doing, done / steps)

    progress("features", 0.0)
    selection, momentum = market.features("stock_selection"), market.features("momentum")
    singles = skill_models.single_features(selection, momentum, windows)
    scores = {
        timeframe: dict(_fitted(market, timeframe, windows, selection, momentum, threads, step)) for timeframe in TIMEFRAMES
    }
    del selection, momentum
    alpha158 = market.features("alpha158")
    findings: dict[str, Any] = {}
    predictions, curves = [], {}
    for timeframe in TIMEFRAMES:
        peer = skill_models.predict_peer(market, timeframe, alpha158, windows, threads)  # type: ignore[arg-type]
        scores[timeframe][PEER] = _concat(peer, f"{timeframe}: {PEER}", step)
        judged = score_models(market, timeframe, scores[timeframe] | singles, FITTED)
        step(f"{timeframe}: figures")
        findings[timeframe] = _timeframe(judged, timeframe)
        default = next(model for model in judged if model.name == DEFAULT)
        predictions.append(default.predictions.with_columns(timeframe=pl.lit(timeframe)))
        best = sorted((m for m in judged if m.name != DEFAULT), key=lambda m: -m.figures["rank_ic"])[:3]
        curves[timeframe] = {model.name: model.ics for model in (default, *best)}
    passed = all(part["passed"] for part in findings.values())
    verdict = (
        "The default models beat what a spreadsheet does, for both holding periods."
        if passed
        else "The default models do not beat what a spreadsheet does beyond doubt; "
        + ", ".join(f"{name} {'does' if part['passed'] else 'does not'}" for name, part in findings.items())
        + "."
    )
    columns = ("date", "symbol", "timeframe", "score", "probability", "net_return")
    return SkillAudit(
        market.name,
        {
            "passed": passed,
            "market": market.name,
            "verdict": verdict,
            "first": str(windows[0][0]),
            "last": str(market.bars["date"].max()),
            "windows": len(windows),
            "timeframes": findings,
            "not_measured": [],
            "seconds": round(time.perf_counter() - begin, 1),
        },
        pl.concat(predictions).select(columns),
        curves,
    )


def _fitted(
    market: SkillMarket,
    timeframe: Any,
    windows: Windows,
    selection: pl.DataFrame,
    momentum: pl.DataFrame,
    threads: int,
    step: Callable[[str], None],
) -> Iterator[tuple[str, pl.DataFrame]]:
    for name, config in skill_models.trials_of(timeframe).items():
        features = selection if config.feature_set == "stock_selection" else momentum
        parts = skill_models.predict_trial(config, market, features, windows, threads)
        yield name, _concat(parts, f"{timeframe}: {name}", step)


def _concat(parts: Iterator[pl.DataFrame], doing: str, step: Callable[[str], None]) -> pl.DataFrame:
    collected = []
    for part in parts:
        collected.append(part)
        step(doing)
    return pl.concat(collected)


def _timeframe(judged: list[ModelScores], timeframe: str) -> dict[str, Any]:
    default = next(model for model in judged if model.name == DEFAULT)
    baselines = [model for model in judged if model.name != DEFAULT]
    differences = {model.name: paired_difference(default, model, timeframe) for model in baselines}
    neutral = {model.name: paired_difference(default, model, timeframe, "neutral_ic") for model in baselines}
    bar = NormalDist().inv_cdf(1.0 - LEVEL / len(judged))
    figures = default.figures
    above = all((ahead["difference"] or 0.0) > 0 for ahead in (*differences.values(), *neutral.values()))
    lower = min(figures["z"] or 0.0, figures["neutral_z"] or 0.0)
    sure = lower >= bar
    best = max(baselines, key=lambda model: model.figures["rank_ic"])
    against = differences[best.name]
    verdict = (
        f"{'beats' if above and sure else 'does not beat'} what a spreadsheet does: rank IC {figures['rank_ic']:.4f} (neutral "
        f"{figures['neutral_rank_ic']:.4f}; the lower z {lower:.1f}, {bar:.1f} is asked of the best of {len(judged)}), the best "
        f"other is {best.name} with {best.figures['rank_ic']:.4f} (difference {against['difference']:+.4f}, "
        f"t {against['t'] or 0.0:.1f})"
    )
    return {
        "passed": above and sure,
        "verdict": verdict,
        "rows": figures["rows"],
        "sessions": figures["sessions"],
        "compared": len(judged),
        "t_needed": round(bar, 3),
        "best_spreadsheet": max((m for m in baselines if m.name not in FITTED), key=lambda m: m.figures["rank_ic"]).name,
        "models": [
            {
                "name": model.name,
                "baseline": model.name != DEFAULT,
                "default": model.name == DEFAULT,
                "kind": "default" if model.name == DEFAULT else "peer" if model.name == PEER else _kind(model.name),
                **model.figures,
                "default_is_ahead_by": differences.get(model.name, {}).get("difference"),
                "default_is_ahead_t": differences.get(model.name, {}).get("t"),
                "default_is_ahead_neutral_by": neutral.get(model.name, {}).get("difference"),
                "default_is_ahead_neutral_t": neutral.get(model.name, {}).get("t"),
            }
            for model in judged
        ],
    }


def _kind(name: str) -> str:
    return "composite" if name == COMPOSITE else "learner" if name in FITTED else "feature"


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'–':>{width}}" if value is None else f"{value:{width}.{digits}f}"
