"""Which architectures there are: a name gives a generator and a discriminator."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from stylegan import stylegan2
from stylegan.config import NetworkConfig
from stylegan.random import key_hash


class Networks(NamedTuple):
    """A generator and the discriminator that trains it."""

    G: stylegan2.Generator
    D: stylegan2.Discriminator


def build_stylegan2(config: NetworkConfig, resolution: int) -> Networks:
    """StyleGAN2 with fresh weights from torch's global generator."""
    return Networks(stylegan2.Generator(config, resolution), stylegan2.Discriminator(config, resolution))


ARCHITECTURES: dict[str, Callable[[NetworkConfig, int], Networks]] = {"stylegan2": build_stylegan2}


def build_networks(config: NetworkConfig, resolution: int, seed: int = 0) -> Networks:
    """The networks of a config, with fresh random weights that follow from the seed."""
    if config.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"network.architecture is {config.architecture!r}: choose one of {known}")
    with torch.random.fork_rng(devices=[]):  # the caller's random state is left as it was
        torch.manual_seed(key_hash(seed, "init"))
        return ARCHITECTURES[config.architecture](config, resolution)
