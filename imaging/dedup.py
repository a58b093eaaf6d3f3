"""Which rows show the same picture: near hashes, an aligned look at thumbnails, and a star around each keeper."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from imaging.alike import Thumbs, difference
from imaging.hamming import Hashes, Rows, near_blocks
from imaging.hash import HashKind, distance_bits
from imaging.turns import UPRIGHT, Also, hashes_of, turned, turns_of

# Within so many bits of 256 pictures may differ so many times as much: other tones, a retouched spot. Of the test
# pack's smiles none is within 27 bits (faces; whole portraits 39), of its different people none within 39.
VOUCHED, VOUCHED_TIMES = 14, 2.8
BLANK = 4  # levels of grey: a thumbnail with less between its darkest and brightest px shows nothing to compare

CHUNK = 2048  # pairs, or rows to be turned, at a time: about 20 MB

Flags = NDArray[np.bool_]


class DedupConfig(BaseModel):
    """What counts as the same picture.

    The hash alone merges different people (at 8 bits 47 of 47 look-alike ID photos of the test pack); it only names
    the pairs to look at. Correlation tells those apart, but not a smile from none (0.95..0.996 for two photographs of
    one sitting); their worst windows differ by 0.236 or more, those of 321 of 328 real duplicates by 0.19 at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: HashKind = Field(default="phash", description="perceptual hash of 64 bits, by imagehash's method")
    threshold: int | str = Field(
        default=10, description='hashes at most so far apart are looked at: bits of 64, or a similarity ("95%": 3 bits)'
    )
    threshold256: int = Field(
        default=72, ge=0, le=256, description="and whose long hashes are at most so far apart: bits of 256"
    )
    max_difference: float | None = Field(
        default=0.215,
        ge=0,
        description="how far two thumbnails may differ, once aligned, where they differ most; null: the hashes decide",
    )
    max_face_difference: float = Field(
        default=0.18,
        ge=0,
        description="the same for faces, where that is less: two photographs of one sitting are cut alike, and with "
        "hair and ground around it a faint smile is little of the cut (0.185 in one of 12 pairs, 0.25 in the next)",
    )
    also: tuple[Also, ...] = Field(
        default=(),
        description="what else is the same picture: its mirror, quarter turns (rotate), a part of it (crop); dear",
    )

    @property
    def max_distance(self) -> int:
        """The threshold in bits."""
        return distance_bits(self.threshold)

    def for_faces(self) -> DedupConfig:
        """The same, with the limit of faces."""
        if self.max_difference is None:
            return self
        return self.model_copy(update={"max_difference": min(self.max_difference, self.max_face_difference)})


DEFAULTS = DedupConfig()


class Looks(NamedTuple):
    """The hashes of some rows, as far as they are compared."""

    hash: Hashes  # [N]
    hash256: Hashes  # [N, 4]

    def of(self, rows: Rows | Flags | slice) -> Looks:
        """The looks of these rows."""
        return Looks(self.hash[rows], self.hash256[rows])


Candidates = dict[str, Rows]  # {turn: pairs of a row so turned and another one, sorted; as they are i < j}
Match = Callable[[Rows], Flags]  # whether the rows of each pair show the same picture


def all_candidates(
    looks: Looks, config: DedupConfig = DEFAULTS, new: Flags | None = None, thumbs: Thumbs | None = None
) -> Candidates:
    """The candidate pairs as they are, and in every turn that the config asks for; with new those with a new row.

    Turned pictures are hashed from their thumbnails [N, 48, 48], and compared with such hashes of the others.
    """
    found = {UPRIGHT: candidate_pairs(looks, config, new)}
    if config.also:
        assert thumbs is not None, "turned pictures are hashed from thumbnails"
        upright = _looks_of(thumbs, UPRIGHT)
        for turn in turns_of(config.also):
            found[turn] = _turned_pairs(_looks_of(thumbs, turn), upright, config, new)
    return found


def candidate_pairs(looks: Looks, config: DedupConfig = DEFAULTS, new: Flags | None = None) -> Rows:
    """All pairs (i < j) of rows within both thresholds, sorted, int64 [M, 2]; with new those with a new row in them."""
    if new is None:
        blocks = near_blocks(looks.hash, config.max_distance)
        return sorted_pairs([_near_256(looks, looks, block, config) for block in blocks])
    rows, found = np.flatnonzero(new), []
    for block in near_blocks(looks.hash[rows], config.max_distance, looks.hash):
        pairs = np.stack([rows[block[:, 0]], block[:, 1]], axis=1)
        pairs = pairs[(pairs[:, 0] < pairs[:, 1]) | ~new[pairs[:, 1]]]  # two new rows meet twice, a row itself once
        found.append(_near_256(looks, looks, np.sort(pairs, axis=1), config))
    return sorted_pairs(found)


