"""Conditions, order and pages of a query, from the parameters of a request."""

from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from mltrainer_pipelines.api.fields import Paged
from mltrainer_pipelines.market.listings import Listings


def equal_to(table: object, parameters: BaseModel, *names: str) -> list[sa.ColumnElement[bool]]:
    """A condition for each of these parameters that is given: the column of its name has that value."""
    values = {name: getattr(parameters, name) for name in names}
    return [getattr(table, name) == value for name, value in values.items() if value is not None]


def of_symbol(table: Any, symbol: str | None, listings: Listings, day: str = "session") -> list[sa.ColumnElement[bool]]:
    """Rows of the company, or companies, that had a symbol, each under the symbols of its days; none where there is none."""
    if symbol is None:
        return []
    spells = listings.spells(symbol)
    at = getattr(table, day)
    either = [
        sa.and_(table.symbol == spell.symbol, at >= spell.first, at <= spell.last if spell.last else sa.true())
        for spell in spells
    ]
    return [sa.or_(*either) if either else table.symbol == symbol]


def order_of(table: object, sort: str) -> sa.UnaryExpression[object]:
    """A column's order, highest first where its name has a minus sign; rows without a value come last."""
    column = getattr(table, sort.removeprefix("-"))
    ordered: sa.UnaryExpression[Any] = column.desc() if sort.startswith("-") else column.asc()
    return ordered.nulls_last()


def page_of(statement: sa.Select[Any], parameters: Paged) -> sa.Select[Any]:
    """The rows of the page that was requested."""
    return statement.limit(parameters.limit).offset(parameters.offset)
