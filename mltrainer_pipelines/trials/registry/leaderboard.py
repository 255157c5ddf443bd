"""All trials in order, by what is left of their Sharpe ratio once every trial ever run is counted.

A scorecard counts the trials that had run when it was made. Here they are all deflated by the same,
present number, so that an early trial gains nothing by having been early.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from polars._typing import PolarsDataType

from mltrainer_pipelines.trials.registry.promotion import grade
from mltrainer_pipelines.trials.scoring import selection
from mltrainer_pipelines.trials.scoring.deflation import Look, Luck, deflation, luck_of
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard

COLUMNS: dict[str, PolarsDataType] = {
    "timeframe": pl.String,
    "rank": pl.Int64,
    "trial_id": pl.String,
    "model": pl.String,
    "grade": pl.String,
    "deflated_sharpe": pl.Float64,
    "net_return": pl.Float64,
    "sharpe": pl.Float64,
    "rank_ic": pl.Float64,
    "brier_skill": pl.Float64,
    "net_return_low": pl.Float64,
    "net_return_high": pl.Float64,
    "probability_of_overfitting": pl.Float64,
    "updated_at": pl.Datetime("us", "UTC"),
}
"""Columns of the leaderboard, and of its table. `probability_of_overfitting` is that of picking the best of the timeframe."""
MOST_BLOCKS = 10
"""Blocks of time in which trials are compared with each other: 252 ways to choose half of them."""
MIN_QUARTERS = 4


class Overfitting(NamedTuple):
    """What picking the best of all trials of a timeframe is worth.

    `probability` is that of the best trial of one half of time being below the median of all in the other; None where too few can
    be compared. `trials` are all that were ever scored, the discarded ones too; one that
    failed before left no returns to compare, and the deflated Sharpe ratio counts it all the same.
    """

    probability: float | None
    trials: int


def deflated(scorecards: Sequence[Scorecard], luck: Luck | None = None) -> list[Scorecard]:
    """The scorecards of every trial ever scored, of all timeframes, each deflated by all that luck had to choose from.

    `luck` is what the ledger counts (`ledger.luck`); by default these scorecards.
    """
    if luck is None:
        luck = luck_of([look_of(card) for card in scorecards])
    trials, variance = luck.trials, luck.variance
    return [card.model_copy(update=deflation(card.sessions, card.__dict__, trials, variance)) for card in scorecards]


def look_of(card: Scorecard, cost_bps: float | None = None) -> Look:
    """A scorecard as a row of the ledger counts it."""
    quarters = {str(score.quarter): score.daily_mean for score in card.per_quarter}
    return Look(card.trial_id, card.timeframe, card.first_session, cost_bps, card.sessions, card.daily_sharpe, quarters)


def overfitting(scorecards: Sequence[Scorecard]) -> dict[str, Overfitting]:
    """The probability of backtest overfitting of each timeframe, over the quarters that its trials were scored on.

    The returns of a quarter enter by their number, mean and deviation, which is all that a Sharpe ratio needs.
    """
    by_timeframe = {}
    for timeframe in sorted({card.timeframe for card in scorecards}):
        cards = [card for card in scorecards if card.timeframe == timeframe]
        quarters = sorted({score.quarter for card in cards for score in card.per_quarter})
        place = {quarter: number for number, quarter in enumerate(quarters)}
        count, sums, squares = np.zeros((3, len(quarters), len(cards)))
        for column, card in enumerate(cards):
            for score in card.per_quarter:
                at = place[score.quarter], column
                count[at], sums[at] = score.sessions, score.sessions * score.daily_mean
                squares[at] = max(score.sessions - 1, 0) * score.daily_deviation**2 + score.sessions * score.daily_mean**2
        probability = math.nan
        if len(quarters) >= MIN_QUARTERS:
            blocks = np.array_split(np.arange(len(quarters)), min(MOST_BLOCKS, len(quarters) // 2 * 2))
            probability = selection.overfitting_of_blocks(
                *(np.array([table[block].sum(axis=0) for block in blocks]) for table in (count, sums, squares))
            )
        by_timeframe[timeframe] = Overfitting(probability if math.isfinite(probability) else None, len(cards))
    return by_timeframe


def rank(scorecards: Sequence[Scorecard], updated_at: datetime, luck: Luck | None = None) -> pl.DataFrame:
    """Rank the trials of each timeframe: proven ones first, then by standard errors above the best of luck.

    Scorecards are deflated first. Returns `COLUMNS`, sorted by timeframe and rank; rank is 1 for the best, unique in a timeframe,
    and last for trials without a Sharpe ratio.
    """
    if updated_at.tzinfo is None:
        raise ValueError(f"updated_at={updated_at.isoformat()} has no time zone; give an aware moment")
    cards = deflated(scorecards, luck)
    picking = overfitting(scorecards)
    names = [name for name in COLUMNS if name in Scorecard.model_fields]
    values = {name: [getattr(card, name) for card in cards] for name in names}
    values |= {"grade": [grade(card) for card in cards], "z": [card.deflated_sharpe_z for card in cards]}
    values |= {"probability_of_overfitting": [picking[card.timeframe].probability for card in cards]}
    table = pl.DataFrame(values, schema={name: COLUMNS.get(name, pl.Float64) for name in values})
    order = ["timeframe", pl.col("grade") != "proven", "z", "trial_id"]
    ordered = table.sort(order, descending=[False, False, True, False], nulls_last=True).with_columns(
        rank=pl.int_range(1, pl.len() + 1).over("timeframe"),
        updated_at=pl.lit(updated_at.astimezone(UTC)),
    )
    return ordered.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
