"""Fetching one large file over http(s): resumed where it broke, tried again with patience, checked before use."""

from __future__ import annotations

import email.utils
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from tasks.errors import IntegrityError, PipelineError, Refused, SourceUnavailable
from tasks.sources.expected import MOST_HEAD, Expected, check_file, page_instead, web_page_title
from tasks.sources.found import Progress
from tasks.store import explain_disk_full, write_file

logger = logging.getLogger(__name__)

# A status that may be another in a minute; every other refusal is final for its mirror.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# Enough bytes to tell a web page from anything else.
LEAST_HEAD = 1 << 10
PATIENT_ERRORS = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)


class Patience(NamedTuple):
    """How often a mirror is tried without a new byte from it, and how long is waited in between."""

    tries: int = 5
    first_seconds: float = 1.0  # doubled after each try in vain
    most_seconds: float = 60.0  # also the most that a server's Retry-After is obeyed
    timeout_seconds: float = 30.0  # to connect, and between two pieces
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


PATIENCE = Patience()


class MirrorError(Exception):
    """One mirror did not give the file; the next one may."""


class PassingError(Exception):
    """The same mirror may give the rest, after so many seconds if it said how many."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


def fetch(
    mirrors: Sequence[str], target: Path, expected: Expected, progress: Progress, patience: Patience = PATIENCE
) -> Path:
    """The file from the first mirror (http(s) URL or local path) that gives the right bytes.

    A URL's file comes to lie at `target`, a local one stays where it is. What arrived of a broken transfer is kept and
    resumed, also by a later call; wrong bytes are kept aside as `NAME.bad`. IntegrityError when a mirror gave wrong
    bytes and none the right ones, SourceUnavailable when none gave any, OSError(ENOSPC) when the disk is full.
    """
    reasons: list[str] = []
    kind: type[PipelineError] = SourceUnavailable
    with _client(patience) as client:
        for mirror in mirrors:
            try:
                if is_url(mirror):
                    return _fetch_from(client, Part(mirror, target, expected), progress, patience)
                return _find_local(Path(mirror).expanduser(), expected)
            except (MirrorError, IntegrityError) as failure:
                kind = kind if isinstance(failure, MirrorError) else IntegrityError
                reasons.append(f"{mirror}: {failure}")
                logger.warning("%s", reasons[-1])
    raise kind(
        f"{target.name} could not be had:\n  " + "\n  ".join(reasons) + "\n"
        "Try later, add another mirror, or fetch the file by hand and put its path into the list"
    )


def is_url(mirror: str) -> bool:
    """Whether a mirror is behind http(s), not a local path."""
    return re.match("https?://", mirror, re.IGNORECASE) is not None


def _fetch_from(client: httpx.Client, part: Part, progress: Progress, patience: Patience) -> Path:
    part.target.parent.mkdir(parents=True, exist_ok=True)
    _complete(client, part, progress, patience)
    try:
        check_file(part.path, part.expected, part.target.name)
    except IntegrityError as failure:
        raise IntegrityError(f"{failure}; kept aside as {part.put_aside()}") from failure
    return part.settle()


def _find_local(path: Path, expected: Expected) -> Path:
    if not path.is_file():
        raise MirrorError("no such file" if not path.exists() else "not a file")
    with path.open("rb") as data:
        if (title := web_page_title(data.read(MOST_HEAD))) is not None:
            raise MirrorError(f"the file is {page_instead(title)}")
    check_file(path, expected, path.name)
    return path


def _client(patience: Patience) -> httpx.Client:
    # identity: Range and checksums are about the stored bytes, not about a compressed rendering of them.
    headers = {"Accept-Encoding": "identity", "User-Agent": "stylegan-flows"}
    return httpx.Client(follow_redirects=True, timeout=patience.timeout_seconds, headers=headers)


def _complete(client: httpx.Client, part: Part, progress: Progress, patience: Patience) -> None:
    """Bring the part to its end, whatever number of connections that takes."""
    in_vain = 0
    while True:
        before = part.size
        try:
            _receive(client, part, progress, patience)
            return
        except (*PATIENT_ERRORS, PassingError) as error:
            in_vain = 1 if part.size > before else in_vain + 1
            if in_vain >= patience.tries:
                raise MirrorError(f"{_reason(error)} ({in_vain} tries, {part.size:,} bytes so far)") from error
            wait = min(patience.most_seconds, _wait(error, in_vain, patience))
            logger.info("%s: %s; again in %.0f s from byte %d", part.url, _reason(error), wait, part.size)
            patience.sleep(wait)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MirrorError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _wait(error: Exception, in_vain: int, patience: Patience) -> float:
    said = error.seconds if isinstance(error, PassingError) else None
    return said if said is not None else patience.first_seconds * 2 ** (in_vain - 1)


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


def _receive(client: httpx.Client, part: Part, progress: Progress, patience: Patience) -> None:
    """One connection: ask for what is missing and append it. Returns when the file is whole."""
    if part.expected.bytes is not None and part.size == part.expected.bytes:
        return
    asked = part.request_headers()
    with client.stream("GET", part.url, headers=asked) as response:
        if response.status_code == 416 and asked:
            _judge_unsatisfied(response, part)
            return
        _judge_status(response, patience)
        pieces = response.iter_raw()  # as they come: a chunk size would hold back, and lose, the last ones before a cut
        if response.status_code == 206 and asked:
            total = _resumed_total(response, part)
        else:
            pieces, total = _begun(response, pieces, part)
        _append(pieces, part, total, progress)


def _judge_status(response: httpx.Response, patience: Patience) -> None:
    if response.status_code in PASSING:
        raise PassingError(_status(response), _retry_after(response, patience))
    if response.status_code not in (200, 206):
        title = web_page_title(_head(response.iter_raw()))
        raise MirrorError(_status(response) + (f": {title!r}" if title else ""))


def _status(response: httpx.Response) -> str:
    return f"HTTP {response.status_code} {response.reason_phrase}"


def _judge_unsatisfied(response: httpx.Response, part: Part) -> None:
    """416: nothing lies beyond what is here. Either it is all, or it never was this file."""
    if _total_of(response) != part.size:
        part.drop()
        raise PassingError("the server has less than has arrived: begun anew", 0.0)


def _total_of(response: httpx.Response) -> int | None:
    total = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
    return int(total[1]) if total else None


def _resumed_total(response: httpx.Response, part: Part) -> int | None:
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not start or int(start[1]) != part.size:
        found = response.headers.get("Content-Range", "no Content-Range")
        part.drop()
        raise PassingError(f"asked for the bytes from {part.size}, the server sends {found!r}: begun anew", 0.0)
    return _total_of(response)


def _begun(response: httpx.Response, pieces: Iterator[bytes], part: Part) -> tuple[Iterator[bytes], int | None]:
    """The whole file from its first byte, unless it is a web page or will not fit: then what was here stays."""
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else part.expected.bytes
    head = _head(pieces)
    if (title := web_page_title(head)) is not None:
        raise MirrorError(f"the server sent {page_instead(title)}")
    if part.expected.bytes is not None and total != part.expected.bytes:
        raise IntegrityError(f"the server has a file of {total:,} bytes, {part.expected.bytes:,} were expected")
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total > free:
        raise Refused(f"{part.target.name} needs {total:,} bytes in {part.path.parent}, {free:,} are free: make room")
    part.begin(response)
    return _chain(head, pieces), total


def _head(pieces: Iterator[bytes]) -> bytes:
    """Enough of the beginning to tell a web page, and its title if it is one."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= (MOST_HEAD if web_page_title(head) is not None else LEAST_HEAD):
            break
    return head


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _append(pieces: Iterator[bytes], part: Part, total: int | None, progress: Progress) -> None:
    limit = part.expected.bytes if part.expected.bytes is not None else total
    size = part.size
    try:
        with part.path.open("ab") as out:
            for piece in pieces:
                out.write(piece)
                out.flush()  # so that what arrived survives whatever ends this process
                size += len(piece)
                progress(size, limit, "bytes")
                if limit is not None and size > limit:
                    break
            os.fsync(out.fileno())
    except OSError as error:
        raise explain_disk_full(error, part.path) from error
    if limit is not None and size < limit:
        raise PassingError(f"the connection ended at {size:,} of {limit:,} bytes")


def _retry_after(response: httpx.Response, patience: Patience) -> float | None:
    """Seconds that the server asks to wait: a number, or a date."""
    said = response.headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said)
    date = email.utils.parsedate_tz(said) if said else None
    return max(0.0, email.utils.mktime_tz(date) - patience.clock()) if date else None
