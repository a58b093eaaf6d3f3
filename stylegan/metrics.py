"""Distances between sets of pictures that need no feature extractor: sliced Wasserstein, nearest neighbours.

Neither is FID, and neither may carry its name: FID needs an Inception network that is an asset.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.random import generator

DIRECTIONS_AT_ONCE = 32  # bounds memory: (N + M) x patches x this many floats
BATCH = 256  # pictures in flight while pyramids are built
UNIT = 1e3  # Karras et al. print the distance times 1,000
NORMAL_95 = 1.959964


class SlicedWassersteinConfig(BaseModel):
    """How much of the pictures the sliced Wasserstein distance looks at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patch_size: int = Field(default=7, ge=1, le=31, description="Side of a patch in px.")
    num_patches: int = Field(default=128, ge=1, description="Patches taken from each picture at each level.")
    num_directions: int = Field(default=512, ge=1, description="Random unit vectors that patches are projected on.")
    num_bootstraps: int = Field(default=50, ge=2, description="Resamplings of the pictures behind the interval.")
    lowest: int = Field(default=16, ge=8, description="Resolution of the coarsest level in px.")


DEFAULT = SlicedWassersteinConfig()


class Interval(NamedTuple):
    """A number with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class SlicedWasserstein(NamedTuple):
    """Distances times 1,000, smaller is closer: the mean over levels, and one a level by its resolution in px."""

    mean: Interval
    levels: dict[int, Interval]


class Neighbours(NamedTuple):
    """For each of M queries its k nearest: row numbers int64 [M, k] and distances float32 [M, k], nearest first."""

    indices: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


def sliced_wasserstein(
    real: Tensor, fake: Tensor, seed: int, config: SlicedWassersteinConfig = DEFAULT
) -> SlicedWasserstein:
    """Sliced Wasserstein distance between Laplacian-pyramid patches of two sets of pictures.

    real [N, 3, H, H], fake [M, 3, H, H] uint8; N and M may differ. After Karras et al. 2018 (arXiv:1710.10196,
    section 5): patches of each level are normalised by mean and standard deviation a channel, projected on random
    directions, and compared in one dimension. The same seed gives the same number.

    Even two halves of one set are some way apart, the more the smaller they are: compare numbers of equal N and M
    only. The interval is the normal one with the standard deviation over bootstrap samples of *pictures* (patches
    of one picture are not independent). It is cautious: on drawn sets of 50 and 150 pictures the mean's interval was
    1.5 to 3 times as wide as the spread of fresh sets.
    """
    _check(real, fake, config)
    device = real.device
    weights_real = _bootstrap_weights(len(real), config.num_bootstraps, seed, "real").to(device)
    weights_fake = _bootstrap_weights(len(fake), config.num_bootstraps, seed, "fake").to(device)
    levels: dict[int, Tensor] = {}
    resolutions = _resolutions(real.shape[-1], config.lowest)
    for resolution in resolutions:
        # One stream of corners for both sets: a set compared with itself is at distance 0.
        coarsest = resolution == resolutions[-1]
        a, b = (_patches(x, resolution, coarsest, seed, config) for x in (real, fake))
        directions = torch.randn(a.shape[1], config.num_directions, generator=generator(seed, "directions", resolution))
        directions = (directions / directions.norm(dim=0, keepdim=True)).to(device)
        levels[resolution] = _distances(a, b, directions, weights_real, weights_fake) * UNIT
    mean = torch.stack(list(levels.values())).mean(0)
    return SlicedWasserstein(_interval(mean), {r: _interval(d) for r, d in levels.items()})


def nearest_neighbours(real: Tensor, fake: Tensor, k: int) -> Neighbours:
    """The k real pictures nearest to each generated one, to see whether a generator repeats its training set.

    real [N, 3, H, W], fake [M, 3, H, W] uint8. Feature space: means over an 8 x 8 grid of areas in CIELAB, 192
    numbers, Euclidean distance. It sees pose, colour and light, not identity: a near copy is always near, a near
    neighbour is not always a copy.
    """
    if not 1 <= k <= len(real):
        raise ValueError(f"k is {k}, there are {len(real)} real pictures: choose 1 <= k <= {len(real)}")
    a, b = (torch.from_numpy(colour_layout(x)) for x in (real, fake))
    # The plain differences, not the |a|^2 + |b|^2 - 2ab of large matrices: an exact copy must be at distance 0.
    distances = torch.cdist(b, a, compute_mode="donot_use_mm_for_euclid_dist")
    order = torch.argsort(distances, dim=1, stable=True)[:, :k]
    return Neighbours(order.numpy(), distances.gather(1, order).numpy())


def colour_layout(images: Tensor) -> npt.NDArray[np.float32]:
    """Means over an 8 x 8 grid of areas in CIELAB, float32 [N, 192], of uint8 pictures [N, 3, H, W]."""
    small = F.adaptive_avg_pool2d(images.float() / 255, 8).permute(0, 2, 3, 1).cpu().numpy()
    rows = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2Lab).reshape(-1) for image in small]
    return np.stack(rows).astype(np.float32)


def _check(real: Tensor, fake: Tensor, config: SlicedWassersteinConfig) -> None:
    for name, images in (("real", real), ("fake", fake)):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
            raise ValueError(f"{name} is {images.dtype} {list(images.shape)}, expected uint8 [N, 3, H, W] with N > 0")
    if real.shape[1:] != fake.shape[1:] or real.shape[2] != real.shape[3]:
        raise ValueError(f"real is {list(real.shape)}, fake {list(fake.shape)}: bring both to one square size first")
    if min(config.lowest, real.shape[-1]) < config.patch_size:
        raise ValueError(f"patches of {config.patch_size} px do not fit into pictures of {real.shape[-1]} px")


def _resolutions(resolution: int, lowest: int) -> list[int]:
    """The pyramid's levels, finest first: resolution, half of it, ... while at least `lowest` px and even."""
    levels = [resolution]
    while levels[-1] % 2 == 0 and levels[-1] // 2 >= lowest:
        levels.append(levels[-1] // 2)
    return levels


def _bootstrap_weights(num: int, num_bootstraps: int, seed: int, part: str) -> Tensor:
    """How often each picture counts, [1 + B, N]; the first row is the set itself, every row sums to 1."""
    draws = torch.randint(num, (num_bootstraps, num), generator=generator(seed, f"bootstrap of {part}"))
    counts = torch.zeros(num_bootstraps, num, dtype=torch.float64).scatter_add_(
        1, draws, torch.ones_like(draws, dtype=torch.float64)
    )
    return torch.cat([torch.ones(1, num, dtype=torch.float64), counts]) / num


def _patches(images: Tensor, resolution: int, coarsest: bool, seed: int, config: SlicedWassersteinConfig) -> Tensor:
    """Random patches of one pyramid level, normalised a channel: float32 [N * patches, 3 * size * size]."""
    size, stream = config.patch_size, generator(seed, "patches", resolution)
    parts = []
    for start in range(0, len(images), BATCH):
        level = _laplacian(images[start : start + BATCH], resolution, coarsest)
        corners = torch.randint(resolution - size + 1, (2, len(level), config.num_patches), generator=stream)
        offsets = torch.arange(size)
        y = (corners[0, :, :, None] + offsets)[:, :, None, :, None].to(level.device)
        x = (corners[1, :, :, None] + offsets)[:, :, None, None, :].to(level.device)
        n = torch.arange(len(level), device=level.device)[:, None, None, None, None]
        parts.append(level[n, torch.arange(3, device=level.device)[:, None, None], y, x])
    patches = torch.cat(parts)
    deviation, mean = torch.std_mean(patches, dim=(0, 1, 3, 4), keepdim=True, correction=0)
    return ((patches - mean) / deviation.clamp(min=1e-8)).flatten(0, 1).flatten(1)  # a flat level stays 0


def _laplacian(images: Tensor, resolution: int, coarsest: bool) -> Tensor:
    """One level of the Laplacian pyramid of uint8 pictures, float32 [N, 3, resolution, resolution].

    What a level adds to the one below it doubled; the coarsest is the small picture itself. Burt and Adelson's
    5-tap binomial filter with reflected borders, pixels in [-1, 1].
    """
    level = images.float() / 127.5 - 1
    while level.shape[-1] > resolution:
        level = _halve(level)
    return level if coarsest else level - _double(_halve(level))


def _halve(images: Tensor) -> Tensor:
    return _blur(images)[:, :, ::2, ::2]


def _double(images: Tensor) -> Tensor:
    spread = images.new_zeros(*images.shape[:2], images.shape[2] * 2, images.shape[3] * 2)
    spread[:, :, ::2, ::2] = images
    return _blur(spread) * 4  # three of four samples are 0


def _blur(images: Tensor) -> Tensor:
    taps = images.new_tensor([1, 4, 6, 4, 1]) / 16
    channels = images.shape[1]
    kernel = torch.outer(taps, taps).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def _distances(a: Tensor, b: Tensor, directions: Tensor, weights_a: Tensor, weights_b: Tensor) -> Tensor:
    """Mean over directions of the 1-D Wasserstein distance, [1 + B], one a row of picture weights.

    W1 is the area between the two distribution functions, so one sort serves the sets and all their bootstrap
    samples, and the sets may differ in size. For equal sizes it is the mean |sort(a) - sort(b)| of the paper.
    """
    num_a, num_b = a.shape[0] // weights_a.shape[1], b.shape[0] // weights_b.shape[1]
    owners = torch.cat(
        [
            torch.arange(weights_a.shape[1], device=a.device).repeat_interleave(num_a),
            torch.arange(weights_b.shape[1], device=a.device).repeat_interleave(num_b) + weights_a.shape[1],
        ]
    )
    signed = torch.cat([weights_a / num_a, -weights_b / num_b], dim=1)  # [1 + B, N + M]
    total = torch.zeros(len(signed), dtype=torch.float64, device=a.device)
    for i in range(0, directions.shape[1], DIRECTIONS_AT_ONCE):
        chunk = directions[:, i : i + DIRECTIONS_AT_ONCE]
        ordered, order = torch.cat([a @ chunk, b @ chunk]).t().contiguous().sort(dim=1)
        gaps, ranked = ordered.diff(dim=1), owners[order]
        rows = signed if i == 0 else signed[:1]  # the interval needs fewer directions than the value
        for row, weights in enumerate(rows):
            between = weights[ranked].cumsum(1)[:, :-1].abs_()
            total[row] += (between * gaps).sum()
    total[0] /= directions.shape[1]
    total[1:] /= min(DIRECTIONS_AT_ONCE, directions.shape[1])
    return total


def _interval(distances: Tensor) -> Interval:
    # Bootstrap samples repeat pictures and so lie farther apart than the sets: only their spread is used.
    value, spread = float(distances[0]), float(distances[1:].std()) * NORMAL_95
    return Interval(value, max(0.0, value - spread), value + spread)
