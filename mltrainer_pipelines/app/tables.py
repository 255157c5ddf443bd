"""Tables of the pages: a row for each record, a column for each thing a reader wants to know of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app.formats import NONE

Record = dict[str, Any]
Column = str | Callable[[Record], Any]


def column_or_dash(name: str) -> Column:
    """A field's value, a dash where it has none."""
    return lambda record: record[name] or NONE


def percent(name: str) -> Column:
    """A fraction as a number of per cent, so that the column sorts by it."""
    return lambda record: None if record[name] is None else 100 * record[name]


def money(names: Sequence[str], width: int | None = None) -> dict[str, Any]:
    """Column configurations of prices."""
    return dict.fromkeys(names, st.column_config.NumberColumn(format="$%.2f", width=width))


def decimals(formats: Mapping[str, str]) -> dict[str, Any]:
    """Column configurations of numbers, by their printf format."""
    return {name: st.column_config.NumberColumn(format=form) for name, form in formats.items()}


def table(records: Sequence[Record], columns: Mapping[str, Column], key: str, alt: str, **options: Any) -> None:
    """Show records; a column is a field's name, or what makes its cell of a record.

    `alt` says what the table is to those who cannot see it; the options are those of `streamlit.dataframe`.
    """
    cells = {
        title: [column(record) if callable(column) else record[column] for record in records] for title, column in columns.items()
    }
    st.dataframe(pd.DataFrame(cells), hide_index=True, key=key, alt=alt, **options)
