"""How well predictions whose outcome is known forecast it, and what the best of them earned.

The same numbers for a whole trial and for any part of it: a quarter, a regime, a sector. A number that does not exist
there (too few rows, one class only) is None.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from mltrainer_pipelines.trials.scoring import skill
from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time
from mltrainer_pipelines.trials.scoring.series import Floats

if TYPE_CHECKING:
    from mltrainer_pipelines.trials.scoring.backtest import PriceGrid


class Numbers(BaseModel):
    """What is stored as JSON: frozen, no unknown field, no infinity and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def forecast(resolved: pl.DataFrame, horizon: int) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The reliability curve (probability, observed, rows; a row a bin) and the forecast metrics of rows with a label.

    Rows are date, score, probability (or null), net_return, label; labels overlap over `horizon` sessions.
    """
    calibrated = resolved.filter(pl.col("probability").is_not_null())
    probability, label = calibrated["probability"].to_numpy(), outcome(calibrated)
    curve = skill.reliability(probability, label)
    _, coefficients = skill.rank_ics(resolved["date"], resolved["score"], resolved["net_return"])
    hits = float(((probability > 0.5) == (label > 0.5)).mean()) if calibrated.height else math.nan
    frame = pl.DataFrame({"probability": curve.forecast, "observed": curve.observed, "rows": curve.rows})
    return frame, {
        "calibrated_rows": calibrated.height,
        "base_rate": mean(outcome(resolved)),
        "hit_rate": number(hits),
        "auc": number(skill.auc(resolved["score"], outcome(resolved))),
        "log_loss": number(skill.log_loss(probability, label)),
        "brier_skill": number(skill.brier_skill(probability, label)),
        "calibration_error": number(curve.error),
        "rank_ic": mean(coefficients),
        "rank_ic_t": number(mean_over_time(coefficients, horizon).t),
    }


def level_and_ranking(resolved: pl.DataFrame, labels: pl.DataFrame, horizon: int) -> dict[str, float | None]:
    """The Brier score that a session's mean probability saves (the level), and that its differences save (the ranking).

    Rows are as for `forecast`, labels all of the timeframe. The level is compared with what was known at the time: the share of
    profits among all outcomes before the session. `level_z` is how many standard errors it is better.
    """
    calibrated = resolved.filter(pl.col("probability").is_not_null())
    if calibrated.is_empty():
        return {"level_skill": None, "level_z": None, "ranking_skill": None}
    sessions = (
        calibrated.group_by("date")
        .agg(
            pl.len(),
            level=pl.col("probability").mean(),
            rate=pl.col("label").mean(),
            spread=pl.col("probability").max() - pl.col("probability").min(),
        )
        .sort("date")
        .join_asof(known_rates(labels), left_on="date", right_on="known_from", strategy="backward")
    )
    level, rate, known = (sessions[name].fill_null(0.5).to_numpy() for name in ("level", "rate", "known_rate"))
    weight, within = sessions["len"].to_numpy(), rate * (1.0 - rate)
    losses, reference = (level - rate) ** 2, (known - rate) ** 2
    of_level, of_reference = (float((weight * (loss + within)).sum()) for loss in (losses, reference))
    of_rows = float(((calibrated["probability"].to_numpy() - outcome(calibrated)) ** 2).sum())
    flat = not (sessions["spread"] > 1e-9).any()
    return {
        "level_skill": number(1.0 - of_level / of_reference) if of_reference > 0 else None,
        "level_z": number(mean_over_time(reference - losses, horizon).z),
        "ranking_skill": 0.0 if flat else number(1.0 - of_rows / of_level) if of_level > 0 else None,
    }


def known_rates(labels: pl.DataFrame) -> pl.DataFrame:
    """The share of profits among all outcomes before each session (known_from, known_rate): what anybody could forecast then."""
    exits = (
        labels.filter(pl.col("label").is_not_null()).group_by("exit_date").agg(pl.col("label").sum(), pl.len()).sort("exit_date")
    )
    return exits.select(
        known_from=pl.col("exit_date") + pl.duration(days=1), known_rate=pl.col("label").cum_sum() / pl.col("len").cum_sum()
    )


def held_rank_ics(rows: pl.DataFrame, prices: "PriceGrid", horizon: int) -> Floats:
    """Rank IC of each single session after a decision: the mean score of the last `horizon` sessions against its return.

    The return is from the next open to the one after. Sessions do not overlap, so that a record of 750 has 750 of them, where
    outcomes of 70 sessions leave ten independent ones: overlapping portfolios as in Jegadeesh & Titman (1993).
    """
    ranked = rows.select("date", "symbol", rank=pl.col("score").rank("average").over("date") / pl.len().over("date") - 0.5)
    row, column = prices.rows(ranked["date"]), prices.columns(ranked["symbol"])
    first, last = int(row.min()), int(row.max())
    shape = (last - first + 1, prices.symbols.size)
    total, count = np.zeros(shape), np.zeros(shape)
    total[row - first, column], count[row - first, column] = ranked["rank"].to_numpy(), 1.0
    for table in (total, count):
        np.cumsum(table, axis=0, out=table)
        table[horizon:] -= table[:-horizon].copy()
    opens = prices.adj_open[first + 1 : last + 3]
    returns = np.full(shape, np.nan)
    returns[: max(len(opens) - 1, 0)] = opens[1:] / opens[:-1] - 1.0
    session, symbol = np.nonzero((count > 0.5) & np.isfinite(returns))
    at = session, symbol
    return skill.rank_ics(session, total[at] / count[at], returns[at])[1]


def outcome(resolved: pl.DataFrame) -> Floats:
    """The labels as 0.0 and 1.0."""
    return resolved["label"].to_numpy().astype(np.float64)


def mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def number(value: float) -> float | None:
    """A number that exists, or None."""
    return value if math.isfinite(value) else None
