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
from stylegan.augment import next_p
from stylegan.blur import blur_taps
from stylegan.config import TrainConfig
from stylegan.draws import Draws, Latents, Reals
from stylegan.losses import LOSSES
from stylegan.objectives import PLAIN, Manner, Moves, Objectives, manner_of
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
    objectives: Objectives

    @property
    def batch(self) -> int:
        """Images of the whole batch."""
        return len(self.draws.discriminator.z)

    @property
    def manner(self) -> Manner:
        """How images are judged."""
        return manner_of(self.config)

    def whole(self, values: Sequence[Tensor]) -> Tensor:
        """The whole batch's values from those of this rank's parts."""
        return self.ranks.whole(torch.cat(list(values)), rank_rows(self.parts), self.batch)

    def latents(self, whole: Latents, part: Part) -> Latents:
        """A part's latents; a loss that pairs fakes with reals gives them the reals' labels."""
        latents = whole.part(part.rows)
        paired = LOSSES[self.config.loss].pairs and latents.labels is not None
        return latents._replace(labels=self.reals.at(part.place).labels) if paired else latents

    def moves(self, part: Part, fakes: str = "fakes") -> Moves:
        """What happens to a part's fakes and reals before the discriminator sees them."""
        draws = self.draws.augment
        blur = blur_taps(self.config, self.state.images_seen, self.state.path_mean.device)
        if not draws:
            return Moves(blur=blur)
        return Moves(draws[fakes].part(part.rows), draws["reals"].part(part.rows), blur)


def accumulate_generator(step: Step, whole: Latents) -> Stats:
    """Add the gradient of the generator's loss to G."""
    pairs, found = LOSSES[step.config.loss].pairs, []
    for part in step.parts:
        latents, moves = step.latents(whole, part), step.moves(part, "generator")
        reals = step.reals.at(part.place) if pairs else None
        terms = step.objectives.generator(step.state.G, step.state.D, step.manner, latents, reals, moves)
        (terms.sum() / step.batch).backward()  # type: ignore[no-untyped-call]
        found.append(terms.detach())
    return {"loss_G": step.whole(found).mean()}


def accumulate_path_length(step: Step, whole: Latents, image_noise: Tensor, weight: float) -> Stats:
    """Add the gradient of weight * path penalty to G and move the running mean of path lengths.

    The penalty compares with a mean that follows the whole batch. So the parts' lengths are measured first, the
    penalty's slope by each length follows from them, and a second pass sends the slopes back.
    """
    G, mean = step.state.G, step.state.path_mean
    parts = path_parts(len(whole.z), step.config.micro_batch, step.ranks)

    def lengths_of(rows: Tensor) -> Tensor:
        return step.objectives.path(G, whole.part(rows), image_noise[rows])

    graph = lengths_of(parts[0]) if len(parts) == 1 else None
    with torch.no_grad():
        own = torch.cat([lengths_of(rows) for rows in parts]) if graph is None else graph.detach()
    lengths = step.ranks.whole(own, torch.cat(parts), len(whole.z))
    slopes = losses.path_penalty_slopes(lengths, mean) * weight
    for rows in parts:
        part_lengths = lengths_of(rows) if graph is None else graph
        part_lengths.backward(slopes[rows.to(slopes.device)])  # type: ignore[no-untyped-call]
    mean.copy_(losses.path_mean_after(mean, lengths))
    return {"path_length": lengths.mean(), "path_penalty": losses.path_penalty(lengths, mean).mean()}


def accumulate_discriminator(step: Step) -> Stats:
    """Add the gradient of the discriminator's loss to D and let G's running means follow."""
    judged = []
    for part in step.parts:
        latents, reals = step.latents(step.draws.discriminator, part), step.reals.at(part.place)
        found = step.objectives.discriminator(step.state.G, step.state.D, step.manner, latents, reals, step.moves(part))
        (found.terms.sum() / step.batch).backward()  # type: ignore[no-untyped-call]
        judged.append(found._replace(terms=found.terms.detach()))
    real, fake, w, observed = (step.whole(values) for values in list(zip(*judged, strict=True))[1:])
    step.state.G.track(w, observed)
    return {
        "loss_D": LOSSES[step.config.loss].discriminator(real, fake).mean(),
        "score_real": real.mean(),
        "score_fake": fake.mean(),
        "sign_real": real.sign().mean(),
        "sign_fake": fake.sign().mean(),
    }


def accumulate_penalty(step: Step, weight: float) -> Stats:
    """Add the gradient of weight * the penalty on D's gradient to D."""
    found = []
    for part in step.parts:
        latents, reals = step.latents(step.draws.discriminator, part), step.reals.at(part.place)
        blend = None if step.draws.blend is None else step.draws.blend[part.rows]
        penalty = step.objectives.penalty(
            step.state.G, step.state.D, step.manner, latents, reals, step.moves(part), blend
        )
        (penalty.sum() * (weight / step.batch)).backward()  # type: ignore[no-untyped-call]
        found.append(penalty.detach())
    return {"r1": step.whole(found).mean()}


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
    objectives: Objectives = PLAIN,
    rampup: bool = True,
) -> Stats:
    """One step on a batch of reals, this rank's share of them: moves the state on and answers with its figures."""
    ranks, batch = ranks or Ranks(), len(draws.discriminator.z)
    parts = batch_parts(batch, config.micro_batch, config.network.minibatch_group, ranks)
    step = Step(state, config, draws, reals, parts, ranks, objectives)
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
    return stats if config.augment.mode == "none" else stats | {"augment_p": state.augment_p.clone()}
