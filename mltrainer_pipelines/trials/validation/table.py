"""The table that models learn from: rows of features as a matrix, and the groups that models of more than a row need."""

import zlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.ranks import session_ranks
from mltrainer_pipelines.models.panel import UNKNOWN, panel_groups

KEYS = ("date", "symbol")


class BadFeaturesError(ValueError):
    """A feature table that cannot be learnt from: names the column or the rows and what to do."""


def feature_names(features: pl.DataFrame) -> tuple[str, ...]:
    """The feature columns of a table: every column but date and symbol."""
    missing = [key for key in KEYS if key not in features.columns]
    names = tuple(name for name in features.columns if name not in KEYS)
    if missing or not names:
        raise BadFeaturesError(f"features have the columns {features.columns}; they need date, symbol and at least one feature")
    wrong = [name for name in names if not features.schema[name].is_numeric()]
    if wrong:
        raise BadFeaturesError(f"features {', '.join(wrong)} are not numeric; give Float32 columns, null where unknown")
    return names


def feature_matrix(features: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """The features as a (rows, features) float32 matrix in C order, NaN where unknown."""
    X = features.select(pl.col(name).cast(pl.Float32) for name in names).to_numpy(order="c")
    X = np.ascontiguousarray(X, dtype=np.float32)
    infinite = np.isinf(X)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise BadFeaturesError(
            f"feature {names[column]} is infinite for {features['symbol'][int(row)]} on {features['date'][int(row)]}; "
            "give null where a value is unknown"
        )
    return X


def model_matrix(features: pl.DataFrame, names: Sequence[str], normalise: str) -> np.ndarray:
    """What a model is given: `feature_matrix`, ranked within each session where `normalise` is `rank`.

    Give every row of a session: a rank is among the rows given.
    """
    X = feature_matrix(features, names)
    return session_ranks(X, features["date"].to_physical().to_numpy()) if normalise == "rank" else X


def most_liquid(features: pl.DataFrame, universe: pl.DataFrame, size: int) -> np.ndarray:
    """True for the rows of the `size` most liquid symbols of their month."""
    members = universe.filter(pl.col("rank") <= size).select("month", "symbol", member=pl.lit(value=True))
    months = features.select("symbol", month=pl.col("date").dt.truncate("1mo"))
    kept = months.join(members, on=["month", "symbol"], how="left", maintain_order="left")["member"].fill_null(value=False)
    if not kept.any():
        raise BadFeaturesError(
            "no row of the features belongs to the universe; materialize universe and features of the same months"
        )
    return kept.to_numpy()


def row_groups(rows: pl.DataFrame) -> np.ndarray:
    """Session, symbol and, where the rows tell it, sector of each row, as models need them that read more than the row."""
    symbols, sectors = rows["symbol"].rank("dense").to_numpy(), None
    if "sector" in rows.columns:
        # a number that a name has in every table
        numbers = {name: zlib.crc32(name.encode()) for name in rows["sector"].drop_nulls().unique()}
        sectors = rows["sector"].replace_strict(numbers, default=UNKNOWN, return_dtype=pl.Int64).to_numpy()
    return panel_groups(rows["date"].to_physical().to_numpy(), symbols, sectors)


def with_sectors(rows: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
    """The rows with the sector that the universe of their month knows for their symbol; as they are where it knows none."""
    if "sector" not in universe.columns:
        return rows
    sectors = universe.select("month", "symbol", "sector")
    months = rows.with_columns(month=pl.col("date").dt.truncate("1mo"))
    return months.join(sectors, on=["month", "symbol"], how="left", maintain_order="left").drop("month")
