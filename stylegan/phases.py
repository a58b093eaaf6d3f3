"""One optimisation step of StyleGAN2: generator, path length, discriminator, R1, then the averaged generator.

Every phase takes the batch in parts and adds their gradients up to exactly the whole batch's: losses are divided
by the whole batch, minibatch-std groups are never torn, running means see the whole batch at once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stylegan import losses
from stylegan.architectures import Discriminator, Generator, Noise
from stylegan.config import TrainConfig
from stylegan.random import generator

Stats = dict[str, Tensor]


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
    path_mean: Tensor
    images_seen: int = 0


class Latents(NamedTuple):
    """What the generator is fed with in one phase, for a whole batch."""

    z: Tensor  # [N, z_dim]
    mixed: Tensor | None = None  # second latents [N, z_dim] of style mixing
    crossover: int = 0  # first layer that the second latents drive
    noise: Noise = "const"  # or one map a layer, [N, 1, h, h]

    def part(self, rows: Tensor) -> Latents:
        """The latents of some images of the batch."""
        mixed = None if self.mixed is None else self.mixed[rows]
        noise = self.noise if isinstance(self.noise, str) else [m[rows] for m in self.noise]
        return Latents(self.z[rows], mixed, self.crossover, noise)


class Draws(NamedTuple):
    """Every random number of one step."""

    generator: Latents
    discriminator: Latents
    path: Latents | None = None
    path_noise: Tensor | None = None  # [n, 3, H, W]


def draw_latents(config: TrainConfig, G: Generator, phase: str, step: int, count: int, device: torch.device) -> Latents:
    """The latents of one phase of one step, from generators keyed by (seed, phase, step)."""
    cpu = generator(config.seed, phase, step)
    z = torch.randn(count, G.z_dim, generator=cpu).to(device)
    mixed, crossover = None, 0
    if config.style_mixing and torch.rand([], generator=cpu) < config.style_mixing:
        crossover = int(torch.randint(1, G.num_ws, [], generator=cpu))
        mixed = torch.randn(count, G.z_dim, generator=cpu).to(device)
    if not G.noise_sizes:
        return Latents(z, mixed, crossover, "none")
    keyed = generator(config.seed, f"{phase}/noise", step, device=device)
    sizes = G.noise_sizes
    return Latents(z, mixed, crossover, [torch.randn(count, 1, s, s, generator=keyed, device=device) for s in sizes])


def draw_step(config: TrainConfig, G: Generator, step: int, device: torch.device) -> Draws:
    """Every random number of the step-th step."""
    path, path_noise = None, None
    if config.path_interval and step % config.path_interval == 0:
        count, size = config.batch // config.path_batch_shrink, config.resolution
        path = draw_latents(config, G, "path", step, count, device)
        keyed = generator(config.seed, "path/image-noise", step, device=device)
        path_noise = torch.randn(count, 3, size, size, generator=keyed, device=device)
    return Draws(
        draw_latents(config, G, "generator", step, config.batch, device),
        draw_latents(config, G, "discriminator", step, config.batch, device),
        path,
        path_noise,
    )


def batch_parts(batch: int, size: int | None, group: int) -> list[Tensor]:
    """Which images of a batch are worked off together, int64 index tensors: whole minibatch-std groups.

    Image i belongs to group i mod (batch / group); a part takes some groups, in the order that keeps them groups.
    """
    rows = torch.arange(batch)
    if size is None or size >= batch:
        return [rows]
    num_groups, groups_a_part = batch // min(group, batch), size // min(group, batch)
    return [rows[(rows % num_groups) // groups_a_part == i] for i in range(num_groups // groups_a_part)]


def styles(G: Generator, latents: Latents) -> tuple[Tensor, Tensor]:
    """w for every layer, mixed, [N, num_ws, w_dim], and the first latents' w, [N, w_dim]."""
    w = G.mapping(latents.z)
    ws = G.mapping.truncate(w, psi=1.0)
    if latents.mixed is None:
        return ws, w
    other = G.mapping.truncate(G.mapping(latents.mixed), psi=1.0)
    return torch.cat([ws[:, : latents.crossover], other[:, latents.crossover :]], dim=1), w


