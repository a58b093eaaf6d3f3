"""What a generator and a discriminator are to the rest of the house, whatever the architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

Noise = Literal["const", "none"] | Sequence[Tensor]  # or one map a layer, [N, 1, h, h]


class Growth(NamedTuple):
    """How far networks that grow have come."""

    size: int  # px
    alpha: float  # how far the layers of this size have faded in, 0 .. 1


class Mapping(Protocol):
    """From latents to w; a network without a mapping hands z on."""

    w_avg: Tensor  # [w_dim], running mean of w

    def __call__(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """w [N, w_dim] of z [N, z_dim] and one-hot labels [N, num_labels]."""

    def track(self, w: Tensor) -> None:
        """Move the running mean towards the mean of a whole batch, [N, w_dim]."""

    def truncate(self, w: Tensor, psi: float | Tensor, cutoff: int | None = None) -> Tensor:
        """w for every layer, [N, num_ws, w_dim], drawn towards the mean by psi in the first `cutoff` layers.

        psi is one number, or one for every layer, [num_ws].
        """


class Synthesis(Protocol):
    """From w for every layer to images."""

    def __call__(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, num_ws, w_dim] -> [N, C, H, W] about [-1, 1]; noise: const, none, or one map a layer."""


class Generator(nn.Module):
    """Mapping and synthesis."""

    mapping: Mapping
    synthesis: Synthesis
    num_ws: int
    noise_sizes: list[int]  # width of every layer's noise map, in order; empty where the network takes none

    def __init__(self, z_dim: int, w_dim: int, resolution: int, num_labels: int, image_channels: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.resolution = resolution
        self.num_labels = num_labels
        self.image_channels = image_channels

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        psi: float | Tensor = 1.0,
        cutoff: int | None = None,
        noise: Noise = "const",
    ) -> Tensor:
        """[N, z_dim] -> [N, C, H, W]."""
        return self.synthesis(self.mapping.truncate(self.mapping(z, labels), psi, cutoff), noise)

    def observe(self, ws: Tensor, noise: Noise = "const") -> tuple[Tensor, Tensor]:
        """Images without a gradient, and what `track` wants to know of how each came about, [N, k], k = 0 for most."""
        with torch.no_grad():
            return self.synthesis(ws, noise), ws.new_empty(len(ws), 0)

    def track(self, w: Tensor, observed: Tensor) -> None:
        """Move running means towards those of a whole batch: of w [N, w_dim], and of what was observed [N, k]."""
        self.mapping.track(w)

    def grow(self, growth: Growth) -> None:
        """Work at another size from now on; networks of a fixed size have nothing to do."""


class Judgement(NamedTuple):
    """What a discriminator says of images."""

    logits: Tensor  # [N], larger is more real
    # SAN only: the same numbers with gradients to the last layer's direction alone, [N] (arXiv:2301.12811, eq. 16).
    direction: Tensor | None = None


class Discriminator(nn.Module, ABC):
    """From images to logits in two halves: what an image shows, and how it looks in its group."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Features of images [N, C, H, W] in [-1, 1]; an image's features depend on that image alone."""

    @abstractmethod
    def judge(self, features: Tensor, labels: Tensor | None = None) -> Judgement:
        """The judgement of features; it may depend on an image's whole group (see operators.minibatch_std)."""

    def epilogue(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of features."""
        return self.judge(features, labels).logits

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of images [N, C, H, W] in [-1, 1]."""
        return self.epilogue(self.features(images), labels)

    def grow(self, growth: Growth) -> None:
        """Work at another size from now on; networks of a fixed size have nothing to do."""


class Networks(NamedTuple):
    """A generator and the discriminator that trains it."""

    G: Generator
    D: Discriminator
