"""Pictures of a learning report: what was promised and what came true, what it earned, and the weights."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.tables import ModelWeightHistory, Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 8


def learning_figures(engine: Engine, as_of: date, market: str) -> dict[str, "Figure"]:
    """Figures of what is known at the close of a session, by name; a figure without anything to show is left out.

    `market` (`real`, `simulated` or `replay`) is written on each of them.
    """
    with engine.connect() as connection:
        o, w = Outcome, ModelWeightHistory
        ended = sa.select(o.timeframe, o.predicted_probability, o.profitable, o.net_return, o.closed_session)
        closed = connection.execute(ended.where(o.closed_session <= as_of).order_by(o.closed_session)).all()
        weights = connection.execute(sa.select(w.__table__).where(w.as_of <= as_of).order_by(w.as_of, w.trial_id)).all()
    figures = {}
    if closed:
        figures["promised_and_true"] = _reliability(closed, market)
        figures["net_return"] = _earned(closed, market)
    if len({row.as_of for row in weights}) > 1:
        figures["weights"] = _weights(weights, market)
    return figures


def _figure(title: str, market: str) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"{title} ({market} market)")
    axes.grid(alpha=0.25)
    return figure, axes


def _reliability(rows: Sequence[Any], market: str) -> "Figure":
    figure, axes = _figure("What was promised, and what came true", market)
    order = sorted(rows, key=lambda row: row.predicted_probability)
    for part in np.array_split(np.arange(len(order)), min(_BINS, len(order))):
        promised = np.mean([order[i].predicted_probability for i in part])
        observed = np.mean([order[i].profitable for i in part])
        axes.scatter(promised, observed, s=12 + 2 * len(part), color="#1f6f8b")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.set(xlabel="probability promised", ylabel="share with a profit", xlim=(0, 1), ylim=(0, 1))
    return figure


def _earned(rows: Sequence[Any], market: str) -> "Figure":
    figure, axes = _figure("Net returns of closed positions, summed", market)
    for timeframe in sorted({row.timeframe for row in rows}):
        own = [row for row in rows if row.timeframe == timeframe]
        closed, earned = [row.closed_session for row in own], np.cumsum([row.net_return for row in own])
        axes.plot(closed, earned, label=timeframe, drawstyle="steps-post")
    axes.legend()
    axes.set(xlabel="closed", ylabel="sum of net returns")
    figure.autofmt_xdate()
    return figure


def _weights(rows: Sequence[Any], market: str) -> "Figure":
    figure, axes = _figure("Weights of the models", market)
    for timeframe, trial_id in sorted({(row.timeframe, row.trial_id) for row in rows}):
        own = [row for row in rows if (row.timeframe, row.trial_id) == (timeframe, trial_id)]
        axes.plot([row.as_of for row in own], [row.weight for row in own], label=trial_id)
    axes.legend(fontsize=7)
    axes.set(ylabel="weight", ylim=(0, 1))
    figure.autofmt_xdate()
    return figure
