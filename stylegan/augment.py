"""Adaptive discriminator augmentation: what the discriminator sees is transformed with probability p, real or not.

Karras et al. 2020, Training Generative Adversarial Networks with Limited Data (arXiv:2006.06676). First it is drawn
what happens to every image of a batch, then it is applied: the first is random and knows p, the second is neither. All
is linear or affine in the images, so gradients of any order go through it, R1's included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stylegan.augment_draws import (
    Numbers,
    band_gains,
    colour,
    draw_numbers,
    geometry,
    noise_strength,
    spare,
)
from stylegan.augment_filters import TILE, band_filters, filter_bands, resample
from stylegan.augment_names import transform_names
from stylegan.config import AugmentConfig

CUTOUT = 0.5  # side of the square that is cut out, as a share of the image's


class Augmentation(NamedTuple):
    """What happens to every image of a batch, a row an image; none: that group of transformations is not asked for."""

    geometry: Tensor | None = None  # [N, 3, 3] from output to input in px from the centre
    colour: Tensor | None = None  # [N, 4] shift, gain of the grey part, gain and angle of the coloured
    taps: Tensor | None = None  # [N, 43] of the filter along either axis
    noise: Tensor | None = None  # [N, C, H, W] that is added
    cutout: Tensor | None = None  # [N, 2] centre x and y of the square that is cut out, as shares of the size

    def part(self, rows: Tensor) -> Augmentation:
        """What happens to some images of the batch."""
        return Augmentation(*(None if value is None else value[rows] for value in self))


def draw_augmentation(
    transforms: Sequence[str], p: Tensor, shape: tuple[int, int, int, int], generator: torch.Generator
) -> Augmentation:
    """What happens to the images of a batch of the given shape (N, C, H, W) when each transformation has probability p.

    Transformations by name, or by group as in AugmentConfig. p is a scalar on the device of the images. The generator
    may be on the CPU: then the draws agree between devices.
    """
    names = transform_names(transforms)
    numbers, lots = draw_numbers(names, shape[0], generator, p.device)
    field = None
    if "noise" in names:
        field = torch.randn(shape, generator=generator, device=generator.device).to(p.device)
    return augmentation(spare(numbers, lots, p), shape[-1], field)


def augmentation(numbers: Numbers, size: int, field: Tensor | None = None) -> Augmentation:
    """What random numbers stand for with images of size x size px; the field [N, C, H, W] is noise of variance one."""
    gains = band_gains(numbers)
    return Augmentation(
        geometry(numbers, size),
        colour(numbers),
        None if gains is None else gains @ band_filters().to(gains.device),
        None if field is None else field * noise_strength(numbers)[:, :, None, None],
        numbers.get("cutout"),
    )


def augment(images: Tensor, moves: Augmentation) -> Tensor:
    """Images after all that happens to them, in the paper's order, float32 [N, C, H, W].

    Of 2 and 4 channels the last is opacity: colour leaves it alone, the others treat it as any channel.
    """
    height, width = images.shape[2:]
    if height != width or width % TILE:
        raise ValueError(f"images are {width} x {height} px: augmentation takes squares of 8, 16, 32, ... px")
    inverse, colours, taps, noise, cutout = moves
    with torch.autocast(images.device.type, enabled=False):  # positions need all of float32
        images = images.float().contiguous()
        if inverse is not None:
            images = resample(images, inverse)
        if colours is not None:
            images = recolour(images, colours)
        if taps is not None:
            images = filter_bands(images, taps)
        if noise is not None:
            images = images + noise
        if cutout is not None:
            images = images * around(cutout, images.shape[-1])
    return images


def recolour(images: Tensor, colours: Tensor) -> Tensor:
    """Images whose grey part is scaled and shifted and whose coloured part is scaled and turned about the grey axis.

    colours [N, 4] says by how much: shift, grey gain, coloured gain, angle. Grey images (1 channel, or 2 with opacity)
    have no coloured part.
    """
    channels = 1 if images.shape[1] < 3 else 3
    shift, luma, chroma, angle = colours[:, :, None, None].unbind(dim=1)
    if channels == 1:
        matrix = luma
    else:
        one = torch.eye(3, device=images.device)
        grey = torch.full_like(one, 1 / 3)
        turn = torch.stack([one[1] - one[2], one[2] - one[0], one[0] - one[1]], dim=1) / 3**0.5
        matrix = luma * grey + chroma * (angle.cos() * (one - grey) + angle.sin() * turn)
    pixels = images[:, :channels].flatten(2)
    recoloured = (matrix @ pixels + shift).reshape(-1, channels, *images.shape[2:])
    return torch.cat([recoloured, images[:, channels:]], dim=1) if images.shape[1] > channels else recoloured


def around(centre: Tensor, size: int) -> Tensor:
    """Masks [N, 1, size, size]: zero in the square about each centre, one elsewhere."""
    pixels = (torch.arange(size, device=centre.device) + 0.5) / size
    outside = (pixels - centre[:, :, None]).abs() >= CUTOUT / 2  # [N, 2, size]: by column, by row
    return (outside[:, 0, None, None, :] | outside[:, 1, None, :, None]).to(centre.dtype)


def next_p(p: Tensor, mean_sign: Tensor, config: AugmentConfig, batch: int) -> Tensor:
    """p after an interval in which the sign of D(real) had this mean (the paper's r_t, section 3.1).

    Overfitting pushes the mean up, p follows it: up above the target, down below, by so much that kimg take it from 0
    to 1. It has no upper bound; from 1 on all transformations are always applied.
    """
    step = batch * config.interval / (config.kimg * 1000)
    return (p + (mean_sign - config.target).sign() * step).clamp(min=0)
