"""Which architectures there are: a name gives a generator and a discriminator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from stylegan.architectures import dcgan, r3gan, stylegan1, stylegan2, stylegan3
from stylegan.architectures.networks import Discriminator, Generator, Growth, Networks, Noise
from stylegan.config import NetworkConfig
from stylegan.random import key_hash

__all__ = ["ARCHITECTURES", "Discriminator", "Generator", "Growth", "Networks", "Noise", "build_networks"]

# Each takes its own config class and the resolution in px, and draws fresh weights from torch's global generator.
ARCHITECTURES: dict[str, Callable[[Any, int], Networks]] = {
    "dcgan": dcgan.build,
    "r3gan": r3gan.build,
    "stylegan1": stylegan1.build,
    "stylegan2": stylegan2.build,
    "stylegan3-t": stylegan3.build,
    "stylegan3-r": stylegan3.build,
}


def build_networks(config: NetworkConfig, resolution: int, seed: int = 0) -> Networks:
    """The networks of a config, with fresh random weights that follow from the seed."""
    with torch.random.fork_rng(devices=[]):  # the caller's random state is left as it was
        torch.manual_seed(key_hash(seed, "init"))
        return ARCHITECTURES[config.architecture](config, resolution)
