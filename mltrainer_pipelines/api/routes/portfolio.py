"""The user's own portfolio: recommendations they bought, at their own price."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import polars as pl
import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, Field, model_validator
from sqlalchemy.engine import Connection, RowMapping

from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Body, Dollars, Identifier, MarketKind, Number, Page, Paged, Text, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import Company, companies, corporate_actions, last_prices, listings
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.market.sessions import NEW_YORK
from mltrainer_pipelines.portfolio import holdings
from mltrainer_pipelines.store import tables

router = APIRouter(prefix="/api/portfolio", tags=["portfolio"], route_class=JsonRoute)

Amount = Annotated[Decimal, Field(gt=0, lt=10**9, max_digits=15, decimal_places=6)]
_CENT = Decimal("0.01")


class Holding(BaseModel):
    """A recommendation the user bought, at their price, with its result so far. Dollars before the user's own fees."""

    id: int
    recommendation_id: int
    symbol: str
    company: str | None
    timeframe: TimeframeName
    status: Literal["open", "closed"]
    selected_time: datetime
    actual_buy_price: Dollars | None
    actual_shares: Dollars | None
    actual_sell_price: Dollars | None
    closed_time: datetime | None
    notes: str | None
    target_price: Dollars = Field(description="Restated for splits and dividends since, as the virtual position's.")
    stop_loss: Dollars
    shares_now: Dollars | None = Field(description="Shares after the splits since.")
    current_price: Dollars | None = Field(description="The newest price there is; null where the symbol has none.")
    priced_on: date | None
    cost: Dollars | None
    value: Dollars | None = Field(description="At the current price, or what it was sold for.")
    dividends: Dollars | None = Field(description="Paid on the shares while they were held.")
    profit_loss: Dollars | None = Field(description="Value and dividends less the cost.")
    profit_loss_share: float | None = Field(description="Of the cost.")
    virtual_status: Literal["pending", "open", "closed"] | None = Field(description="Of its paper trade.")
    virtual_profit_loss: Dollars | None
    advice: str | None = Field(description="Where its paper trade is closed and this is still open: when, and why.")


class Portfolio(Page[Holding]):
    market: MarketKind
    as_of: datetime
    cost: Dollars = Field(description="Of all that are open.")
    value: Dollars = Field(description="Of all that are open and priced.")
    unrealized: Dollars
    realized: Dollars
    hit_rate: float | None = Field(description="Share of the closed ones with a profit; null before the first.")


class HoldingFilter(Paged):
    status: Literal["open", "closed"] | None = None


class Selection(Body):
    """A recommendation that was bought."""

    model_config = with_example({"recommendation_id": 17, "actual_buy_price": 148.2, "actual_shares": 40, "notes": "half"})

    recommendation_id: Number
    actual_buy_price: Amount
    actual_shares: Amount
    notes: Text | None = None
    selected_time: AwareDatetime | None = Field(default=None, description="When it was bought; now by default.")


