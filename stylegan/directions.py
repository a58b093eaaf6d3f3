"""Directions in w that change pictures the most, in closed form from the weights: no picture is drawn to find them.

Shen and Zhou 2021 (arXiv:2007.06600, "SeFa"): a step n in w changes the styles of a layer by A n, and the unit vectors
for which |A n| is largest are the eigenvectors of A^T A with the largest eigenvalues.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Directions(NamedTuple):
    """Unit vectors in w [K, w_dim], and by how much a step of one along each changes the styles [K], largest first."""

    vectors: Tensor
    strengths: Tensor


def principal_directions(weights: Iterable[Tensor]) -> Directions:
    """Directions of the affine layers whose weights [outputs, w_dim] are given, all of them together.

    The sign of a direction is free: its largest component is made positive, so that the same weights give the same.
    """
    stacked = torch.cat([weight.detach().float() for weight in weights])
    _, strengths, vectors = torch.linalg.svd(stacked, full_matrices=False)
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return Directions(vectors * largest.sign(), strengths)


def style_weights(synthesis: nn.Module, layers: Sequence[int] | None = None) -> list[Tensor]:
    """The weights [outputs, w_dim] of a synthesis network's affine layers, in order; `layers` chooses some of them."""
    named = dict(synthesis.named_parameters())
    weights: list[Tensor] = [weight for name, weight in named.items() if name.endswith("affine.weight")]
    return weights if layers is None else [weights[layer] for layer in layers]
