"""Figures of a training's health, taken at a tick on faces and latents that never change.

Nothing here touches the training: no weight, buffer or random number of it, so it makes no difference to what is
learned whether somebody looks. A look costs about as much as a training step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.config import TrainConfig
from stylegan.faces import Faces, to_images
from stylegan.growth import shrink_reals
from stylegan.loader import Batch, check_labels
from stylegan.random import batch_indices, generator
from stylegan.state import TrainState

WATCHED = 24  # faces of each kind: enough to see a gap of a standard deviation, at 2 % of the time in the worst preset
AT_ONCE = 16
DROPLET_SIZE = 64  # px from which on droplets show (Karras et al. 2020, section 2)
PEAK_SHARE = 0.01  # of a map's positions: a droplet is smaller
POOLED = 8  # px at which pixels are compared: position, colour and pose, no texture


def watched_faces(faces: Faces, config: TrainConfig, device: torch.device) -> Batch | None:
    """A fixed choice of faces in whole minibatch-std groups; None where there are too few for one group."""
    group = min(config.network.minibatch_group, config.batch)
    count = min(WATCHED, len(faces)) // group * group
    if count < max(group, 2):
        return None
    chosen = batch_indices(config.sample_seed, 0, count, len(faces))
    classes = check_labels(faces, config.network.num_labels)
    labels = None if classes is None else F.one_hot(classes[chosen], config.network.num_labels).float().to(device)
    return Batch(faces.images(chosen).to(device), labels)


@torch.no_grad()
def measure(state: TrainState, config: TrainConfig, training: Batch, held_out: Batch | None) -> dict[str, float]:
    """The figures of a tick.

    score_watched, score_held_out, score_fixed: mean logits of watched training faces, of held-out ones and of fixed
    latents' fakes; score_spread: standard deviation of the first and the last, score_error: standard error of the
    difference of the first two; diversity_pixels, diversity_features: see diversity; brightness: mean absolute value
    of the fakes' pixels; peak: see peak_ratio; gradient_G, gradient_D: see gradient_norm.
    """
    with _evaluating(state.G), _evaluating(state.D):
        images, peak = _fakes(state, config, training)
        fakes = _Seen(state, config, images, training.labels)
        trained = _Seen(state, config, _reals(training, state), training.labels)
        figures = {
            "score_watched": trained.logits.mean(),
            "score_fixed": fakes.logits.mean(),
            "score_spread": torch.cat([trained.logits, fakes.logits]).std(),
            "diversity_pixels": diversity(pooled(fakes.images), pooled(trained.images)),
            "diversity_features": diversity(fakes.features, trained.features),
            "brightness": fakes.images.abs().mean(),
            "gradient_G": gradient_norm(state.opt_G),
            "gradient_D": gradient_norm(state.opt_D),
        }
        if held_out is not None:
            others = _Seen(state, config, _reals(held_out, state), held_out.labels)
            error = (trained.logits.var() / len(trained.logits) + others.logits.var() / len(others.logits)).sqrt()
            figures |= {"score_held_out": others.logits.mean(), "score_error": error}
    if peak is not None:
        figures["peak"] = peak
    return {name: float(value) for name, value in figures.items()}


class _Seen:
    """Images as the discriminator sees them, a few at a time."""

    def __init__(self, state: TrainState, config: TrainConfig, images: Tensor, labels: Tensor | None) -> None:
        self.images = images
        features, logits = [], []
        for rows in torch.split(torch.arange(len(images)), _at_once(config)):
            features.append(state.D.features(images[rows]))
            logits.append(state.D.epilogue(features[-1], None if labels is None else labels[rows]).float())
        self.features = torch.cat(features).flatten(1).float()
        self.logits = torch.cat(logits)


def _at_once(config: TrainConfig) -> int:
    """How many images go through a network at a time: whole groups, no more than a training step takes."""
    group = min(config.network.minibatch_group, config.batch)
    return max(min(config.micro_batch or config.batch, AT_ONCE) // group, 1) * group


def _reals(batch: Batch, state: TrainState) -> Tensor:
    images = to_images(batch.pixels)
    return images if state.growth is None else shrink_reals(images, state.growth)


def _fakes(state: TrainState, config: TrainConfig, training: Batch) -> tuple[Tensor, Tensor | None]:
    """Images of fixed latents, with the labels of the watched faces, and the highest peak in the layers' maps."""
    G, device = state.G, training.pixels.device
    z = torch.randn(len(training.pixels), G.z_dim, generator=generator(config.sample_seed, "health")).to(device)
    images: list[Tensor] = []
    peaks: list[Tensor] = []
    with peak_ratios(G, min(DROPLET_SIZE, config.resolution)) as found:
        for rows in torch.split(torch.arange(len(z)), _at_once(config)):
            images.append(G(z[rows], None if training.labels is None else training.labels[rows]).float())
            peaks += found.values()
            found.clear()
    return torch.cat(images), torch.stack(peaks).max() if peaks else None


