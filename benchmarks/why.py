"""How long `stylegan why` takes to answer out of a ledger of millions of rows that were never read.

    python -m benchmarks.why [--rows 5000000] [--buckets 256] [--rounds 20] [--folder DIR]

Writes a ledger of so many rows, four of ten of them pictures and the others faces, as a stage leaves it, and asks for
pictures by id, by path, by file name and by a part of a name: medians, with every file's pages in the system's cache,
and each Parquet file opened anew. Building the index of names happens once for a finished stage and is timed apart;
so are the imports of a new process and reading the whole ledger, which is what an answer cost before.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.ledger import ROW_GROUP, SCHEMA, read_ledger
from manifests.schema import Manifest
from tasks.job import Job
from tasks.store import Bucket, Record, files_in
from tasks.why import stories_of


def write_bucket(folder: Path, number: int, num_buckets: int, num_pictures: int) -> None:
    """One bucket's ledger, sorted by id: pictures whose leading bits are its number, and their faces."""
    random = np.random.default_rng(number)
    heads = np.sort(random.integers(0, 2**32 // num_buckets, num_pictures)) + number * (2**32 // num_buckets)
    tails = random.bytes(28 * num_pictures).hex()
    pictures = [f"{head:08x}{tails[56 * i : 56 * i + 56]}" for i, head in enumerate(heads.tolist())]
    columns: dict[str, list[object]] = {name: [] for name in ("id", "picture", "kind", "origin")}
    for i, picture in enumerate(pictures):
        origin = f"images/{i % 1000:04d}/{number:03d}{i:07d}.jpg"
        for suffix in ["", *(f"_{face:03d}" for face in range(1 + i % 2))]:
            for name, value in (("id", picture + suffix), ("picture", picture), ("origin", origin)):
                columns[name].append(value)
            columns["kind"].append("face" if suffix else "picture")
    count = len(columns["id"])
    hashes = [f"{value:016x}" for value in random.integers(0, 2**63, count).tolist()]
    texts = {"source": ["photos"] * count, "reason": [""] * count, "hash": hashes, "shard": ["train-00.tar"] * count}
    numbers = {name: random.uniform(0, 1, count) for name in ("brightness", "contrast", "sharpness", "score")}
    given = {**columns, **texts, **numbers, "offset": random.integers(0, 2**40, count)}
    arrays = [pa.array(given[f.name], f.type) if f.name in given else pa.nulls(count, f.type) for f in SCHEMA]
    folder.mkdir(parents=True)
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    pq.write_table(table, folder / "ledger.parquet", compression="zstd", row_group_size=ROW_GROUP)


def write_stage(root: Path, num_rows: int, num_buckets: int) -> Job:
    """A job whose last stage left such a ledger."""
    pictures = num_rows * 2 // 5 // num_buckets
    manifest = Manifest.model_validate(
        {"name": "b", "buckets": num_buckets, "sources": [{"kind": "toon"}], "train": {}}
    )
    buckets = {}
    for number in range(num_buckets):
        folder = f"dedup/key/{number:02x}"
        write_bucket(root / folder, number, num_buckets, pictures)
        buckets[f"{number:02x}"] = Bucket(folder=folder, files=files_in(root / folder, ["ledger.parquet"]))
    job = Job(manifest, root / "b.yaml", root)
    job.steps.append(Record(stage="dedup", version=1, config={}, inputs={}, key="key", buckets=buckets))
    return job


def milliseconds(work: Callable[[], object], rounds: int) -> list[float]:
    """How long it takes, each time."""
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        took.append((time.perf_counter() - begin) * 1000)
    return took


def measure(job: Job, rounds: int) -> None:
    """Print what each kind of question takes."""
    buckets = list(job.steps[0].buckets.values())
    files = [job.root / bucket.folder / "ledger.parquet" for bucket in buckets]
    num_rows = sum(pq.read_metadata(path).num_rows for path in files)
    num_bytes = sum(path.stat().st_size for path in files)
    print(f"{num_rows:,} rows in {len(files)} buckets, {num_bytes / 1e9:.2f} GB of Parquet")
    some = pq.read_table(files[len(files) // 2], columns=["id", "origin"])
    id, origin = some["id"][some.num_rows // 2].as_py(), some["origin"][some.num_rows // 2].as_py()
    first = milliseconds(lambda: stories_of(job, origin), 1)[0]
    print(f"{'first question by name, builds the index':44}{first:10.0f} ms, once")
    questions = {"id": id, "beginning of an id": id[:12], "path": origin, "file name": origin.rpartition("/")[2]}
    for name, what in questions.items():
        took = milliseconds(lambda what=what: stories_of(job, what), rounds)  # type: ignore[misc]
        print(f"{name:44}{statistics.median(took):10.1f} ms  ({min(took):.1f} - {max(took):.1f})")
    part = milliseconds(lambda: stories_of(job, origin[-10:-4] + ".jp"), 1)[0]
    print(f"{'part of a name, looks at all':44}{part:10.0f} ms")
    whole = milliseconds(lambda: read_ledger(*files[: max(1, len(files) // 16)]), 1)[0]
    print(f"{'reading a sixteenth of the ledger':44}{whole:10.0f} ms")
    start = milliseconds(lambda: subprocess.run([sys.executable, "-c", "import tasks.why"], check=True), 3)
    print(f"{'a new process that imports tasks.why':44}{statistics.median(start):10.0f} ms")


def main() -> None:
    """Write the ledger, ask it, and delete it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--buckets", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where to write, default: the system's place for such things")
    given = parser.parse_args()
    print(f"{platform.machine()}, pyarrow {pa.__version__}")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        measure(write_stage(Path(name), given.rows, given.buckets), given.rounds)


if __name__ == "__main__":
    main()
