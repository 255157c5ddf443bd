"""A data folder of Qlib: calendars, instruments, and a binary file a field and instrument."""

from pathlib import Path

import numpy as np
import polars as pl

from mltrainer_pipelines.market.files.layouts import BARS
from mltrainer_pipelines.market.files.sources import RawTable


def is_qlib_folder(path: Path) -> bool:
    return (path / "calendars" / "day.txt").is_file() and (path / "features").is_dir()


def qlib_tables(path: Path) -> list[RawTable]:
    """A table an instrument. A binary file holds float32: the place of its first day in the calendar, then the values."""
    calendar = (path / "calendars" / "day.txt").read_text().split()
    tables = []
    for folder in sorted((path / "features").iterdir()):
        columns = {}
        for name in (*BARS, "factor"):
            file = folder / f"{name}.day.bin"
            if file.is_file():
                values = np.fromfile(file, dtype="<f4")
                start = int(values[0]) if len(values) else 0
                columns[name] = pl.DataFrame({"date": calendar[start : start + len(values) - 1], name: values[1:].astype(float)})
        if set(BARS) <= set(columns):
            frame = columns["close"]
            for name, column in columns.items():
                if name != "close":
                    frame = frame.join(column, on="date", how="left")
            frame = frame.with_columns(pl.col(name).fill_nan(None) for name in columns)
            tables.append(RawTable(f"{folder.name}.bin", frame.with_columns(symbol=pl.lit(folder.name))))
    return tables
