"""Which labelled pairs each method merges, and how long each takes to hash and to find all near hashes.

python -m benchmarks.dedup [--realdata FOLDER] [--rows 1000000] [--large]
prints three tables: right and wrong merges by method and threshold, milliseconds a picture, seconds a join. Peers are
imagehash (our hashes are its bits) with a double loop as people write it, pybktree (as imagededup's tree) and faiss,
where they are installed. imagededup itself imports torchvision: its method, pHash within 10 bits, is shown by our hash.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.util
import io
import itertools
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.decode import Image8, decode
from imaging.dedup import DedupConfig, Looks, find_keepers, groups_of
from imaging.hamming import Hashes, near_blocks
from imaging.hash import HashKind, exact_hashes, fingerprint

Pairs = list[tuple[int, int]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--realdata", type=Path, default=Path(__file__).resolve().parents[2] / "shared/realdata")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", action="store_true", help="also 5,000,000 hashes within 4 bits, and more bits")
    asked = parser.parse_args()
    labelled(asked.realdata / "near_dups")
    hashing(asked.realdata / "real_photos")
    joining(asked.rows, asked.large)


def labelled(folder: Path) -> None:
    """Right and wrong merges of the labelled pairs."""
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("dup", "not_dup")]
    names = sorted({row[side] for row in rows for side in "ab"})
    place = {name: number for number, name in enumerate(names)}
    images = [decode((folder / name).read_bytes()).image for name in names]
    pairs = {
        label: [(place[row["a"]], place[row["b"]]) for row in rows if row["label"] == label]
        for label in ("dup", "not_dup")
    }
    print(f"{len(images)} pictures; duplicates found of {len(pairs['dup'])}, others merged of {len(pairs['not_dup'])}")
    kinds: tuple[HashKind, ...] = ("phash", "dhash", "whash")
    for kind in kinds:
        hashes = np.array([exact_hashes(image, kind)[0] for image in images], dtype=np.uint64)
        for bits in (0, 2, 4, 6, 8, 10, 12):
            note = " (imagededup's method, by our hash)" if (kind, bits) == ("phash", 10) else ""
            _score(f"imagehash {kind} <= {bits}{note}", pairs, _within(hashes, bits))
    looks, thumbs = _looks(images)
    for largest in (0.05, 0.1, 0.15, 0.215, 0.25, 0.3, 0.5):
        config = DedupConfig(max_difference=largest)
        _score(f"ours, max_difference {largest}", pairs, _together(looks, thumbs, config))
    for bits, long in ((6, 32), (8, 48), (10, 72)):
        config = DedupConfig(threshold=bits, threshold256=long, max_difference=None)
        _score(f"ours, hashes only <= {bits}, {long}", pairs, _together(looks, thumbs, config))


def _within(hashes: Hashes, bits: int) -> Callable[[int, int], bool]:
    return lambda i, j: int(hashes[i] ^ hashes[j]).bit_count() <= bits


def _together(looks: Looks, thumbs: NDArray[np.uint8], config: DedupConfig) -> Callable[[int, int], bool]:
    group = groups_of(find_keepers(looks, thumbs, np.arange(len(thumbs)), config))
    return lambda i, j: bool(group[i] == group[j])


def _looks(images: list[Image8]) -> tuple[Looks, NDArray[np.uint8]]:
    found = [fingerprint(image) for image in images]
    long = np.frombuffer(b"".join(one.hash256.to_bytes(32, "big") for one in found), ">u8").astype(np.uint64)
    return Looks(np.array([one.hash for one in found], dtype=np.uint64), long.reshape(-1, 4)), np.stack(
        [one.thumb for one in found]
    )


def _score(name: str, pairs: dict[str, Pairs], merged: Callable[[int, int], bool]) -> None:
    right, wrong = (sum(merged(i, j) for i, j in pairs[label]) for label in ("dup", "not_dup"))
    recall, precision = right / len(pairs["dup"]), right / max(1, right + wrong)
    print(f"  {name:58} {right:4} {wrong:4}   recall {recall:.3f}  precision {precision:.3f}")


def hashing(folder: Path) -> None:
    """Milliseconds a picture, from JPEG bytes in memory: decoding alone, imagehash, ours."""
    cv2.setNumThreads(1)  # as in the workers of the pipeline
    largest = sorted(folder.glob("*.jpg"), key=lambda path: -path.stat().st_size)[:12]
    for side in (1500, 300):
        files = [_as_jpeg(path, side) for path in largest]
        print(f"{len(files)} photographs, {side} px on the longer side; CPU ms a picture, median of 5 runs")
        ways: dict[str, Callable[[bytes], object]] = {
            "decode": decode,
            "decode + fingerprint (64, 256 bits, thumbnail)": lambda data: fingerprint(decode(data).image),
            "decode + exact_hashes (64, 256 bits)": lambda data: exact_hashes(decode(data).image),
            "imagehash.phash, 64 bits": lambda data: imagehash.phash(Image.open(io.BytesIO(data))),
            "imagehash.phash, 64 and 256 bits and mirrored": _theirs,
        }
        for name, work in ways.items():
            print(f"  {name:48} {1000 * _seconds(work, files) / len(files):8.2f}")


def _as_jpeg(path: Path, side: int) -> bytes:
    picture = Image.open(path).convert("RGB")
    scale = side / max(picture.size)
    out = io.BytesIO()
    picture.resize((round(picture.width * scale), round(picture.height * scale))).save(out, "JPEG", quality=92)
    return out.getvalue()


def _theirs(data: bytes) -> list[imagehash.ImageHash]:
    """Four hashes as imagehash's users take them: each from the file."""
    mirrored = Image.Transpose.FLIP_LEFT_RIGHT
    return [
        imagehash.phash(picture.transpose(mirrored) if over else picture, hash_size=size)
        for size, over in itertools.product((8, 16), (False, True))
        for picture in [Image.open(io.BytesIO(data))]
    ]


