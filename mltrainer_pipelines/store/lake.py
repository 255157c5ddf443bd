"""The lake: one Parquet file per asset and partition, in a folder or on an object store.

A partition is written whole and atomically, so a partition that exists is complete: a reader or a
resumed run needs no other sign. The same frame gives the same bytes.
"""

import fcntl
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import polars as pl
from pyarrow import NativeFile, fs

from mltrainer_pipelines.store import lake_seal

_SAFE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.=-]*(/[A-Za-z0-9][A-Za-z0-9_.=-]*)*$")
_FEW = 64
_MARK = "market.txt"
WHOLE = "all"
"""Partition name of an asset that has no partitions."""


class MissingPartitionError(LookupError):
    """A partition was read that nobody wrote: names the asset, the partition and the remedy."""

    def __init__(self, asset: str, partitions: Iterable[str], lake_url: str):
        names = list(partitions)
        listing = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        super().__init__(f"the lake at {lake_url} has no {asset} for {listing}; materialize {asset} for it first")


class DamagedPartitionError(MissingPartitionError):
    """A partition's file is not as it was written: names it and the remedy. It is set aside, and so is missing from then on."""

    def __init__(self, asset: str, partition: str, place: str, aside: str | None):
        LookupError.__init__(
            self,
            f"the lake's {asset} for {partition} is damaged ({place} does not fit its checksum"
            f"{f'; it is kept as {aside}' if aside else ''}); materialize {asset} for {partition} again, and look at the "
            "others with `mltrainer doctor --lake`",
        )


class OtherMarketError(RuntimeError):
    """The lake belongs to another market: names both, and the remedy."""

    def __init__(self, lake_url: str, theirs: str, ours: str):
        super().__init__(
            f"the lake at {lake_url} holds the market {theirs}, and this is the market {ours}: their prices must not be mixed; "
            "set MLTRAINER_LAKE_URL to a place of its own for each market, or leave it unset"
        )
        self.theirs, self.ours = theirs, ours


