"""What has arrived of a file so far, and which version of it that is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx

from tasks.sources.expected import Expected
from tasks.store import write_file


class Part:
    """What has arrived of a file from one mirror, and how the mirror names that version of it."""

    def __init__(self, url: str, target: Path, expected: Expected) -> None:
        # One part for each mirror, so that no file is put together from two.
        key = hashlib.sha256(url.encode()).hexdigest()[:8]
        self.url, self.target, self.expected = url, target, expected
        self.path = target.with_name(f"{target.name}.{key}.part")
        self.note = self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def validator(self) -> str:
        """The ETag or date of the version that the bytes belong to; empty when the server gave none."""
        return str(json.loads(self.note.read_bytes())) if self.note.is_file() else ""

    def request_headers(self) -> dict[str, str]:
        """Headers that ask for the rest, or none: bytes of an unknown version go on only when a digest will judge."""
        if not self.size or not (self.validator or self.expected.has_digest):
            return {}
        wanted = {"Range": f"bytes={self.size}-"}
        return {**wanted, "If-Range": self.validator} if self.validator else wanted

    def begin(self, response: httpx.Response) -> None:
        """Start from nothing and remember which version this is, in this order: no bytes beside a foreign note."""
        self.path.write_bytes(b"")
        etag = response.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else ""
        write_file(self.note, json.dumps(strong or response.headers.get("Last-Modified", "")).encode())

    def drop(self) -> None:
        """Forget what arrived."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def settle(self) -> Path:
        """Give the file its name: it is whole and right."""
        self.note.unlink(missing_ok=True)
        return self.path.replace(self.target)

    def put_aside(self) -> Path:
        """Keep wrong bytes for a look at them, where no later call takes them for a beginning."""
        self.note.unlink(missing_ok=True)
        return self.path.replace(self.target.with_name(self.target.name + ".bad"))
