"""One optimisation step: generator, path length, discriminator, its gradient's penalty, then the averaged generator.

Every phase takes the batch in parts, on one rank or several, and adds their gradients up to exactly the whole
batch's: losses are divided by the whole batch, minibatch-std groups are never torn, running means see the whole
batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylegan import losses
from stylegan.architectures import Generator
from stylegan.augment import Augmentation, augment, next_p
from stylegan.config import TrainConfig
from stylegan.draws import Draws, Latents, Reals
from stylegan.losses import LOSSES
from stylegan.ranks import Part, Ranks, batch_parts, path_parts, rank_rows
from stylegan.state import TrainState, average_decay, check_finite, train_only, update_average

Stats = dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """What all phases of one step share."""

    state: TrainState
    config: TrainConfig
    draws: Draws
    reals: Reals
    parts: list[Part]
    ranks: Ranks

    @property
    def batch(self) -> int:
        """Images of the whole batch."""
        return len(self.draws.discriminator.z)

    def whole(self, values: Sequence[Tensor]) -> Tensor:
        """The whole batch's values from those of this rank's parts."""
        return self.ranks.whole(torch.cat(list(values)), rank_rows(self.parts), self.batch)

    def shown(self, images: Tensor, purpose: str, part: Part) -> Tensor:
        """Images as the discriminator gets to see them."""
        draws: Augmentation | None = self.draws.augment.get(purpose)
        return images if draws is None else augment(images, draws.part(part.rows))

    def fakes(self, part: Part) -> tuple[Tensor, Tensor, Tensor | None]:
        """The discriminator's fakes, their first latents' w, and their labels; nothing flows back through them."""
        latents = self.latents(self.draws.discriminator, part)
        with torch.no_grad():
            ws, w = styles(self.state.G, latents)
            return self.state.G.synthesis(ws, latents.noise), w, latents.labels

    def latents(self, whole: Latents, part: Part) -> Latents:
        """A part's latents; a loss that pairs fakes with reals gives them the reals' labels."""
        latents = whole.part(part.rows)
        paired = LOSSES[self.config.loss].pairs and latents.labels is not None
        return latents._replace(labels=self.reals.at(part.place).labels) if paired else latents


def styles(G: Generator, latents: Latents) -> tuple[Tensor, Tensor]:
    """w for every layer, mixed, [N, num_ws, w_dim], and the first latents' w, [N, w_dim]."""
    w = G.mapping(latents.z, latents.labels)
    ws = G.mapping.truncate(w, psi=1.0)
    if latents.mixed is None:
        return ws, w
    other = G.mapping.truncate(G.mapping(latents.mixed, latents.labels), psi=1.0)
    return torch.cat([ws[:, : latents.crossover], other[:, latents.crossover :]], dim=1), w


def accumulate_generator(step: Step, whole: Latents) -> Stats:
    """Add the gradient of the generator's loss to G."""
    G, D = step.state.G, step.state.D
    loss, logits = LOSSES[step.config.loss], []
    for part in step.parts:
        latents = step.latents(whole, part)
        images = G.synthesis(styles(G, latents)[0], latents.noise)
        fake_logits = D(step.shown(images, "generator", part), latents.labels)
        reals = step.reals.at(part.place)
        real_logits = D(step.shown(reals.images, "reals", part), reals.labels) if loss.pairs else None
        terms = loss.generator(fake_logits, real_logits)
        (terms.sum() / step.batch).backward()  # type: ignore[no-untyped-call]
        logits.append(terms.detach())
    return {"loss_G": step.whole(logits).mean()}


def accumulate_path_length(step: Step, whole: Latents, image_noise: Tensor, weight: float) -> Stats:
    """Add the gradient of weight * path penalty to G and move the running mean of path lengths.

    The penalty compares with a mean that follows the whole batch. So the parts' lengths are measured first, the
    penalty's slope by each length follows from them, and a second pass sends the slopes back.
    """
    G, mean = step.state.G, step.state.path_mean
    parts = path_parts(len(whole.z), step.config.micro_batch, step.ranks)

    def lengths_of(rows: Tensor, differentiable: bool) -> Tensor:
        part = whole.part(rows)
        ws, _ = styles(G, part)
        images = G.synthesis(ws, part.noise)
        return losses.path_lengths(images, ws, image_noise[rows], differentiable=differentiable)

    graph = lengths_of(parts[0], True) if len(parts) == 1 else None
    own = torch.cat([lengths_of(rows, False) for rows in parts]) if graph is None else graph.detach()
    lengths = step.ranks.whole(own, torch.cat(parts), len(whole.z))
    slopes = losses.path_penalty_slopes(lengths, mean) * weight
    for rows in parts:
        part_lengths = lengths_of(rows, True) if graph is None else graph
        part_lengths.backward(slopes[rows.to(slopes.device)])  # type: ignore[no-untyped-call]
    mean.copy_(losses.path_mean_after(mean, lengths))
    return {"path_length": lengths.mean(), "path_penalty": losses.path_penalty(lengths, mean).mean()}


