"""How far two pictures differ where they differ most, told from their aligned thumbnails."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.hash import SIDE

BLOCK = 32  # pairs aligned at a time: what a core's cache holds; 128 take 1.5 times as long
FINE, COARSE = 0.6, 3.0  # standard deviations of the band that is compared, px of the thumbnail
SIEVE = ((0, 0.3), (2, 0.7), (6, 0.9))  # steps of alignment, and the likeness under which a pair is then given up
FARTHEST = np.array([6.0, 6.0, 0.15, 0.15], dtype=np.float32)  # limits of shift (px) and of enlargement
MARGIN = 3  # px along the border that are left out: the blurs have less to go by there
WINDOW = 0.8  # standard deviation of the window in which two pictures may not differ, px
BRIGHT = 225  # grey from which on in both is left out: brightening cuts highlights off

Thumbs = NDArray[np.uint8]  # [N, SIDE, SIDE]
Floats = NDArray[np.float32]


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
    steepest = _steepest(fixed) if num_steps else fixed
    for step in range(num_steps + 1):
        moved, inside = _moved(moving, motion)
        likeness = _correlation(fixed, moved, inside)
        found = np.where((likeness > best)[:, None], motion, found)
        best = np.maximum(best, likeness)
        if step < num_steps:
            motion = np.clip(motion - _gauss_newton(fixed, moved, inside, steepest), -FARTHEST, FARTHEST)
    return best, found


def _steepest(fixed: Floats) -> Floats:
    """How each px changes with the motion, float32 [P, SIDE * SIDE, 4]."""
    down, across = np.gradient(fixed, axis=(1, 2))
    steepest = np.stack([across, down, across * _PLACE, down * _PLACE[:, None]], axis=-1)
    return np.asarray(steepest.reshape(len(fixed), SIDE**2, 4), dtype=np.float32)


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
