"""Near pairs against brute force: all widths, all ways to split the bits, many alike."""

from __future__ import annotations

import time

import numpy as np
import pytest

from imaging import hamming
from imaging.hamming import near_blocks, near_pairs


def clustered(num_rows: int, num_words: int, random: np.random.Generator) -> np.ndarray:
    """Hashes with many near neighbours: a few centres, up to 12 bits flipped in each."""
    centres = random.integers(0, 2**64, (max(1, num_rows // 6), num_words), dtype=np.uint64)
    hashes = centres[random.integers(0, len(centres), num_rows)]
    for _ in range(12):
        flipped = np.uint64(1) << random.integers(0, 64, num_rows, dtype=np.uint64)
        words = random.integers(0, num_words, num_rows)
        hashes[np.arange(num_rows), words] ^= np.where(random.random(num_rows) < 0.5, flipped, 0).astype(np.uint64)
    return hashes


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2, dtype=int))


def told(blocks: object) -> list[tuple[int, int]]:
    pairs = [tuple(pair) for block in blocks for pair in block.tolist()]  # type: ignore[attr-defined]
    assert len(pairs) == len(set(pairs))  # each pair once
    return sorted(pairs)


@pytest.mark.parametrize("long_run", [4, 300])  # runs as matrices, runs row by row
@pytest.mark.parametrize("num_words", [1, 2, 3, 4])
def test_near_pairs_are_those_of_brute_force(num_words: int, long_run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "LONG_RUN", long_run)
    random = np.random.default_rng(num_words)
    for _ in range(12):
        hashes, max_distance = clustered(int(random.integers(0, 200)), num_words, random), int(random.integers(0, 14))
        near = np.argwhere(np.triu(distances(hashes, hashes) <= max_distance, 1))
        cut = len(hashes) // 3
        across = np.argwhere(distances(hashes[:cut], hashes[cut:]) <= max_distance)
        for num_equal in (None, 0, 1, 2, 3):
            assert told(near_blocks(hashes, max_distance, None, num_equal)) == [tuple(p) for p in near.tolist()]
            found = told(near_blocks(hashes[:cut], max_distance, hashes[cut:], num_equal))
            assert found == [tuple(p) for p in across.tolist()]


@pytest.mark.parametrize("max_distance", [0, 1, 20, 62, 63, 64])
def test_every_threshold_is_taken(max_distance: int) -> None:
    hashes = clustered(150, 1, np.random.default_rng(0))
    near = np.argwhere(np.triu(distances(hashes, hashes) <= max_distance, 1))
    np.testing.assert_array_equal(near_pairs(hashes.ravel(), max_distance), near)


def test_hashes_that_share_most_bits_are_compared_completely() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**16, 3000, dtype=np.uint64)[:, None]  # 48 bits are the same in all
    near = np.argwhere(np.triu(distances(hashes, hashes) <= 2, 1))
    np.testing.assert_array_equal(near_pairs(hashes, 2), near)


def test_many_equal_hashes_come_out_complete() -> None:
    found = near_pairs(np.full(2200, 7, np.uint64), 4)
    assert len(found) == 2200 * 2199 // 2
    assert (found[:, 0] < found[:, 1]).all()


@pytest.mark.parametrize("max_distance", [4, 6])
def test_a_hundred_thousand_hashes_take_a_second(max_distance: int) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[500:1000] = hashes[:500] ^ np.uint64(0b1011 << 40)
    begin = time.process_time()
    found = near_pairs(hashes, max_distance)
    assert time.process_time() - begin < 2  # 0.1 and 0.2 s measured
    assert found.tolist() == [[row, row + 500] for row in range(500)]
