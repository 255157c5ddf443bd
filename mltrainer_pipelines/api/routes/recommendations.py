"""Recommendations: the list, and one of them with its reasons, prices, paper trade and history."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.engine import RowMapping

from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Dollars, Grade, Identifier, MarketKind, Name, Page, Paged, Share, Symbol
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import Company, companies, listings, price_history
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.api.routes.positions import VirtualPosition, virtual_positions
from mltrainer_pipelines.api.selection import equal_to, order_of, page_of
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.market.listings import of_symbol
from mltrainer_pipelines.store import tables

router = APIRouter(prefix="/api/recommendations", tags=["recommendations"], route_class=JsonRoute)

Sort = Annotated[
    str,
    Field(
        pattern=r"^-?(timestamp|symbol|profit_probability|confidence|signal_strength|expected_net_return|grade|session)$",
        description="Column to sort by; a minus sign puts the highest first.",
    ),
]


class Recommendation(BaseModel):
    """A strong buy, as of `timestamp`. Probabilities are from 0 to 1, returns are fractions after costs."""

    id: int = Field(examples=[17])
    timestamp: datetime
    session: date = Field(description="The session whose bar it was decided on.")
    symbol: str = Field(examples=["BGUO"])
    company: str | None = Field(examples=["Bargu Optics Inc."])
    sector: str | None
    timeframe: TimeframeName
    grade: Grade = Field(description="`proven` only where luck is no longer a good explanation of the model's record.")
    signal_strength: float
    profit_probability: float = Field(examples=[0.62])
    probability_low: float | None
    probability_high: float | None
    confidence: float
    expected_net_return: float | None
    entry_price: Dollars
    target_price: Dollars
    stop_loss: Dollars
    volatility: float = Field(description="Of daily log returns.")
    regime_score: float | None
    model_used: str
    model_version: str | None
    trial_id: str | None
    settings_version: int | None = Field(description="Version of the run-time settings it was made under.")
    market: MarketKind
    status: Literal["pending", "open", "closed"] | None = Field(description="Of its virtual position; null before it has one.")
    profit_loss: Dollars | None = Field(description="Of its virtual position so far, dollars after fees.")
    in_portfolio: bool = Field(description="Whether the user selected it.")


class Recommendations(Page[Recommendation]):
    """A part of the recommendations that match."""

    market: MarketKind
    as_of: datetime = Field(description="The clock's time: the wall clock's, or the one `MLTRAINER_AS_OF` pins.")
    newest_id: int | None = Field(description="Of the newest recommendation there is, whether it matches or not.")
    newest_session: date | None
    sectors: list[str] = Field(description="Sectors there are, for a filter.")


class Filter(Paged):
    """Which recommendations."""

    timeframe: TimeframeName | None = None
    grade: Grade | None = None
    sector: Name | None = None
    symbol: Symbol | None = None
    session: date | None = Field(default=None, description="Of one session only.")
    latest: bool = Field(default=False, description="Of the newest session only.")
    since_id: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(default=None, description="Newer than this one only.")
    min_probability: Share | None = None
    min_confidence: Share | None = None
    min_strength: Share | None = None
    min_expected_return: Annotated[float, Field(ge=-1, le=10, allow_inf_nan=False)] | None = None
    sort: Sort = "-timestamp"


class Driver(BaseModel):
    """A feature that moved the prediction."""

    feature: str
    value: float | None
    percentile: float | None = Field(description="Of the value among the session's symbols, 0 to 1.")
    effect: float | None = Field(description="On the log-odds of a profit.")
    share: float | None = Field(description="Of all features' effects, by size.")


class Reasons(BaseModel):
    """Why a recommendation was made."""

    summary: str | None = Field(description="The features that moved the prediction most, in words.")
    drivers: list[Driver]
    rules: list[str] = Field(description="Each threshold, and by how much it was cleared.")


class Price(BaseModel):
    date: date
    open: float
    high: float
    low: float
    close: float


class Past(BaseModel):
    """An earlier or later recommendation of the same symbol."""

    id: int
    session: date
    timeframe: TimeframeName
    profit_probability: float
    status: str | None
    net_return: float | None
    exit_reason: str | None


class RecommendationDetail(Recommendation):
    """A recommendation with its reasons, its prices, its paper trade and the symbol's other recommendations."""

    reasons: Reasons
    prices: list[Price] = Field(description="Daily prices around the decision, in dollars of its session.")
    position: VirtualPosition | None
    history: list[Past]


