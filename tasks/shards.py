"""Shards: WebDataset tars that are the same bytes for the same faces, read and written by offset."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

_BLOCK = 512  # bytes of a tar header, and what members are padded to


class Span(NamedTuple):
    """Where a member's bytes begin in its tar, and how many there are."""

    offset: int
    length: int


class ShardWriter:
    """Appends members to a tar; nothing in it depends on the day, the user or the machine."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0

    def add(self, name: str, data: bytes) -> Span:
        """Append a member and return where its bytes lie. Names are at most 100 characters of a-z 0-9 _ - and a dot."""
        header = tarfile.TarInfo(name)  # mtime 0, uid and gid 0, no names, mode 644
        header.size = len(data)
        self.file.write(header.tobuf(tarfile.USTAR_FORMAT))
        self.file.write(data)
        self.file.write(b"\0" * (-len(data) % _BLOCK))
        span = Span(self.position + _BLOCK, len(data))
        self.position = self.file.tell()
        return span


@contextmanager
def open_shard(path: Path) -> Iterator[ShardWriter]:
    """A writer on a new tar that is closed as tar wants it."""
    with path.open("wb") as file:
        yield ShardWriter(file)
        file.write(b"\0" * (2 * _BLOCK))


def read_span(file: BinaryIO, span: Span) -> bytes:
    """The bytes of a member."""
    file.seek(span.offset)
    return file.read(span.length)
