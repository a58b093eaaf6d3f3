"""Freeze-D: a discriminator whose first blocks stay as the donor's."""

from __future__ import annotations

import re

from torch import nn


def freeze_discriminator(D: nn.Module, num_blocks: int) -> list[str]:
    """Freeze the first blocks of a discriminator, from the image on, and answer with the weights' names.

    Freeze-D, Mo et al. 2020 (arXiv:2002.10964). Frozen weights require no grad: call it before the optimiser is made,
    which then never holds them (state.lazy_adam), so nothing wakes them (state.train_only).
    """
    blocks = image_blocks(D)
    if num_blocks > len(blocks):
        raise ValueError(
            f"freeze_D is {num_blocks}, but this discriminator has {len(blocks)} blocks before its last one "
            f"({', '.join(blocks) or 'none that can be frozen'}): choose at most {len(blocks)}"
        )
    # Where colours come in beside the blocks and not within the first, they come before it.
    frozen = tuple(f"{block}." for block in ["fromrgb", *blocks][: num_blocks + 1]) if num_blocks else ()
    names = [name for name, _ in D.named_parameters() if name.startswith(frozen)]
    for name in names:
        D.get_parameter(name).requires_grad_(False)
    return names


def image_blocks(D: nn.Module) -> list[str]:
    """Names of a discriminator's blocks from the image on, without the last one, which judges.

    Blocks are called for the size they work at: b64, b32, .., b4.
    """
    sizes = sorted(
        (int(found[1]) for name, _ in D.named_children() if (found := re.fullmatch(r"b(\d+)", name))), reverse=True
    )
    return [f"b{size}" for size in sizes[:-1]]
