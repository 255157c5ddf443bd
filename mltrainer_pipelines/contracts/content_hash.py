"""The fingerprint of a table: equal for equal rows, and changed by any other value, order or column."""

import hashlib

import numpy as np
import polars as pl


def data_fingerprint(*frames: pl.DataFrame) -> str:
    """16 hex digits over names, types and values of the columns, in order; the same on every machine."""
    digest = hashlib.sha256()
    for frame in frames:
        for column in frame.iter_columns():
            digest.update(f"{column.name}:{column.dtype}:{len(column)};".encode())
            if column.null_count():
                digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
            if column.dtype == pl.String:
                digest.update("\0".join(column.fill_null("").to_list()).encode())
            else:
                values = column.to_physical() if column.dtype.is_temporal() else column
                digest.update(np.ascontiguousarray(values.fill_null(0).to_numpy()).tobytes())
    return digest.hexdigest()[:16]
