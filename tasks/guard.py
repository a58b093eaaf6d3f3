"""A picture on which a decoder crashes or hangs costs itself alone: it is found, tried by itself, and remembered.

A worker marks the picture that it opens in a small file of its own. When a worker dies, those that were open are tried
by themselves in a process with limits; which of them kills that one, too, is written into a list under the data root
and never opened again by the same decoders.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from imaging.decode import decoder_version
from tasks.errors import IntegrityError
from tasks.pool import settle_in

HANG_SECONDS = 120.0  # at one picture; a 64-megapixel one takes ten
POLL_SECONDS = 0.5
LIST = "quarantine.jsonl"
OUT_OF_MEMORY = 86  # the exit code of a worker whose picture asked for memory that there is not
# What a trial may take: the largest picture needs less than 30 bytes a pixel, its faces and measures some more.
TRIAL_BYTES, TRIAL_BYTES_PER_PIXEL = 1 << 30, 48
MARK_LENGTH = 96


class Mark(NamedTuple):
    """What a worker is at: its bucket, and the picture that it has open ("" between pictures)."""

    pid: int
    bucket: str
    picture: str


class _Worker:
    """What this process is at, where it says so, and which pictures it leaves alone; set in workers only."""

    file: int | None = None
    bucket = ""
    notes: Mapping[str, str] = {}
    only = ""  # a trial opens this picture and no other


_here = _Worker()


def begin_bucket(name: str, marks: Path, notes: Mapping[str, str]) -> None:
    """This process works on a bucket, and says so among the marks; the pictures in notes are not to be opened."""
    if _here.file is None:
        _here.file = os.open(marks / str(os.getpid()), os.O_WRONLY | os.O_CREAT)
    _here.bucket, _here.notes = name, notes
    _mark("")


def note_against(picture: str) -> str:
    """Why a picture is not to be opened; "" when it may be."""
    if _here.only:
        return "" if picture == _here.only else "another one is tried"
    return _here.notes.get(picture, "")


def leave_out(ledger: pd.DataFrame) -> pd.DataFrame:
    """The ledger, with the kept faces of pictures that are not to be opened as undecodable."""
    notes = ledger["picture"].map(note_against)
    blamed = (notes != "") & (ledger["reason"] == "") & (ledger["kind"] == "face")
    if not blamed.any():
        return ledger
    reasons = {"reason": ledger["reason"].mask(blamed, "undecodable"), "notes": ledger["notes"].mask(blamed, notes)}
    return ledger.assign(**reasons)


@contextmanager
def busy_with(picture: str) -> Iterator[None]:
    """Around the work of foreign code on the bytes of one picture."""
    _mark(picture)
    try:
        yield
    except MemoryError:
        if _here.file is None:
            raise
        os._exit(OUT_OF_MEMORY)  # for the bucket it is as if the kernel had ended the process
    finally:
        _mark("")


def _mark(picture: str) -> None:
    if _here.file is not None:
        os.pwrite(_here.file, f"{_here.bucket} {picture}".ljust(MARK_LENGTH).encode(), 0)


class Marks:
    """The marks of a pool's workers as their parent sees them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._since: dict[int, tuple[Mark, float]] = {}

    def read(self) -> list[Mark]:
        """Who is at what, by bucket."""
        found = []
        for path in self.folder.iterdir():
            bucket, _, picture = path.read_text(encoding="utf-8").rstrip().partition(" ")
            if bucket:
                found.append(Mark(int(path.name), bucket, picture))
        return sorted(found, key=lambda mark: (mark.bucket, mark.picture))

    def kill_hung(self) -> bool:
        """End each worker that has had the same picture open for HANG_SECONDS; whether there was one."""
        now, killed = time.monotonic(), False
        for mark in self.read():
            known, since = self._since.get(mark.pid, (None, now))
            if known != mark:
                self._since[mark.pid] = mark, now
            elif mark.picture and now - since > HANG_SECONDS:
                with suppress(ProcessLookupError):  # it may have ended by itself
                    os.kill(mark.pid, signal.SIGKILL)
                    killed = True
        return killed

    def clear(self) -> None:
        """Forget workers that are gone."""
        self._since.clear()
        for path in self.folder.iterdir():
            path.unlink()


class Trial(NamedTuple):
    """A picture to be tried alone: the bucket's own work, in which every other picture is left out."""

    work: Callable[..., None]
    arguments: tuple[Any, ...]
    mark: Mark
    max_pixels: int


def note_of(trial: Trial) -> str:
    """What is to be said against the picture: that the decoder crashes or does not end; "" when it does neither."""
    context, hung = multiprocessing.get_context("forkserver"), False
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        places = (Path(folder, "marks"), Path(folder, "out"))
        for place in places:
            place.mkdir()
        process, marks = context.Process(target=_try_alone, args=(trial, *places)), Marks(places[0])
        process.start()
        while process.is_alive():
            process.join(POLL_SECONDS)
            hung = marks.kill_hung() or hung
    return _note(process.exitcode or 0, hung)


def _note(exit_code: int, hung: bool) -> str:
    if hung:
        return f"the decoder did not end within {HANG_SECONDS:.0f} s"
    if exit_code == OUT_OF_MEMORY:
        return "the decoder ran out of memory"
    return "the decoder crashed" if exit_code < 0 else ""


def _try_alone(trial: Trial, marks: Path, out: Path) -> None:
    settle_in()
    _limit_memory(TRIAL_BYTES + TRIAL_BYTES_PER_PIXEL * trial.max_pixels)
    begin_bucket(trial.mark.bucket, marks, {})
    _here.only = trial.mark.picture
    trial.work(out, *trial.arguments)


def _limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has, if it may take that many at all."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def read_quarantine(root: Path) -> dict[str, str]:
    """Pictures that these versions of the decoders are not to open again, with the note against each."""
    path, version = root / LIST, decoder_version()
    if not path.is_file():
        return {}
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {entry["picture"]: entry["note"] for entry in entries if entry["decoder"] == version}
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} is no list of pictures ({error}): delete it, and they are tried once more"
        ) from error


def quarantined(root: Path, pictures: Iterable[str]) -> dict[str, dict[str, str]]:
    """What a record says of those of these pictures that are in quarantine: nothing, where none is."""
    notes = read_quarantine(root)
    found = {picture: notes[picture] for picture in sorted(notes.keys() & set(pictures))} if notes else {}
    return {"quarantined": found} if found else {}


def write_quarantine(root: Path, picture: str, note: str) -> None:
    """Add a picture to the list; one line in one write, so that two runs may do it at once."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"picture": picture, "note": note, "decoder": decoder_version(), "found": now})
    with (root / LIST).open("ab", buffering=0) as out:
        out.write(line.encode() + b"\n")
        os.fsync(out.fileno())
