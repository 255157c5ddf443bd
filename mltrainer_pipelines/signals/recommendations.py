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

from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import Recommendation

MARKETS = ("real", "simulated", "replay")

_COPIED = (
    "timestamp",
    "symbol",
    "signal_strength",
    "profit_probability",
    "confidence",
    "timeframe",
    "model_used",
    "expected_net_return",
    "probability_low",
    "probability_high",
    "volatility",
    "regime_score",
    "grade",
    "model_version",
    "trial_id",
    "settings_version",
    "sector",
    "why",
    "drivers",
)
_MONEY = ("entry_price", "target_price", "stop_loss")
_JSON = ("thresholds", "drivers")


@dataclass(frozen=True)
class PublishResult:
    """What publishing a refresh did.

    Attributes
    ----------
    new_ids : tuple of int
        Ids of the recommendations that were written, ascending.
    existing : int
        Strong buys that had been recommended before, and were left as they are.
    """

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


def recommendations_frame(database: Database | sa.Engine, session: date | None = None) -> pl.DataFrame:
    """Recommendations of a session, or all of them, as a frame with the table's columns but `thresholds` and `drivers`.

    Newest session first, then by timeframe and expected net return (highest first); prices as floats,
    the timestamp in New York time.
    """
    query = sa.select(*(column for column in Recommendation.__table__.columns if column.name not in _JSON))
    if session is not None:
        query = query.where(Recommendation.session == session)
    query = query.order_by(
        Recommendation.session.desc(), Recommendation.timeframe, Recommendation.expected_net_return.desc(), Recommendation.symbol
    )
    with _engine(database).connect() as connection:
        rows = connection.execute(query).mappings().all()
    return _frame(rows)


def _row(signal: Mapping[str, Any], thresholds: Thresholds, market: str) -> dict[str, Any]:
    copied = {name: signal.get(name) for name in _COPIED}  # a signal of an earlier version has no reasons
    money = {name: Decimal(str(round(signal[name], 6))) for name in _MONEY}
    return copied | money | {"session": signal["date"], "market": market, "thresholds": _as_json(thresholds)}


def _as_json(thresholds: Thresholds) -> dict[str, float]:
    """The bars alone: their version has a column of its own."""
    return {name: value for name, value in asdict(thresholds).items() if name != "version"}


def _frame(rows: Any) -> pl.DataFrame:
    columns = {column.name: column for column in Recommendation.__table__.columns if column.name not in _JSON}
    schema = {name: _kind(column.type) for name, column in columns.items()}
    data = {name: [float(row[name]) if isinstance(row[name], Decimal) else row[name] for row in rows] for name in columns}
    frame = pl.DataFrame(data, schema=schema)
    return frame.with_columns(pl.col("timestamp").dt.convert_time_zone("America/New_York"))


def _kind(kind: sa.types.TypeEngine[Any]) -> pl.DataType:
    if isinstance(kind, sa.BigInteger):
        return pl.Int64()
    if isinstance(kind, sa.DateTime):
        return pl.Datetime("us", "UTC")
    if isinstance(kind, sa.Date):
        return pl.Date()
    return pl.Float64() if isinstance(kind, sa.Numeric | sa.Float) else pl.String()


def _engine(database: Database | sa.Engine) -> sa.Engine:
    return database.engine if isinstance(database, Database) else database
