"""Faces a second that go into shards, ours and webdataset's writer in the same run, and what a shard adds in bytes.

    python -m benchmarks.shards [--size 256] [--faces 4096] [--rounds 5] [--pictures FOLDER]

Both write the same encoded faces into tars in the system's cache. `ours` gives the place of every face for the index,
which webdataset's writer does not; `stage` is the whole work of the shard stage on a bucket: ledger read, bytes copied
out of the shard before, index and ledger written, with and without a JSON member a face.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import webdataset

from benchmarks.loader import pictures_of
from imaging.encode import Codec, encode
from manifests.ledger import ledger_of, write_ledger
from tasks.shard import copy_bucket
from tasks.shards import open_shard
from tasks.upscale import SHARD

Files = list[tuple[str, bytes]]  # key, encoded face
ABOUT = {"label": "cat", "licence": "CC-BY-4.0", "origin": "images/000001.jpg", "source": "photos"}
FACTS = {"score": 12, "created_at": "2020-01-01", "tags": "1girl smile solo long_hair looking_at_viewer"}


def write_ours(folder: Path, files: Files) -> None:
    """All of them by our writer."""
    with open_shard(folder / "ours.tar") as shard:
        places = [shard.add(f"{key}.jpg", data) for key, data in files]
    assert len(places) == len(files)


def write_webdatasets(folder: Path, files: Files) -> None:
    """All of them by webdataset's."""
    with webdataset.TarWriter(str(folder / "peer.tar")) as shard:
        for key, data in files:
            shard.write({"__key__": key, "jpg": data})


def a_bucket(folder: Path, files: Files) -> None:
    """What the stage before leaves: a shard and a ledger of its faces."""
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    with open_shard(folder / SHARD) as shard:
        for key, data in files:
            span = shard.add(f"{key}.jpg", data)
            about = {"id": key, "kind": "face", "picture": key[:64], "reason": "", "shard": SHARD, **span._asdict()}
            rows.append({**about, **ABOUT, "facts": json.dumps(FACTS)})
    write_ledger(ledger_of(rows), folder / "ledger.parquet")


def do_stage(folder: Path, before: Path, keys: list[str], with_about: bool) -> None:
    """The shard stage on that bucket."""
    (out := folder / "out").mkdir(exist_ok=True)
    copy_bucket(out, "00", before, before, pd.Series("train", index=keys), with_about)


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(files: Files, rounds: int) -> None:
    """Print the rates, medians over rounds in which every way has its turn."""
    with tempfile.TemporaryDirectory() as name:
        folder, keys = Path(name), [key for key, _ in files]
        a_bucket(folder / "before", files)
        ways: dict[str, Callable[[], None]] = {
            "webdataset's writer": lambda: write_webdatasets(folder, files),
            "ours": lambda: write_ours(folder, files),
            "stage": lambda: do_stage(folder, folder / "before", keys, False),
            "stage, with JSON": lambda: do_stage(folder, folder / "before", keys, True),
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, work in ways.items():
                took[way].append(seconds(work))
    peer = len(files) / statistics.median(took["webdataset's writer"])
    for way, found in took.items():
        rate = len(files) / statistics.median(found)
        print(f"{way:20} {rate:10.0f} faces/s   {rate / peer:6.1f} x webdataset's writer")


def overhead(size: int, codec: Codec, pictures: Path | None, count: int = 64) -> str:
    """How much larger a shard is than the encoded faces in it: alone, with a short JSON, with facts."""
    files = [encode(picture, codec) for picture in pictures_of(pictures, count, size)]
    ratios = []
    for about in (None, ABOUT, {**ABOUT, "facts": FACTS}):
        ratios.append(shard_bytes(files, about) / sum(map(len, files)))
    plain, short, long = ratios
    return f"{size:5} px {codec.format:5} {sum(map(len, files)) / count:9.0f} {plain:9.3f} {short:9.3f} {long:9.3f}"


def shard_bytes(files: list[bytes], about: dict[str, Any] | None) -> int:
    """Bytes of a shard of these files, with this JSON beside each."""
    with tempfile.TemporaryDirectory() as name:
        with open_shard(path := Path(name) / "s.tar") as shard:
            for number, data in enumerate(files):
                shard.add(f"{number:064x}_000.jpg", data)
                if about is not None:
                    shard.add(f"{number:064x}_000.json", json.dumps(about, separators=(",", ":")).encode())
        return path.stat().st_size


def main() -> None:
    """Print the rates and the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="px of the faces that are written")
    parser.add_argument("--faces", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=Path, help="a folder of pictures in the place of drawn ones")
    given = parser.parse_args()
    some = [encode(picture, Codec(format="jpg")) for picture in pictures_of(given.pictures, 256, given.size)]
    files = [(f"{number:064x}_000", some[number % len(some)]) for number in range(given.faces)]
    num_bytes = sum(len(data) for _, data in files) / len(files)
    print(f"{platform.machine()}, one process; {given.faces} JPEGs of {given.size} px, {num_bytes / 1000:.1f} kB each")
    measure(files, given.rounds)
    print(f"\n{'':8} {'':5} {'bytes':>9} {'shard':>9} {'+ JSON':>9} {'+ facts':>9}   bytes a face; shard over encoded")
    for size in (64, 128, 256, 512):
        for codec in (Codec(format="jpg"), Codec(format="png"), Codec(format="webp")):
            print(overhead(size, codec, given.pictures))


if __name__ == "__main__":
    main()
