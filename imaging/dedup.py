"""Which pictures are the same: near hashes first, then an aligned look at thumbnails, then one keeper of each group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8
from imaging.hash import Hashes, HashKind, Rows, distance_bits, near_pairs

SIDE = 32
BLOCK = 256  # pairs aligned at a time: about 30 MB
FINE, COARSE = 0.7, 2.0  # standard deviations of the band that is compared, px of the thumbnail
SIEVE = ((0, 0.4), (2, 0.8), (8, 1.0))  # steps of alignment, and the likeness under which a pair is then given up
FARTHEST = np.array([4.0, 4.0, 0.15, 0.15], dtype=np.float32)  # limits of shift (px) and of enlargement

Thumbs = NDArray[np.uint8]  # [N, SIDE, SIDE]
Floats = NDArray[np.float32]


class DedupConfig(BaseModel):
    """What counts as the same picture.

    The hash alone merges different people (at 8 bits 47 of 47 look-alike ID photos of the test pack); it only names
    the pairs to look at. On those the likeness of duplicates was 0.96..1 and of different people 0.91 at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: HashKind = Field(default="phash", description="perceptual hash of 64 bits, as imagehash computes it")
    threshold: int | str = Field(
        default=12, description='hashes at most so far apart are looked at: bits of 64, or a similarity ("95%": 3 bits)'
    )
    min_likeness: float = Field(
        default=0.93,
        ge=-1,
        le=1,
        description="correlation of the aligned thumbnails from which a pair is the same; -1: the hash alone decides",
    )

    @property
    def max_distance(self) -> int:
        """The threshold in bits."""
        return distance_bits(self.threshold)


DEFAULTS = DedupConfig()


def thumbnail(image: Image8) -> NDArray[np.uint8]:
    """The grey thumbnail [32, 32] of an image [H, W, 3] that the second check compares (box filter, aspect dropped)."""
    grey = Image.fromarray(image).convert("L")
    return np.array(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8], config: DedupConfig = DEFAULTS) -> bool:
    """Whether two thumbnails show one picture, shifts and crops of up to 6 %, brightness and contrast aside."""
    return bool(likeness(a[None], b[None])[0] >= config.min_likeness)


def group_duplicates(hashes: Hashes, thumbs: Thumbs, config: DedupConfig = DEFAULTS) -> Rows:
    """The group of each row, int64 [N]: the smallest row of its connected component, itself when alone.

    hashes uint64 [N], thumbs uint8 [N, 32, 32]. Global and exact: every pair within the threshold is looked at,
    rows that agree in hash and thumbnail as one.
    """
    content = np.concatenate([hashes.astype(np.uint64).view(np.uint8).reshape(-1, 8), thumbs.reshape(-1, SIDE**2)], 1)
    _, first, member = np.unique(content, axis=0, return_index=True, return_inverse=True)
    pairs = near_pairs(hashes[first], config.max_distance)
    same = [
        likeness(thumbs[first[part[:, 0]]], thumbs[first[part[:, 1]]]) >= config.min_likeness
        for part in np.array_split(pairs, 1 + len(pairs) // 2**16)
    ]
    joined = first[pairs[np.concatenate(same)]]
    copies = np.stack([first[member.ravel()], np.arange(len(hashes))], axis=1)
    return _components(len(hashes), np.concatenate([joined, copies]))


def choose_keeper(areas: Sequence[float], sharpness: Sequence[float], ids: Sequence[str]) -> int:
    """The position of the member of a group that stays: largest source area (px), then sharpest, then smallest id."""
    return min(range(len(ids)), key=lambda row: (-areas[row], -sharpness[row], ids[row]))


def keepers(groups: Rows, areas: Sequence[float], sharpness: Sequence[float], ids: Sequence[str]) -> Rows:
    """For each row the row that stays of its group, int64 [N] (itself when alone)."""
    best: dict[int, int] = {}
    for row, group in enumerate(groups.tolist()):
        rival = best.setdefault(group, row)
        pair = [rival, row]
        best[group] = pair[
            choose_keeper([areas[r] for r in pair], [sharpness[r] for r in pair], [ids[r] for r in pair])
        ]
    return np.array([best[group] for group in groups.tolist()], dtype=np.int64)


def likeness(a: Thumbs, b: Thumbs) -> Floats:
    """Correlation of thumbnails a, b [P, 32, 32] in -1..1, pair by pair, after the best shift and enlargement of b.

    Compared is a band of detail (difference of Gaussians), so lighting and background weigh little and features much.
    Alignment is inverse compositional Gauss-Newton (Baker and Matthews 2004) over shift and scale along each axis;
    the result does not depend on which of the two comes first. Flat thumbnails are like their equals only.
    """
    result = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), BLOCK):
        block = slice(start, start + BLOCK)
        result[block] = _likeness(*_ordered(a[block], b[block]))
    result[(a == b).all(axis=(1, 2))] = 1
    return result


