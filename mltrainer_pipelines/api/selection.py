"""Conditions, order and pages of a query, from the parameters of a request."""

from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from mltrainer_pipelines.api.fields import Paged


def equal_to(table: object, parameters: BaseModel, *names: str) -> list[sa.ColumnElement[bool]]:
    """A condition for each of these parameters that is given: the column of its name has that value."""
    values = {name: getattr(parameters, name) for name in names}
    return [getattr(table, name) == value for name, value in values.items() if value is not None]


def order_of(table: object, sort: str) -> sa.UnaryExpression[object]:
    """A column's order, highest first where its name has a minus sign; rows without a value come last."""
    column = getattr(table, sort.removeprefix("-"))
    ordered: sa.UnaryExpression[Any] = column.desc() if sort.startswith("-") else column.asc()
    return ordered.nulls_last()


def page_of(statement: sa.Select[Any], parameters: Paged) -> sa.Select[Any]:
    """The rows of the page that was requested."""
    return statement.limit(parameters.limit).offset(parameters.offset)