def _turned_pairs(turned_looks: Looks, upright: Looks, config: DedupConfig, new: Flags | None) -> Rows:
    """Pairs (row that is turned, other row); with new the turned row or the other one is."""
    if new is None:
        blocks = near_blocks(turned_looks.hash, config.max_distance, upright.hash)
    else:
        rows = np.flatnonzero(new)
        turned_new = near_blocks(turned_looks.hash[rows], config.max_distance, upright.hash)
        other_new = near_blocks(upright.hash[rows], config.max_distance, turned_looks.hash)
        blocks = itertools.chain(
            (np.stack([rows[block[:, 0]], block[:, 1]], axis=1) for block in turned_new),
            (np.stack([block[:, 1], rows[block[:, 0]]], axis=1) for block in other_new),
        )
    near = [_near_256(turned_looks, upright, block[block[:, 0] != block[:, 1]], config) for block in blocks]
    return sorted_pairs(near)


def _looks_of(thumbs: Thumbs, turn: str) -> Looks:
    parts = [hashes_of(turned(np.asarray(thumbs[at : at + CHUNK]), turn)) for at in range(0, len(thumbs), CHUNK)]
    hashes, longer = zip(*parts, strict=True) if parts else ([np.empty(0, np.uint64)], [np.empty((0, 4), np.uint64)])
    return Looks(np.concatenate(hashes), np.concatenate(longer))


def _near_256(left: Looks, right: Looks, pairs: Rows, config: DedupConfig) -> Rows:
    return np.asarray(pairs[_distances256(left, right, pairs) <= config.threshold256])


def _distances256(left: Looks, right: Looks, pairs: Rows) -> NDArray[np.int64]:
    differing = np.bitwise_count(left.hash256[pairs[:, 0]] ^ right.hash256[pairs[:, 1]])
    return np.asarray(differing.sum(axis=1, dtype=np.int64))


def sorted_pairs(blocks: list[Rows]) -> Rows:
    """The pairs of all blocks, sorted, each once."""
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *blocks])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    fresh = np.ones(len(pairs), dtype=bool)
    fresh[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)  # two new rows meet twice
    return pairs[fresh]


def pairs_of(candidates: Candidates) -> Rows:
    """All candidate pairs (i < j), in whatever turn, sorted."""
    return sorted_pairs([np.sort(pairs, axis=1) for pairs in candidates.values()])


def places_in(listed: Rows, pairs: Rows) -> Rows:
    """Where each pair stands in a sorted list of pairs, -1 where it does not."""
    factor = 1 + max(listed.max(initial=0), pairs.max(initial=0))
    keys, wanted = listed @ [factor, 1], pairs @ [factor, 1]
    at = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
    return np.where(keys[at] == wanted, at, -1) if len(keys) else np.full(len(pairs), -1)


def matcher(
    looks: Looks, thumbs_of: Callable[[Rows], Thumbs], candidates: Candidates, config: DedupConfig = DEFAULTS
) -> Match:
    """A function that looks at the thumbnails of candidate pairs, in each turn in which they are candidates."""

    def match(pairs: Rows) -> Flags:
        parts = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            found = pool.map(lambda part: _match(part, looks, thumbs_of, candidates, config), parts)
            return np.concatenate([np.empty(0, dtype=bool), *found])

    return match


def _match(
    pairs: Rows, looks: Looks, thumbs_of: Callable[[Rows], Thumbs], candidates: Candidates, config: DedupConfig
) -> Flags:
    found = np.zeros(len(pairs), dtype=bool)
    for turn, listed in candidates.items():
        for way in (np.sort(pairs, axis=1), np.sort(pairs, axis=1)[:, ::-1]):
            asked = np.flatnonzero(~found & (places_in(listed, way) >= 0))
            if not len(asked):
                continue
            left, right = way[asked].T
            a, b = turned(thumbs_of(left), turn), thumbs_of(right)
            if turn == UPRIGHT:
                distances = _distances256(looks, looks, way[asked])
            else:
                distances = np.bitwise_count(hashes_of(a)[1] ^ hashes_of(b)[1]).sum(axis=1, dtype=np.int64)
            found[asked] = same_pictures(a, b, distances, config)
    return found


