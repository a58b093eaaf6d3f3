"""The search for the latent code of a picture: how its pace, its noise and its penalty change from step to step.

Karras et al. 2020 (arXiv:1912.04958), appendix D. A w [w_dim] and the noise maps are optimised with Adam, in a thousand
steps as a rule; `progress` below is the share of them that is done, 0 .. 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LEARNING_RATE = 0.1
WARM_UP = 0.05  # of the steps: the learning rate rises in a line, ...
COOL_DOWN = 0.25  # ... and falls along a cosine
EXPLORING = 0.75  # of the steps that noise is added to w
EXPLORING_NOISE = 0.05  # of w's own spread
SMALLEST_NOISE = 8  # px of the coarsest copy of a noise map that is looked at


class Spread(NamedTuple):
    """Where the mapping network's w lie: their mean [w_dim], and their root mean square distance from it."""

    mean: Tensor
    deviation: float


def learning_rate(progress: float) -> float:
    """Adam's learning rate: a line up from 0, flat, half a cosine down to 0."""
    cooling = min(1.0, (1 - progress) / COOL_DOWN)
    return LEARNING_RATE * min(1.0, progress / WARM_UP) * (0.5 - 0.5 * math.cos(math.pi * cooling))


def exploring_noise(progress: float, deviation: float) -> float:
    """Standard deviation of the noise that is added to w, so that the search does not end in the nearest hollow."""
    return deviation * EXPLORING_NOISE * max(0.0, 1 - progress / EXPLORING) ** 2


def spread(w: Tensor) -> Spread:
    """Mean and deviation of w [N, w_dim]; published numbers come from 10,000 of them."""
    mean = w.mean(dim=0)
    return Spread(mean, float((w - mean).square().sum(dim=1).mean().sqrt()))


def noise_penalty(maps: Sequence[Tensor]) -> Tensor:
    """How much neighbours in the noise maps [..., h, h] resemble each other, summed over maps and scales.

    Noise that carries a picture is no noise. Every map and its copies of half the size, down to SMALLEST_NOISE px,
    are correlated with themselves one pixel to the right and one down; the maps wrap around.
    """
    total = maps[0].new_zeros([])
    for noise in maps:
        for axis in (-1, -2):
            total = total + (noise * noise.roll(1, axis)).mean().square()
        if noise.shape[-1] > SMALLEST_NOISE:
            total = total + noise_penalty([_halved(noise)])
    return total


def _halved(noise: Tensor) -> Tensor:
    """Means of two by two."""
    half = noise.shape[-1] // 2
    return noise.reshape(*noise.shape[:-2], half, 2, half, 2).mean(dim=(-3, -1))


@torch.no_grad()
def normalise_noise(maps: Sequence[Tensor]) -> None:
    """Bring every noise map back to mean 0 and mean square 1, in place, as is done after each step."""
    for noise in maps:
        noise -= noise.mean()
        noise *= noise.square().mean().rsqrt()
