"""Keyed random generators: every draw of a training is a pure function of (seed, purpose, step, rank).

Nothing here has a state that outlives its use, so a resumed training needs no saved random state: it asks for
the same keys again. The key is hashed with SHA-256, whose first eight bytes seed an ordinary generator of torch;
two different keys share a stream with the odds of two equal hashes (torch's CPU generator uses 32 bits of them).
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import numpy.typing as npt
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


class Shares:
    """How often faces are shown beside one another: by their weights, once an epoch on average.

    Made once for a data set: it is told from others by what it is, not by its numbers.
    """

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        total = np.cumsum(weights, dtype=np.float64)
        self._ends = total / total[-1] * len(weights)  # of every face's stretch on a line as long as the epoch

    def places(self, offset: float) -> npt.NDArray[np.int64]:
        """The faces of one epoch in ascending order, each as often as whole numbers plus the offset lie in its stretch.

        Systematic sampling: of a share s a face has floor(s) or ceil(s) places, s on average over offsets in [0, 1).
        """
        passed = np.floor(self._ends + offset).astype(np.int64)
        return np.repeat(np.arange(len(passed)), np.diff(passed, prepend=0))


@functools.lru_cache(maxsize=2)  # an epoch's order is asked for at every step of it; nobody writes into it
def data_order(seed: int, epoch: int, count: int, shares: Shares | None = None) -> Tensor:
    """The order in which one epoch shows its faces, int64 [count]: each once, or by their shares."""
    order = torch.randperm(count, generator=generator(seed, "order", epoch))
    return order if shares is None else torch.from_numpy(shares.places(epoch_offset(seed, epoch)))[order]


def epoch_offset(seed: int, epoch: int) -> float:
    """Where systematic sampling begins in an epoch, in [0, 1).

    Steps of the golden ratio from a keyed start spread as evenly as can be: after any number of epochs a face was
    shown as often as its share asks, give or take a few. Whole multiples of 2^-24, so that no sum with it is rounded.
    """
    golden = 10368889  # of 2^24
    return (key_hash(seed, "shares") + epoch * golden) % 2**24 / 2**24


def batch_indices(seed: int, first_image: int, batch: int, count: int, shares: Shares | None = None) -> Tensor:
    """Which faces the next batch shows, int64 [batch], given how many images were seen before.

    Epochs of `count` places follow one another without a gap: a batch may end one and begin the next, so nothing is
    dropped. Without shares every face has one place in each.
    """
    positions = torch.arange(first_image, first_image + batch)
    epochs, places = positions // count, positions % count
    chosen = torch.empty(batch, dtype=torch.int64)
    for epoch in set(epochs.tolist()):
        rows = epochs == epoch
        chosen[rows] = data_order(seed, epoch, count, shares)[places[rows]]
    return chosen
