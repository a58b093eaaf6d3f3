"""What is known of a file before it comes, and whether what came is that file."""

from __future__ import annotations

import hashlib
import html
import re
from pathlib import Path
from typing import NamedTuple

from tasks.errors import IntegrityError

# Bytes in which a web page has said its title.
MOST_HEAD = 1 << 16


class Expected(NamedTuple):
    """What is known about a file beforehand; None = nothing."""

    sha256: str | None = None
    md5: str | None = None
    bytes: int | None = None
    most_bytes: int | None = None  # whatever is larger is not this file, or not for us

    @property
    def has_digest(self) -> bool:
        """Whether wrong bytes would be noticed."""
        return bool(self.sha256 or self.md5)


def check_file(path: Path, expected: Expected, name: str) -> None:
    """IntegrityError, naming the file, what was found and what was expected, unless size and digests agree."""
    size = path.stat().st_size
    if expected.bytes is not None and size != expected.bytes:
        raise IntegrityError(f"{name} has {size:,} bytes, {expected.bytes:,} were expected")
    for kind, digest in (("sha256", expected.sha256), ("md5", expected.md5)):
        if digest and (found := _digest(path, kind)) != digest:
            raise IntegrityError(f"{name} has {kind} {found}, {digest} was expected")


def web_page_title(head: bytes) -> str | None:
    """The title of the web page that these first bytes begin, "" when it has none, None when they begin no page."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:MOST_HEAD]
    if not re.match(rb"<!doctype html|<html|<head", text, re.IGNORECASE):
        return None
    title = re.search(rb"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
    words = html.unescape(title[1].decode("utf-8", "replace")) if title else ""
    return " ".join(words.split())[:200]


def page_instead(title: str) -> str:
    """What to say of a web page in a file's place."""
    return f"a web page titled {title!r} instead of the file: quota exceeded, or a log-in is needed?"


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
