"""Pictures of a trial for MLflow and the app. Matplotlib is loaded when one is made, and needs no display."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mltrainer_pipelines.trials.scoring import risk
from mltrainer_pipelines.trials.scoring.score import ScoreResult
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BOOKS = (
    ("equity", "top decile, after costs", "#1f5fa8", 1.8),
    ("universe_equity", "equal-weight universe", "#8a8a8a", 1.2),
    ("momentum_equity", "12-1 momentum", "#c7822b", 1.2),
)


def figures(result: ScoreResult, market: str, importances: pl.DataFrame | None = None) -> "dict[str, Figure]":
    """Every picture of a trial, by file name without ending: equity, drawdown, calibration and, where known, importances.

    `market` is written into each title unless it is `real`; importances come with the most important feature first.
    """
    pictures = {
        "equity": equity_figure(result, market),
        "drawdown": drawdown_figure(result, market),
        "calibration": calibration_figure(result, market),
    }
    if importances is not None and not importances.is_empty():
        pictures["importances"] = importances_figure(result.scorecard, importances, market)
    return pictures


def equity_figure(result: ScoreResult, market: str) -> "Figure":
    """Growth of one dollar in the book and in both baselines, on a logarithmic scale."""
    figure, axes = _figure(result.scorecard, market, "growth of one dollar")
    days = result.equity["date"].to_numpy()
    for column, name, colour, width in _BOOKS:
        axes.plot(days, result.equity[column].to_numpy(), label=name, color=colour, linewidth=width)
    axes.set_yscale("log")
    _plain_ticks(axes)
    axes.set_ylabel("equity (1 at the first decision)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def drawdown_figure(result: ScoreResult, market: str) -> "Figure":
    """Loss from the running peak, of the book and of the equal-weight universe."""
    figure, axes = _figure(result.scorecard, market, "drawdown")
    days = result.equity["date"].to_numpy()
    for column, name, colour, width in reversed(_BOOKS[:2]):
        losses = risk.drawdowns(result.equity[column.replace("equity", "net_return")].to_numpy())
        axes.plot(days, losses, label=name, color=colour, linewidth=width)
        if column == "equity":
            axes.fill_between(days, losses, 0.0, color=colour, alpha=0.15, linewidth=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("below the peak")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def calibration_figure(result: ScoreResult, market: str) -> "Figure":
    """Observed against forecast frequency, a dot a bin of equal mass; the diagonal is perfect.

    The bars are two standard errors as if rows were independent. Labels overlap, so the truth is wider.
    """
    figure, axes = _figure(result.scorecard, market, "calibration, out of sample")
    curve: pl.DataFrame = result.calibration
    if curve.is_empty():
        axes.text(0.5, 0.5, "no calibrated probability yet", ha="center", va="center", transform=axes.transAxes)
        return figure
    forecast, observed, rows = (curve[name].to_numpy() for name in ("probability", "observed", "rows"))
    error = 2 * np.sqrt(observed * (1 - observed) / rows)
    low, high = min(forecast.min(), (observed - error).min()), max(forecast.max(), (observed + error).max())
    axes.plot([low, high], [low, high], color="#8a8a8a", linewidth=1, linestyle="--", label="perfect")
    axes.axhline(result.scorecard.base_rate, color="#c7822b", linewidth=1, linestyle=":", label="base rate")
    axes.errorbar(
        forecast,
        observed,
        yerr=error,
        fmt="o",
        color="#1f5fa8",
        markersize=4,
        linewidth=1,
        label="± 2 errors, rows independent",
    )
    axes.set_xlabel("forecast probability of a net profit")
    axes.set_ylabel("observed share with a net profit")
    axes.legend(frameon=False, fontsize=8)
    return figure


def importances_figure(card: Scorecard, importances: pl.DataFrame, market: str, most: int = 20) -> "Figure":
    """How far each feature moves the score, the most important ones."""
    top = importances.head(most).reverse()
    of_all = f" (first {most} of {importances.height})" if importances.height > top.height else ""
    figure, axes = _figure(card, market, f"what moves the score{of_all}", left=0.3)
    axes.set_title(axes.get_title(loc="left"), fontsize=10, loc="left", x=-0.42)
    axes.barh(top["feature"].to_list(), top["importance"].to_numpy(), color="#1f5fa8", height=0.7)
    axes.set_xlabel("mean change of the score when the feature is another row's")
    axes.tick_params(axis="y", labelsize=7)
    return figure


def _figure(card: Scorecard, market: str, what: str, left: float = 0.11) -> "tuple[Figure, Axes]":
    # Figure rather than pyplot: nothing global, so that several threads may draw.
    from matplotlib.figure import Figure

    # margins of its own: a layout engine draws everything twice, which is half of the time of logging a trial
    figure = Figure(figsize=(7.2, 4.0), dpi=110)
    axes = figure.add_subplot()
    figure.subplots_adjust(left=left, right=0.98, top=0.91, bottom=0.13)
    label = "" if market == "real" else f" · {market} market"
    axes.set_title(f"{card.trial_id}: {what}{label}", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _plain_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.2f}"))
    low, high = axes.get_ylim()
    # within one power of ten the minor ticks carry the labels
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:.2f}") if high / low < 30 else NullFormatter())
    axes.tick_params(which="minor", labelsize=8)
