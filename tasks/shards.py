"""Shards: WebDataset tars that are the same bytes for the same faces, read and written by offset."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

_BLOCK = 512  # bytes of a tar header, and what members are padded to
_NAME = 100  # bytes that a header has for a name
_SUM = slice(148, 156)  # where a header says the sum of its bytes, these eight taken as spaces
_SIZE = slice(124, 136)
_MOST = 8**11  # bytes of a member whose size a header can say
# mtime 0, uid and gid 0, no names, mode 644: nothing in it depends on the day, the user or the machine.
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)[:_BLOCK]
_REST = sum(_HEADER) - sum(_HEADER[_SIZE]) - sum(_HEADER[_SUM]) + 8 * ord(" ")
_PADDING = [b"\0" * (-length % _BLOCK) for length in range(_BLOCK)]


class Span(NamedTuple):
    """Where a member's bytes begin in its tar, and how many there are."""

    offset: int
    length: int


class ShardWriter:
    """Appends members to a tar."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0

    def add(self, name: str, data: bytes) -> Span:
        """Append a member and return where its bytes lie. Names are at most 100 characters of a-z 0-9 _ - and a dot."""
        padding = _PADDING[len(data) % _BLOCK]
        self.file.write(b"".join((header_of(name, len(data)), data, padding)))
        span = Span(self.position + _BLOCK, len(data))
        self.position += _BLOCK + len(data) + len(padding)
        return span


def header_of(name: str, length: int) -> bytes:
    """A member's header, as tarfile writes it in the ustar format, in a tenth of its time."""
    encoded = name.encode("ascii")
    assert len(encoded) <= _NAME, name
    assert length < _MOST, f"{name}: {length:,} bytes"
    size = b"%011o\0" % length
    checksum = b"%06o\0 " % (_REST + sum(encoded) + sum(size))
    return b"".join((encoded.ljust(_NAME, b"\0"), _HEADER[_NAME:124], size, _HEADER[136:148], checksum, _HEADER[156:]))


@contextmanager
def open_shard(path: Path) -> Iterator[ShardWriter]:
    """A writer on a new tar that is closed as tar wants it."""
    with path.open("wb", buffering=1 << 20) as file:
        yield ShardWriter(file)
        file.write(b"\0" * (2 * _BLOCK))


def read_span(file: BinaryIO, span: Span) -> bytes:
    """The bytes of a member."""
    file.seek(span.offset)
    return file.read(span.length)


def suffix_of(shard: Path) -> str:
    """The suffix of the first member of a tar, "" of an empty one; its name is at the head of the file."""
    with shard.open("rb") as opened:
        return opened.read(_NAME).rstrip(b"\0").decode("ascii").rpartition(".")[2]
