"""What a picture looks like in 64 and in 256 bits and in 48 x 48 px: the hashes are those of imagehash, bit for bit."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import cv2
import imagehash
import numpy as np
import scipy.fftpack
from numpy.typing import NDArray
from PIL import Image

from imaging.decode import Image8

BITS = 64
SIDE = 48  # px of a thumbnail
ENOUGH = 96  # px of the shorter side that are left when a picture is halved before it is hashed

HashKind = Literal["phash", "dhash", "whash"]


class Fingerprint(NamedTuple):
    """What the ledger keeps of a picture's looks."""

    hash: int
    hash256: int
    thumb: NDArray[np.uint8]  # [48, 48]


def fingerprint(image: Image8, kind: HashKind = "phash") -> Fingerprint:
    """Both hashes and the thumbnail of an image [H, W, 3], which is halved first while 96 px are left of each side.

    Lanczos over 1500 px costs as much as decoding them. Halving moves the hashes by 2 bits of 64 and 8 of 256 at most
    (95 of 100 photographs of the test pack); who wants imagehash's bits of the whole picture calls `exact_hashes`.
    """
    grey = Image.fromarray(halved(image)).convert("L")
    return Fingerprint(*_hashes(grey, kind), _thumbnail(grey))


def exact_hashes(image: Image8, kind: HashKind = "phash") -> tuple[int, int]:
    """The 64 and the 256 bits that imagehash's function of that name gives for an image [H, W, 3], first bit highest.

    imagehash is asked with hash_size 8 and 16; one grey picture serves both.
    """
    return _hashes(Image.fromarray(image).convert("L"), kind)


def perceptual_hash(image: Image8, kind: HashKind = "phash") -> int:
    """The 64 bits of `exact_hashes`."""
    return exact_hashes(image, kind)[0]


def thumbnail(image: Image8) -> NDArray[np.uint8]:
    """The grey thumbnail [48, 48] of an image [H, W, 3] that the second check compares (Lanczos, aspect dropped).

    A box filter lets through what then differs with every shift: 283 of 328 labelled duplicates were found, not 321.
    """
    return _thumbnail(Image.fromarray(image).convert("L"))


def halved(image: Image8) -> Image8:
    """The image, half its size as often as 96 px are left of the shorter side."""
    while min(image.shape[:2]) >= 2 * ENOUGH:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        # Means of 2 x 2 px; an odd last row or column is left out, which keeps OpenCV on its fast path.
        half = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        image = np.asarray(half, dtype=np.uint8)
    return image


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


def _thumbnail(grey: Image.Image) -> NDArray[np.uint8]:
    return np.array(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _hashes(grey: Image.Image, kind: HashKind) -> tuple[int, int]:
    if kind == "whash":
        return _wavelet_hashes(grey)
    of_side = _cosine_bits if kind == "phash" else _difference_bits
    return _number(of_side(grey, 8)), _number(of_side(grey, 16))


def _cosine_bits(grey: Image.Image, side: int) -> NDArray[np.bool_]:
    """The lowest frequencies of the cosine transform against their median."""
    pixels = np.asarray(grey.resize((4 * side, 4 * side), Image.Resampling.LANCZOS))
    # Columns that are not looked at are left out; what is left is rounded as in imagehash, flat pictures included.
    rows = scipy.fftpack.dct(pixels, axis=0)[:side]
    return _above_median(scipy.fftpack.dct(rows, axis=1)[:, :side])


def _difference_bits(grey: Image.Image, side: int) -> NDArray[np.bool_]:
    pixels = np.asarray(grey.resize((side + 1, side), Image.Resampling.LANCZOS))
    return np.asarray(pixels[:, 1:] > pixels[:, :-1])


def _wavelet_hashes(grey: Image.Image) -> tuple[int, int]:
    """Haar's lowest band is the sum of each block of a picture whose side is a power of two, less what all share.

    imagehash does it in floats. Sums of whole numbers decide the same way wherever none equals the median; where one
    does, its bit in imagehash hangs on rounding, and imagehash is asked.
    """
    natural = 2 ** int(math.log2(min(grey.size)))
    scaled: dict[int, NDArray[np.int64]] = {}
    numbers = []
    for side in (8, 16):
        scale = max(natural, side)
        if scale not in scaled:
            scaled[scale] = np.asarray(grey.resize((scale, scale), Image.Resampling.LANCZOS)).astype(np.int64)
        block = scale // side
        sums = scaled[scale].reshape(side, block, side, block).sum(axis=(1, 3))
        low, high = np.partition(sums.ravel(), [sums.size // 2 - 1, sums.size // 2])[
            [sums.size // 2 - 1, sums.size // 2]
        ]
        tie = (2 * sums == low + high).any()
        numbers.append(_number(imagehash.whash(grey, hash_size=side).hash if tie else 2 * sums > low + high))
    return numbers[0], numbers[1]


def _above_median(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(values > np.median(values))


def _number(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
