"""What every source gives: files with their digests, under names that are safe to write down."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from manifests.expression import is_wanted, names_in
from manifests.sources import SourceConfig
from tasks.store import write_file

# progress(done, total or None where nobody knows, unit: "bytes" | "files" | "pictures")
Progress = Callable[[int, int | None, str], None]

CHUNK = 1 << 20


class About(NamedTuple):
    """What a source says of a picture beyond its name."""

    rating: str = ""  # g, s, q or e where the source rates
    tags: str = ""  # with a space between them
    licence: str = ""  # this picture's own; empty = the source's
    facts: dict[str, Any] = {}  # whatever else: JSON values by name (score, created_at, Eyeglasses, identity, ...)

    def named(self) -> dict[str, Any]:
        """Everything by the name under which an expression of `where` asks for it."""
        return {**self.facts, "rating": self.rating, "tags": self.tags, "licence": self.licence}


NOTHING = About()


class Found(NamedTuple):
    """One file as it came, or one that a source names and that did not come.

    What did not come has a reason (unreadable, not_selected, missing, unavailable, opted_out, ...), the digest of its
    origin as id, no bytes, and a path at which nothing lies.
    """

    origin: str  # name inside the source, posix, unique inside it; never to be used as a path
    path: Path  # where its bytes lie now
    id: str  # sha256 of the bytes, hex
    bytes: int
    label: str | None  # class folder, where the source has classes
    reason: str = ""  # why it is no picture of the data set; empty: it may become one
    about: About = NOTHING


def absent(origin: str, path: Path, reason: str, about: About = NOTHING) -> Found:
    """A row for a picture that the source names and that did not come."""
    return Found(origin, path, hashlib.sha256(origin.encode()).hexdigest(), 0, None, reason, about)


class Said(NamedTuple):
    """What is known of a picture before its bytes are read."""

    label: str | None = None
    about: About = NOTHING
    reason: str = ""  # why its bytes need not be read (not_selected); empty = they are
    md5: str = ""  # what its bytes must have, hex; empty = anything


Say = Callable[[str], Said]  # what a source says of the picture of this clean name


def known_of(config: SourceConfig, origin: str, about: About, label: str | None = None) -> dict[str, Any]:
    """What an expression of `where` may ask of a picture before it is read: all but its size."""
    licence = about.licence or config.licence
    return {**about.named(), "licence": licence, **({} if label is None else {"label": label}), "origin": origin}


def reason_before(config: SourceConfig, origin: str, about: About, label: str | None = None) -> str:
    """`not_selected` where the source's expression says no whatever the picture's bytes are; else nothing."""
    if "bytes" in names_in(config.where):  # nobody knows them before they are read
        return ""
    return "" if is_wanted(config.where, known_of(config, origin, about, label)) else "not_selected"


def clean_origin(name: str) -> str:
    """The name as text that can be written down anywhere: posix, no root, no dots, no lone surrogates, no controls."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\\", "/")
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return "/".join(part for part in text.split("/") if part not in ("", ".", ".."))


class Origins:
    """Names given so far, so that the second file of a name gets one of its own: `a.jpg`, then `a.jpg#2`."""

    def __init__(self) -> None:
        self.given: set[str] = set()

    def give(self, name: str) -> str:
        """A clean name that no file before had; depends on the order of the files, which is the source's own."""
        origin = base = clean_origin(name) or "unnamed"
        number = 1
        while origin in self.given:
            number += 1
            origin = f"{base}#{number}"
        self.given.add(origin)
        return origin


def is_hidden(origin: str) -> bool:
    """Whether a file is the system's own business: a dot file, or what macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in origin.split("/"))


def matches(origin: str, patterns: Iterable[str]) -> bool:
    """Whether any shell pattern fits the name, in any case; * crosses folders."""
    return any(fnmatch.fnmatchcase(origin.lower(), pattern.lower()) for pattern in patterns)


def class_label(origin: str, labels: str) -> str | None:
    """The folder that the file lies in, when folders are classes: `train/cat/1.jpg` is a cat; None for one in none."""
    folders = origin.split("/")[:-1]
    return folders[-1] if labels == "folders" and folders else None


def content_path(folder: Path, id: str) -> Path:
    """Where in a source's folder the bytes of this id lie."""
    return folder / "files" / id[:2] / id


def keep_bytes(data: bytes, folder: Path) -> tuple[str, Path]:
    """Put bytes under the name of their content, `files/ab/abcd...`; returns (id, path).

    A file that is there already is compared, not trusted and not written again: after a power cut its bytes may be
    missing although its name is there.
    """
    digest = hashlib.sha256(data).hexdigest()
    path = content_path(folder, digest)
    if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data, sync=False)
    return digest, path


def sync_disk() -> None:
    """Let everything written so far reach the disk: one call for a hundred thousand files instead of one each."""
    os.sync()


def write_found(path: Path, files: Iterable[Found]) -> None:
    """Write down, last of all, what a source gave; the record being there means that all of it is."""
    lines = [json.dumps([file.origin, os.path.relpath(file.path, path.parent), *file[2:]]) for file in files]
    path.parent.mkdir(parents=True, exist_ok=True)
    sync_disk()
    write_file(path, "\n".join(lines).encode())


def read_found(path: Path) -> list[Found] | None:
    """What write_found wrote, None when there is no record or a file of it is gone; paths follow a moved folder."""
    if not path.is_file():
        return None
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    files = [
        Found(origin, path.parent / inside, id, size, label, reason, About(*about))
        for origin, inside, id, size, label, reason, about in rows
    ]
    return files if all(_is_whole(file) for file in files) else None


def _is_whole(file: Found) -> bool:
    return bool(file.reason) or (file.path.is_file() and file.path.stat().st_size == file.bytes)


def facts_digest(facts: object) -> str:
    """The beginning of a digest of JSON-able facts: enough to tell one version of a source from another."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
