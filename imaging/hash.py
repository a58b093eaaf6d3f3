"""Perceptual hashes of 64 bits, equal to those of imagehash, and all close pairs among many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Literal

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.decode import Image8

BITS = 64
BLOCK = 1 << 21  # candidate pairs compared at a time: bounds the memory, about 100 MB

HashKind = Literal["phash", "dhash", "whash"]
Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]


def perceptual_hash(image: Image8, kind: HashKind = "phash") -> int:
    """The 64-bit hash of an image [H, W, 3]: the bits of imagehash's function of that name, the first one highest."""
    bits = getattr(imagehash, kind)(Image.fromarray(image)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def long_hash(image: Image8, kind: HashKind = "phash") -> int:
    """The 256-bit hash of an image [H, W, 3]: imagehash's function of that name at 16 x 16, the first bit highest."""
    bits = getattr(imagehash, kind)(Image.fromarray(image), hash_size=16).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distance_bits(threshold: int | str) -> int:
    """How many of the 64 bits may differ: 4 is 4, "99%" similar is 0 bits, "95%" 3, "90%" 6 (rounded down)."""
    if isinstance(threshold, str):
        if not threshold.endswith("%"):
            raise ValueError(f'{threshold!r} is no threshold: give bits (4) or a similarity ("95%")')
        bits = BITS * (100 - float(threshold[:-1])) / 100 + 1e-9
    else:
        bits = threshold
    if not 0 <= bits < BITS + 1e-6:
        raise ValueError(f"a threshold of {threshold!r} is outside 0..{BITS} bits, or 0..100 %")
    return math.floor(bits)


def near_pairs(hashes: Hashes, max_distance: int) -> Rows:
    """All pairs (i < j) of rows whose hashes differ in at most max_distance bits, sorted, int64 [M, 2].

    Exact (multi-index hashing, Norouzi et al. 2012, arXiv:1307.2982): of m parts of such a pair at least one differs
    in at most max_distance // m bits, so only rows that nearly agree in a part are compared.
    """
    hashes = np.ascontiguousarray(hashes, dtype=np.uint64)
    num_parts, found = _num_parts(len(hashes), max_distance), [np.empty(0, dtype=np.int64)]
    radius, seen = max_distance // num_parts, list[np.uint64]()
    for low, high in itertools.pairwise(BITS * part // num_parts for part in range(num_parts + 1)):
        mask = np.uint64((1 << high) - (1 << low))
        order = np.argsort(hashes & mask, kind="stable")
        ordered = hashes[order]
        for left, right in _candidates((ordered & mask) >> np.uint64(low), high - low, radius):
            difference = ordered[left] ^ ordered[right]
            near = np.flatnonzero(np.bitwise_count(difference) <= max_distance)
            for earlier in seen:  # where a pair was found before
                near = near[np.bitwise_count(difference[near] & earlier) > radius]
            i, j = order[left[near]], order[right[near]]
            found.append(np.minimum(i, j) * len(hashes) + np.maximum(i, j))
        seen.append(mask)
    return np.stack(np.divmod(np.sort(np.concatenate(found)), max(1, len(hashes))), axis=1)


def _num_parts(num_rows: int, max_distance: int) -> int:
    """The number of parts with the fewest look-ups and comparisons, were the hashes uniform."""

    def cost(num_parts: int) -> float:
        width = BITS // num_parts
        masks = sum(math.comb(width, bits) for bits in range(max_distance // num_parts + 1))
        return float(num_parts * masks * (1000 + num_rows * (1 + num_rows / 2**width)))  # 1000: numpy's calls

    return min(range(3, max(3, min(max_distance, BITS - 1) + 1) + 1), key=cost)  # 3: tables of 2**22 keys at most


def _candidates(keys: Hashes, width: int, radius: int) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of positions in sorted keys that differ in at most radius of width bits, in blocks, each pair once."""
    keys, positions = keys.astype(np.int64), np.arange(len(keys))
    bounds = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << width))])  # where each key begins and ends
    yield from _ranges(positions, positions + 1, bounds[keys + 1])
    for num_bits in range(1, radius + 1):
        for bits in itertools.combinations(range(width), num_bits):
            lower = positions[keys & (1 << bits[-1]) == 0]
            wanted = keys[lower] ^ sum(1 << bit for bit in bits)
            yield from _ranges(lower, bounds[wanted], bounds[wanted + 1])


def _ranges(left: Rows, starts: Rows, ends: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Each left position beside every position of its range [start, end), in blocks of about BLOCK pairs."""
    counts = ends - starts
    totals = np.concatenate([[0], np.cumsum(counts)])
    first = 0
    while first < len(left):
        last = max(first + 1, int(np.searchsorted(totals, totals[first] + BLOCK, side="right")) - 1)
        part = slice(first, last)
        offsets = np.arange(totals[last] - totals[first]) - np.repeat(totals[part] - totals[first], counts[part])
        yield np.repeat(left[part], counts[part]), np.repeat(starts[part], counts[part]) + offsets
        first = last
