"""The pandera schemas of the market's assets as Dagster shows them: columns, meanings, rules."""

from typing import Any

import dagster as dg
import polars as pl

from mltrainer_pipelines.contracts.market_tables import SCHEMAS, constraints
from mltrainer_pipelines.defs import reporting


def column_schema(asset: str) -> dg.TableSchema:
    """Columns of an asset with type, description and constraints."""
    columns = [
        dg.TableColumn(
            name,
            str(column.dtype),
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=column.unique, other=constraints(column)),
        )
        for name, column in SCHEMAS[asset].columns.items()
    ]
    keys = SCHEMAS[asset].unique
    rules = [f"unique in ({', '.join(keys)})"] if keys else []
    return dg.TableSchema(columns=columns, constraints=dg.TableConstraints(other=rules))


def frame_metadata(asset: str, frame: pl.DataFrame, **more: Any) -> dict[str, Any]:
    """`reporting.frame_metadata` with the asset's own schema for the columns."""
    return reporting.frame_metadata(frame, **more) | {"dagster/column_schema": column_schema(asset)}
