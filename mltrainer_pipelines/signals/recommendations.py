"""Recommendations: the strong buys, written once into PostgreSQL and never changed.

A symbol is recommended at most once a timeframe and session, at the first refresh that finds it. A
later refresh of the session adds what is new and leaves what is there, so that repeating one changes
nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from mltrainer_pipelines.contracts.lake_tables import SIGNALS
from mltrainer_pipelines.signals.rules import CROWDED, Thresholds
from mltrainer_pipelines.store.alerts import raise_alert
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import Recommendation

STAND_IN = "walk-forward"
"""Model version of what no registered champion recommended: a past session was decided again (`learning.point_in_time`)."""

MARKETS = ("real", "simulated", "replay")

_MONEY = ("entry_price", "target_price", "stop_loss")
_COLUMNS = {column.name: column for column in Recommendation.__table__.columns}
_COPIED = [name for name in SIGNALS.schema if name in _COLUMNS and name not in _MONEY]
_TYPES = SIGNALS.schema | {"id": pl.Int64(), "session": pl.Date(), "market": pl.String(), "timestamp": pl.Datetime("us", "UTC")}
_READ = {name: column for name, column in _COLUMNS.items() if name not in ("thresholds", "drivers")}


@dataclass(frozen=True)
class PublishResult:
    """Ids of the recommendations that were written, ascending, and how many strong buys had been recommended before."""

    new_ids: tuple[int, ...]
    existing: int

    @property
    def new(self) -> int:
        return len(self.new_ids)


def publish(database: Database | sa.Engine, signals: pl.DataFrame, thresholds: Thresholds, market: str) -> PublishResult:
    """Recommend every strong buy that was not recommended yet, in one transaction.

    Parameters
    ----------
    database : Database or Engine
        With the tables of `store.tables`.
    signals : DataFrame
        As `score_market` gives them.
    thresholds : Thresholds
        Those the signals were decided with; kept with each recommendation.
    market : {'real', 'simulated', 'replay'}
        Which market it is: shown wherever the recommendation is.

    Raises
    ------
    ValueError
        If the market is none of those.
    """
    if market not in MARKETS:
        raise ValueError(f"there is no market {market!r}; recommendations are made on one of {', '.join(MARKETS)}")
    rows = [_row(signal, thresholds, market) for signal in signals.filter(pl.col("strong_buy")).iter_rows(named=True)]
    if not rows:
        return PublishResult((), 0)
    statement = (
        insert(Recommendation)
        .on_conflict_do_nothing(index_elements=["symbol", "timeframe", "session"])
        .returning(Recommendation.id)
    )
    with _engine(database).begin() as connection:
        written = connection.execute(statement, rows).scalars().all()
    return PublishResult(tuple(sorted(written)), len(rows) - len(written))


def alert_where_crowded(engine: sa.Engine, signals: pl.DataFrame, run_id: str | None) -> list[str]:
    """Raise an alert a session and timeframe in which most of the market passes and none is recommended; what they say."""
    messages = []
    crowded = signals.filter(pl.col("reason") == CROWDED).group_by("timeframe", "date").len().sort("timeframe")
    for timeframe, session, count in crowded.iter_rows():
        messages.append(
            f"nothing is recommended for {timeframe} on {session}: {count} symbols pass, {CROWDED}; "
            "look at the correction of the probabilities in the learning report"
        )
        details = {"timeframe": timeframe, "passing": count}
        raise_alert(engine, f"crowded:{timeframe}:{session}", "crowded", "warning", messages[-1], details, run_id)
    return messages


def recommendations_frame(database: Database | sa.Engine, session: date | None = None) -> pl.DataFrame:
    """Recommendations of a session, or all of them, as a frame with the table's columns but `thresholds` and `drivers`.

    Newest session first, then by timeframe and expected net return (highest first); prices as floats,
    the timestamp in New York time.
    """
    query = sa.select(*_READ.values())
    if session is not None:
        query = query.where(Recommendation.session == session)
    query = query.order_by(
        Recommendation.session.desc(), Recommendation.timeframe, Recommendation.expected_net_return.desc(), Recommendation.symbol
    )
    with _engine(database).connect() as connection:
        rows = connection.execute(query).mappings().all()
    data = {name: [float(row[name]) if isinstance(row[name], Decimal) else row[name] for row in rows] for name in _READ}
    frame = pl.DataFrame(data, schema={name: _TYPES[name] for name in _READ})
    return frame.with_columns(pl.col("timestamp").dt.convert_time_zone("America/New_York"))


def _row(signal: Mapping[str, object], thresholds: Thresholds, market: str) -> dict[str, object]:
    copied = {name: signal.get(name) for name in _COPIED}  # a signal of an earlier version has no reasons
    bars = {name: value for name, value in asdict(thresholds).items() if name != "version"}  # which has a column of its own
    return copied | stored_levels(signal) | {"market": market, "thresholds": bars}


def stored_levels(signal: Mapping[str, Any]) -> dict[str, Any]:
    """Session and price levels of a signal as a recommendation keeps them: to 0.000001 dollars."""
    return {name: Decimal(str(round(signal[name], 6))) for name in _MONEY} | {"session": signal["date"]}


def _engine(database: Database | sa.Engine) -> sa.Engine:
    return database.engine if isinstance(database, Database) else database
