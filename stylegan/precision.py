"""Shorter number formats for the highest resolutions, where most of the time goes.

Weights stay float32 and are cast as they are used. Mapping networks, affine layers, demodulation, the discriminator's
last layers, logits, losses, penalties, averages and the optimiser stay float32 altogether.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SMALLEST = 8  # px; what works at 4 px has few pixels and decides much
FLOAT16_CLAMP = 256.0  # activations of float16 layers stay within it (Karras et al. 2020, arXiv:2006.06676)


class Sized(nn.Module):
    """The layers of one resolution, which may compute in a number format of their own."""

    dtype: torch.dtype | None = None  # none: as its input comes

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution

    def enter(self, x: Tensor) -> Tensor:
        """What comes in, in this module's number format."""
        return x if self.dtype is None else x.to(self.dtype)


def set_precision(
    network: nn.Module, precision: Literal["float32", "bfloat16", "float16"], num_sizes: int, resolution: int
) -> None:
    """Let the layers of the highest `num_sizes` resolutions of a network, 8 px and up, compute in this precision.

    resolution: the network's, in px. Layers of float16 are clamped to +-256 where the config does not clamp them.
    """
    modules = [m for m in network.modules() if isinstance(m, Sized)]
    if precision != "float32" and not modules:
        name = type(getattr(network, "synthesis", network)).__module__.rpartition(".")[2]
        raise ValueError(f"{name} has no layers that compute in {precision}: leave precision at float32")
    for module in modules:
        low = module.resolution << num_sizes > resolution and module.resolution >= SMALLEST
        # Where all layers are of one format nothing is cast, so that a network of double precision stays one.
        module.dtype = None if precision == "float32" else DTYPES[precision] if low else torch.float32
        if module.dtype == torch.float16:
            clamp_layers(module)


def clamp_layers(module: nn.Module) -> None:
    """Clamp every layer that can be clamped, unless the config has done it already."""
    for layer in module.modules():
        if getattr(layer, "clamp", 0) is None:
            layer.clamp = FLOAT16_CLAMP  # type: ignore[assignment]
