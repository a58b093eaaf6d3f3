"""What a training has learned: networks, optimisers, the averaged generator, and how each of them is moved on."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylegan.architectures import Discriminator, Generator, Growth
from stylegan.config import TrainConfig
from stylegan.freezing import freeze_discriminator
from stylegan.precision import set_precision


class Diverged(ArithmeticError):  # noqa: N818
    """A weight, gradient or loss is no longer a finite number."""


@dataclass
class TrainState:
    """All that a training has learned; with the config and the data it determines what comes next."""

    G: Generator
    D: Discriminator
    G_ema: Generator
    opt_G: torch.optim.Adam  # noqa: N815
    opt_D: torch.optim.Adam  # noqa: N815
    path_mean: Tensor  # 0-d, running mean of path lengths
    augment_p: Tensor  # 0-d, probability of every augmentation
    sign_sum: Tensor  # 0-d, sum of the mean signs of D(real) since p was last adjusted
    images_seen: int = 0
    step: int = 0
    growth: Growth | None = None  # the size that the networks work at; none: the whole resolution

    def grow(self, growth: Growth) -> None:
        """Bring all networks to a size."""
        self.growth = growth
        for network in (self.G, self.D, self.G_ema):
            network.grow(growth)


def lazy_adam(module: nn.Module, lr: float, betas: tuple[float, float], interval: int) -> torch.optim.Adam:
    """Adam whose pace is that of a plain one although every `interval`-th step is followed by a regulariser's.

    Lazy regularisation, Karras et al. 2020, appendix B: with c = interval / (interval + 1), lr * c and betas ** c.
    At interval 1 loss and regulariser share one step, so c = 1.
    """
    c = pace(interval)
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(trained, lr=lr * c, betas=(betas[0] ** c, betas[1] ** c), eps=1e-8, fused=True)


def pace(interval: int) -> float:
    """By how much a learning rate shrinks because every interval-th step is followed by a regulariser's."""
    return interval / (interval + 1) if interval > 1 else 1.0


def average_decay(config: TrainConfig, images_seen: int, batch: int, *, rampup: bool) -> float:
    """How much of itself the averaged generator keeps this step."""
    half_life = config.ema_half_life
    if rampup and config.ema_rampup is not None:
        half_life = min(half_life, images_seen * config.ema_rampup)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_average(G_ema: Generator, G: Generator, decay: float) -> None:
    """Weights follow slowly, buffers at once: a few kernels on CUDA instead of hundreds."""
    averaged, current = tuple(G_ema.parameters()), tuple(G.parameters())
    torch._foreach_copy_(averaged, torch._foreach_lerp(current, averaged, decay))
    for averaged_buffer, buffer in zip(G_ema.buffers(), G.buffers(), strict=True):
        averaged_buffer.copy_(buffer)


def new_state(G: Generator, D: Discriminator, config: TrainConfig) -> TrainState:
    """Networks, their optimisers, and an averaged generator equal to G."""
    freeze_discriminator(D, config.freeze_D)
    for network in (G, D):
        set_precision(network, config.precision, config.low_precision_sizes, config.resolution)
    lr_G, lr_D = config.learning_rates
    zero = torch.zeros([], device=next(G.parameters()).device)
    return TrainState(
        G=G,
        D=D,
        G_ema=copy.deepcopy(G).eval().requires_grad_(False),
        opt_G=lazy_adam(G, lr_G, config.betas, config.path_interval),
        opt_D=lazy_adam(D, lr_D, config.betas, config.r1_interval),
        path_mean=zero.clone(),
        augment_p=zero + config.augment.p,
        sign_sum=zero.clone(),
    )


def train_only(optimizer: torch.optim.Adam, *, on: bool) -> None:
    """Let gradients flow to an optimiser's weights or not; frozen weights, which it has not, stay frozen."""
    for weight in optimizer.param_groups[0]["params"]:
        weight.requires_grad_(on)


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Raise Diverged with the name of the first tensor that holds a NaN or an infinity."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise Diverged(f"{name} holds a number that is not finite")
