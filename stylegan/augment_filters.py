"""The filters of augmentation: resampling along a geometric map, and gains of frequency bands.

Beyond its edges an image goes on as its own reflection about the edge pixels, for ever. That repeats after 2 (W - 1)
px, so one period stands for a margin of any width: sizes do not depend on the transformations drawn, nothing waits for
the device, and what becomes of an image does not depend on the others of its batch.

A filter acts along one axis at a time, window by window: some pixels lead, by one small matrix that is the same for
all windows, to TILE pixels of the output (fine ones twice as many). Matrix products are what processors do best:
benchmarks/augment.py measures them beside padding, zero-stuffing and convolving.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 8  # px; divides every power of two from 8 up

# Low-pass filters of two orthogonal wavelets, the symlet of six vanishing moments and Daubechies' of two (Daubechies
# 1992, Ten Lectures on Wavelets). Orthogonal: doubling a size with one, then halving it with it reversed, is lossless.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
BANDS = 4


def resampling_taps(device: torch.device | str = "cpu") -> Tensor:
    """The taps of SYM6 with a sum of one, [12]."""
    # Filled one by one: numbers copied from the host would not go into a captured graph.
    return torch.stack([torch.full([], tap / sum(SYM6), device=device) for tap in SYM6])


@functools.cache
def band_filters() -> Tensor:
    """Symmetric filters of four octaves, the lowest first, that add up to the identity, [4, 43].

    The low and the high half of SYM2 and of their own mirror images split off one octave after another; the wider
    octaves' filters are the same with zeros between the taps.
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = low * (-1.0) ** np.arange(1, 8)
    bands, rest = [], np.ones(1)
    for octave in range(BANDS - 1):
        wide_low, wide_high = (np.zeros(6 * 2**octave + 1) for _ in range(2))
        wide_low[:: 2**octave], wide_high[:: 2**octave] = low, high
        bands.append(np.convolve(rest, wide_high))
        rest = np.convolve(rest, wide_low)
    padded = [np.pad(band, (len(rest) - len(band)) // 2) for band in (rest, *reversed(bands))]
    return torch.tensor(np.stack(padded), dtype=torch.float32)


def banded(taps: Tensor, shape: tuple[int, int], first: int, row: int, column: int) -> Tensor:
    """Matrices whose entry (i, j) is tap number first + row * i + column * j, or zero where there is none.

    taps [..., K] -> [..., *shape]: a filter as the matrix of one window.
    """
    i = torch.arange(shape[0], device=taps.device)[:, None]
    j = torch.arange(shape[1], device=taps.device)
    tap = first + row * i + column * j
    inside = (tap >= 0) & (tap < taps.shape[-1])
    return torch.where(inside, taps[..., tap.clamp(0, taps.shape[-1] - 1)], 0)


def window_pixels(count: int, width: int, first: int, step: int, device: torch.device) -> Tensor:
    """The pixels of `count` windows, each `step` after the one before, the first from `first` on, [count, width]."""
    starts = torch.arange(count, device=device)[:, None] * step
    return starts + torch.arange(first, first + width, device=device)


def reflected(pixels: Tensor, size: int) -> Tensor:
    """The pixels of an image that those within and beyond its edges show."""
    period = 2 * (size - 1)
    pixels = pixels.remainder(period)
    return torch.minimum(pixels, period - pixels)


def filter_axis(x: Tensor, axis: int, matrix: Tensor, pixels: Tensor) -> Tensor:
    """Images whose windows along axis 2 or 3 are each multiplied by the matrix.

    x [N, C, H, W]; matrix [M, K] or, one an image, [N, M, K]; pixels [T, K]. The axis becomes T * M long.
    """
    (n, c, h, w), (count, width) = x.shape, pixels.shape
    chosen = x.index_select(axis, pixels.flatten())
    if axis == 3:
        return (chosen.reshape(n, c * h * count, width) @ matrix.transpose(-1, -2)).reshape(n, c, h, -1)
    return (matrix.unsqueeze(-3) @ chosen.reshape(n, c * count, width, w)).reshape(n, c, -1, w)


@functools.cache
def _doubling(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrix and pixels of the windows that make 4 * size fine pixels, one period and a little, out of an image."""
    with torch.inference_mode(False):
        matrix = banded(2 * resampling_taps(device), (2 * TILE, TILE + 6), first=11, row=1, column=-2)
        return matrix, reflected(window_pixels(size // 4, TILE + 6, -3, TILE, device), size)


@functools.cache
def _halving(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrix and pixels of the windows that make `size` pixels out of 2 * size + 10 fine ones."""
    with torch.inference_mode(False):
        matrix = banded(resampling_taps(device), (TILE, 2 * TILE + 10), first=0, row=-2, column=1)
        return matrix, window_pixels(size // TILE, 2 * TILE + 10, 0, 2 * TILE, device)


def fine_positions(inverse: Tensor, size: int) -> Tensor:
    """Where in one period of the fine image the output's fine pixels lie, [N, S, S, 2] for F.grid_sample.

    inverse [N, 3, 3] leads from output to input in px from the centre. Fine pixel 2 i stands where pixel i does; the
    S = 2 size + 10 of the output begin five before its first pixel, for the filter that halves them again.
    """
    period = 4 * (size - 1)
    fine = torch.arange(-5, 2 * size + 5, device=inverse.device, dtype=inverse.dtype) - (size - 1)
    by_column = inverse[:, :2, 0, None] * fine + (2 * inverse[:, :2, 2, None] + (size - 1))
    by_row = inverse[:, :2, 1, None] * fine
    position = by_column[:, :, None, :] + by_row[:, :, :, None]
    position = position - period * (position / period).floor()
    return (position * (2 / (4 * size - 1)) - 1).permute(0, 2, 3, 1)


def resample(images: Tensor, inverse: Tensor) -> Tensor:
    """Images moved by the geometric maps whose inverses [N, 3, 3] are given, in px from the centre.

    Doubled in size, sampled between four fine pixels, and halved again with the wavelet's filter (Karras et al. 2020,
    arXiv:2006.06676, appendix B). Images that stay where they are come out equal, to rounding.
    """
    size = images.shape[-1]
    doubling, halving = _doubling(size, images.device), _halving(size, images.device)
    fine = filter_axis(filter_axis(images, 3, *doubling), 2, *doubling)
    moved = F.grid_sample(fine, fine_positions(inverse, size), mode="bilinear", align_corners=True)
    return filter_axis(filter_axis(moved, 2, *halving), 3, *halving)


def filter_bands(images: Tensor, taps: Tensor) -> Tensor:
    """Images filtered along both axes, each with its own symmetric taps [N, 43]."""
    size, width = images.shape[-1], taps.shape[-1]
    matrix = banded(taps, (TILE, TILE + width - 1), first=0, row=-1, column=1)
    pixels = window_pixels(size // TILE, TILE + width - 1, -(width // 2), TILE, images.device)
    pixels = reflected(pixels, size)
    return filter_axis(filter_axis(images, 3, matrix, pixels), 2, matrix, pixels)