def _seconds(work: Callable[[bytes], object], files: list[bytes]) -> float:
    spent = []
    for _ in range(5):
        begin = time.process_time()
        for data in files:
            work(data)
        spent.append(time.process_time() - begin)
    return statistics.median(spent)


def joining(num_rows: int, large: bool) -> None:
    """Seconds for all near pairs of random hashes."""
    hashes: Hashes = np.random.default_rng(0).integers(0, 2**64, max(num_rows, 5_000_000 * large), dtype=np.uint64)
    print("all pairs within so many bits of random 64-bit hashes; wall and CPU s, peak MB of the process so far")
    for rows, bits in ((100_000, 4), (100_000, 10), (num_rows, 4), (num_rows, 6), (num_rows, 8)):
        _timed(f"ours, {rows:,}, {bits} bits", functools.partial(_count, hashes[:rows], bits))
    new = hashes[:1000] ^ np.uint64(5)
    _timed(f"ours, 1,000 new against {num_rows:,}, 10 bits", lambda: _count(new, 10, hashes[:num_rows]))
    if large:
        _timed(f"ours, {num_rows:,}, 10 bits", lambda: _count(hashes[:num_rows], 10))
        _timed("ours, 5,000,000, 4 bits", lambda: _count(hashes, 4))
    theirs(hashes)


def theirs(hashes: Hashes) -> None:
    """The same by others, on as many hashes as they bear."""
    part = [imagehash.hex_to_hash(f"{hash_:016x}") for hash_ in hashes[:400].tolist()]
    _timed("imagehash, double loop, 400", lambda: sum(a - b <= 4 for a, b in itertools.combinations(part, 2)))
    if importlib.util.find_spec("pybktree"):
        import pybktree  # type: ignore[import-not-found]

        some = hashes[:5000].tolist()

        def tree() -> int:
            built = pybktree.BKTree(pybktree.hamming_distance, some)
            return sum(len(built.find(one, 4)) for one in some) - len(some)

        _timed("pybktree, 5,000, 4 bits", tree)
    if importlib.util.find_spec("faiss"):
        import faiss  # type: ignore[import-not-found]

        rows = np.ascontiguousarray(hashes[:100_000]).view(np.uint8).reshape(-1, 8)

        def flat() -> int:
            index = faiss.IndexBinaryFlat(64)
            index.add(rows)
            return int(index.range_search(rows, 5)[0][-1]) - len(rows)

        _timed("faiss IndexBinaryFlat, 100,000, 4 bits", flat)


def _count(hashes: Hashes, bits: int, others: Hashes | None = None) -> int:
    return sum(len(block) for block in near_blocks(hashes, bits, others))


def _timed(name: str, work: Callable[[], int]) -> None:
    begin, spent = time.perf_counter(), time.process_time()
    found = work()
    seconds, spent = time.perf_counter() - begin, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {name:46} {seconds:8.2f} {spent:8.2f} {peak:7.0f}   {found:,} pairs", flush=True)


if __name__ == "__main__":
    main()
