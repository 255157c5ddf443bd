"""What a factor's values are worth on some bars: coverage, distribution, rank IC by horizon, likeness to what exists."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time
from mltrainer_pipelines.trials.scoring.skill import rank_ics

HORIZONS = (1, 5, 10, 21, 63)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class HorizonIc:
    """Mean rank correlation with the return from the next open over `horizon` sessions, and its t over `sessions` sessions.

    The error allows for returns that overlap.
    """

    horizon: int
    rank_ic: float | None
    t: float | None
    sessions: int


@dataclass(frozen=True)
class Assessment:
    """A factor's figures: `coverage` is the share of rows with a value, `like` the existing features it ranks most like."""

    rows: int
    coverage: float
    quantiles: dict[str, float]
    decay: list[HorizonIc]
    like: list[tuple[str, float]]


def assess(
    factor: pl.DataFrame, bars: pl.DataFrame, existing: pl.DataFrame | None = None, horizons: Sequence[int] = HORIZONS
) -> Assessment:
    """Figures of a factor (date, symbol, factor) on adjusted bars; `existing` has date, symbol and other features' columns.

    Returns after the last bar are unknown and left out.
    """
    known = factor.drop_nulls("factor")
    forward = known.join(forward_returns(bars, horizons), on=["date", "symbol"], how="left")
    decay = []
    for horizon in horizons:
        resolved = forward.drop_nulls(f"forward_{horizon}")
        _, coefficients = rank_ics(resolved["date"], resolved["factor"], resolved[f"forward_{horizon}"])
        mean = mean_over_time(coefficients, horizon)
        decay.append(HorizonIc(horizon, _finite(mean.mean), _finite(mean.t), len(coefficients)))
    likeness = []
    if existing is not None:
        both = known.join(existing, on=["date", "symbol"])
        names = [name for name in existing.columns if name not in ("date", "symbol")]
        likeness = [(name, value) for name, value in likenesses(both, "factor", names).items() if value is not None]
    return Assessment(
        factor.height,
        known.height / max(1, factor.height),
        {f"{q:g}": value for q in QUANTILES if (value := _finite(known["factor"].quantile(q))) is not None},
        decay,
        sorted(likeness, key=lambda one: -abs(one[1]))[:10],
    )


def forward_returns(bars: pl.DataFrame, horizons: Sequence[int]) -> pl.DataFrame:
    """Return of each (date, symbol) from the symbol's next open over so many of its sessions, ``forward_<horizon>``."""
    opens = pl.col("adj_open").shift(-1)
    after = {f"forward_{h}": (pl.col("adj_open").shift(-1 - h) / opens - 1.0).over("symbol", order_by="date") for h in horizons}
    return bars.select("date", "symbol", **after)


def likenesses(rows: pl.DataFrame, factor: str, names: Sequence[str]) -> dict[str, float | None]:
    """Mean over the sessions of the rank correlation with each other column, where both are known."""
    pairs = {
        name: pl.corr(pl.col(factor).filter(pl.col(name).is_not_null()), pl.col(name).drop_nulls(), method="spearman")
        for name in names
    }
    by_session = rows.group_by("date").agg(**pairs)
    return {name: _finite(by_session[name].fill_nan(None).mean()) for name in names}


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float | np.floating) and math.isfinite(value) else None
