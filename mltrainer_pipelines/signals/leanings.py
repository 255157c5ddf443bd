"""Leanings: what the models put first, whether or not it passes the thresholds, and what putting it first has been worth.

Its worth is told twice: out of sample over the champion's walk-forward record, and on paper since leanings are traded there.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
from pydantic import BaseModel, Field
from sqlalchemy import Engine, Text, select

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.store.tables import LeaningPosition, TrialLook, TrialScorecard
from mltrainer_pipelines.trials.registry.records import champion_of
from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time
from mltrainer_pipelines.trials.scoring.forecast import number
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard


class Worth(BaseModel):
    """What the champion's first decile has earned out of sample on this market: the record that its leanings stand on."""

    timeframe: str
    trial_id: str
    first_session: str
    last_session: str
    mean_gross_return: float | None = Field(description="Of a pick, before costs.")
    mean_net_return: float | None = Field(description="Of a pick, after costs.")
    mean_net_return_low: float | None = Field(description="Lower end of its 95 % interval.")
    mean_net_return_high: float | None = Field(description="Upper end of its 95 % interval.")
    mean_excess: float | None = Field(description="Of a pick over all symbols of its session: what putting it first is worth.")
    mean_excess_low: float | None = Field(description="Lower end of its 95 % interval.")
    mean_excess_high: float | None = Field(description="Upper end of its 95 % interval.")
    net_return_a_year: float = Field(description="Of a book of such picks, after costs.")
    universe_net_return_a_year: float = Field(description="The same of all symbols, equally weighted.")
    rank_ic: float | None
    rank_ic_t: float | None


class PaperRecord(BaseModel):
    """What leanings have earned on paper: a trade each of the first of a session, kept apart from those of recommendations."""

    timeframe: str
    pending: int
    open: int
    closed: int
    recommended: int = Field(description="Of the closed ones, those that were recommended too.")
    mean_gross_return: float | None = Field(description="Of a closed trade, before costs.")
    mean_net_return: float | None = Field(description="Of a closed trade, after costs.")
    mean_net_return_low: float | None = Field(description="Lower end of its 95 % interval, from two holding periods on.")
    mean_net_return_high: float | None = Field(description="Upper end of its 95 % interval.")
    hit_rate: float | None = Field(description="Share of the closed ones that ended in profit, after costs.")


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
            looks = select(TrialLook.cost_bps).where(TrialLook.subject == champion).order_by(TrialLook.id.desc())
            cost_bps = connection.scalar(looks.limit(1))
        if metrics is None:
            continue
        card = Scorecard.model_validate_json(metrics)
        worth.append(
            Worth(
                timeframe=timeframe,
                trial_id=card.trial_id,
                first_session=str(card.first_session),
                last_session=str(card.last_session),
                mean_gross_return=_before_costs(card.pick_return, cost_bps),
                mean_net_return=card.pick_return,
                mean_net_return_low=card.pick_return_low,
                mean_net_return_high=card.pick_return_high,
                mean_excess=card.pick_excess,
                mean_excess_low=card.pick_excess_low,
                mean_excess_high=card.pick_excess_high,
                net_return_a_year=card.net_return,
                universe_net_return_a_year=card.universe_net_return,
                rank_ic=card.rank_ic,
                rank_ic_t=card.rank_ic_t,
            )
        )
    return worth


def paper_records(engine: Engine) -> list[PaperRecord]:
    """The paper trades of leanings by timeframe; none before the first."""
    columns = ("timeframe", "status", "decided_session", "recommended", "net_return", "cost_bps")
    numbers = {"net_return": pl.Float64, "cost_bps": pl.Float64, "recommended": pl.Boolean}
    trades = pl.read_database(select(*(getattr(LeaningPosition, name) for name in columns)), engine, schema_overrides=numbers)
    records = []
    for name in TIMEFRAMES:
        own = trades.filter(pl.col("timeframe") == name)
        if own.is_empty():
            continue
        closed = own.filter(pl.col("net_return").is_not_null())
        by_session = closed.group_by("decided_session").agg(pl.col("net_return").mean()).sort("decided_session")
        low, high = mean_over_time(by_session["net_return"].to_numpy(), TIMEFRAMES[name].max_sessions).interval()
        count = {status: own.filter(pl.col("status") == status).height for status in ("pending", "open", "closed")}
        records.append(
            PaperRecord(
                timeframe=name,
                **count,
                recommended=int(closed["recommended"].sum()),
                mean_gross_return=_mean(closed.select(_gross(pl.col("net_return"), pl.col("cost_bps"))).to_series()),
                mean_net_return=_mean(closed["net_return"]),
                mean_net_return_low=number(low),
                mean_net_return_high=number(high),
                hit_rate=_mean(closed["net_return"] > 0),
            )
        )
    return records


def _before_costs(net_return: float | None, cost_bps: float | None) -> float | None:
    return None if net_return is None or cost_bps is None else _gross(net_return, cost_bps)


def _gross(net_return: Any, cost_bps: Any) -> Any:
    """The return before the costs of both sides, as labels have it."""
    return (1.0 + net_return) * (1e4 + cost_bps) / (1e4 - cost_bps) - 1.0


def _mean(values: pl.Series) -> float | None:
    return float(values.mean()) if len(values) else None  # type: ignore[arg-type]
