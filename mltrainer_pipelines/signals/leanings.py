"""Leanings: what the models put first, whether or not it passes the thresholds, and what putting it first has been worth."""

from collections.abc import Sequence

import polars as pl
from pydantic import BaseModel, Field
from sqlalchemy import Engine, Text, select

from mltrainer_pipelines.store.tables import TrialScorecard
from mltrainer_pipelines.trials.registry.records import champion_of
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard


class Worth(BaseModel):
    """What the champion's first decile has earned out of sample on this market: the record that its leanings stand on."""

    timeframe: str
    trial_id: str
    first_session: str
    last_session: str
    mean_net_return: float | None = Field(description="Of a pick, after costs.")
    mean_net_return_low: float | None = Field(description="Lower end of its 95 % interval.")
    mean_net_return_high: float | None = Field(description="Upper end of its 95 % interval.")
    net_return_a_year: float = Field(description="Of a book of such picks, after costs.")
    universe_net_return_a_year: float = Field(description="The same of all symbols, equally weighted.")
    rank_ic: float | None
    rank_ic_t: float | None


def leanings(signals: pl.DataFrame, most: int) -> pl.DataFrame:
    """The first signals of each timeframe with their `place`, by strength, then by probability, then by symbol.

    What has no probability, or no price that could be traded on, is left out.
    """
    usable = signals.filter(*(pl.col(name).is_finite() for name in ("profit_probability", "signal_strength", "entry_price")))
    ranked = usable.sort("timeframe", "signal_strength", "profit_probability", "symbol", descending=[True, True, True, False])
    return ranked.with_columns(place=pl.int_range(1, pl.len() + 1).over("timeframe")).filter(pl.col("place") <= most)


def worth_of_leanings(engine: Engine, timeframes: Sequence[str]) -> list[Worth]:
    """The out-of-sample record of each timeframe's champion; none of one that has no scorecard."""
    worth = []
    for timeframe in timeframes:
        champion = champion_of(engine, timeframe)
        with engine.connect() as connection:
            metrics = connection.scalar(select(TrialScorecard.metrics.cast(Text)).where(TrialScorecard.trial_id == champion))
        if metrics is None:
            continue
        card = Scorecard.model_validate_json(metrics)
        worth.append(
            Worth(
                timeframe=timeframe,
                trial_id=card.trial_id,
                first_session=str(card.first_session),
                last_session=str(card.last_session),
                mean_net_return=card.pick_return,
                mean_net_return_low=card.pick_return_low,
                mean_net_return_high=card.pick_return_high,
                net_return_a_year=card.net_return,
                universe_net_return_a_year=card.universe_net_return,
                rank_ic=card.rank_ic,
                rank_ic_t=card.rank_ic_t,
            )
        )
    return worth