@dataclass(frozen=True)
class Lake:
    """Parquet under a folder or an `s3://` URL, as `<asset>/<partition>.parquet`.

    Parameters
    ----------
    url : str
        An absolute folder, or `s3://bucket/prefix` (credentials, region and `AWS_ENDPOINT_URL` from
        the environment, as every AWS tool reads them).

    Examples
    --------
    >>> import tempfile
    >>> lake = Lake(tempfile.mkdtemp())
    >>> _ = lake.write("prices", pl.DataFrame({"close": [1.0, 2.0]}), "2024-03-01")
    >>> lake.partitions("prices"), lake.scan("prices").collect().height
    (['2024-03-01'], 2)
    """

    url: str

    @cached_property
    def _files(self) -> tuple[fs.FileSystem, str]:
        if self.url.startswith("s3://"):
            parts = urlsplit(self.url)
            endpoint = _s3_endpoint()
            store = fs.S3FileSystem(endpoint_override=endpoint) if endpoint else fs.S3FileSystem()
            return store, f"{parts.netloc}{parts.path}".rstrip("/")
        if "://" in self.url:
            raise ValueError(f"MLTRAINER_LAKE_URL={self.url}: give a folder or an s3:// URL")
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(self.url))

    def assert_owner(self, market: str) -> None:
        """Mark the lake as that of a market, at its first use; from then on refuse every other market.

        A lake in a home is one market's by its folder. One at `MLTRAINER_LAKE_URL` would be shared by whoever names it.
        What a lake held before it was marked is taken to be the market's that comes first; of two that come in the same
        instant one is refused at its next use, with `OtherMarketError`.
        """
        files, root = self._files
        marker = str(PurePosixPath(root) / _MARK)
        try:
            with files.open_input_file(marker) as stream:
                owner = stream.read().decode().strip()
        except FileNotFoundError:
            self._put(marker, f"{market}\n".encode())
            return
        if owner != market:
            raise OtherMarketError(self.url, owner, market)

    def path(self, asset: str, partition: str = WHOLE) -> str:
        """Where a partition is or would be, as a path or an `s3://` URL."""
        scheme = "s3://" if self.url.startswith("s3://") else ""
        return scheme + self._key(asset, partition)

    def _key(self, asset: str, partition: str) -> str:
        for name in (asset, partition):
            if not _SAFE.fullmatch(name):
                raise ValueError(f"{name!r} cannot name a file of the lake: letters, digits and ._=- only")
        return str(PurePosixPath(self._files[1]) / asset / f"{partition}.parquet")

    @contextmanager
    def _opened(self, asset: str, partition: str) -> Iterator[NativeFile]:
        self._require_intact(asset, [partition])
        try:
            with self._files[0].open_input_file(self._key(asset, partition)) as source:
                yield source
        except FileNotFoundError:
            raise MissingPartitionError(asset, [partition], self.url) from None

    def _require_intact(self, asset: str, partitions: Sequence[str]) -> None:
        """Raise `DamagedPartitionError` for the first file whose checksum does not fit; object stores have their own."""
        if not isinstance(self._files[0], fs.LocalFileSystem):
            return
        for partition in partitions:
            with suppress(FileNotFoundError):
                if not lake_seal.file_is_intact(self._key(asset, partition)):
                    raise self._set_aside(asset, partition)

    def _set_aside(self, asset: str, partition: str) -> DamagedPartitionError:
        """Give a damaged file another name, so that it counts as missing; the error that says so."""
        place = self._key(asset, partition)
        folder, name = os.path.split(place)
        aside: str | None = os.path.join(folder, f".{name}.damaged")
        try:
            os.replace(place, str(aside))
        except OSError:  # a lake that cannot be written
            aside = None
        return DamagedPartitionError(asset, partition, place, aside)

    def damaged_files(self, looked_at: Callable[[str, float], None] = lambda *_: None) -> tuple[list[tuple[str, str]], int, int]:
        """Look at every file of a folder: the damaged ones by asset and partition, how many files, how many without a checksum.

        Nothing is changed; `looked_at` is told now and then what is looked at, and which share of the files has been.
        """
        base = self._files[1]
        names = sorted(
            os.path.relpath(os.path.join(folder, name), base).removesuffix(".parquet")
            for folder, _, files in os.walk(base)
            for name in files
            if name.endswith(".parquet") and not name.startswith(".")
        )
        damaged, bare = [], 0
        for number, name in enumerate(names, 1):
            with open(os.path.join(base, f"{name}.parquet"), "rb") as file:
                content = file.read()
            if not lake_seal.is_intact(content):
                asset, _, partition = name.partition("/")
                damaged.append((asset, partition))
            bare += not lake_seal.is_sealed(content)
            if number == len(names) or not number % max(1, len(names) // 50):
                looked_at(name.partition("/")[0], number / len(names))
        return damaged, len(names), bare

    def exists(self, asset: str, partition: str = WHOLE) -> bool:
        return bool(self._files[0].get_file_info(self._key(asset, partition)).is_file)

    def partitions(self, asset: str) -> list[str]:
        """Names of the partitions that exist, sorted."""
        files, root = self._files
        base = str(PurePosixPath(root) / asset)
        if isinstance(files, fs.LocalFileSystem):
            # Names alone, without asking for each file's size and age: a tenth of the time.
            paths = (os.path.join(folder, name) for folder, _, names in os.walk(base) for name in names)
        else:
            infos = files.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
            paths = (info.path for info in infos if info.type == fs.FileType.File)
        return sorted(path[len(base) + 1 :].removesuffix(".parquet") for path in paths if path.endswith(".parquet"))

    def row_count(self, asset: str, partition: str = WHOLE) -> int:
        """Rows of one partition, from its footer alone; `MissingPartitionError` if it does not exist."""
        from pyarrow import parquet

        with self._opened(asset, partition) as source:
            return int(parquet.read_metadata(source).num_rows)

    def notes(self, asset: str, partitions: Sequence[str]) -> list[Mapping[str, str]]:
        """What `write` was given to note in each of these partitions, from their footers; raises `MissingPartitionError`."""
        from pyarrow import parquet

        def noted(partition: str) -> Mapping[str, str]:
            with self._opened(asset, partition) as source:
                footer = parquet.read_metadata(source).metadata or {}
            return {
                key.decode(): value.decode()
                for key, value in footer.items()
                if not key.startswith((b"ARROW:", lake_seal.NOTE.encode()))
            }

        if not self.url.startswith("s3://"):
            return list(map(noted, partitions))
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(noted, partitions))

    def write(self, asset: str, frame: pl.DataFrame, partition: str = WHOLE, notes: Mapping[str, str] | None = None) -> str:
        """Write a partition whole, with `notes` in its footer; returns where.

        A reader sees the old file or the new one, never a part.
        """
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", statistics=True, metadata=lake_seal.with_note(notes))
        self._put(self._key(asset, partition), lake_seal.sealed(buffer.getbuffer()))
        return self.path(asset, partition)

    def _put(self, key: str, content: bytes | memoryview) -> None:
        """Write a file whole."""
        files, _ = self._files
        if isinstance(files, fs.LocalFileSystem):
            os.makedirs(os.path.dirname(key), exist_ok=True)
            with _draft_of(key) as draft:
                os.ftruncate(draft, 0)
                with open(draft, "wb", closefd=False) as out:
                    out.write(content)
                os.fsync(draft)
                os.replace(_draft_name(key), key)
        else:
            with files.open_output_stream(key) as out:  # an object store publishes an object when its upload ends
                out.write(content)

    def read(self, asset: str, partition: str = WHOLE) -> pl.DataFrame:
        """Read one partition; `MissingPartitionError` if it does not exist, `DamagedPartitionError` if it is not as written."""
        with self._opened(asset, partition) as source:
            return pl.read_parquet(source.read())

    def scan(self, asset: str, partitions: Iterable[str] | None = None) -> pl.LazyFrame:
        """Lazy rows of several partitions, in the order given; of all that exist by default.

        Raises
        ------
        MissingPartitionError
            If one of the named partitions does not exist, or none exists at all.
        DamagedPartitionError
            If one is not as it was written.
        """
        names = self.partitions(asset) if partitions is None else list(partitions)
        if partitions is None:
            missing = []
        elif len(names) <= _FEW:  # a long history is not listed for the sake of a few of its partitions
            missing = sorted(name for name in set(names) if not self.exists(asset, name))
        else:
            missing = sorted(set(names) - set(self.partitions(asset)))
        missing = missing or ([] if names else ["any partition"])
        if missing:
            raise MissingPartitionError(asset, missing, self.url)
        self._require_intact(asset, names)
        paths = [self.path(asset, name) for name in names]
        endpoint = _s3_endpoint() if self.url.startswith("s3://") else None
        options = {"aws_endpoint_url": endpoint, "aws_allow_http": "true"} if endpoint else None
        return pl.scan_parquet(paths, glob=False, storage_options=options)

    def delete(self, asset: str, partition: str = WHOLE) -> None:
        """Remove a partition; nothing happens where there is none."""
        with suppress(FileNotFoundError):
            self._files[0].delete_file(self._key(asset, partition))


def _draft_name(key: str) -> str:
    """Where a file is written before it takes its place: no listing takes it for a partition, and each has one name.

    What a killed process leaves behind is so written over, and put in place, by whoever writes the partition next.
    """
    folder, name = os.path.split(key)
    return os.path.join(folder, f".{name}.part")


@contextmanager
def _draft_of(key: str) -> Iterator[int]:
    """The draft's file descriptor, held by this writer alone; a writer that fails leaves no draft."""
    name = _draft_name(key)
    while True:
        draft = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(draft, fcntl.LOCK_EX)
            try:
                still_there = os.path.samestat(os.fstat(draft), os.stat(name))
            except FileNotFoundError:
                still_there = False
            if not still_there:  # the writer before us has put it in its place, or has given up
                continue
            try:
                yield draft
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name)
                raise
            return
        finally:
            os.close(draft)


def _s3_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