def find_keepers(looks: Looks, thumbs: Thumbs, places: Rows, config: DedupConfig = DEFAULTS) -> Rows:
    """The keeper of each row, int64 [N], itself when it stays; places: the order in which rows are preferred.

    Rows that agree in hashes and thumbnail are taken as one, so that a thousand copies are not a million pairs.
    """
    best = copies_of(contents_of(looks, thumbs), places)
    nodes = np.flatnonzero(best == np.arange(len(best)))
    of_nodes, thumbs = looks.of(nodes), thumbs[nodes]
    candidates = all_candidates(of_nodes, config, thumbs=thumbs)
    match = matcher(of_nodes, lambda rows: thumbs[rows], candidates, config)
    keeper = star_keepers(places[nodes], pairs_of(candidates), match)
    return np.asarray(nodes[keeper[np.searchsorted(nodes, best)]])


def contents_of(looks: Looks, thumbs: Thumbs) -> NDArray[np.void]:
    """What makes rows equal, one opaque value a row: both hashes and a digest of the thumbnail."""
    digests = [hashlib.blake2b(thumb.tobytes(), digest_size=16).digest() for thumb in thumbs]
    parts = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)
    words = np.concatenate([looks.hash[:, None], looks.hash256, parts], axis=1)
    return np.ascontiguousarray(words).view(np.dtype((np.void, 8 * words.shape[1]))).ravel()


def same_pictures(a: Thumbs, b: Thumbs, distances: NDArray[np.int64], config: DedupConfig = DEFAULTS) -> Flags:
    """Whether two thumbnails show one picture, pair by pair; distances: of their long hashes.

    Shifts and crops of up to 6 %, brightness and contrast aside. What differs in one place is another picture, unless
    the long hashes nearly agree and it differs little.
    """
    if config.max_difference is None:
        return np.ones(len(a), dtype=bool)
    blank = is_blank(a) | is_blank(b)
    allowed = config.max_difference * np.where(distances <= VOUCHED, VOUCHED_TIMES, 1)
    return np.where(blank, (a == b).all(axis=(1, 2)), difference(a, b) <= allowed)


def is_blank(thumbs: Thumbs) -> Flags:
    """Whether a thumbnail shows nothing that could be compared: such a picture is like its equals only."""
    return np.asarray(np.ptp(thumbs, axis=(1, 2)) < BLANK)


def ranks(*columns: Sequence[float] | NDArray[np.float64]) -> Rows:
    """The place of each row, int64 [N], 0 first: by the first column, then the next, larger first; then by row."""
    order = np.lexsort([-np.asarray(column, dtype=np.float64) for column in reversed(columns)])
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def star_keepers(places: Rows, pairs: Rows, same: Callable[[Rows], Flags]) -> Rows:
    """The keeper of each row, int64 [N], itself when it stays; same tells of candidate pairs whether they match.

    As if rows came in the order of their places and each one still free became a keeper and took all free rows that
    match it. Every row so matches its own keeper: of a chain of look-alikes only what lies next to a keeper leaves.
    Done in rounds: a row without a better free candidate beside it is a keeper, whatever comes later, so the pairs of
    all such rows are asked for at once, as far as no row still open could take the other one before; those of two
    rows that leave are never asked for.
    """
    keeper = np.arange(len(places))
    swap = places[pairs[:, 0]] > places[pairs[:, 1]]
    pairs = np.where(swap[:, None], pairs[:, ::-1], pairs)  # the better row first
    while len(pairs):
        beaten = np.zeros(len(places), dtype=bool)
        beaten[pairs[:, 1]] = True
        stays = ~beaten[pairs[:, 0]]
        best_open = np.full(len(places), np.iinfo(np.int64).max)
        np.minimum.at(best_open, pairs[~stays, 1], places[pairs[~stays, 0]])
        due = stays & (places[pairs[:, 0]] < best_open[pairs[:, 1]])
        asked = pairs[due]
        taken = asked[same(asked)]
        taken = taken[np.argsort(-places[taken[:, 0]], kind="stable")]
        keeper[taken[:, 1]] = taken[:, 0]  # where two keepers would take a row the better one is written last
        free = np.ones(len(places), dtype=bool)
        free[taken[:, 1]] = False
        pairs = pairs[~due]
        pairs = pairs[free[pairs].all(axis=1)]
    return keeper


def groups_of(keeper: Rows) -> Rows:
    """The smallest row of each row's group, int64 [N]."""
    smallest = np.arange(len(keeper))
    np.minimum.at(smallest, keeper, np.arange(len(keeper)))
    return smallest[keeper]


def copies_of(contents: NDArray[np.void], places: Rows) -> Rows:
    """The best row of the same content for each row, int64 [N]."""
    _, member = np.unique(contents, return_inverse=True)
    order = np.argsort(places)[::-1]
    best = np.empty(member.max(initial=-1) + 1, dtype=np.int64)
    best[member[order]] = order
    return best[member]
