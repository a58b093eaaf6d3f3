"""Duplicates by this project and by imagehash with a double loop, on the same pictures in one run.

python benchmarks/dedup.py FOLDER_WITH_pairs.csv [NUM_FACES]
prints what each merges of the labelled pairs, then the seconds each takes to find all near hashes among NUM_FACES.
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from imaging.decode import Image8, decode
from imaging.dedup import DedupConfig, group_duplicates, thumbnail
from imaging.hash import Hashes, near_pairs, perceptual_hash

BITS = 8  # the usual threshold for imagehash's phash


def main(folder: Path, num_faces: int) -> None:
    """Print both tables."""
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("dup", "not_dup")]
    names = sorted({row[side] for row in rows for side in "ab"})
    images = [decode((folder / name).read_bytes()).image for name in names]
    begin = time.perf_counter()
    ours = our_groups(images)
    middle = time.perf_counter()
    theirs = their_groups(images)
    end = time.perf_counter()
    print(f"{len(names)} pictures, {len(rows)} labelled pairs, hashing included")
    for name, groups, seconds in (("ours", ours, middle - begin), (f"imagehash {BITS} bits", theirs, end - middle)):
        print(f"{name:18} {seconds:6.2f} s  {scores(dict(zip(names, groups, strict=True)), rows)}")
    time_pairs(num_faces)


def our_groups(images: list[Image8]) -> list[int]:
    """Groups by near hashes and aligned thumbnails."""
    hashes = np.array([perceptual_hash(image) for image in images], dtype=np.uint64)
    groups: list[int] = group_duplicates(hashes, np.stack([thumbnail(image) for image in images])).tolist()
    return groups


def their_groups(images: list[Image8]) -> list[int]:
    """Groups by imagehash's own comparison of every pair."""
    hashes = [imagehash.phash(Image.fromarray(image)) for image in images]
    groups = list(range(len(images)))
    for i, j in itertools.combinations(range(len(images)), 2):
        if hashes[i] - hashes[j] <= BITS and groups[i] != groups[j]:
            old, new = max(groups[i], groups[j]), min(groups[i], groups[j])
            groups = [new if group == old else group for group in groups]
    return groups


def scores(group: dict[str, int], rows: list[dict[str, str]]) -> str:
    """Recall over the duplicates, wrong merges over the others, precision."""
    merged = {
        label: [group[r["a"]] == group[r["b"]] for r in rows if r["label"] == label] for label in ("dup", "not_dup")
    }
    right, wrong = sum(merged["dup"]), sum(merged["not_dup"])
    recall, total = right / len(merged["dup"]), len(merged["not_dup"])
    return f"recall {recall:.3f}  wrong merges {wrong} of {total}  precision {right / (right + wrong):.3f}"


def time_pairs(num_faces: int) -> None:
    """Seconds for all pairs of random hashes within the default distance; the loop is timed on a part and scaled."""
    hashes: Hashes = np.random.default_rng(0).integers(0, 2**64, num_faces, dtype=np.uint64)
    for bits in (4, BITS, DedupConfig().max_distance):
        begin = time.perf_counter()
        near_pairs(hashes, bits)
        print(f"ours: all pairs of {num_faces} hashes within {bits} bits: {time.perf_counter() - begin:.2f} s")
    part = [imagehash.ImageHash(np.array([int(h) >> bit & 1 for bit in range(64)], dtype=bool)) for h in hashes[:400]]
    begin = time.perf_counter()
    sum(a - b <= BITS for a, b in itertools.combinations(part, 2))
    seconds = (time.perf_counter() - begin) * (num_faces / len(part)) ** 2
    print(f"imagehash, double loop: {seconds:.0f} s (scaled from {len(part)} hashes)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