@contextmanager
def peak_ratios(G: nn.Module, smallest: int) -> Iterator[dict[str, Tensor]]:
    """Within the block every pass through G notes each layer's peak_ratio, from `smallest` px on."""
    found: dict[str, Tensor] = {}

    def noting(name: str, channels: int) -> object:
        def note(_: nn.Module, __: object, output: object) -> None:
            for maps in output if isinstance(output, tuple) else (output,):
                # Pictures are no feature maps: a white spot on black is no droplet.
                if (
                    isinstance(maps, Tensor)
                    and maps.ndim == 4
                    and maps.shape[1] > channels
                    and maps.shape[-1] >= smallest
                ):
                    found[name] = peak_ratio(maps)

        return note

    channels = int(getattr(G, "image_channels", 3))
    handles = [m.register_forward_hook(noting(name, channels)) for name, m in G.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def peak_ratio(maps: Tensor) -> Tensor:
    """By how much the energy of feature maps [N, C, h, w] at its strongest places exceeds that of all places, 1 .. 100.

    The strongest hundredth of the places; 100 when nothing is anywhere else. The median over the images, 0-d.
    """
    energy = maps.float().square().mean(dim=1).flatten(1)
    strongest = energy.topk(max(round(energy.shape[1] * PEAK_SHARE), 1), dim=1).values
    return (strongest.mean(dim=1) / energy.mean(dim=1).clamp_min(1e-20)).median()


def diversity(fakes: Tensor, reals: Tensor) -> Tensor:
    """How far a fake is from the fake nearest to it, relative to reals, 0-d: 0 all alike, about 1 as unlike as reals.

    fakes, reals [N, d], as many of both. The nearest neighbour and not the mean distance, which a generator of two
    pictures would pass with half the marks.
    """
    return nearest(fakes).median() / nearest(reals).median().clamp_min(1e-12)


def nearest(points: Tensor) -> Tensor:
    """Distance of every point of [N, d] to the one nearest to it, [N]."""
    return torch.cdist(points, points).fill_diagonal_(torch.inf).min(dim=1).values


def pooled(images: Tensor) -> Tensor:
    """Images [N, C, h, w] at 8 px, flat."""
    return F.adaptive_avg_pool2d(images, POOLED).flatten(1)


def gradient_norm(optimizer: torch.optim.Adam) -> Tensor:
    """Root of Adam's running mean of the squared norm of the gradient, 0-d: what a gradient is like lately."""
    moments = [entry["exp_avg_sq"].sum() for entry in optimizer.state.values() if "exp_avg_sq" in entry]
    return torch.stack(moments).sum().sqrt() if moments else torch.zeros([])


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Layers that learn while they look, such as running means of a batch normalisation, only look."""
    was = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was)


def first_not_finite(state: TrainState, config: TrainConfig) -> str | None:
    """The layer where a number that is not finite first appears, in words; None when all are finite.

    A weight is the cause of all that comes after it, so weights are looked at first, then activations in the order
    in which they come about, then gradients from the loss backwards, then the optimisers' means.
    """
    networks: tuple[tuple[str, nn.Module], ...] = (("G", state.G), ("D", state.D), ("G_ema", state.G_ema))
    for name, network in networks:
        for key, value in network.state_dict().items():
            if not torch.isfinite(value).all():
                return f"weight {name}.{key}"
    layer = _first_bad_activation(state, config)
    if layer:
        return f"activation of {layer}"
    for name, network in networks[1::-1]:
        for key, weight in reversed(list(network.named_parameters())):
            if weight.grad is not None and not torch.isfinite(weight.grad).all():
                return f"gradient of {name}.{key}"
    for (name, network), optimizer in zip(networks, (state.opt_G, state.opt_D), strict=False):
        for key, weight in network.named_parameters():
            if any(not torch.isfinite(v).all() for v in optimizer.state.get(weight, {}).values()):
                return f"Adam's means of {name}.{key}"
    return None


@torch.no_grad()
def _first_bad_activation(state: TrainState, config: TrainConfig) -> str | None:
    bad: list[str] = []

    def noting(name: str) -> object:
        def note(_: nn.Module, __: object, output: object) -> None:
            for value in output if isinstance(output, tuple) else (output,):
                if isinstance(value, Tensor) and not torch.isfinite(value).all():
                    bad.append(name)

        return note

    networks: tuple[tuple[str, nn.Module], ...] = (("G", state.G), ("D", state.D))
    layers = [(f"{n}.{k}" if k else n, m) for n, network in networks for k, m in network.named_modules()]
    handles = [m.register_forward_hook(noting(name)) for name, m in layers]
    count = _at_once(config)
    z = torch.randn(count, state.G.z_dim, generator=generator(config.sample_seed, "health"))
    device = next(state.G.parameters()).device
    labels = None
    if state.G.num_labels:
        labels = F.one_hot(torch.arange(count) % state.G.num_labels, state.G.num_labels).float().to(device)
    try:
        with _evaluating(state.G), _evaluating(state.D):
            state.D(state.G(z.to(device), labels), labels)
    finally:
        for handle in handles:
            handle.remove()
    return bad[0] if bad else None
