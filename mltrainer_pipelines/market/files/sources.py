"""Opening what people have: a file, a folder, a zip or tar, compressed or not; text, Parquet, Arrow or JSON."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.files.layouts import BARS, OF_A_SYMBOL, layout, of_a_symbol, plain, roles

TEXT = (".csv", ".txt", ".tsv", ".dat", ".data", ".asc")
PICKLES = (".pkl", ".pickle", ".p")
TABLES = (".parquet", ".pq", ".feather", ".arrow", ".ipc", ".json", ".jsonl", ".ndjson")
_DECOMPRESS: Mapping[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
_HEAD_LINES = 30


@dataclass
class RawTable:
    """A file as it is: text columns as text. `broken` are lines that do not fit the header."""

    name: str
    frame: pl.DataFrame
    broken: list[str] = field(default_factory=list)


def files_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file below a path, archives opened; hidden files are passed over."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and not any(part.startswith((".", "__MACOSX")) for part in file.relative_to(path).parts):
                yield from _opened(str(file.relative_to(path)), file.read_bytes())
    elif path.is_file():
        yield from _opened(path.name, path.read_bytes())
    else:
        raise BadFileError(f"{path} does not exist; give a Parquet or CSV file of daily bars")


def _opened(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    suffix = PurePosixPath(name).suffix.lower()
    try:
        if suffix == ".zip" or (content[:4] == b"PK\x03\x04" and suffix not in (".xlsx", ".ods", ".npz")):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for member in sorted(archive.namelist()):
                    if not member.endswith("/") and not PurePosixPath(member).name.startswith(".") and "__MACOSX" not in member:
                        yield from _opened(member, archive.read(member))
        elif name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                for entry in archive:
                    stream = archive.extractfile(entry) if entry.isfile() else None
                    if stream and not PurePosixPath(entry.name).name.startswith("."):
                        yield from _opened(entry.name, stream.read())
        elif suffix in _DECOMPRESS or content[:2] == b"\x1f\x8b":
            inner = _DECOMPRESS.get(suffix, gzip.decompress)(content)
            yield from _opened(name[: -len(suffix)] if suffix in _DECOMPRESS else name, inner)
        else:
            yield name, content
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError) as error:
        raise BadFileError(f"{name} cannot be opened ({error}); it is damaged or encrypted: fetch it again") from error


def table_of(name: str, content: bytes, header: Sequence[str] | None = None) -> RawTable:
    """The table in a file; BadFileError where there is none."""
    suffix = PurePosixPath(name).suffix.lower()
    try:
        if suffix in (".parquet", ".pq") or content[:4] == b"PAR1":
            return RawTable(name, pl.read_parquet(io.BytesIO(content)))
        if suffix in (".feather", ".arrow", ".ipc"):
            return RawTable(name, pl.read_ipc(io.BytesIO(content)))
        if suffix in PICKLES:
            from mltrainer_pipelines.market.files.pickled_frames import pickled_frame

            return RawTable(name, pickled_frame(name, content))
        if suffix in (".json", ".jsonl", ".ndjson"):
            return RawTable(name, _of_json(content))
        if suffix in TEXT or not suffix:
            return _of_text(name, _decoded(content), header)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        if isinstance(error, BadFileError):
            raise
        raise BadFileError(f"{name} cannot be read as {suffix[1:] or 'text'}: {error}") from error
    raise BadFileError(
        f"{name} ends in {suffix}, neither .parquet nor .csv; give a file that ends in .parquet or .csv "
        f"(or {', '.join(TEXT[1:])}, .feather, .json), a folder, .zip or .gz of such files"
    )


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _of_json(content: bytes) -> pl.DataFrame:
    """Rows of a JSON list, of JSON lines, or of the first list of objects in an answer of a vendor."""
    text = _decoded(content)
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = _rows_in(found, None)
    if not rows:
        raise BadFileError("holds no list of bars")
    return pl.DataFrame(rows, infer_schema_length=None, strict=False)


def _rows_in(found: object, symbol: str | None) -> list[dict[str, object]]:
    if isinstance(found, list) and found and all(isinstance(row, dict) for row in found):
        own = {"symbol": symbol} if symbol else {}
        return [own | row for row in found]
    if not isinstance(found, dict):
        return []
    if found and all(isinstance(value, dict) for value in found.values()) and len(found) > 1:
        first = next(iter(found.values()))
        if any(plain(key) in BARS for key in first):  # {"2015-01-02": {"1. open": …}}
            return [{"symbol": symbol, "date": day, **row} if symbol else {"date": day, **row} for day, row in found.items()]
    symbol = next((str(found[key]) for key in ("ticker", "symbol") if isinstance(found.get(key), str)), symbol)
    rows: list[dict[str, Any]] = []
    for key, value in found.items():
        inner = key if isinstance(value, list | dict) and re.fullmatch(r"[A-Z][A-Z.\-]{0,9}", key) else symbol
        rows += _rows_in(value, inner)
    return rows


def _of_text(name: str, text: str, header: Sequence[str] | None) -> RawTable:
    if not text.strip():
        raise BadFileError(f"{name} is empty, it has no rows; it needs the columns date, symbol, {', '.join(BARS)}")
    lines = text.split("\n", _HEAD_LINES)[:_HEAD_LINES]
    separator = _separator(lines)
    cells = [next(csv.reader([line.rstrip("\r")], delimiter=separator), []) for line in lines]
    start, names = (0, list(header)) if header else _header(name, cells)
    names = [column or f"column_{place}" if place else column for place, column in enumerate(names)]
    frame, broken = _parsed(text, separator, start, len(names))
    unique: dict[str, int] = {}
    for place, column in enumerate(names):
        unique.setdefault(column if column not in unique else f"{column}_{place}", place)
    return RawTable(name, frame.select(pl.nth(place).alias(column) for column, place in unique.items()), broken)


def _separator(lines: Sequence[str]) -> str:
    """The separator that most lines have equally often."""

    def agreement(separator: str) -> tuple[int, int]:
        counts = [len(next(csv.reader([line], delimiter=separator), [])) for line in lines if line.strip()]
        usual = max(set(counts), key=counts.count)
        return (counts.count(usual) if usual > 4 else 0, usual)

    return max((",", ";", "\t", "|", " "), key=agreement)


def _header(name: str, cells: Sequence[Sequence[str]]) -> tuple[int, list[str]]:
    """First line of data, and the names of the columns; lines before a header are passed over."""
    for place, names in enumerate(cells):
        if len(names) < 3:
            continue
        double = _double_header(cells[place : place + 3])
        if double:
            return place + double[0], double[1]
        found = roles(names)
        if layout(names).wide or (len(found) >= 3 and len({"date", "close", "open", "symbol"} & set(found)) >= 2):
            return place + 1, [column.strip() for column in names]
    first = next((line for line in cells if any(line)), [])
    if sum(bool(re.fullmatch(r"[-+$]?[\d.,]+", cell.strip())) for cell in first) >= 4:
        raise BadFileError(
            f"{name} has no line of column names: it begins with {','.join(first)[:80]}; say what they are with "
            "--header date,open,high,low,close,volume"
        )
    return 1, [column.strip() for column in first]


def _double_header(lines: Sequence[Sequence[str]]) -> tuple[int, list[str]] | None:
    """yfinance's two lines of fields and symbols in either order, and the line with the name of the dates."""
    if len(lines) < 2 or len(lines[0]) != len(lines[1]):
        return None
    is_field = [
        [of_a_symbol(f"X{OF_A_SYMBOL}{cell}") is not None or plain(cell) in ("repaired", "capitalgains") for cell in line[1:]]
        for line in lines[:2]
    ]
    if all(is_field[0]) and not any(is_field[1]):
        fields, symbols = lines[0], lines[1]
    elif all(is_field[1]) and not any(is_field[0]):
        fields, symbols = lines[1], lines[0]
    else:
        return None
    if any(re.fullmatch(r"[-+$]?\d[\d.,]*", cell) for cell in symbols[1:]) and not all(
        cell == symbols[1] for cell in symbols[1:]
    ):
        return None
    names = ["date", *(f"{symbol}{OF_A_SYMBOL}{field}" for symbol, field in zip(symbols[1:], fields[1:], strict=True))]
    named = len(lines) > 2 and plain(lines[2][0]) in ("date", "datetime") and not any(lines[2][1:])
    return (3 if named else 2), names


def _parsed(text: str, separator: str, start: int, width: int) -> tuple[pl.DataFrame, list[str]]:
    """Every cell as text, and the lines that have more cells than there are columns."""
    schema = {f"c{place}": pl.String for place in range(width)}
    data = text.encode()
    if separator == " ":
        rows = [line.split() for line in text.splitlines()[start:] if line.strip()]
    else:
        try:
            frame = pl.read_csv(data, separator=separator, has_header=False, skip_lines=start, schema=schema)
            return frame.filter(~pl.all_horizontal(pl.all().is_null())), []
        except pl.exceptions.PolarsError:
            rows = [row for row in csv.reader(text.splitlines()[start:], delimiter=separator) if any(row)]
    broken = [separator.join(row) for row in rows if any(row[width:])]
    kept = [[cell or None for cell in row[:width]] + [None] * (width - len(row)) for row in rows if not any(row[width:])]
    return pl.DataFrame(kept, schema=schema, orient="row"), broken