class HoldingChange(Body):
    """What changes; what is left out stays. A sell price closes the holding, null opens it again."""

    model_config = with_example({"actual_sell_price": 155.1, "notes": "sold at the target"})

    actual_buy_price: Amount | None = None
    actual_shares: Amount | None = None
    notes: Text | None = None
    actual_sell_price: Amount | None = None
    closed_time: AwareDatetime | None = Field(default=None, description="When it was sold; now by default.")

    @model_validator(mode="after")
    def _changes_something(self) -> "HoldingChange":
        if not self.model_fields_set:
            raise ValueError("give at least one field to change")
        for name in ("actual_buy_price", "actual_shares"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be removed")
        if self.closed_time is not None and self.actual_sell_price is None:
            raise ValueError("closed_time needs actual_sell_price")
        return self


@router.get("")
def list_portfolio(installation: Installation, chosen: Annotated[HoldingFilter, Query()]) -> Portfolio:
    """The user's open and closed holdings, with profit and loss at the newest prices."""
    everything = _holdings(installation)
    matching = [holding for holding in everything if chosen.status in (None, holding.status)]
    still_open = [holding for holding in everything if holding.status == "open"]
    closed = [holding for holding in everything if holding.status == "closed"]
    return Portfolio(
        total=len(matching),
        limit=chosen.limit,
        offset=chosen.offset,
        items=matching[chosen.offset : chosen.offset + chosen.limit],
        market=installation.settings.market_kind,
        as_of=installation.now(),
        cost=_sum(holding.cost for holding in still_open),
        value=_sum(holding.value for holding in still_open),
        unrealized=_sum(holding.profit_loss for holding in still_open),
        realized=_sum(holding.profit_loss for holding in closed),
        hit_rate=sum((holding.profit_loss or 0) > 0 for holding in closed) / len(closed) if closed else None,
    )


@router.post("", status_code=201)
def select_recommendation(installation: Installation, selection: Selection, response: Response) -> Holding:
    """Add a recommendation that the user bought, with price and number of shares; the same request again changes nothing."""
    u, r, wanted = tables.UserPosition, tables.Recommendation, selection.recommendation_id
    with installation.engine.begin() as connection:
        # The row is locked so that two requests at once cannot both select it.
        if connection.execute(sa.select(r.id).where(r.id == wanted).with_for_update()).first() is None:
            raise Problem(404, f"there is no recommendation {wanted}; /api/recommendations lists them")
        existing = connection.scalar(sa.select(u.id).where(u.recommendation_id == wanted, u.closed_time.is_(None)))
        if existing is not None and _says_the_same(connection, existing, selection):
            response.status_code = 200
            return _holding(installation, existing)
        if existing is not None:
            raise Problem(409, f"recommendation {wanted} is already in the portfolio as holding {existing}; change or close that")
        values = selection.model_dump() | {"selected_time": selection.selected_time or installation.now()}
        number = connection.execute(sa.insert(u).values(values).returning(u.id)).scalar_one()
    response.headers["Location"] = f"/api/portfolio/{number}"
    return _holding(installation, number)


def _says_the_same(connection: Connection, existing: int, selection: Selection) -> bool:
    """Whether a holding is what a selection asks for, as after a double click."""
    u = tables.UserPosition
    held = connection.execute(
        sa.select(u.actual_buy_price, u.actual_shares, u.notes, u.selected_time).where(u.id == existing)
    ).one()
    same = (held[0], held[1], held[2] or None) == (selection.actual_buy_price, selection.actual_shares, selection.notes or None)
    return same and selection.selected_time in (None, held[3])


@router.get("/{number}")
def get_holding(installation: Installation, number: Identifier) -> Holding:
    """One holding."""
    return _holding(installation, number)


@router.patch("/{number}")
def change_holding(installation: Installation, number: Identifier, change: HoldingChange) -> Holding:
    """Correct price, shares or notes, or close it at the price it was sold for."""
    values = {name: getattr(change, name) for name in change.model_fields_set}
    if "actual_sell_price" in values:
        sold = values["actual_sell_price"] is not None
        values["closed_time"] = (change.closed_time or installation.now()) if sold else None
    elif "closed_time" in values:
        del values["closed_time"]
    u = tables.UserPosition
    with installation.engine.begin() as connection:
        if values:
            connection.execute(sa.update(u).where(u.id == number).values(values))
    return _holding(installation, number)


@router.delete("/{number}", status_code=204)
def remove_holding(installation: Installation, number: Identifier) -> None:
    """Remove a holding as if it had never been added."""
    u = tables.UserPosition
    with installation.engine.begin() as connection:
        if connection.execute(sa.delete(u).where(u.id == number).returning(u.id)).first() is None:
            raise _unknown(number)


def _unknown(number: int) -> Problem:
    return Problem(404, f"there is no holding {number}; /api/portfolio lists them")


def _holding(installation: Context, number: int) -> Holding:
    holdings_of_id = _holdings(installation, number)
    if not holdings_of_id:
        raise _unknown(number)
    return holdings_of_id[0]


def _holdings(installation: Context, number: int | None = None) -> list[Holding]:
    u, r, p = tables.UserPosition, tables.Recommendation, tables.VirtualPosition
    statement = (
        sa.select(
            u.__table__,
            *(r.symbol, r.session, r.timeframe, r.target_price.label("first_target"), r.stop_loss.label("first_stop")),
            *(p.status.label("virtual_status"), p.profit_loss.label("virtual_profit_loss"), p.exit_reason, p.exit_session),
            *(p.target_price, p.stop_loss, p.current_price.label("virtual_price"), p.marked_session),
        )
        .join(r, r.id == u.recommendation_id)
        .outerjoin(p, p.recommendation_id == u.recommendation_id)
        .order_by(u.id.desc())
    )
    if number is not None:
        statement = statement.where(u.id == number)
    with installation.reader.connect() as connection:
        rows = connection.execute(statement).mappings().all()
    if not rows:
        return []
    priced_on, prices = last_prices(installation.lake)
    by_symbol, actions = companies(installation.lake), corporate_actions(installation.lake)
    known = listings(installation.lake)
    return [
        _valued(row, known.company(row["symbol"], row["session"]), priced_on, prices, by_symbol.get(row["symbol"]), actions)
        for row in rows
    ]


def _valued(
    row: RowMapping,
    company_id: str,
    priced_on: date | None,
    prices: Mapping[str, float],
    company: Company | None,
    actions: pl.DataFrame | None,
) -> Holding:
    price, day = _newest_price(row, company_id, priced_on, prices)
    sold, bought, paid = row["actual_sell_price"], row["actual_shares"], row["actual_buy_price"]
    shares_now, dividends, cost = bought, None, None
    if bought is not None and paid is not None:
        selected, left = (at and at.astimezone(NEW_YORK).date() for at in (row["selected_time"], row["closed_time"]))
        own = holdings.Holding(company_id, selected, paid, bought, left, sold, cost_bps=0.0)
        shares_now, paid_out = own.held(actions, day or selected)
        cost, dividends = _cents(bought * paid), _cents(paid_out)
    last = sold if sold is not None else price
    value = _cents(shares_now * last) if shares_now and last is not None else None
    gain = value + dividends - cost if value is not None and cost is not None and dividends is not None else None
    advice = None
    if row["closed_time"] is None and row["virtual_status"] == "closed" and row["exit_session"]:
        advice = f"closed on {row['exit_session']} ({row['exit_reason']}): consider selling"
    computed = {
        "company": company.company if company else None,
        "status": "open" if row["closed_time"] is None else "closed",
        "target_price": row["target_price"] or row["first_target"],
        "stop_loss": row["stop_loss"] or row["first_stop"],
        "shares_now": shares_now,
        "current_price": price,
        "priced_on": day,
        "cost": cost,
        "value": value,
        "dividends": dividends,
        "profit_loss": gain,
        "profit_loss_share": float(gain / cost) if gain is not None and cost else None,
        "advice": advice,
    }
    return Holding(**{**row, **computed})


def _newest_price(
    row: RowMapping, company_id: str, priced_on: date | None, prices: Mapping[str, float]
) -> tuple[Decimal | None, date | None]:
    """The lake's newest price, or the paper trade's mark where that is newer or the only one."""
    quoted = prices.get(company_id)
    if quoted is not None and (row["marked_session"] is None or priced_on is None or priced_on >= row["marked_session"]):
        return Decimal(repr(round(quoted, 6))), priced_on
    if row["virtual_price"] is not None and row["marked_session"] is not None:
        return row["virtual_price"], row["marked_session"]
    return None, None


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT)


def _sum(amounts: Any) -> Decimal:
    return sum((amount for amount in amounts if amount is not None), Decimal(0))
