"""Which pictures are the same: near hashes first, then an aligned look at thumbnails, then one keeper of each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8
from imaging.hash import Hashes, HashKind, Rows, distance_bits, near_pairs

SIDE = 48
BLOCK = 128  # pairs aligned at a time: about 30 MB
FINE, COARSE = 0.6, 3.0  # standard deviations of the band that is compared, px of the thumbnail
SIEVE = ((0, 0.3), (2, 0.7), (6, 0.9))  # steps of alignment, and the likeness under which a pair is then given up
FARTHEST = np.array([6.0, 6.0, 0.15, 0.15], dtype=np.float32)  # limits of shift (px) and of enlargement
MARGIN = 3  # px along the border that are left out: the blurs have less to go by there
WINDOW = 0.8  # standard deviation of the window in which two pictures may not differ, px
BRIGHT = 225  # grey from which on in both is left out: brightening cuts highlights off

Thumbs = NDArray[np.uint8]  # [N, SIDE, SIDE]
Floats = NDArray[np.float32]


class DedupConfig(BaseModel):
    """What counts as the same picture.

    The hash alone merges different people (at 8 bits 47 of 47 look-alike ID photos of the test pack); it only names
    the pairs to look at. Correlation tells those apart, but not a smile from none (0.95..0.996 for two photographs of
    one sitting); their worst windows differ by 0.236 or more, those of 321 of 328 real duplicates by 0.19 at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: HashKind = Field(default="phash", description="perceptual hash of 64 bits, as imagehash computes it")
    threshold: int | str = Field(
        default=12, description='hashes at most so far apart are looked at: bits of 64, or a similarity ("95%": 3 bits)'
    )
    max_difference: float | None = Field(
        default=0.215,
        ge=0,
        description="how far two thumbnails may differ, once aligned, where they differ most; null: the hash decides",
    )

    @property
    def max_distance(self) -> int:
        """The threshold in bits."""
        return distance_bits(self.threshold)


DEFAULTS = DedupConfig()


def thumbnail(image: Image8) -> NDArray[np.uint8]:
    """The grey thumbnail [48, 48] of an image [H, W, 3] that the second check compares (Lanczos, aspect dropped).

    A box filter lets through what then differs with every shift: 283 of 328 labelled duplicates were found, not 321.
    """
    grey = Image.fromarray(image).convert("L")
    return np.array(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8], config: DedupConfig = DEFAULTS) -> bool:
    """Whether two thumbnails show one picture, shifts and crops of up to 6 %, brightness and contrast aside."""
    return bool(_same(a[None], b[None], config)[0])


def group_duplicates(hashes: Hashes, thumbs: Thumbs, config: DedupConfig = DEFAULTS) -> Rows:
    """The group of each row, int64 [N]: the smallest row of its connected component, itself when alone.

    hashes uint64 [N], thumbs uint8 [N, 48, 48]. Global and exact: every pair within the threshold is looked at,
    rows that agree in hash and thumbnail as one.
    """
    content = np.concatenate([hashes.astype(np.uint64).view(np.uint8).reshape(-1, 8), thumbs.reshape(-1, SIDE**2)], 1)
    _, first, member = np.unique(content, axis=0, return_index=True, return_inverse=True)
    pairs = near_pairs(hashes[first], config.max_distance)
    same = [
        _same(thumbs[first[part[:, 0]]], thumbs[first[part[:, 1]]], config)
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


def difference(a: Thumbs, b: Thumbs) -> Floats:
    """How much thumbnails a, b [P, 48, 48] differ where they differ most, pair by pair: 0 same, inf nothing alike.

    Compared is a band of detail (difference of Gaussians), so lighting and background weigh little and features much.
    Alignment is inverse compositional Gauss-Newton (Baker and Matthews 2004) over shift and scale along each axis;
    the result does not depend on which of the two comes first. Flat thumbnails are like their equals only.
    """
    result = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), BLOCK):
        block = slice(start, start + BLOCK)
        result[block] = _difference(*_ordered(a[block], b[block]))
    result[(a == b).all(axis=(1, 2))] = 0
    return result


def _same(a: Thumbs, b: Thumbs, config: DedupConfig) -> NDArray[np.bool_]:
    if config.max_difference is None:
        return np.ones(len(a), dtype=bool)
    return np.asarray(difference(a, b) <= config.max_difference)


def _difference(first: Thumbs, second: Thumbs) -> Floats:
    fixed, moving = _details(first), _details(second)
    result = np.full(len(first), np.inf, dtype=np.float32)
    left, motion = np.arange(len(first)), np.zeros((len(first), 4), dtype=np.float32)
    for num_steps, enough in SIEVE:
        likeness, motion = _aligned(fixed[left], moving[left], motion, num_steps)
        left, motion = left[likeness >= enough], motion[likeness >= enough]
    result[left] = _worst_window(first[left], second[left], motion)
    return result


def _ordered(a: Thumbs, b: Thumbs) -> tuple[Thumbs, Thumbs]:
    difference = (a.astype(np.int16) - b).reshape(len(a), SIDE**2)
    where = np.argmax(difference != 0, axis=1)[:, None]
    swap = (np.take_along_axis(difference, where, axis=1) > 0)[..., None]
    return np.where(swap, b, a), np.where(swap, a, b)


