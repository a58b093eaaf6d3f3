"""Buckets at work: each is done once, in a process of its own, and there whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from manifests.ledger import write_ledger
from tasks.errors import PipelineError
from tasks.guard import (
    POLL_SECONDS,
    Mark,
    Marks,
    Trial,
    begin_bucket,
    note_of,
    read_quarantine,
    write_quarantine,
)
from tasks.pool import worker_pool
from tasks.stage import Place
from tasks.store import Bucket, File, files_in, key_of, lost_in, write_text

Work = Callable[..., None]  # work(folder, *arguments) writes its files into the folder


class Portion(NamedTuple):
    """One bucket's work: what goes in (by digest) and the arguments that the function gets after the folder."""

    inputs: dict[str, str]
    arguments: tuple[Any, ...]


def bucket_of(picture_id: str, num_buckets: int) -> str:
    """The bucket of a picture: the leading bits of its id, two or more hex digits."""
    bits = num_buckets.bit_length() - 1
    return f"{int(picture_id[:8], 16) >> (32 - bits):02x}" if bits else "00"


def each_bucket(
    at: Place, work: Work, portions: Mapping[str, Portion], workers: int | None = None
) -> dict[str, Bucket]:
    """Run work(folder, *arguments) for every bucket and return where each one's files lie.

    A bucket that was done before with the same inputs, in whatever run, is taken as it is. `work` must be a
    function of a module: it runs in other processes, at low priority and without a GPU. A picture on which such a
    process dies or hangs is written into the quarantine, and its bucket done again without it (tasks.guard).
    """
    done: dict[str, Bucket] = {}
    places = {
        name: f"{at.stage}/buckets/{key_of(at.stage, at.version, at.config, portion.inputs)}"
        for name, portion in portions.items()
    }
    missing = []
    for name, folder in places.items():
        if bucket := _done_before(at.job.root, folder):
            done[name] = bucket.model_copy(update={"seconds": 0.0})
        else:
            missing.append(name)
    with tempfile.TemporaryDirectory(prefix="marks-") as marks:
        guarded = _Guarded(at, work, portions, places, Marks(Path(marks)), read_quarantine(at.job.root))
        guarded.finish(done, missing, workers or at.job.workers)
    return dict(sorted(done.items()))


class _Batch(NamedTuple):
    """Buckets for a pool; again = a bucket that lost its worker once, by no fault of a picture."""

    names: list[str]
    workers: int
    again: bool = False


@dataclass(frozen=True)
class _Guarded:
    """Buckets at work in processes that may die: what no picture is to blame for is tried once more, alone."""

    at: Place
    work: Work
    portions: Mapping[str, Portion]
    places: Mapping[str, str]
    marks: Marks
    notes: dict[str, str]

    def finish(self, done: dict[str, Bucket], names: list[str], workers: int) -> None:
        """Bring all these buckets into done."""
        batches = [_Batch(names, workers)]
        while batches:
            batch = batches.pop()
            whole = self._run(batch, done)
            left = [name for name in batch.names if name not in done]
            if whole or not left:
                continue
            marks = [mark for mark in self.marks.read() if mark.bucket in left]
            if self._blame(marks):
                batches.append(batch._replace(names=left))
            elif batch.again:
                raise PipelineError(
                    f"{self.at.stage}: a worker died twice at bucket {left[0]}, and no picture in it does that alone: "
                    "see whether the system ended it for want of memory (dmesg), and run again with fewer workers"
                )
            else:
                shaken = list(dict.fromkeys(mark.bucket for mark in marks)) or left
                rest = [name for name in left if name not in shaken]
                batches += [_Batch(rest, batch.workers)] if rest else []
                batches += [_Batch([name], 1, again=True) for name in reversed(shaken)]

    def _run(self, batch: _Batch, done: dict[str, Bucket]) -> bool:
        """Work at a batch; False when a worker died, and with it the others of the pool."""
        self.marks.clear()
        futures: dict[Future[Bucket], str] = {}
        with worker_pool(min(batch.workers, len(batch.names)) or 1) as pool:
            try:
                for name in batch.names:
                    asked = (self.work, self.at.job.root, self.places[name], self.portions[name].arguments)
                    futures[pool.submit(_one_bucket, name, self.marks.folder, self.notes, *asked)] = name
                self._collect(futures, done)
            except BrokenProcessPool:
                whole = False
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            else:
                whole = True
        done.update({name: future.result() for future, name in futures.items() if not future.exception()})
        return whole

    def _collect(self, futures: dict[Future[Bucket], str], done: dict[str, Bucket]) -> None:
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, POLL_SECONDS, FIRST_EXCEPTION)
            done.update({futures[future]: future.result() for future in finished})
            self.at.progress(len(done), len(self.portions), "buckets")
            self.marks.kill_hung()

    def _blame(self, marks: list[Mark]) -> bool:
        """Try each picture that was open when a worker died; whether one of them was the cause."""
        guilty = 0
        for mark in (mark for mark in marks if mark.picture):
            arguments = self.portions[mark.bucket].arguments
            note = note_of(Trial(self.work, arguments, mark, self.at.job.manifest.crop.max_pixels))
            if note:
                guilty += 1
                self.notes[mark.picture] = note
                write_quarantine(self.at.job.root, mark.picture, note)
                self.at.progress.say(f"{note} at picture {mark.picture}: it is left out")
        return guilty > 0


def write_buckets(at: Place, ledger: pd.DataFrame) -> dict[str, Bucket]:
    """The ledger in slices, one a bucket; a slice that did not change keeps its digest, and its next stage its work."""
    buckets = {}
    num_buckets = at.job.manifest.buckets
    for name, rows in ledger.groupby(ledger["picture"].map(lambda i: bucket_of(i, num_buckets))):
        folder = f"{at.stage}/{at.key}/{name}"
        (at.job.root / folder).mkdir(exist_ok=True)
        write_ledger(rows, at.job.root / folder / "ledger.parquet")
        files = files_in(at.job.root / folder, ["ledger.parquet"])
        buckets[str(name)] = seal_bucket(at.job.root, folder, files, seconds=0.0)
    return buckets


def seal_bucket(root: Path, folder: str, files: dict[str, File], seconds: float) -> Bucket:
    """Write what a bucket holds beside its files."""
    bucket = Bucket(folder=folder, files=files, seconds=round(seconds, 2))
    write_text(root / folder / "bucket.json", bucket.model_dump_json(indent=1) + "\n")
    return bucket


def _done_before(root: Path, folder: str) -> Bucket | None:
    path = root / folder / "bucket.json"
    if not path.is_file():
        return None
    bucket = Bucket.model_validate_json(path.read_text(encoding="utf-8"))
    return None if lost_in(root / folder, bucket.files) else bucket


def _one_bucket(
    name: str, marks: Path, notes: dict[str, str], work: Work, root: Path, folder: str, arguments: tuple[Any, ...]
) -> Bucket:
    began = time.monotonic()
    begin_bucket(name, marks, notes)
    final = root / folder
    shutil.rmtree(final, ignore_errors=True)  # what a killed run left: the seal was not there
    final.mkdir(parents=True)
    work(final, *arguments)
    names = [path.name for path in final.iterdir()]
    return seal_bucket(root, folder, files_in(final, names), time.monotonic() - began)
