"""All pairs of near hashes among millions: exact, in bounded memory, whatever the hashes look like."""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORD = 64
KEY_BITS = 36  # of a key at most: key and row number are sorted as one integer
LONG_RUN = 300  # rows of one key from which on they are compared as a matrix
TILE, WIDE = 64, 2048  # rows x columns of such a matrix at a time: 1 MB, which a core's cache holds
CHUNK = 1 << 20  # rows at a time otherwise
SAMPLE = 4096  # rows on which the ways to split the bits are tried
MOST_KEYS = 5000
# ns on one core, measured: a pair in a matrix, a pair in a short run, a row of a key (sorting, gathering), a key.
NS_TILE, NS_PAIR, NS_ROW, NS_KEY = 2.7, 6.0, 40.0, 2e5

Hashes = NDArray[np.uint64]  # [N], or [N, W] for W x 64 bits
Rows = NDArray[np.int64]


class Part(NamedTuple):
    """Some neighbouring bits of one word of a hash."""

    word: int
    shift: int
    width: int


class Join(NamedTuple):
    """What is compared: all rows with all, or those before num_left with the rest."""

    words: Hashes  # [N, W]
    num_left: int | None
    max_distance: int

    @property
    def num_pairs(self) -> int:
        """How many pairs there are."""
        rows, left = len(self.words), self.num_left
        return rows * (rows - 1) // 2 if left is None else left * (rows - left)


def near_pairs(hashes: Hashes, max_distance: int) -> Rows:
    """All pairs (i < j) of rows whose hashes differ in at most max_distance bits, sorted, int64 [M, 2]."""
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *near_blocks(hashes, max_distance)])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def near_blocks(
    hashes: Hashes, max_distance: int, others: Hashes | None = None, num_equal: int | None = None
) -> Iterator[Rows]:
    """The near pairs (i < j) in blocks int64 [M, 2] without an order, each once; with others (row, row of others).

    hashes uint64 [N] or [N, W]. Exact: of max_distance + k parts of a near pair's bits at least k are equal
    (multi-index hashing, Norouzi et al. 2012, arXiv:1307.2982, for several parts at once), so rows are compared that
    agree in some k parts, and a pair is told where it agrees first. Bits that most hashes share make poor keys:
    num_equal = k is chosen on a sample of the rows. 0 compares every pair, which pays for few rows.
    """
    words = _words(hashes)
    join = Join(words, None, max_distance)
    if others is not None:
        join = Join(np.concatenate([words, _words(others)]), len(words), max_distance)
    if join.num_pairs == 0:
        return
    num_equal = _best_num_equal(join) if num_equal is None else num_equal
    parts = _parts(WORD * words.shape[1], max_distance, num_equal) if num_equal else []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        waiting = deque[Future[list[Rows]]]()
        for chosen in itertools.combinations(range(len(parts)), num_equal):
            waiting.append(pool.submit(_agreeing, join, parts, chosen))
            if len(waiting) > 4:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _words(hashes: Hashes) -> Hashes:
    words = np.ascontiguousarray(hashes, dtype=np.uint64)
    return words[:, None] if words.ndim == 1 else words


def _best_num_equal(join: Join) -> int:
    """The number of equal parts that costs least, by how often rows of a sample agree in them."""
    rows = len(join.words)
    sample = join.words[np.unique(np.linspace(0, rows - 1, min(rows, SAMPLE)).astype(np.int64))]
    costs = {0: NS_TILE * join.num_pairs}
    num_bits = WORD * join.words.shape[1]
    for num_equal in range(1, min(8, num_bits - join.max_distance + 1)):
        num_keys = math.comb(join.max_distance + num_equal, num_equal)
        if num_keys > MOST_KEYS or num_keys * rows * NS_ROW > min(costs.values()):
            break
        share = _share(sample, _parts(num_bits, join.max_distance, num_equal), num_equal)
        each = NS_TILE if share * rows > LONG_RUN else NS_PAIR
        costs[num_equal] = num_keys * (NS_KEY + NS_ROW * rows + each * share * join.num_pairs)
    return min(costs, key=lambda num_equal: costs[num_equal])


