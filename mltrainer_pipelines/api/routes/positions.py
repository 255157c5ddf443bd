"""Virtual positions, and the performance of the books."""

import csv
import io
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Dollars, MarketKind, Page, Paged, Parameters, Symbol
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import listings
from mltrainer_pipelines.api.selection import equal_to, order_of, page_of
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.market.listings import of_symbol
from mltrainer_pipelines.portfolio.account import PaperAccount
from mltrainer_pipelines.signals.recommendations import STAND_IN
from mltrainer_pipelines.store import tables

router = APIRouter(prefix="/api", tags=["portfolio"], route_class=JsonRoute)

_CHUNK = 64 * 1024
Status = Literal["pending", "open", "closed"]


class VirtualPosition(BaseModel):
    """A recommendation's paper trade. Prices are as traded, `profit_loss` is dollars after fees."""

    id: int
    recommendation_id: int
    symbol: str
    timeframe: TimeframeName
    status: Status = Field(description="`pending` until the open of its entry session.")
    decided_session: date
    entry_session: date
    entry_time: datetime | None
    entry_price: Dollars | None
    shares: Dollars
    current_price: Dollars
    marked_session: date | None
    target_price: Dollars
    stop_loss: Dollars
    exit_session: date | None
    exit_time: datetime | None
    exit_price: Dollars | None
    exit_reason: str | None
    profit_loss: Dollars
    net_return: float | None
    fees: Dollars
    notional: Dollars
    max_sessions: int
    updated_at: datetime


class VirtualPositions(Page[VirtualPosition]):
    market: MarketKind
    realized: Dollars = Field(description="Of all closed positions that match, dollars after fees.")
    unrealized: Dollars = Field(description="Of all open positions that match.")
    hit_rate: float | None = Field(description="Share of the closed ones with a profit; null before the first.")


Book = Literal["recommendations", "user", "passed_over"]


class ExportFilter(Parameters):
    status: Status | None = None
    timeframe: TimeframeName | None = None
    symbol: Symbol | None = None
    book: Book = Field(default="recommendations", description="All of them, the user's selection, or what the user passed over.")


class PositionFilter(ExportFilter, Paged):
    sort: Literal["-id", "id", "-profit_loss", "profit_loss", "-exit_session", "exit_session", "symbol"] = "-id"


@router.get("/virtual-positions")
def list_virtual_positions(installation: Installation, chosen: Annotated[PositionFilter, Query()]) -> VirtualPositions:
    """Paper trades of the recommendations that match."""
    p = tables.VirtualPosition
    conditions = _conditions(installation, chosen)
    closed = p.status == "closed"
    entered = closed & p.fill_price.is_not(None)
    totals = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(p.profit_loss).filter(closed), 0),
        sa.func.coalesce(sa.func.sum(p.profit_loss).filter(p.status == "open"), 0),
        sa.func.count().filter(entered),
        sa.func.count().filter(entered & (p.profit_loss > 0)),
    ).where(*conditions)
    page = page_of(virtual_positions().where(*conditions).order_by(order_of(p, chosen.sort), p.id.desc()), chosen)
    with installation.reader.connect() as connection:
        total, realized, unrealized, ended, won = connection.execute(totals).one()
        rows = connection.execute(page).mappings().all()
    return VirtualPositions(
        total=total,
        limit=chosen.limit,
        offset=chosen.offset,
        items=[VirtualPosition(**row) for row in rows],
        market=installation.settings.market_kind,
        realized=realized,
        unrealized=unrealized,
        hit_rate=won / ended if ended else None,
    )


