"""A picture turned over, turned round or cut out of a larger one, as its thumbnail and its hashes would show it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.hamming import Hashes
from imaging.hash import SIDE

Also = Literal["mirror", "rotate", "crop"]
Thumbs = NDArray[np.uint8]

UPRIGHT = "0"

_SHRINK, _STEP, _STRETCH = 0.9, 0.07, 1.18  # of one window to the next: hashes bear 5 % of crop, alignment 15 %


def _windows() -> dict[str, tuple[float, float, float, float]]:
    """Windows x0, y0, x1, y1 in shares of the side, down to 60 %, some wider or higher than the picture."""
    found = {}
    for power, stretch in itertools.product(range(1, 6), (1 / _STRETCH, 1.0, _STRETCH)):
        sides = [min(1.0, _SHRINK**power * stretch**sign) for sign in (0.5, -0.5)]
        places = [np.linspace(0, 1 - side, 1 + math.ceil((1 - side) / _STEP)).tolist() for side in sides]
        for x0, y0 in itertools.product(*places):
            window = (x0, y0, x0 + sides[0], y0 + sides[1])
            found["crop " + " ".join(f"{share:.3f}" for share in window)] = window
    return found


WINDOWS = _windows()


def turns_of(also: Sequence[Also]) -> tuple[str, ...]:
    """The names of the turns that are looked for: degrees against the clock, whether mirrored before, or a crop."""
    quarters = range(4) if "rotate" in also else range(1)
    mirrored = (False, True) if "mirror" in also else (False,)
    square = [f"{90 * quarter}{' mirrored' * over}" for over in mirrored for quarter in quarters]
    return (*square[1:], *(WINDOWS if "crop" in also else ()))


def turned(thumbs: Thumbs, turn: str) -> Thumbs:
    """The thumbnails [N, 48, 48] of the pictures so turned."""
    if turn in WINDOWS:
        x0, y0, x1, y1 = WINDOWS[turn]
        across, down = _window(x0, x1), _window(y0, y1)
        return np.asarray(np.rint(np.clip(down @ thumbs.astype(np.float32) @ across.T, 0, 255)), dtype=np.uint8)
    degrees, _, over = turn.partition(" ")
    upright = thumbs[:, :, ::-1] if over else thumbs
    return np.asarray(np.rot90(upright, int(degrees) // 90, axes=(1, 2)), dtype=np.uint8)


def hashes_of(thumbs: Thumbs) -> tuple[Hashes, Hashes]:
    """64 and 256 bits, uint64 [N] and [N, 4], of thumbnails: pHash of 48 px instead of 32 and 64, same meaning."""
    low = _COSINES @ thumbs.astype(np.float64) @ _COSINES.T
    # Whole numbers: what is exactly equal in a flat or a symmetrical picture stays so after rounding.
    low = np.rint(low * 16)
    return _packed(low[:, :8, :8]).ravel(), _packed(low)


def _packed(values: NDArray[np.float64]) -> Hashes:
    flat = values.reshape(len(values), -1)
    bits = np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1)
    return bits.view(">u8").astype(np.uint64)


_COSINES = np.cos(np.pi * (np.arange(SIDE) + 0.5) * np.arange(16)[:, None] / SIDE)


@functools.cache
def _window(low: float, high: float) -> NDArray[np.float32]:
    """The matrix [48, 48] that enlarges [low, high) of a side to the whole of it (cubic)."""
    columns = np.eye(SIDE, dtype=np.float32)
    scale = high - low
    affine = np.array([[1, 0, 0], [0, scale, low * SIDE + scale / 2 - 0.5]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    matrix = cv2.warpAffine(columns, affine, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(matrix, dtype=np.float32)