def _share(sample: Hashes, parts: list[Part], num_equal: int) -> float:
    """The share of pairs that agree in num_equal parts, on average over some choices of them."""
    step = max(1, math.comb(len(parts), num_equal) // 7)
    choices = itertools.islice(itertools.combinations(range(len(parts)), num_equal), step // 2, None, step)
    shares, num_pairs = [], max(1, len(sample) * (len(sample) - 1) // 2)
    for chosen in choices:
        counts = np.unique(_keys(sample, parts, chosen), return_counts=True)[1]
        width = sum(parts[number].width for number in chosen)
        shares.append(max(2.0**-width, float((counts * (counts - 1) // 2).sum()) / num_pairs))
    return sum(shares) / len(shares)


def _parts(num_bits: int, max_distance: int, num_equal: int) -> list[Part]:
    """The bits in as many parts as leave num_equal of them equal; no part crosses a word, or makes too long a key.

    Where fewer bits are asked to be equal, more pairs are compared, but none is lost.
    """
    num_parts = max_distance + num_equal
    bounds = [num_bits * number // num_parts for number in range(num_parts + 1)]
    return [
        Part(low // WORD, low % WORD, min(high - low, WORD - low % WORD, KEY_BITS // num_equal))
        for low, high in itertools.pairwise(bounds)
    ]


def _keys(words: Hashes, parts: list[Part], chosen: tuple[int, ...]) -> NDArray[np.uint64]:
    keys = np.zeros(len(words), dtype=np.uint64)
    for number in chosen:
        part = parts[number]
        keys <<= np.uint64(part.width)
        keys |= (words[:, part.word] >> np.uint64(part.shift)) & np.uint64((1 << part.width) - 1)
    return keys


def _agreeing(join: Join, parts: list[Part], chosen: tuple[int, ...]) -> list[Rows]:
    """The near pairs that agree in the chosen parts and in no choice before."""
    shift = np.uint64(WORD - KEY_BITS)
    packed = _keys(join.words, parts, chosen) << shift
    packed |= np.arange(len(packed), dtype=np.uint64)
    packed.sort()
    order = (packed & np.uint64((1 << int(shift)) - 1)).astype(np.int64)
    packed >>= shift
    bounds = np.concatenate([[0], np.flatnonzero(packed[1:] != packed[:-1]) + 1, [len(packed)]])
    del packed
    starts, ends = bounds[:-1][np.diff(bounds) > 1], bounds[1:][np.diff(bounds) > 1]
    if join.num_left is None:
        stops = ends
    else:
        lefts = np.concatenate([[0], np.cumsum(order < join.num_left)])
        stops = starts + lefts[ends] - lefts[starts]
    ordered, found = join.words[order], list[Rows]()
    for left, right in _compared(ordered, starts, stops, ends, join):
        first = _told_here(ordered, left, right, parts, chosen)
        found.append(_as_rows(order[left[first]], order[right[first]], join.num_left))
    return found


def _told_here(
    ordered: Hashes, left: Rows, right: Rows, parts: list[Part], chosen: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Whether the chosen parts are the first ones in which a pair agrees."""
    here = np.ones(len(left), dtype=bool)
    for number in set(range(chosen[-1] if chosen else 0)) - set(chosen):
        part = parts[number]
        mask = np.uint64(((1 << part.width) - 1) << part.shift)
        here &= ((ordered[left, part.word] ^ ordered[right, part.word]) & mask) != 0
    return here


def _as_rows(i: Rows, j: Rows, num_left: int | None) -> Rows:
    if num_left is None:
        return np.stack([np.minimum(i, j), np.maximum(i, j)], axis=1)
    return np.stack([i, j - num_left], axis=1)


def _compared(ordered: Hashes, starts: Rows, stops: Rows, ends: Rows, join: Join) -> Iterator[tuple[Rows, Rows]]:
    """The near ones among the pairs of each run: [start, stop) with [stop, end), or all of it where stop = end."""
    long = ends - starts > LONG_RUN
    for start, stop, end in zip(starts[long].tolist(), stops[long].tolist(), ends[long].tolist(), strict=True):
        yield from _near_in_matrix(ordered, start, stop, end, join)
    short = ~long & (stops > starts)
    starts, stops, ends = starts[short], stops[short], ends[short]
    totals = np.concatenate([[0], np.cumsum(stops - starts)])
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(totals[:-1], totals[first] + CHUNK, side="right"))
        part, first = slice(first, last), last
        counts = stops[part] - starts[part]
        left = np.arange(counts.sum()) + np.repeat(starts[part] - totals[part] + totals[part.start], counts)
        right = left + 1 if join.num_left is None else np.repeat(stops[part], counts)
        yield from _near_in_runs(ordered, left, right, np.repeat(ends[part], counts), join.max_distance)


def _near_in_runs(
    ordered: Hashes, left: Rows, right: Rows, ends: Rows, max_distance: int
) -> Iterator[tuple[Rows, Rows]]:
    """Each left row beside the right ones up to its end, all rows' next ones at a time."""
    while True:
        more = right < ends
        left, right, ends = left[more], right[more], ends[more]
        if not len(left):
            return
        near = _distances(ordered[left], ordered[right]) <= max_distance
        if near.any():
            yield left[near], right[near]
        right = right + 1


def _near_in_matrix(ordered: Hashes, start: int, stop: int, end: int, join: Join) -> Iterator[tuple[Rows, Rows]]:
    alone = join.num_left is None
    for top in range(start, stop, TILE):
        rows = ordered[top : min(top + TILE, stop), None]
        for low in range(top if alone else stop, end, WIDE):
            near = _distances(rows, ordered[None, low : min(low + WIDE, end)]) <= join.max_distance
            if near.any():
                left, right = np.nonzero(near)
                left, right = left + top, right + low
                kept = right > left
                yield left[kept], right[kept]


def _distances(a: Hashes, b: Hashes) -> NDArray[np.integer]:
    total: NDArray[np.integer] = np.bitwise_count(a[..., 0] ^ b[..., 0])
    if a.shape[-1] > 3:  # 256 bits do not fit in 8
        total = total.astype(np.uint16)
    for word in range(1, a.shape[-1]):
        total = total + np.bitwise_count(a[..., word] ^ b[..., word])
    return total