def accumulate_discriminator(step: Step) -> Stats:
    """Add the gradient of the discriminator's loss to D and let the running mean of w follow."""
    D, config = step.state.D, step.config
    real_logits, fake_logits, ws = [], [], []
    for part in step.parts:
        reals = step.reals.at(part.place)
        fakes, w, fake_labels = step.fakes(part)
        # One pass over fakes and reals is faster than two; their groups stay apart.
        shown = torch.cat([step.shown(fakes, "fakes", part), step.shown(reals.images, "reals", part)])
        features = D.features(shown)
        fake = D.judge(features[: len(fakes)], fake_labels)
        real = D.judge(features[len(fakes) :], reals.labels)
        terms = LOSSES[config.loss].discriminator(real.logits, fake.logits)
        if config.drift:
            terms = terms + config.drift * real.logits.square()
        if real.direction is not None and fake.direction is not None:  # SAN's second objective
            terms = terms + fake.direction - real.direction
        (terms.sum() / step.batch).backward()  # type: ignore[no-untyped-call]
        real_logits.append(real.logits.detach())
        fake_logits.append(fake.logits.detach())
        ws.append(w)
    step.state.G.mapping.track(step.whole(ws))
    real_all, fake_all = step.whole(real_logits), step.whole(fake_logits)
    return {
        "loss_D": LOSSES[config.loss].discriminator(real_all, fake_all).mean(),
        "score_real": real_all.mean(),
        "score_fake": fake_all.mean(),
        "sign_real": real_all.sign().mean(),
        "sign_fake": fake_all.sign().mean(),
    }


def accumulate_penalty(step: Step, weight: float) -> Stats:
    """Add the gradient of weight * the penalty on D's gradient to D."""
    penalties = []
    for part in step.parts:
        penalty = penalty_of(step, part)
        (penalty.sum() * (weight / step.batch)).backward()  # type: ignore[no-untyped-call]
        penalties.append(penalty.detach())
    return {"r1": step.whole(penalties).mean()}


def penalty_of(step: Step, part: Part) -> Tensor:
    """The config's penalty for each image of a part, [n]."""
    D, kind, reals = step.state.D, step.config.penalty, step.reals.at(part.place)
    if kind == "gradient":
        assert step.draws.blend is not None
        fakes, _, _ = step.fakes(part)
        between = torch.lerp(fakes, reals.images, step.draws.blend[part.rows]).requires_grad_()
        return losses.gradient_penalty(between, D(step.shown(between, "reals", part), reals.labels))
    images = reals.images.detach().requires_grad_()
    penalty = losses.r1_penalty(images, D(step.shown(images, "reals", part), reals.labels))
    if kind == "r1":
        return penalty
    fakes, _, labels = step.fakes(part)
    fakes = fakes.detach().requires_grad_()
    return penalty + losses.r1_penalty(fakes, D(step.shown(fakes, "fakes", part), labels))


def apply_gradients(step: Step, optimizer: torch.optim.Adam, module: nn.Module, name: str) -> None:
    """One step of the optimiser; before it, on CPU, a gradient that is no number stops the training."""
    step.ranks.sum_gradients(module)
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    # On CUDA this look would wait for the device at every phase; there the weights are looked at every tick.
    if gradients[0].device.type == "cpu" and not torch.isfinite(nn.utils.get_total_norm(gradients)):
        check_finite({f"gradient of {name}.{k}": p.grad for k, p in module.named_parameters() if p.grad is not None})
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def train_generator(step: Step) -> Stats:
    """The generator's phases: its loss, and every few steps the path length, whose gradient counts for all of them."""
    state, config, draws = step.state, step.config, step.draws
    assert draws.generator is not None
    stats = accumulate_generator(step, draws.generator)
    if draws.path is not None:
        assert draws.path_noise is not None
        if config.path_interval > 1:
            apply_gradients(step, state.opt_G, state.G, "G")
        weight = config.path_weight * config.path_interval
        stats |= accumulate_path_length(step, draws.path, draws.path_noise, weight)
    apply_gradients(step, state.opt_G, state.G, "G")
    return stats


def train_discriminator(step: Step) -> Stats:
    """The discriminator's phases: its loss, and every so many steps its gradient's penalty, likewise."""
    state, config = step.state, step.config
    stats = accumulate_discriminator(step)
    if config.r1_interval and state.step % config.r1_interval == 0:
        if config.r1_interval > 1:
            apply_gradients(step, state.opt_D, state.D, "D")
        # R1 and R2 are weighed by gamma / 2, the gradient penalty by its whole weight.
        gamma = config.r1_gamma if config.penalty == "gradient" else config.r1_gamma / 2
        stats |= accumulate_penalty(step, gamma * config.r1_interval)
    apply_gradients(step, state.opt_D, state.D, "D")
    return stats


def steer_augmentation(state: TrainState, config: TrainConfig, sign_real: Tensor, batch: int) -> None:
    """Move p by what the discriminator made of the reals of the last few steps (Karras et al. 2020b, section 3.1)."""
    state.sign_sum += sign_real
    if (state.step + 1) % config.augment.interval == 0:
        mean = state.sign_sum / config.augment.interval
        state.augment_p.copy_(next_p(state.augment_p, mean, config.augment, batch))
        state.sign_sum.zero_()


def train_step(
    state: TrainState,
    config: TrainConfig,
    draws: Draws,
    reals: Reals,
    *,
    ranks: Ranks | None = None,
    rampup: bool = True,
) -> Stats:
    """One step on a batch of reals, this rank's share of them: moves the state on and answers with its figures."""
    ranks, batch = ranks or Ranks(), len(draws.discriminator.z)
    parts = batch_parts(batch, config.micro_batch, config.network.minibatch_group, ranks)
    step = Step(state, config, draws, reals, parts, ranks)
    stats: Stats = {}
    if draws.generator is not None:
        train_only(state.opt_D, on=False)
        stats |= train_generator(step)
        train_only(state.opt_D, on=True)
    stats |= train_discriminator(step)
    if config.augment.mode == "adaptive":
        steer_augmentation(state, config, stats["sign_real"], batch)
    update_average(state.G_ema, state.G, average_decay(config, state.images_seen, batch, rampup=rampup))
    state.images_seen += batch
    state.step += 1
    return stats | {"augment_p": state.augment_p.clone()}
