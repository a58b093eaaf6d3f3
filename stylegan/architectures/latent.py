"""What generators without a mapping network have in its place."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from stylegan.architectures import networks
from stylegan.architectures.layers import check_labels, truncated
from stylegan.config import NetworkConfig


class Latent(nn.Module):
    """Stands where others have a mapping network: w is z, with the code of the label behind it."""

    w_avg: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.num_labels = config.num_labels
        if config.num_labels:
            self.embed = nn.Linear(config.num_labels, config.z_dim, bias=False)
            nn.init.normal_(self.embed.weight, std=1 / math.sqrt(config.num_labels))
        self.w_dim = config.z_dim * (2 if config.num_labels else 1)
        self.register_buffer("w_avg", torch.zeros(self.w_dim), persistent=False)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """w [N, w_dim] of z [N, z_dim] and one-hot labels [N, num_labels]."""
        check_labels(labels, self.num_labels)
        z = z.to(self.w_avg.dtype)
        return z if labels is None else torch.cat([z, self.embed(labels)], dim=1)

    def track(self, w: Tensor) -> None:
        """Nothing: the mean of z is known to be zero."""

    def truncate(self, w: Tensor, psi: float | Tensor, cutoff: int | None = None) -> Tensor:
        """w for the one layer that takes it, [N, 1, w_dim], its z drawn towards zero by psi; the label stays."""
        ws = w[:, None]
        z = truncated(ws[..., : self.z_dim], self.w_avg[: self.z_dim], psi, cutoff)
        return torch.cat([z, ws[..., self.z_dim :]], dim=2)


class LatentGenerator(networks.Generator):
    """A generator whose synthesis takes latents as they are."""

    def __init__(self, config: NetworkConfig, resolution: int, synthesis: Callable[[int], nn.Module]) -> None:
        """synthesis: makes the network from the size of w."""
        mapping = Latent(config)
        super().__init__(config.z_dim, mapping.w_dim, resolution, config.num_labels, config.image_channels)
        self.mapping: Latent = mapping
        self.synthesis = synthesis(mapping.w_dim)
        self.num_ws = 1
        self.noise_sizes = []