@router.get("")
def list_recommendations(installation: Installation, chosen: Annotated[Filter, Query()]) -> Recommendations:
    """The recommendations that match, sorted, a page at a time."""
    r = tables.Recommendation
    conditions = _conditions(installation, chosen)
    matching = _joined().where(*conditions)
    statement = page_of(matching.order_by(order_of(r, chosen.sort), r.signal_strength.desc(), r.id.desc()), chosen)
    counts = sa.select(
        sa.select(sa.func.count()).select_from(r).where(*conditions).scalar_subquery(),
        sa.select(sa.func.max(r.id)).scalar_subquery(),
        sa.select(sa.func.max(r.session)).scalar_subquery(),
    )
    with installation.reader.connect() as connection:
        total, newest_id, newest_session = connection.execute(counts).one()
        rows = connection.execute(statement).mappings().all()
    by_symbol = companies(installation.lake)
    return Recommendations(
        total=total,
        limit=chosen.limit,
        offset=chosen.offset,
        items=[_recommendation(row, by_symbol) for row in rows],
        market=installation.settings.market_kind,
        as_of=installation.now(),
        newest_id=newest_id,
        newest_session=newest_session,
        sectors=sorted({company.sector for company in by_symbol.values() if company.sector}),
    )


@router.get("/{number}")
def get_recommendation(installation: Installation, number: Identifier) -> RecommendationDetail:
    """A recommendation with its reasons and price history."""
    r, p = tables.Recommendation, tables.VirtualPosition
    with installation.reader.connect() as connection:
        row = connection.execute(_joined(r.why, r.drivers, r.thresholds).where(r.id == number)).mappings().one_or_none()
        if row is None:
            raise Problem(404, f"there is no recommendation {number}; /api/recommendations lists them")
        position = connection.execute(virtual_positions().where(p.recommendation_id == number)).mappings().one_or_none()
        others = sa.select(r.id, r.session, r.timeframe, r.profit_probability, p.status, p.net_return, p.exit_reason)
        others = others.outerjoin(p, p.recommendation_id == r.id).where(*_of_company(installation, row), r.id != number)
        past = connection.execute(others.order_by(r.id.desc()).limit(50)).mappings().all()
    prices = price_history(installation.lake, row["symbol"], row["session"])
    return RecommendationDetail(
        **_recommendation(row, companies(installation.lake)).model_dump(),
        reasons=_reasons(row),
        prices=[Price(**price) for price in prices.iter_rows(named=True)],
        position=VirtualPosition(**position) if position else None,
        history=[Past(**other) for other in past],
    )


def _joined(*more: Any) -> sa.Select[Any]:
    """Rows with the fields of a `Recommendation`, and `more`; a list does without the long ones."""
    r, p, u = tables.Recommendation, tables.VirtualPosition, tables.UserPosition
    selected = sa.exists().where(u.recommendation_id == r.id).label("in_portfolio")
    own = (column for column in r.__table__.c if column.name in Recommendation.model_fields)
    return sa.select(*own, p.status, p.profit_loss, selected, *more).outerjoin(p, p.recommendation_id == r.id)


def _conditions(installation: Context, chosen: Filter) -> list[sa.ColumnElement[bool]]:
    r = tables.Recommendation
    conditions = equal_to(r, chosen, "timeframe", "grade", "session")
    conditions += of_symbol(r, chosen.symbol, listings(installation.lake))
    if chosen.latest:
        conditions.append(r.session == sa.select(sa.func.max(r.session)).scalar_subquery())
    if chosen.since_id is not None:
        conditions.append(r.id > chosen.since_id)
    if chosen.sector is not None:
        members = [symbol for symbol, company in companies(installation.lake).items() if company.sector == chosen.sector]
        conditions.append(sa.or_(r.sector == chosen.sector, sa.and_(r.sector.is_(None), r.symbol.in_(members))))
    lowest = {
        "profit_probability": chosen.min_probability,
        "confidence": chosen.min_confidence,
        "signal_strength": chosen.min_strength,
        "expected_net_return": chosen.min_expected_return,
    }
    return conditions + [getattr(r, name) >= value for name, value in lowest.items() if value is not None]


def _of_company(installation: Context, row: RowMapping) -> list[sa.ColumnElement[bool]]:
    """Rows of the company that had the symbol of a recommendation on its day."""
    known, r = listings(installation.lake), tables.Recommendation
    return of_symbol(r, row["symbol"], known.only(known.company(row["symbol"], row["session"])))


def _recommendation(row: RowMapping, by_symbol: Mapping[str, Company]) -> Recommendation:
    company = by_symbol.get(row["symbol"], Company(None, None))
    return Recommendation(**{**row, "company": company.company, "sector": row["sector"] or company.sector})


def _reasons(row: RowMapping) -> Reasons:
    bars = row["thresholds"]
    rules = []
    for value, key, what, digits in (
        ("profit_probability", "min_probability", "probability of profit", 2),
        ("confidence", "min_confidence", "confidence", 2),
        ("regime_score", "min_regime", "regime score", 0),
    ):
        if row[value] is not None and key in bars:
            rules.append(f"{what} {row[value]:.{digits}f}, threshold {bars[key]:.{digits}f}")
    if row["expected_net_return"] is not None:
        needed = bars.get("min_expected_net_return", 0.0)
        rules.append(f"expected net return {row['expected_net_return']:+.2%}, threshold {needed:.2%}")
    drivers = [Driver(**dict.fromkeys(Driver.model_fields) | driver) for driver in row["drivers"] or []]
    return Reasons(summary=row["why"], drivers=drivers, rules=rules)
