"""Buckets at work: each is done once, in a process of its own, and there whole or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from manifests.ledger import write_ledger
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
    function of a module: it runs in other processes, at low priority and without a GPU.
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
    workers = min(workers or at.job.workers, len(missing)) or 1
    with worker_pool(workers) as pool:
        futures = {
            pool.submit(_one_bucket, work, at.job.root, places[name], portions[name].arguments): name
            for name in missing
        }
        try:
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                at.progress(len(done), len(portions), "buckets")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return dict(sorted(done.items()))


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


def _one_bucket(work: Work, root: Path, folder: str, arguments: tuple[Any, ...]) -> Bucket:
    began = time.monotonic()
    final = root / folder
    shutil.rmtree(final, ignore_errors=True)  # what a killed run left: the seal was not there
    final.mkdir(parents=True)
    work(final, *arguments)
    names = [path.name for path in final.iterdir()]
    return seal_bucket(root, folder, files_in(final, names), time.monotonic() - began)