def _details(thumbs: Thumbs) -> Floats:
    return _blurred(_FINE, thumbs) - _blurred(_COARSE, thumbs)


def _blurred(blur: Floats, values: NDArray[Any]) -> Floats:
    return np.asarray(blur @ values.astype(np.float32) @ blur.T, dtype=np.float32)


def _blur(sigma: float) -> Floats:
    """The matrix [SIDE, SIDE] that blurs a column by a Gaussian; at the border the weights inside make up for it."""
    weights = np.exp(-((_PLACE[:, None] - _PLACE) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


_PLACE = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)  # px from the centre
_FINE, _COARSE, _WINDOW = _blur(FINE), _blur(COARSE), _blur(WINDOW)


def _aligned(fixed: Floats, moving: Floats, motion: Floats, num_steps: int) -> tuple[Floats, Floats]:
    """The best correlation met on the way from a motion, float32 [P], and where, float32 [P, 4]."""
    best, found = np.full(len(fixed), -1, dtype=np.float32), motion
    down, across = np.gradient(fixed, axis=(1, 2))
    steepest = np.stack([across, down, across * _PLACE, down * _PLACE[:, None]], axis=-1)
    steepest = steepest.reshape(len(fixed), SIDE**2, 4)
    for step in range(num_steps + 1):
        moved, inside = _moved(moving, motion)
        likeness = _correlation(fixed, moved, inside)
        found = np.where((likeness > best)[:, None], motion, found)
        best = np.maximum(best, likeness)
        if step < num_steps:
            motion = np.clip(motion - _gauss_newton(fixed, moved, inside, steepest), -FARTHEST, FARTHEST)
    return best, found


def _gauss_newton(fixed: Floats, moved: Floats, inside: Floats, steepest: Floats) -> Floats:
    gain = (fixed * moved * inside).sum((1, 2)) / np.maximum((moved * moved * inside).sum((1, 2)), 1e-6)
    error = ((gain[:, None, None] * moved - fixed) * inside).reshape(len(fixed), 1, SIDE**2)
    weighted = (steepest * inside.reshape(len(fixed), SIDE**2, 1)).transpose(0, 2, 1)
    hessian = weighted @ steepest + np.float32(1e-3) * np.eye(4, dtype=np.float32)
    return np.asarray(np.linalg.solve(hessian, (error @ steepest).transpose(0, 2, 1))[..., 0], dtype=np.float32)


def _moved(moving: Floats, motion: Floats) -> tuple[Floats, Floats]:
    """Thumbnails sampled where the motion (shift x, y, enlargement x, y) leads; 1 where that is inside for both."""
    at = _PLACE * (1 + motion[:, 2:, None]) + motion[:, :2, None]
    columns, rows = _cubic(at).swapaxes(0, 1)
    within = np.maximum(np.abs(at), np.abs(_PLACE)) < SIDE / 2 - MARGIN
    inside = within[:, 1, :, None] & within[:, 0, None, :]
    return rows @ moving @ columns.transpose(0, 2, 1), inside.astype(np.float32)


def _cubic(at: Floats) -> Floats:
    """The weight of each px for a sample at so many px from the centre (Keys 1981, equation 4), float32 [..., SIDE].

    Bilinear weights blur by the fraction of the shift, and what they blur looks like a difference.
    """
    away = np.abs(at[..., None] - _PLACE)
    near, far = (1.5 * away - 2.5) * away**2 + 1, ((-0.5 * away + 2.5) * away - 4) * away + 2
    return np.asarray(np.where(away < 1, near, np.where(away < 2, far, 0)), dtype=np.float32)


def _worst_window(fixed: Thumbs, moving: Thumbs, motion: Floats) -> Floats:
    """The largest energy of the difference in a window over what is allowed there, float32 [P].

    Allowed is more where there is more contrast, and where the pictures differ a little everywhere (other sharpness,
    other tone curve): what tells two photographs of one sitting apart is that they differ in one place. inf where
    less than a tenth is left to compare (a white sheet).
    """
    a, (b, inside) = _blurred(_FINE, fixed), _moved(_blurred(_FINE, moving), motion)
    inside = inside * (np.minimum(a, b) < BRIGHT)
    a, b = _detail_inside(a, inside), _detail_inside(b, inside)
    b *= (a * b).sum((1, 2), keepdims=True) / np.maximum((b * b).sum((1, 2), keepdims=True), 1e-6)
    num_inside = np.maximum(inside.sum((1, 2), keepdims=True), 1)
    error, contrast = (a - b) ** 2, (a * a + b * b) / 2
    share = _blurred(_WINDOW, inside)
    floor = (0.3 * contrast + 20 * error).sum((1, 2), keepdims=True) / num_inside
    allowed = _blurred(_WINDOW, contrast) + share * floor
    worst = np.where(share > 0.5, _blurred(_WINDOW, error) / np.maximum(allowed, 1e-6), 0).max((1, 2))
    return np.asarray(np.where(num_inside[:, 0, 0] > SIDE**2 / 10, worst, np.inf), dtype=np.float32)


def _detail_inside(values: Floats, inside: Floats) -> Floats:
    """Values less their surroundings, of which only what both pictures show counts: a crop changes nothing."""
    surroundings = _blurred(_COARSE, values * inside) / np.maximum(_blurred(_COARSE, inside), 1e-3)
    return np.asarray((values - surroundings) * inside, dtype=np.float32)


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