@router.get(
    "/virtual-positions.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}, "example": "id,symbol,status\r\n1,BGUO,open\r\n"}}}},
)
def export_virtual_positions(installation: Installation, chosen: Annotated[ExportFilter, Query()]) -> StreamingResponse:
    """All paper trades that match, as CSV."""
    p = tables.VirtualPosition
    conditions = _conditions(installation, chosen)
    columns = [getattr(p, name) for name in VirtualPosition.model_fields]

    def rows() -> Iterator[str]:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(VirtualPosition.model_fields)
        with installation.engine.connect().execution_options(yield_per=2000) as connection:
            for row in connection.execute(sa.select(*columns).where(*conditions).order_by(p.id)):
                writer.writerow(row)
                if out.tell() > _CHUNK:
                    yield out.getvalue()
                    out.seek(0)
                    out.truncate()
        yield out.getvalue()

    return StreamingResponse(rows(), media_type="text/csv; charset=utf-8")


def _conditions(installation: Context, chosen: ExportFilter) -> list[sa.ColumnElement[bool]]:
    p = tables.VirtualPosition
    conditions = equal_to(p, chosen, "status", "timeframe")
    conditions += of_symbol(p, chosen.symbol, listings(installation.lake), "decided_session")
    if chosen.book != "recommendations":
        selected = sa.exists().where(tables.UserPosition.recommendation_id == p.recommendation_id)
        conditions.append(selected if chosen.book == "user" else ~selected)
    return conditions


def virtual_positions() -> sa.Select[Any]:
    """Rows that are the fields of a `VirtualPosition`, and nothing beside."""
    return sa.select(*(tables.VirtualPosition.__table__.c[name] for name in VirtualPosition.model_fields))


class BookDay(BaseModel):
    """A book at a session's close; `drawdown` is 0 or negative, `exposure` is market value over equity."""

    date: date
    equity: Dollars
    cash: Dollars
    drawdown: float
    exposure: float
    open_positions: int
    closed_positions: int
    realized: Dollars
    unrealized: Dollars
    hit_rate: float | None
    average_win: Dollars | None
    average_loss: Dollars | None
    turnover: float | None
    alpha: float | None
    beta: float | None


class BenchmarkDay(BaseModel):
    """The paper account's dollars, had they been in the equal-weight universe since the first recorded session."""

    date: date
    equity: Dollars


class Performance(BaseModel):
    """Performance of the books: every recommendation, what the user selected, what the user passed over."""

    market: MarketKind
    account: Dollars = Field(description="Dollars each book started with.")
    books: dict[Book, list[BookDay]] = Field(description="A row a recorded session, the oldest first.")
    benchmark: list[BenchmarkDay]
    relived_until: date | None = Field(
        description="The last session that was decided afterwards, by the walk-forward models of its time; null without any."
    )


class Span(Parameters):
    first: date | None = Field(default=None, description="First session.")
    last: date | None = Field(default=None, description="Last session.")


@router.get("/performance")
def get_performance(installation: Installation, span: Annotated[Span, Query()]) -> Performance:
    """Equity, drawdown and hit rate of the three books, session by session, beside the benchmark."""
    p = tables.PortfolioPerformance
    conditions = [p.date >= span.first] if span.first else []
    if span.last:
        conditions.append(p.date <= span.last)
    statement = sa.select(p.__table__).where(*conditions).order_by(p.date)
    with installation.reader.connect() as connection:
        rows = connection.execute(statement).mappings().all()
        r = tables.Recommendation
        relived_until = connection.scalar(sa.select(sa.func.max(r.session)).where(r.model_version == STAND_IN))
    books: dict[Book, list[BookDay]] = {"recommendations": [], "user": [], "passed_over": []}
    for row in rows:
        books[row["book"]].append(BookDay(**row))
    account = PaperAccount().equity
    return Performance(
        market=installation.settings.market_kind,
        account=account,
        books=books,
        benchmark=_benchmark(rows, account),
        relived_until=relived_until,
    )


def _benchmark(rows: Any, account: Decimal) -> list[BenchmarkDay]:
    equity = account
    days: list[BenchmarkDay] = []
    for row in rows:
        if row["book"] != "recommendations" or row["benchmark_return"] is None:
            continue
        # Both start at the first recorded session.
        equity *= 1 if not days else Decimal(repr(1.0 + row["benchmark_return"]))
        days.append(BenchmarkDay(date=row["date"], equity=equity))
    return days
