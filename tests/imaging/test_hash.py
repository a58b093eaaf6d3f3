"""Hashes equal to imagehash's, and near pairs equal to brute force."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from imaging.decode import decode
from imaging.hash import distance_bits, near_pairs, perceptual_hash


def brute_force(hashes: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i, j in itertools.combinations(range(len(hashes)), 2)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= max_distance
    ]


def clustered(num_rows: int, seed: int) -> np.ndarray:
    """Hashes with many near neighbours: a few centres, up to 12 bits flipped in each."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, max(1, num_rows // 8), dtype=np.uint64)[
        random.integers(0, max(1, num_rows // 8), num_rows)
    ]
    for _ in range(12):
        flipped = np.uint64(1) << random.integers(0, 64, num_rows, dtype=np.uint64)
        hashes = np.where(random.random(num_rows) < 0.5, hashes ^ flipped, hashes)
    return hashes


@pytest.mark.parametrize("kind", ["phash", "dhash", "whash"])
def test_hashes_equal_those_of_imagehash_bit_for_bit(realdata: Path, kind: str) -> None:
    paths = (
        sorted((realdata / "real_photos").rglob("*.jpg"))[::50] + sorted((realdata / "near_dups/files").iterdir())[::60]
    )
    assert len(paths) > 30
    for path in paths:
        image = decode(path.read_bytes()).image
        assert f"{perceptual_hash(image, kind):016x}" == str(getattr(imagehash, kind)(Image.fromarray(image)))


def test_distances_of_the_labelled_pairs_are_those_of_their_table(realdata: Path) -> None:
    rows = (realdata / "near_dups/pairs.csv").read_text(encoding="utf-8").splitlines()[1::12]
    for a, b, *_, stated in (row.split(",") for row in rows if '"' not in row):
        hashes = [perceptual_hash(decode((realdata / "near_dups" / name).read_bytes()).image) for name in (a, b)]
        assert (hashes[0] ^ hashes[1]).bit_count() == int(stated)


@pytest.mark.parametrize("max_distance", [0, 1, 2, 4, 5, 8, 10, 12, 20, 64])
def test_near_pairs_equal_brute_force(max_distance: int) -> None:
    for num_rows, seed in ((0, 0), (1, 0), (2, 1), (40, 2), (250, 3)):
        hashes = clustered(num_rows, seed)
        found = near_pairs(hashes, max_distance)
        assert [tuple(pair) for pair in found.tolist()] == brute_force(hashes, max_distance)


def test_many_equal_hashes_come_out_in_blocks_and_complete() -> None:
    found = near_pairs(np.full(2200, 7, np.uint64), 4)  # more pairs than one block holds
    assert len(found) == 2200 * 2199 // 2
    assert (found[:, 0] < found[:, 1]).all()


def test_a_hundred_thousand_hashes_take_about_a_second() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[500:1000] = hashes[:500] ^ np.uint64(0b1011 << 40)
    begin = time.perf_counter()
    found = near_pairs(hashes, 4)
    assert time.perf_counter() - begin < 4  # 0.2 s measured on an idle core
    assert found.tolist() == [[row, row + 500] for row in range(500)]


def test_thresholds_are_bits_or_a_similarity() -> None:
    cases = {4: 4, 0: 0, "100%": 0, "99%": 0, "98.4%": 1, "95%": 3, "90%": 6, "0%": 64}
    assert {asked: distance_bits(asked) for asked in cases} == cases
    for wrong in ("99", 65, -1, "101%", "-1%"):
        with pytest.raises(ValueError, match=r"bits|similarity"):
            distance_bits(wrong)
