"""Reading archives that may be damaged or hostile: members come out as bytes, no name is used as a path."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from tasks.errors import IntegrityError, Refused
from tasks.sources.found import CHUNK

# Below this much unpacked data a high ratio is no bomb: a few text files shrink a lot.
SMALL = 64 << 20
MOST_NAME = 4096  # letters
MOST_HEADER = 1 << 20  # bytes of a long name or a pax record
# What the standard library raises on damaged archives, found by damaging some (tests/tasks/test_sources_hostile.py).
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error,
    EOFError, NotImplementedError, ValueError, OverflowError, IndexError,
)  # fmt: skip
_DECOMPRESSORS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
# Headers whose content is read into memory whole.
_IN_MEMORY = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_OTHERS = {b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a rar archive", b"\x28\xb5\x2f\xfd": "zstd data"}


class Limits(NamedTuple):
    """What an archive may unpack to before it is called a bomb."""

    member_bytes: int
    total_bytes: int
    ratio: float


class Unpacking:
    """One pass over an archive: its wanted members as (name, bytes), in its own order.

    `skipped` counts what was left out and why. IntegrityError when the archive is damaged, Refused when it would
    unpack to more than the limits.
    """

    def __init__(self, path: Path, limits: Limits, wanted: Callable[[str], bool]) -> None:
        self.path, self.limits, self.wanted = path, limits, wanted
        self.most = int(min(limits.total_bytes, max(SMALL, limits.ratio * path.stat().st_size)))
        self.total = 0
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        try:
            yield from _reader_of(self.path)(self)
        except DAMAGE as error:
            raise IntegrityError(f"{self.path} is damaged: {error or type(error).__name__}") from error
        except OSError as error:
            # Damage sends zipfile to places before the file, and bz2 has no error of its own; the rest is the disk.
            if error.errno not in (None, errno.EINVAL):
                raise
            raise IntegrityError(f"{self.path} is damaged: {error}") from error

    def takes(self, name: str, obstacle: str) -> bool:
        """Whether a member is wanted and can be had; counts the wanted ones that cannot."""
        if len(name) > MOST_NAME:
            obstacle = f"name of more than {MOST_NAME} letters"
        elif not self.wanted(name):
            return False
        if obstacle:
            self.skipped[obstacle] += 1
        return not obstacle

    def judge_member(self, name: str, size: int) -> None:
        """Refused when a member says that it is larger than any picture."""
        if size > self.limits.member_bytes:
            raise Refused(
                f"{self.path} is refused: its member {name!r} unpacks to {size:,} bytes, the limit is "
                f"{self.limits.member_bytes:,}; raise max_member_bytes or leave it out with members, if that is right"
            )

    def count(self, size: int) -> None:
        """Refused when all that came out so far is more than the archive may hold."""
        self.total += size
        if self.total > self.most:
            raise Refused(
                f"{self.path} is refused: its {self.path.stat().st_size:,} bytes unpack to more than {self.most:,}; "
                "raise max_total_bytes or max_ratio if that is right"
            )


def _reader_of(path: Path) -> Callable[[Unpacking], Iterator[tuple[str, bytes]]]:
    with path.open("rb") as data:
        head = data.read(512)
    if head.startswith(b"PK"):
        return _read_zip
    if any(head.startswith(magic) for magic in _DECOMPRESSORS) or head[257:262] == b"ustar" or tarfile.is_tarfile(path):
        return _read_tar
    if zipfile.is_zipfile(path):  # last: a tar may end with a zip
        return _read_zip
    kind = next((f"; it is {words}" for magic, words in _OTHERS.items() if head.startswith(magic)), "")
    raise IntegrityError(f"{path} is neither a zip, nor a tar, nor a tar.gz{kind} (it begins with {head[:8].hex(' ')})")


def _read_zip(unpacking: Unpacking) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(unpacking.path) as archive:
        for info in archive.infolist():
            if info.is_dir() or not unpacking.takes(info.filename, _zip_obstacle(info)):
                continue
            unpacking.judge_member(info.filename, info.file_size)
            unpacking.count(info.file_size)
            yield info.filename, archive.read(info)


def _zip_obstacle(info: zipfile.ZipInfo) -> str:
    """Why a member cannot be had; empty when it can."""
    if info.flag_bits & 0x41:
        return "encrypted"
    kind = stat.S_IFMT(info.external_attr >> 16)
    return "" if kind in (0, stat.S_IFREG) else _special(stat.S_ISLNK(kind))


def _special(link: bool) -> str:
    return "link" if link else "device or other special file"


def _read_tar(unpacking: Unpacking) -> Iterator[tuple[str, bytes]]:
    with decompressed(unpacking.path) as data:
        # r| reads forwards only: no header can send it back, and compressed data are unpacked once.
        stream = cast("IO[bytes]", _Metered(data, unpacking))
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=CarefulTarInfo, errors="surrogateescape") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or it keeps every header it read
                obstacle = "" if info.isreg() else _special(info.issym() or info.islnk())
                if info.isdir() or not unpacking.takes(info.name, obstacle):
                    continue
                unpacking.judge_member(info.name, info.size)
                unpacking.count(info.size if info.issparse() else 0)  # holes cost nothing to read
                member = archive.extractfile(info)
                assert member is not None
                yield info.name, member.read()
            _drain(archive, unpacking)


def decompressed(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where it is gzip, bzip2 or xz by its first bytes."""
    with path.open("rb") as data:
        head = data.read(8)
    for magic, opener in _DECOMPRESSORS.items():
        if head.startswith(magic):
            return cast("IO[bytes]", opener(path))
    return path.open("rb")


def _drain(archive: tarfile.TarFile, unpacking: Unpacking) -> None:
    """Read on to the end: a gzip checksum is compared only there, and what follows the end mark is said aloud."""
    assert archive.fileobj is not None
    while rest := archive.fileobj.read(CHUNK):
        if rest.strip(b"\0"):
            unpacking.skipped["MiB after the tar's end mark (several tars in one file?)"] += 1


class _Metered:
    """A stream that counts what is read of it."""

    def __init__(self, data: IO[bytes], unpacking: Unpacking) -> None:
        self.data, self.unpacking = data, unpacking

    def read(self, size: int) -> bytes:
        piece = self.data.read(size)
        self.unpacking.count(len(piece))
        return piece


class CarefulTarInfo(tarfile.TarInfo):
    """A header that is believed less: tarfile takes a damaged or missing one in the middle for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> CarefulTarInfo:
        """The header in these bytes; ReadError for one that is damaged or missing."""
        if not buf:
            raise tarfile.ReadError("the tar ends without its end mark: it was cut short")
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not buf.strip(b"\0"):
                raise  # the end mark
            raise tarfile.ReadError(f"bad header, {error}") from error
        if info.type in _IN_MEMORY and not 0 <= info.size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        return info