def _likeness(first: Thumbs, second: Thumbs) -> Floats:
    fixed, moving = _details(first), _details(second)
    result = np.full(len(first), -1, dtype=np.float32)
    left = np.arange(len(first))
    for num_steps, enough in SIEVE:
        result[left] = _aligned(fixed[left], moving[left], num_steps)
        left = left[result[left] >= enough]
    return result


def _ordered(a: Thumbs, b: Thumbs) -> tuple[Thumbs, Thumbs]:
    difference = (a.astype(np.int16) - b).reshape(len(a), SIDE**2)
    where = np.argmax(difference != 0, axis=1)[:, None]
    swap = (np.take_along_axis(difference, where, axis=1) > 0)[..., None]
    return np.where(swap, b, a), np.where(swap, a, b)


def _details(thumbs: Thumbs) -> Floats:
    values = thumbs.astype(np.float32)
    return np.asarray(_FINE @ values @ _FINE.T - _COARSE @ values @ _COARSE.T, dtype=np.float32)


def _blur(sigma: float) -> Floats:
    """The matrix [SIDE, SIDE] that blurs a column by a Gaussian; at the border the weights inside make up for it."""
    place = np.arange(SIDE)
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


_FINE, _COARSE = _blur(FINE), _blur(COARSE)


_CENTRE = (SIDE - 1) / 2
_Y, _X = (axis.astype(np.float32) - _CENTRE for axis in np.mgrid[:SIDE, :SIDE])
_INNER = np.pad(np.ones((SIDE - 2, SIDE - 2), dtype=np.float32), 1)  # the blur has less to go by at the border


def _aligned(fixed: Floats, moving: Floats, num_steps: int) -> Floats:
    """The best correlation met on the way, float32 [P]."""
    motion = np.zeros((len(fixed), 4), dtype=np.float32)
    best = np.full(len(fixed), -1, dtype=np.float32)
    down, across = np.gradient(fixed, axis=(1, 2))
    steepest = np.stack([across, down, across * _X, down * _Y], axis=-1).reshape(len(fixed), SIDE**2, 4)
    for step in range(num_steps + 1):
        moved, inside = _moved(moving, motion)
        best = np.maximum(best, _correlation(fixed, moved, inside))
        if step < num_steps:
            motion = np.clip(motion - _gauss_newton(fixed, moved, inside, steepest), -FARTHEST, FARTHEST)
    return best


def _gauss_newton(fixed: Floats, moved: Floats, inside: Floats, steepest: Floats) -> Floats:
    gain = (fixed * moved * inside).sum((1, 2)) / np.maximum((moved * moved * inside).sum((1, 2)), 1e-6)
    error = ((gain[:, None, None] * moved - fixed) * inside).reshape(len(fixed), 1, SIDE**2)
    weighted = (steepest * inside.reshape(len(fixed), SIDE**2, 1)).transpose(0, 2, 1)
    hessian = weighted @ steepest + np.float32(1e-3) * np.eye(4, dtype=np.float32)
    return np.asarray(np.linalg.solve(hessian, (error @ steepest).transpose(0, 2, 1))[..., 0], dtype=np.float32)


def _moved(moving: Floats, motion: Floats) -> tuple[Floats, Floats]:
    """Thumbnails sampled (bilinear) where the motion (shift x, y, enlargement x, y) leads; 1 where that is inside."""
    x = _CENTRE + _X * (1 + motion[:, 2, None, None]) + motion[:, 0, None, None]
    y = _CENTRE + _Y * (1 + motion[:, 3, None, None]) + motion[:, 1, None, None]
    inside = ((x >= 0) & (x <= SIDE - 1) & (y >= 0) & (y <= SIDE - 1)) * _INNER
    x0, y0 = (np.clip(axis, 0, SIDE - 2).astype(np.int32) for axis in (x, y))
    fx, fy = np.clip(x - x0, 0, 1), np.clip(y - y0, 0, 1)
    flat = moving.ravel()
    start = np.arange(len(moving), dtype=np.int32)[:, None, None] * SIDE**2 + y0 * SIDE + x0
    upper = flat[start] * (1 - fx) + flat[start + 1] * fx
    lower = flat[start + SIDE] * (1 - fx) + flat[start + SIDE + 1] * fx
    return upper * (1 - fy) + lower * fy, inside


def _correlation(a: Floats, b: Floats, inside: Floats) -> Floats:
    count = np.maximum(inside.sum((1, 2), keepdims=True), 1)
    a = (a - (a * inside).sum((1, 2), keepdims=True) / count) * inside
    b = (b - (b * inside).sum((1, 2), keepdims=True) / count) * inside
    norm = np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2)))
    return np.where(norm > 1e-3, (a * b).sum((1, 2)) / np.maximum(norm, 1e-3), 0).astype(np.float32)


def _components(num_rows: int, pairs: Rows) -> Rows:
    parent = list(range(num_rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for i, j in pairs.tolist():
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return np.array([root(row) for row in range(num_rows)], dtype=np.int64)