def accumulate_generator(G: Generator, D: Discriminator, latents: Latents, parts: Sequence[Tensor]) -> Stats:
    """Add the gradient of the generator's loss to G."""
    batch, logits = len(latents.z), []
    for rows in parts:
        part = latents.part(rows)
        fake_logits = D(G.synthesis(styles(G, part)[0], part.noise))
        (losses.generator_loss(fake_logits).sum() / batch).backward()  # type: ignore[no-untyped-call]
        logits.append(fake_logits.detach())
    return {"loss_G": losses.generator_loss(torch.cat(logits)).mean()}


def accumulate_path_length(
    G: Generator, latents: Latents, image_noise: Tensor, parts: Sequence[Tensor], mean: Tensor, weight: float
) -> Stats:
    """Add the gradient of weight * path penalty to G and move the running mean of path lengths.

    The penalty compares with a mean that follows the whole batch. So the parts' lengths are measured first, the
    penalty's slope by each length follows from them, and a second pass sends the slopes back.
    """

    def lengths_of(rows: Tensor, differentiable: bool) -> Tensor:
        part = latents.part(rows)
        ws, _ = styles(G, part)
        images = G.synthesis(ws, part.noise)
        return losses.path_lengths(images, ws, image_noise[rows], differentiable=differentiable)

    graph = lengths_of(parts[0], True) if len(parts) == 1 else None
    lengths = torch.cat([lengths_of(rows, False) for rows in parts]) if graph is None else graph.detach()
    slopes = losses.path_penalty_slopes(lengths, mean) * weight
    done = 0
    for rows in parts:
        part_lengths = lengths_of(rows, True) if graph is None else graph
        part_lengths.backward(slopes[done : done + len(rows)])  # type: ignore[no-untyped-call]
        done += len(rows)
    mean.copy_(losses.path_mean_after(mean, lengths))
    return {"path_length": lengths.mean(), "path_penalty": losses.path_penalty(lengths, mean).mean()}


def accumulate_discriminator(
    G: Generator, D: Discriminator, latents: Latents, reals: Tensor, parts: Sequence[Tensor]
) -> Stats:
    """Add the gradient of the discriminator's loss to D and let the running mean of w follow."""
    batch, real_logits, fake_logits, ws = len(reals), [], [], []
    for rows in parts:
        part = latents.part(rows)
        with torch.no_grad():
            mixed_ws, w = styles(G, part)
            fakes = G.synthesis(mixed_ws, part.noise)
        # One pass over fakes and reals is faster than two; their groups stay apart.
        features = D.features(torch.cat([fakes, reals[rows]]))
        fake, real = D.epilogue(features[: len(rows)]), D.epilogue(features[len(rows) :])
        (losses.discriminator_loss(real, fake).sum() / batch).backward()  # type: ignore[no-untyped-call]
        real_logits.append(real.detach())
        fake_logits.append(fake.detach())
        ws.append(w)
    G.mapping.track(torch.cat(ws))
    real, fake = torch.cat(real_logits), torch.cat(fake_logits)
    return {
        "loss_D": losses.discriminator_loss(real, fake).mean(),
        "score_real": real.mean(),
        "score_fake": fake.mean(),
        "sign_real": real.sign().mean(),
        "sign_fake": fake.sign().mean(),
    }


def accumulate_r1(D: Discriminator, reals: Tensor, parts: Sequence[Tensor], weight: float) -> Stats:
    """Add the gradient of weight * R1 to D."""
    batch, penalties = len(reals), []
    for rows in parts:
        images = reals[rows].detach().requires_grad_()
        penalty = losses.r1_penalty(images, D(images))
        (penalty.sum() * (weight / batch)).backward()  # type: ignore[no-untyped-call]
        penalties.append(penalty.detach())
    return {"r1": torch.cat(penalties).mean()}


