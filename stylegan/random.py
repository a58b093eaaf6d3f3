"""Keyed random generators: every draw of a training is a pure function of (seed, purpose, step, rank).

Nothing here has a state that outlives its use, so a resumed training needs no saved random state: it asks for
the same keys again. The key is hashed with SHA-256, whose first eight bytes seed an ordinary generator of torch;
two different keys share a stream with the odds of two equal hashes (torch's CPU generator uses 32 bits of them).
"""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor


def key_hash(seed: int, purpose: str, step: int = 0, rank: int = 0) -> int:
    """The 63-bit number that a key stands for, the same on every machine and in every version."""
    key = f"{seed}/{purpose}/{step}/{rank}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def generator(
    seed: int, purpose: str, step: int = 0, *, rank: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for one purpose at one step of one rank.

    Draw on the CPU what must agree between devices (data order, latents, mirror); draw on the device what is
    large and need not (the layers' noise).
    """
    return torch.Generator(device=device).manual_seed(key_hash(seed, purpose, step, rank))


@functools.lru_cache(maxsize=2)  # an epoch's order is asked for at every step of it; nobody writes into it
def data_order(seed: int, epoch: int, count: int) -> Tensor:
    """The order in which one epoch shows its faces: a permutation of range(count), int64 [count]."""
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def batch_indices(seed: int, first_image: int, batch: int, count: int) -> Tensor:
    """Which faces the next batch shows, int64 [batch], given how many images were seen before.

    Epochs follow one another without a gap: a batch may end one and begin the next, so nothing is dropped.
    """
    positions = torch.arange(first_image, first_image + batch)
    epochs = positions // count
    orders = {e: data_order(seed, e, count) for e in set(epochs.tolist())}
    return torch.stack([orders[int(p) // count][int(p) % count] for p in positions])
