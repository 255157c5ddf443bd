"""A checksum in every file of the lake, and whether it still fits.

It lies between a Parquet file's last page and its footer, where no reader looks, and covers all other bytes; Polars does not look
at the checksums that Parquet has for its pages. The footer says that there is one, so that a file whose seal is hit is no file
of an earlier version, which has none.
"""

import os
import threading
from collections.abc import Mapping

import xxhash

NOTE = "mltrainer.sealed"
_SEAL = b"MLTRAINER-XXH3-1"
_DIGEST = 16
_END = 8
"""Bytes of the footer's length and Parquet's own mark."""
_intact: dict[str, tuple[int, int, int, int]] = {}
"""By path: the file as it was when it was found intact, its device, inode, size and time of change."""
_MOST_KNOWN = 200_000
_reading = threading.local()


def sealed(content: bytes | memoryview) -> bytes:
    """A Parquet file, written with `NOTE` in its footer, with its checksum."""
    view = memoryview(content)
    at = len(view) - int.from_bytes(view[-_END:-4], "little") - _END
    return b"".join((view[:at], _SEAL, _digest(view[:at], view[at:]), view[at:]))


def is_sealed(content: bytes | memoryview) -> bool:
    """Whether the file says that it has a checksum."""
    return NOTE.encode() in bytes(content[-65_536:])


def is_intact(content: bytes | memoryview) -> bool:
    """Whether its checksum fits; true of a whole file that has none."""
    with memoryview(content) as view:
        if len(view) < 2 * _END or bytes(view[-4:]) != b"PAR1":
            return False
        mark = len(_SEAL) + _DIGEST
        at = len(view) - min(int.from_bytes(view[-_END:-4], "little") + _END, len(view))
        if bytes(view[max(0, at - mark) : max(0, at - _DIGEST)]) != _SEAL:
            return not is_sealed(view)
        with view[: at - mark] as pages, view[at:] as footer:
            return bytes(view[at - _DIGEST : at]) == _digest(pages, footer)


def file_is_intact(path: str) -> bool:
    """`is_intact` of a file of this machine, looked at once a process for as long as the file stays as it is."""
    with open(path, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        known = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if _intact.get(path) == known:
            return True
        # read into one buffer again and again: a map of each file would cost more than its checksum
        if len(buffer := getattr(_reading, "buffer", b"")) < status.st_size:
            buffer = _reading.buffer = bytearray(status.st_size)
        size = file.readinto(buffer)
    with memoryview(buffer) as whole, whole[:size] as content:
        intact = is_intact(content)
    if intact:
        if len(_intact) >= _MOST_KNOWN:
            _intact.clear()
        _intact[path] = known
    return intact


def with_note(notes: Mapping[str, str] | None) -> dict[str, str]:
    """What a sealed file has in its footer."""
    return {**(notes or {}), NOTE: "1"}


def _digest(pages: memoryview, footer: memoryview) -> bytes:
    whole = xxhash.xxh3_128(pages)
    whole.update(footer)
    return whole.digest()
