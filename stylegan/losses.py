"""Losses and regularisers, each as its paper states it; the caller weighs and averages them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(NamedTuple):
    """What generator and discriminator minimise, one value an image; larger logits are more real."""

    generator: Callable[[Tensor, Tensor | None], Tensor]  # (fake_logits [N], real_logits [N] if `pairs`) -> [N]
    discriminator: Callable[[Tensor, Tensor], Tensor]  # (real_logits [N], fake_logits [N]) -> [N]
    pairs: bool = False  # whether the generator's loss needs the logits of reals too


def generator_loss(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """Non-saturating logistic loss of the generator, [N]: -log sigmoid(D(G(z))) (Goodfellow et al. 2014)."""
    return F.softplus(-fake_logits)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator, [N]: -log sigmoid(D(x)) - log(1 - sigmoid(D(G(z))))."""
    return F.softplus(-real_logits) + F.softplus(fake_logits)


def wasserstein_generator_loss(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """Generator's side of the Wasserstein distance, [N]: -D(G(z)) (Arjovsky et al. 2017, arXiv:1701.07875)."""
    return -fake_logits


def wasserstein_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Discriminator's side of the Wasserstein distance, [N]: D(G(z)) - D(x)."""
    return fake_logits - real_logits


def relativistic_generator_loss(fake_logits: Tensor, real_logits: Tensor | None) -> Tensor:
    """Relativistic pairing loss of the generator, [N]: fakes should look more real than the reals beside them.

    -log sigmoid(D(G(z)) - D(x)); Jolicoeur-Martineau 2018 (arXiv:1807.00734), as Huang et al. 2024
    (arXiv:2501.05441, eq. 2) use it.
    """
    assert real_logits is not None
    return F.softplus(real_logits - fake_logits)


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Relativistic pairing loss of the discriminator, [N]: -log sigmoid(D(x) - D(G(z)))."""
    return F.softplus(fake_logits - real_logits)


LOSSES: dict[str, Loss] = {
    "logistic": Loss(generator_loss, discriminator_loss),
    "wgan": Loss(wasserstein_generator_loss, wasserstein_discriminator_loss),
    "relativistic": Loss(relativistic_generator_loss, relativistic_discriminator_loss, pairs=True),
}


def gradient_at(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Gradient of f's sum at x, of x's shape. Differentiable again, by x and by all that f knows.

    torch.func and not torch.autograd: the same numbers, and torch.compile can differentiate them once more.
    """
    gradient: Tensor = torch.func.grad(lambda x: f(x).sum())(x)
    return gradient


def r1_penalty(gradient: Tensor) -> Tensor:
    """Squared norm of the logit's gradient by each image [N, C, H, W], one value an image.

    At reals it is R1, at fakes R2, of Mescheder et al. 2018 (arXiv:1801.04406) without its gamma / 2: the caller
    weighs it.
    """
    return gradient.square().sum(dim=(1, 2, 3))


def gradient_penalty(gradient: Tensor) -> Tensor:
    """Squared distance from one of the norm of the logit's gradient by each image [N, C, H, W], one value an image.

    At images between fakes and reals, WGAN-GP of Gulrajani et al. 2017 (arXiv:1704.00028, eq. 3) without its lambda:
    the caller weighs it.
    """
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=(1, 2, 3))  # its slope at zero is zero, not infinite
    return (norm - 1).square()


def path_lengths(jacobian: Tensor) -> Tensor:
    """Lengths |J^T y| of Karras et al. 2020 (eq. 4), [N], from J^T y for every layer, [N, num_ws, w_dim]."""
    return jacobian.square().sum(dim=2).mean(dim=1).sqrt()


PATH_DECAY = 0.01  # how fast the running mean of path lengths follows


def path_mean_after(mean: Tensor, lengths: Tensor) -> Tensor:
    """The running mean of path lengths once a whole batch's lengths [N] are known."""
    return mean.lerp(lengths.mean(), PATH_DECAY)


def path_penalty(lengths: Tensor, mean: Tensor) -> Tensor:
    """Squared distance of path lengths from their running mean, one value an image."""
    return (lengths - mean).square()


def path_penalty_slopes(lengths: Tensor, mean: Tensor) -> Tensor:
    """Derivative of the batch's mean path penalty by every path length, [N].

    `mean` is the running mean before this batch. The mean it is compared with follows the lengths, so its own
    derivative belongs here; with it a batch can be worked off in parts, and the sum is that of the whole.
    """
    leaf = lengths.detach().requires_grad_()
    loss = path_penalty(leaf, path_mean_after(mean, leaf)).mean()
    (slopes,) = torch.autograd.grad(loss, leaf)
    return slopes
