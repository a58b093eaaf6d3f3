"""Pictures moved by fractions of a pixel, and turned: what StyleGAN3's equivariance metrics compare with.

Karras et al. 2021 (arXiv:2106.12423), appendix E: a translation or rotation of the generator's input should be that of
its picture, up to what lies outside the picture and to frequencies that a square grid holds at one angle only. Both
are ideal low-pass filters, cut off by a Lanczos window of LOBES px.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LOBES = 3  # px from its middle to where Lanczos' window ends
FINER = 4  # a rotation reads between pixels from a grid this many times as fine, the rest is bilinear
RADIUS = 8  # px that the filter of a rotation reaches, at least (1 + sqrt 2) LOBES
EXTENT = 64  # px on either side over which two filters are convolved: the tails of a sinc are long

SHIFT_RANGE = 0.125  # of the width: the metric's translations are uniform within this on either axis


class Moved(NamedTuple):
    """Pictures [N, C, H, W] and where they are known, bool [H, W]."""

    images: Tensor
    known: Tensor


def shift(images: Tensor, right: int, down: int) -> Moved:
    """Pictures moved by whole pixels, for EQ-T."""
    height, width = images.shape[2:]
    moved = F.pad(images, (right, -right, down, -down))
    y, x = torch.arange(height)[:, None] - down, torch.arange(width)[None] - right
    return Moved(moved, ((y >= 0) & (y < height) & (x >= 0) & (x < width)).to(images.device))


def translate(images: Tensor, right: float, down: float) -> Moved:
    """Pictures moved by fractions of pixels, for EQ-T_frac; known where no tap lies outside."""
    whole_x, whole_y = math.floor(right), math.floor(down)
    channels = images.shape[1]
    row = _taps(right - whole_x).to(images).expand(channels, 1, 1, -1)
    column = _taps(down - whole_y).to(images)[:, None].expand(channels, 1, -1, 1)
    # Pixel i comes from i - whole - fraction: LOBES taps before it, LOBES after, the first of them at -LOBES.
    wide = F.pad(images, (LOBES + whole_x, LOBES - 1 - whole_x, LOBES + whole_y, LOBES - 1 - whole_y))
    moved = F.conv2d(F.conv2d(wide, row, groups=channels), column, groups=channels)
    height, width = images.shape[2:]
    y, x = torch.arange(height)[:, None] - whole_y, torch.arange(width)[None] - whole_x
    inside = (y >= LOBES) & (y <= height - LOBES) & (x >= LOBES) & (x <= width - LOBES)
    return Moved(moved, inside.to(images.device))


def _taps(fraction: float) -> Tensor:
    """A sinc under its window, read `fraction` px away from the taps -LOBES .. LOBES - 1; sum one."""
    at = torch.arange(-LOBES, LOBES, dtype=torch.float64) + fraction
    taps = torch.sinc(at) * _window(at)
    return taps / taps.sum()


def rotate(images: Tensor, angle: float) -> Moved:
    """Square pictures turned about their middle by radians, from the x axis to the y axis, for EQ-R.

    A picture is low-passed to what fits its grid before and after, read on a finer grid, and between that bilinearly.
    """
    size, channels = images.shape[-1], images.shape[1]
    kernel = rotation_filter(-angle, FINER).to(images)
    finer = F.conv_transpose2d(images, kernel.expand(channels, 1, *kernel.shape), stride=FINER, groups=channels)
    # Sample j of the finer grid lies at (j - reach) / FINER px.
    middle, reach = (size - 1) / 2, RADIUS * FINER - 1
    at = torch.arange(size, dtype=torch.float64) - middle
    x = math.cos(angle) * at[None] - math.sin(angle) * at[:, None]
    y = math.sin(angle) * at[None] + math.cos(angle) * at[:, None]
    places = (torch.stack([x, y], dim=2) + middle) * FINER + reach
    grid = (places / (finer.shape[-1] - 1) * 2 - 1).to(images).expand(len(images), -1, -1, -1)
    turned = F.grid_sample(finer, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    # Half a sample to the side: the nearest sample of the finer grid decides.
    near = torch.maximum((x + 0.5 / FINER).abs(), (y + 0.5 / FINER).abs())
    return Moved(turned, (near <= size / 2 - 2 * LOBES).to(images.device))


def band_limit(images: Tensor, angle: float) -> Moved:
    """Pictures less the frequencies that one turned by this angle has lost, for the other side of EQ-R."""
    size, channels = images.shape[-1], images.shape[1]
    kernel = rotation_filter(angle, 1).to(images)
    limited = F.conv2d(images, kernel.expand(channels, 1, *kernel.shape), padding=RADIUS - 1, groups=channels)
    margin = 2 * LOBES - 1
    known = torch.zeros(size, size, dtype=torch.bool, device=images.device)
    known[margin : size - margin, margin : size - margin] = True
    return Moved(limited, known)


def rotation_filter(angle: float, finer: int) -> Tensor:
    """The filter of a rotation on a grid `finer` times that of pixels, float64 [2 RADIUS finer - 1] squared.

    The convolution of a square low-pass with the same one turned, whose response is where both let pass, under the
    convolution of their windows. Every pixel's phase has the sum one.
    """
    reach = EXTENT * finer - 1
    at = torch.arange(-reach, reach + 1, dtype=torch.float64) / finer
    y, x = torch.meshgrid(at, at, indexing="ij")
    turned_x, turned_y = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y

    def convolved(function: Callable[[Tensor], Tensor]) -> Tensor:
        one, other = function(x) * function(y), function(turned_x) * function(turned_y)
        spectrum = torch.fft.rfft2(torch.fft.ifftshift(one)) * torch.fft.rfft2(torch.fft.ifftshift(other))
        result: Tensor = torch.fft.fftshift(torch.fft.irfft2(spectrum, s=one.shape))
        return result

    cut = slice(reach - RADIUS * finer + 1, reach + RADIUS * finer)
    kernel = (convolved(torch.sinc) * convolved(_window))[cut, cut]
    phases = F.pad(kernel, (0, 1, 0, 1)).reshape(2 * RADIUS, finer, 2 * RADIUS, finer)
    phases = phases / phases.sum(dim=(0, 2), keepdim=True)
    return phases.reshape(2 * RADIUS * finer, -1)[:-1, :-1]


def _window(at: Tensor) -> Tensor:
    """Lanczos' window, the middle lobe of a sinc that is LOBES times as wide."""
    return torch.where(at.abs() < LOBES, torch.sinc(at / LOBES), 0.0)


def decibels(mean_square: float) -> float:
    """A mean squared difference of images in [-1, 1] as a peak signal-to-noise ratio: EQ-T and EQ-R are told in dB."""
    return 10 * math.log10(2**2 / mean_square)
