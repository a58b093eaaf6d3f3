"""What every phase of a step minimises or measures, one value an image: pure functions of networks and tensors.

They are written so that torch.compile can make one graph of each: what changes from step to step is a tensor, what
stays is a constant, and gradients by inputs are taken with torch.func, inside the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stylegan import losses
from stylegan.architectures import Discriminator, Generator
from stylegan.augment import Augmentation, augment
from stylegan.blur import blurred
from stylegan.config import TrainConfig
from stylegan.draws import Latents, Reals
from stylegan.losses import LOSSES


class Manner(NamedTuple):
    """What of the config decides how images are judged."""

    loss: str
    penalty: str
    drift: float


def manner_of(config: TrainConfig) -> Manner:
    """How a training judges images."""
    return Manner(config.loss, config.penalty, config.drift)


class Moves(NamedTuple):
    """What happens to fakes and reals before the discriminator sees them; none: nothing."""

    fakes: Augmentation | None = None
    reals: Augmentation | None = None
    blur: Tensor | None = None  # taps, see blur.blurred


class Judged(NamedTuple):
    """What the discriminator's phase has to say of some images."""

    terms: Tensor  # [N], what D minimises
    real_logits: Tensor  # [N]
    fake_logits: Tensor  # [N]
    w: Tensor  # [N, w_dim] of the fakes' first latents
    observed: Tensor  # [N, k], see Generator.observe


def shown(images: Tensor, augmentation: Augmentation | None, blur: Tensor | None) -> Tensor:
    """Images as the discriminator gets to see them."""
    images = images if blur is None else blurred(images, blur)
    return images if augmentation is None else augment(images, augmentation)


def styles(G: Generator, latents: Latents) -> tuple[Tensor, Tensor]:
    """w for every layer, mixed, [N, num_ws, w_dim], and the first latents' w, [N, w_dim]."""
    w = G.mapping(latents.z, latents.labels)
    ws = G.mapping.truncate(w, psi=1.0)
    if latents.mixed is None or latents.crossover is None:
        return ws, w
    other = G.mapping.truncate(G.mapping(latents.mixed, latents.labels), psi=1.0)
    layer = torch.arange(ws.shape[1], device=ws.device)[None, :, None]
    return torch.where(layer < latents.crossover, ws, other), w


def generator_terms(
    G: Generator, D: Discriminator, manner: Manner, latents: Latents, reals: Reals | None, moves: Moves
) -> Tensor:
    """What G minimises, [N]; reals are there where the loss pairs fakes with them."""
    images = G.synthesis(styles(G, latents)[0], latents.noise)
    fake_logits = D(shown(images, moves.fakes, moves.blur), latents.labels)
    real_logits = None if reals is None else D(shown(reals.images, moves.reals, moves.blur), reals.labels)
    return LOSSES[manner.loss].generator(fake_logits, real_logits)


def path_lengths(G: Generator, latents: Latents, image_noise: Tensor) -> Tensor:
    """How far images move as w moves, [N] (Karras et al. 2020, equation 4); image_noise [N, C, H, W] is normal."""
    ws, _ = styles(G, latents)
    y = image_noise / (image_noise.shape[2] * image_noise.shape[3]) ** 0.5
    return losses.path_lengths(losses.gradient_at(lambda ws: G.synthesis(ws, latents.noise) * y, ws))


def discriminator_terms(
    G: Generator, D: Discriminator, manner: Manner, latents: Latents, reals: Reals, moves: Moves
) -> Judged:
    """What D minimises, and what it and G showed on the way."""
    with torch.no_grad():
        ws, w = styles(G, latents)
        fakes, observed = G.observe(ws, latents.noise)
    # One pass over fakes and reals is faster than two; their groups stay apart.
    seen = (shown(fakes, moves.fakes, moves.blur), shown(reals.images, moves.reals, moves.blur))
    features = D.features(torch.cat(seen))
    fake = D.judge(features[: len(fakes)], latents.labels)
    real = D.judge(features[len(fakes) :], reals.labels)
    terms = LOSSES[manner.loss].discriminator(real.logits, fake.logits)
    if manner.drift:  # keeps the logits of WGAN-GP near zero (Karras et al. 2018, appendix A.1)
        terms = terms + manner.drift * real.logits.square()
    if real.direction is not None and fake.direction is not None:  # SAN's second objective
        terms = terms + fake.direction - real.direction
    return Judged(terms, real.logits.detach(), fake.logits.detach(), w, observed)


def penalties(
    G: Generator,
    D: Discriminator,
    manner: Manner,
    latents: Latents,
    reals: Reals,
    moves: Moves,
    blend: Tensor | None,
) -> Tensor:
    """The manner's penalty on D's gradient, [N]; blend [N, 1, 1, 1]: where a gradient penalty looks."""

    def slope(images: Tensor, labels: Tensor | None, augmentation: Augmentation | None) -> Tensor:
        return losses.gradient_at(lambda images: D(shown(images, augmentation, moves.blur), labels), images)

    if manner.penalty == "r1":
        return losses.r1_penalty(slope(reals.images, reals.labels, moves.reals))
    with torch.no_grad():
        fakes = G.synthesis(styles(G, latents)[0], latents.noise)
    if manner.penalty == "gradient":
        assert blend is not None
        return losses.gradient_penalty(slope(torch.lerp(fakes, reals.images, blend), reals.labels, moves.reals))
    r1 = losses.r1_penalty(slope(reals.images, reals.labels, moves.reals))
    return r1 + losses.r1_penalty(slope(fakes, latents.labels, moves.fakes))


class Objectives(NamedTuple):
    """The four functions as a step calls them; compiled ones take their place."""

    generator: Callable[[Generator, Discriminator, Manner, Latents, Reals | None, Moves], Tensor] = generator_terms
    path: Callable[[Generator, Latents, Tensor], Tensor] = path_lengths
    discriminator: Callable[[Generator, Discriminator, Manner, Latents, Reals, Moves], Judged] = discriminator_terms
    penalty: Callable[[Generator, Discriminator, Manner, Latents, Reals, Moves, Tensor | None], Tensor] = penalties


PLAIN = Objectives()
