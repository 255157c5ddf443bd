"""One declaration for a table of the lake: its Polars schema, its check, Dagster's columns and the docs come from it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import polars as pl

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


class SchemaMismatchError(ValueError):
    """A frame does not have the columns, types or values of its table: names the first that are wrong."""


@dataclass(frozen=True)
class Rule:
    """What a value has to obey; a null is never against a rule.

    Parameters
    ----------
    text : str
        The rule as it is shown: ``> 0``.
    holds : callable
        From the column to whether each value obeys.
    """

    text: str
    holds: Callable[[pl.Expr], pl.Expr]


POSITIVE = Rule("> 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("≥ 0", lambda value: value >= 0)
NOT_EMPTY = Rule("not empty", lambda value: value.str.len_bytes() > 0)
SHARE = Rule("0 to 1", lambda value: value.is_between(0, 1))
SCORE = Rule("0 to 100", lambda value: value.is_between(0, 100))


def more_than(bound: float) -> Rule:
    return Rule(f"> {bound:g}", lambda value: value > bound)


def at_least(bound: float) -> Rule:
    return Rule(f"≥ {bound:g}", lambda value: value >= bound)


def one_of(*allowed: str) -> Rule:
    return Rule(f"one of {', '.join(allowed)}", lambda value: value.is_in(allowed))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    dtype : pl.DataType
    description : str
        Meaning and unit.
    rule : Rule, optional
        What its values have to obey.
    nullable : bool
        Whether a value may be unknown. Where it may not, NaN is refused too.
    """

    name: str
    dtype: pl.DataType
    description: str
    rule: Rule | None = None
    nullable: bool = False

    @property
    def constraints(self) -> list[str]:
        """The rules as short texts."""
        return ([self.rule.text] if self.rule else []) + ([] if self.nullable else ["not null"])


@dataclass(frozen=True)
class Table:
    """A table of the lake.

    Parameters
    ----------
    name : str
        The asset's key, and its folder in the lake.
    description : str
        What a row is.
    partition : str
        What each file of it holds: ``session``, ``month``, …; ``all`` where there is one file.
    columns : tuple of Column
        In their order.
    unique : tuple of str
        Columns that together name a row; empty where rows may repeat.
    more : str
        Which further columns it has, where these depend on something else.

    Examples
    --------
    >>> prices = Table("prices", "A price.", "all", (Column("price", pl.Float64(), "dollars", POSITIVE),))
    >>> prices.problems(pl.DataFrame({"price": [1.0, -2.0]}))
    ['price: 1 value breaks “> 0”, such as -2.0']
    """

    name: str
    description: str
    partition: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...] = ()
    more: str = ""

    @cached_property
    def schema(self) -> pl.Schema:
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def extended(self, columns: Iterable[Column]) -> "Table":
        """The table with further columns behind its own."""
        return replace(self, columns=(*self.columns, *columns), more="")

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def cast(self, frame: Frame) -> Frame:
        """The table's columns of a frame, in their order and types; other columns are left out."""
        return frame.select(pl.col(column.name).cast(column.dtype) for column in self.columns)

    def problems(self, frame: pl.DataFrame) -> list[str]:
        """What is wrong with a frame, one line a rule; empty where nothing is."""
        if self.more:
            frame = frame.select(name for name in self.schema if name in frame.columns)
        if frame.schema != self.schema:
            return self._wrong_columns(frame.schema)
        wrong = {
            (column.name, text): bad
            for column in self.columns
            for text, bad in _violations(column).items()
        }  # fmt: skip
        if self.unique:
            wrong[self.unique[0], f"unique in ({', '.join(self.unique)})"] = pl.struct(self.unique).is_duplicated()
        counted = frame.select(
            pl.struct(count=bad.sum(), first=pl.col(name).filter(bad).first()).alias(f"{name} {text}")
            for (name, text), bad in wrong.items()
        )
        return [
            f"{name}: {row['count']} value{'s break' if row['count'] > 1 else ' breaks'} “{text}”, such as {row['first']}"
            for (name, text), row in zip(wrong, counted.row(0) if wrong else (), strict=True)
            if row["count"]
        ]

    def validate(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame as it is, if it obeys the table.

        Raises
        ------
        SchemaMismatchError
            Names the columns and rules that are broken.
        """
        if problems := self.problems(frame):
            raise SchemaMismatchError(f"{self.name} was not stored: {'; '.join(problems[:5])}")
        return frame

    def _wrong_columns(self, given: pl.Schema) -> list[str]:
        problems = [f"the column {name} is missing" for name in self.schema if name not in given]
        problems += [f"there is no column {name} in {self.name}" for name in given if name not in self.schema]
        problems += [
            f"{name} is {given[name]}, not {dtype}"
            for name, dtype in self.schema.items()
            if name in given and given[name] != dtype
        ]
        return problems or [f"the columns are in the order {', '.join(given)}, not {', '.join(self.schema)}"]


def _violations(column: Column) -> dict[str, pl.Expr]:
    """What each rule of a column says, and where it is broken."""
    value = pl.col(column.name)
    broken = {}
    if not column.nullable:
        missing = value.is_null() | value.is_nan() if column.dtype.is_float() else value.is_null()
        broken["not null"] = missing
    if column.rule:
        broken[column.rule.text] = (~column.rule.holds(value)).fill_null(value=False)
    return broken