def lazy_adam(module: nn.Module, lr: float, betas: tuple[float, float], interval: int) -> torch.optim.Adam:
    """Adam whose pace is that of a plain one although every `interval`-th step is followed by a regulariser's.

    Lazy regularisation, Karras et al. 2020, appendix B: with c = interval / (interval + 1), lr * c and betas ** c.
    """
    c = interval / (interval + 1) if interval else 1.0
    return torch.optim.Adam(module.parameters(), lr=lr * c, betas=(betas[0] ** c, betas[1] ** c), eps=1e-8, fused=True)


def average_decay(config: TrainConfig, images_seen: int, *, rampup: bool) -> float:
    """How much of itself the averaged generator keeps this step."""
    half_life = config.ema_half_life
    if rampup and config.ema_rampup is not None:
        half_life = min(half_life, images_seen * config.ema_rampup)
    return float(0.5 ** (config.batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_average(G_ema: Generator, G: Generator, decay: float) -> None:
    """Weights follow slowly, buffers at once."""
    for averaged, current in zip(G_ema.parameters(), G.parameters(), strict=True):
        averaged.copy_(current.lerp(averaged, decay))
    for averaged_buffer, buffer in zip(G_ema.buffers(), G.buffers(), strict=True):
        averaged_buffer.copy_(buffer)


def new_state(G: Generator, D: Discriminator, config: TrainConfig) -> TrainState:
    """Networks, their optimisers, and an averaged generator equal to G."""
    lr_G, lr_D = config.learning_rates
    return TrainState(
        G=G,
        D=D,
        G_ema=copy.deepcopy(G).eval().requires_grad_(False),
        opt_G=lazy_adam(G, lr_G, config.betas, config.path_interval),
        opt_D=lazy_adam(D, lr_D, config.betas, config.r1_interval),
        path_mean=torch.zeros([], device=next(G.parameters()).device),
    )


def apply_gradients(optimizer: torch.optim.Adam, module: nn.Module, name: str) -> None:
    """One step of the optimiser; before it, on CPU, a gradient that is no number stops the training."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    # On CUDA this look would wait for the device at every phase; there the weights are looked at every tick.
    if gradients[0].device.type == "cpu" and not torch.isfinite(nn.utils.get_total_norm(gradients)):
        check_finite({f"gradient of {name}.{k}": p.grad for k, p in module.named_parameters() if p.grad is not None})
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Raise Diverged with the name of the first tensor that holds a NaN or an infinity."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise Diverged(f"{name} holds a number that is not finite")


def train_step(state: TrainState, config: TrainConfig, draws: Draws, reals: Tensor, *, rampup: bool = True) -> Stats:
    """One step on a batch of real images [N, 3, H, W]: moves the state on and answers with its figures."""
    G, D, step = state.G, state.D, state.images_seen // config.batch
    parts = batch_parts(config.batch, config.micro_batch, config.network.minibatch_group)

    # Generator.
    D.requires_grad_(False)
    stats = accumulate_generator(G, D, draws.generator, parts)
    apply_gradients(state.opt_G, G, "G")

    # Path length, every few steps: its gradient counts for all of them.
    if draws.path is not None:
        assert draws.path_noise is not None
        path_parts = list(torch.split(torch.arange(len(draws.path.z)), config.micro_batch or config.batch))
        weight = config.path_weight * config.path_interval
        stats |= accumulate_path_length(G, draws.path, draws.path_noise, path_parts, state.path_mean, weight)
        apply_gradients(state.opt_G, G, "G")
    D.requires_grad_(True)

    # Discriminator.
    stats |= accumulate_discriminator(G, D, draws.discriminator, reals, parts)
    apply_gradients(state.opt_D, D, "D")

    # R1, every so many steps, likewise.
    if config.r1_interval and step % config.r1_interval == 0:
        weight = config.r1_gamma / 2 * config.r1_interval
        stats |= accumulate_r1(D, reals, parts, weight)
        apply_gradients(state.opt_D, D, "D")

    update_average(state.G_ema, G, average_decay(config, state.images_seen, rampup=rampup))
    state.images_seen += config.batch
    return stats
