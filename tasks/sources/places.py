"""Files wherever they lie: a path here or a URL of any file system that fsspec knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import fsspec
from braceexpand import braceexpand
from fsspec.core import url_to_fs
from fsspec.utils import infer_compression

from tasks.errors import SourceUnavailable
from tasks.sources.address import shown
from tasks.sources.trouble import passing_errors

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# The package that fsspec needs for a scheme; all of them come with the extra `remote`.
EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp"}


class Place(NamedTuple):
    """A file: its file system and its path in there."""

    files: Any  # fsspec.AbstractFileSystem: the library has no types
    path: str
    url: str  # as it is written in messages and keys, without secrets

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def state(self) -> list[object]:
        """What tells this version of the file from another: size and whatever its file system says of versions."""
        info = self.files.info(self.path)
        marks = (info.get(name) for name in ("ETag", "etag", "md5Hash", "sha256", "blob_id", "mtime", "created"))
        return [self.url, info.get("size"), *(str(mark) for mark in marks if mark is not None)]

    @property
    def remote(self) -> bool:
        """Whether a network may be in between."""
        return is_remote(self.url)

    def read(self) -> bytes:
        """All of it; SourceUnavailable when it is not given."""
        try:
            with self.open() as data:
                return bytes(data.read())
        except passing_errors() as error:
            raise unavailable(self.url, error) from error

    def open(self, mode: str = "rb") -> IO[Any]:
        """The file, for reading; text is unpacked by the ending of its name."""
        if mode == "rb":
            return cast("IO[Any]", self.files.open(self.path, "rb"))
        packing = infer_compression(self.path)
        opened = fsspec.core.OpenFile(self.files, self.path, "rt", packing, encoding="utf-8-sig", newline="")
        return cast("IO[Any]", opened.open())


def is_remote(address: str) -> bool:
    """Whether an address leads to a file system behind a scheme, not to a path here."""
    return _SCHEME.match(address) is not None


def is_url(address: str) -> bool:
    """Whether an address is behind http(s)."""
    return address.lower().startswith(("http://", "https://"))


def check_scheme(address: str) -> None:
    """ValueError when no package that is here knows such an address; nothing is opened and nobody asked."""
    scheme = address.partition("://")[0].lower() if is_remote(address) else "file"
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package = EXTRAS.get(scheme, "the package that fsspec names")
        raise ValueError(f"{scheme}:// needs {package}: pip install 'stylegan-flows[remote]' ({error})") from error
    except ValueError as error:
        raise ValueError(f"{shown(address)}: {error}; known are {', '.join(sorted(EXTRAS))}, file, memory") from error


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it; ValueError when the package that it needs is not there."""
    check_scheme(address)
    files, path = url_to_fs(address if is_remote(address) else str(Path(address).expanduser().resolve()))
    return files, path


def places_of(addresses: Sequence[str]) -> list[Place]:
    """The files that paths, URLs and shell patterns name, each pattern's sorted; ValueError when one names none."""
    return [place for address in addresses for place in _places(address)]


def _places(address: str) -> list[Place]:
    files, path = file_system(address)
    if not _has_pattern(path):
        return [_place(files, path, address)]
    try:
        found = sorted(str(name) for name in files.glob(path))
    except passing_errors() as error:
        raise unavailable(address, error) from error
    if not found:
        raise ValueError(f"{shown(address)} fits no file")
    return [_place(files, name, address) for name in found]


def unavailable(address: object, error: Exception) -> SourceUnavailable:
    """What to raise when a file that a source cannot do without is not given."""
    return SourceUnavailable(
        f"{shown(str(address))} is not given: {type(error).__name__}. Look whether it is there and whether the "
        "credentials that its file system needs are set, then run again"
    )


def place_of(address: str) -> Place:
    """The file at one address."""
    files, path = file_system(address)
    return _place(files, path, address)


def _place(files: Any, path: str, address: str) -> Place:
    return Place(files, path, shown(files.unstrip_protocol(path)) if is_remote(address) else path)


def _has_pattern(path: str) -> bool:
    return any(letter in path for letter in "*?[")


def expand(addresses: Sequence[str]) -> list[str]:
    """Addresses with {0000..0999} written out; braces that hold a word stay."""
    return [one for address in addresses for one in _expand(address)]


def _expand(address: str) -> list[str]:
    return list(braceexpand(address)) if re.search(r"\{[^{}]*(\.\.|,)[^{}]*\}", address) else [address]


def local_state(address: str) -> object:
    """What a fingerprint says of a file, no network asked: size and time of one that lies here, else its address."""
    if is_remote(address):
        return shown(address)
    return [
        [place.path, Path(place.path).stat().st_size, Path(place.path).stat().st_mtime_ns] for place in _here(address)
    ]


def _here(address: str) -> list[Place]:
    places = places_of([address])
    for place in places:
        if not Path(place.path).is_file():
            raise ValueError(f"{address} does not exist (looked at {place.path})")
    return places


def check_places(addresses: Sequence[str]) -> None:
    """ValueError when a path here leads nowhere or a file system's package is missing; no network is asked."""
    for address in addresses:
        if not is_remote(address):
            _here(address)
        elif not is_url(address):
            check_scheme(address)
