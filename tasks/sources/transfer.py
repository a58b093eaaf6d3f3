"""Fetching large files over http(s): resumed where they broke, tried again with patience, checked before use."""

from __future__ import annotations

import email.utils
import functools
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple, TypeVar

import httpx

from tasks.errors import IntegrityError, PipelineError, Refused, SourceUnavailable
from tasks.sources.address import shown
from tasks.sources.expected import MOST_HEAD, Expected, check_file, page_instead, web_page_title
from tasks.sources.found import Progress
from tasks.sources.part import Part
from tasks.sources.polite import Bandwidth
from tasks.sources.together import Together
from tasks.store import explain_disk_full

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A status that may be another in a minute; every other refusal is final for its mirror.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# Enough bytes to tell a web page from anything else.
LEAST_HEAD = 1 << 10
# Files that come at a time.
AT_ONCE = 4
# Bytes of the disk that a file of unknown size leaves free.
SPARED = 1 << 30
PATIENT_ERRORS = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)


class Patience(NamedTuple):
    """How often a mirror is tried without a new byte from it, and how long is waited in between."""

    tries: int = 5
    first_seconds: float = 1.0  # doubled after each try in vain
    most_seconds: float = 60.0  # also the most that a server's Retry-After is obeyed
    timeout_seconds: float = 30.0  # to connect, and between two pieces
    window_seconds: float = 60.0  # in which at least so many bytes must come:
    least_bytes: int = 60_000
    bandwidth: Bandwidth = Bandwidth(None)  # shared by all that have this patience
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


PATIENCE = Patience()


class Download(NamedTuple):
    """One file that is to be brought here."""

    mirrors: Sequence[str]
    target: Path
    expected: Expected = Expected()


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
                reasons.append(f"{shown(mirror)}: {failure}")
                logger.warning("%s", reasons[-1])
    raise kind(
        f"{target.name} could not be had:\n  " + "\n  ".join(reasons) + "\n"
        "Try later, add another mirror, or fetch the file by hand and put its path into the list"
    )


def fetch_all(downloads: Sequence[Download], progress: Progress, patience: Patience = PATIENCE) -> list[Path]:
    """Several files at once, in their order; the bandwidth of `patience` is that of all of them together.

    Each goes on to its end whatever becomes of the others, so that a second call has less to bring; then the first
    failure is raised.
    """
    calls = [functools.partial(_fetch_one, item, patience) for item in downloads]
    return [coming.result() for coming in side_by_side(calls, progress)]


def _fetch_one(item: Download, patience: Patience, progress: Progress) -> Path:
    return fetch(item.mirrors, item.target, item.expected, progress, patience)


def side_by_side(calls: Sequence[Callable[[Progress], T]], progress: Progress) -> list[Future[T]]:
    """Transfers that are through, a few at a time, in their order; each is told what to tell its progress to.

    Their progress is one. A failure is in its future; Ctrl-C ends them all, and what arrived stays.
    """
    together = Together(len(calls), progress)
    with ThreadPoolExecutor(AT_ONCE, "download") as pool:
        coming = [pool.submit(call, together.of(number)) for number, call in enumerate(calls)]
        try:
            wait(coming)
        finally:
            together.stop(coming)
    return coming


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
            logger.info("%s: %s; again in %.0f s from byte %d", shown(part.url), _reason(error), wait, part.size)
            patience.sleep(wait)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MirrorError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _wait(error: Exception, in_vain: int, patience: Patience) -> float:
    said = error.seconds if isinstance(error, PassingError) else None
    return said if said is not None else patience.first_seconds * 2 ** (in_vain - 1)


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
        _append(pieces, part, total, progress, patience)


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
    most, free = part.expected.most_bytes, _free_bytes(part)
    if total is not None and most is not None and total > most:
        raise MirrorError(f"the server has a file of {total:,} bytes, {most:,} is the most that may come")
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


def _free_bytes(part: Part) -> int:
    return shutil.disk_usage(part.path.parent).free


def _append(pieces: Iterator[bytes], part: Part, total: int | None, progress: Progress, patience: Patience) -> None:
    limit = part.expected.bytes if part.expected.bytes is not None else total
    most = _most_bytes(part, limit)
    size = part.size
    flow = _Flow(patience)
    try:
        with part.path.open("ab") as out:
            for piece in pieces:
                out.write(piece)
                out.flush()  # so that what arrived survives whatever ends this process
                size += len(piece)
                progress(size, limit, "bytes")
                patience.bandwidth.take(len(piece))
                if size > most:
                    break
                flow.judge(len(piece))
            os.fsync(out.fileno())
    except OSError as error:
        raise explain_disk_full(error, part.path) from error
    if limit is not None and size < limit:
        raise PassingError(f"the connection ended at {size:,} of {limit:,} bytes")
    if limit is None and size > most:
        part.drop()  # an endless stream has no rest to ask for
        raise MirrorError(f"the server does not say how much it sends, and sent more than {most:,} bytes")


def _most_bytes(part: Part, limit: int | None) -> int:
    """Bytes after which no more are read: what was said, else what may come, else what the disk can do without."""
    if limit is not None:
        return limit
    return part.expected.most_bytes or max(0, part.size + _free_bytes(part) - SPARED)


class _Flow:
    """Whether bytes come fast enough to be waited for: a drip of them never times out."""

    def __init__(self, patience: Patience) -> None:
        self.patience, self.began, self.bytes = patience, patience.clock(), 0

    def judge(self, num_bytes: int) -> None:
        """PassingError when a window passed with too few bytes in it."""
        self.bytes += num_bytes
        seconds = self.patience.clock() - self.began
        if seconds < self.patience.window_seconds:
            return
        if self.bytes < self.patience.least_bytes:
            raise PassingError(f"{self.bytes:,} bytes in {seconds:.0f} s are too few")
        self.began, self.bytes = self.patience.clock(), 0


def _retry_after(response: httpx.Response, patience: Patience) -> float | None:
    """Seconds that the server asks to wait: a number, or a date."""
    said = response.headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said)
    date = email.utils.parsedate_tz(said) if said else None
    return max(0.0, email.utils.mktime_tz(date) - patience.clock()) if date else None
