"""DataFrames that pandas pickled. A pickle may ask for anything to be run; here it gets the parts of frames and nothing else."""

import io
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import polars as pl

from mltrainer_pipelines.market.files.errors import BadFileError

if TYPE_CHECKING:
    import pandas as pd

_PARTS = frozenset(
    {
        *(f"{base}.multiarray._reconstruct" for base in ("numpy.core", "numpy._core")),
        *(f"{base}.multiarray.scalar" for base in ("numpy.core", "numpy._core")),
        *(f"{base}.numeric._frombuffer" for base in ("numpy.core", "numpy._core")),
        *("numpy.ndarray", "numpy.dtype", "builtins.slice", "builtins.bytearray", "_codecs.encode", "datetime.date"),
        *("datetime.datetime", "pytz._p", "pytz._UTC", "zoneinfo.ZoneInfo._unpickle", "decimal.Decimal"),
        *("pandas.core.frame.DataFrame", "pandas.core.series.Series"),
        *(f"pandas.core.internals.managers.{name}" for name in ("BlockManager", "SingleBlockManager")),
        *("pandas._libs.internals._unpickle_block", "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked"),
        *("pandas._libs.missing.NA", "pandas._libs.tslibs.timestamps._unpickle_timestamp"),
        *("pandas._libs.tslibs.timestamps.Timestamp", "pandas._libs.tslibs.nattype._nat_unpickle"),
        *(f"pandas.core.indexes.base.{name}" for name in ("Index", "_new_Index")),
        *(f"pandas.core.indexes.datetimes.{name}" for name in ("DatetimeIndex", "_new_DatetimeIndex")),
        *(f"pandas.core.indexes.numeric.{name}" for name in ("Int64Index", "Float64Index", "UInt64Index")),
        *("pandas.core.indexes.multi.MultiIndex", "pandas.core.indexes.range.RangeIndex"),
        *("pandas.core.indexes.category.CategoricalIndex", "pandas.core.arrays.categorical.Categorical"),
        *("pandas.core.arrays.datetimes.DatetimeArray", "pandas.core.arrays.integer.IntegerArray"),
        *("pandas.core.arrays.floating.FloatingArray", "pandas.core.arrays.string_.StringArray"),
        *(f"pandas.core.arrays.integer.{name}Dtype" for name in ("Int64", "Int32", "UInt64")),
        *("pandas.core.arrays.floating.Float64Dtype", "pandas.core.arrays.string_.StringDtype"),
        *(f"pandas.core.dtypes.dtypes.{name}" for name in ("CategoricalDtype", "DatetimeTZDtype")),
        *(f"pandas._libs.tslibs.offsets.{name}" for name in ("BusinessDay", "Day")),
    }
)
_REMEDY = "write it with to_parquet() or to_csv()"


def pickled_frame(name: str, content: bytes) -> pl.DataFrame:
    """The frame in a pickle, its index among its columns; of a dict of frames by symbol, all of them.

    Raises BadFileError for a pickle of anything else: names what it asks for, and how to write it otherwise.
    """
    import pandas as pd
    from pandas.compat import pickle_compat

    class PartsOfFrames(pickle_compat.Unpickler):  # type: ignore[misc]
        def find_class(self, module: str, what: str) -> Any:
            module = module.replace("__builtin__", "builtins")
            if f"{module}.{what}" not in _PARTS:
                raise UnpicklingError(f"{module}.{what}")
            return super().find_class(module, what)

    try:
        found = PartsOfFrames(io.BytesIO(content)).load()
    except UnpicklingError as error:
        raise BadFileError(
            f"{name} is a pickle that asks for {error}, which is not run: write it with to_parquet() or to_csv()"
        ) from error
    except Exception as error:  # whatever a damaged pickle, or one of another pandas, breaks
        raise BadFileError(f"{name} cannot be read as a pickle ({error}): {_REMEDY}") from error
    if isinstance(found, pd.DataFrame):
        return _with_its_index(found)
    if isinstance(found, dict) and found and all(isinstance(frame, pd.DataFrame) for frame in found.values()):
        parts = [_with_its_index(frame).with_columns(symbol=pl.lit(str(symbol))) for symbol, frame in found.items()]
        return pl.concat(parts, how="diagonal_relaxed")
    raise BadFileError(f"{name} holds a {type(found).__name__}, not a DataFrame: write the frame of bars with to_parquet()")


def _with_its_index(frame: "pd.DataFrame") -> pl.DataFrame:
    import pandas as pd

    frame = frame.copy()
    frame.columns = pd.Index([str(name) for name in frame.columns.to_list()])
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    return pl.DataFrame({str(name): _column(frame[name]) for name in frame.columns})


def _column(column: "pd.Series[Any]") -> pl.Series:
    try:
        return pl.Series(pl.from_pandas(column))
    except (TypeError, ValueError, pl.exceptions.PolarsError, ImportError):
        return pl.Series(column.name, column.astype("string").to_list(), pl.String)
