"""Progressive growing: which size a training works at, and real images as they look there.

Karras et al. 2018 (arXiv:1710.10196), section 2 and figure 2. A size is trained for fade_kimg + stable_kimg, the first
one too, so the sizes change at even distances; the last one stays for ever. Everything is a function of the images
seen so far: there is nothing to save.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures.networks import Growth
from stylegan.config import GrowthConfig, TrainConfig


def growth_at(growth: GrowthConfig, resolution: int, images_seen: int) -> Growth:
    """The size in px that comes after so many images, and how far it has faded in; the first size is there at once."""
    if growth.start > resolution or resolution % growth.start:
        raise ValueError(
            f"growth.start is {growth.start} px, the resolution is {resolution} px: growing doubles the size until it "
            "is the resolution, so start from 4, 8, 16, ... up to it"
        )
    images_a_size = (growth.fade_kimg + growth.stable_kimg) * 1000
    last = (resolution // growth.start).bit_length() - 1
    doublings = min(int(images_seen // images_a_size), last) if images_a_size else last
    faded = images_seen - doublings * images_a_size
    fading = doublings > 0 and faded < growth.fade_kimg * 1000
    return Growth(growth.start << doublings, faded / (growth.fade_kimg * 1000) if fading else 1.0)


def shrink_reals(images: Tensor, growth: Growth) -> Tensor:
    """Real images [N, C, R, R] as they look at the present size, [N, C, size, size].

    Pixels are averaged. While the size fades in, images are mixed with their own copy of half the size, as those of
    the generator are: the discriminator must not tell them apart by their sharpness.
    """
    factor = images.shape[-1] // growth.size
    small = images if factor == 1 else F.avg_pool2d(images, factor)
    if growth.alpha == 1:
        return small
    blunt = F.interpolate(F.avg_pool2d(small, 2), scale_factor=2, mode="nearest")
    return torch.lerp(blunt, small, growth.alpha)


def batch_at(config: TrainConfig, images_seen: int) -> int:
    """Images of the step that comes after so many images."""
    if config.growth is None:
        return config.batch
    return config.growth.batch.get(growth_at(config.growth, config.resolution, images_seen).size, config.batch)


def lr_at(config: TrainConfig, images_seen: int) -> tuple[float, float]:
    """Generator's and discriminator's learning rate after so many images."""
    if config.growth is None:
        return config.learning_rates
    by_size = config.growth.lr.get(growth_at(config.growth, config.resolution, images_seen).size)
    return config.learning_rates if by_size is None else (by_size, by_size)
