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
    """What a value has to obey, with the rule as it is shown, such as ``> 0``; a null is never against a rule."""

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
    """A column: its `description` says meaning and unit. Where it is not `nullable`, neither null nor NaN is allowed."""

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
    """A table of the lake: its name is the asset's key and the folder, its description says what a row is.

    `partition` says what each file holds (``session``, ``month``, …; ``all`` for one file), `unique` which columns together
    name a row (empty where rows may repeat), `more` which further columns there are, where these depend on something else.

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
        wrong = {(column.name, text): bad for column in self.columns for text, bad in _violations(column).items()}
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
        """The frame as it is, if it obeys the table; SchemaMismatchError naming the broken columns and rules otherwise."""
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
        broken["not null"] = value.is_null() | value.is_nan() if column.dtype.is_float() else value.is_null()
    if column.rule:
        broken[column.rule.text] = (~column.rule.holds(value)).fill_null(value=False)
    return broken
