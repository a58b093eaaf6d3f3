"""Every random number of a training step, drawn for the whole batch before the step begins.

A step is a pure function of the state, the reals and these draws. They come from generators keyed by (seed, purpose,
step), so a resumed training, a training in parts and a training on several ranks see the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import Generator, Noise
from stylegan.augment import Augmentation, draw_augmentation
from stylegan.config import TrainConfig
from stylegan.random import generator


class Reals(NamedTuple):
    """Real images of a batch, or of this rank's share of it."""

    images: Tensor  # [N, C, H, W] in [-1, 1]
    labels: Tensor | None = None  # one-hot [N, num_labels]

    def at(self, place: slice) -> Reals:
        """Some of them."""
        return Reals(self.images[place], None if self.labels is None else self.labels[place])


class Latents(NamedTuple):
    """What the generator is fed with in one phase, for a whole batch."""

    z: Tensor  # [N, z_dim]
    mixed: Tensor | None = None  # second latents [N, z_dim] of style mixing
    crossover: Tensor | None = None  # 0-d int64, the first layer that the second latents drive
    noise: Noise = "const"  # or one map a layer, [N, 1, h, h]
    labels: Tensor | None = None  # one-hot [N, num_labels]

    def part(self, rows: Tensor) -> Latents:
        """The latents of some images of the batch."""
        mixed = None if self.mixed is None else self.mixed[rows]
        noise = self.noise if isinstance(self.noise, str) else [m[rows] for m in self.noise]
        return Latents(self.z[rows], mixed, self.crossover, noise, None if self.labels is None else self.labels[rows])


class Draws(NamedTuple):
    """Every random number of one step."""

    discriminator: Latents
    generator: Latents | None = None  # none: the generator rests this step
    path: Latents | None = None
    path_noise: Tensor | None = None  # [n, C, H, W]
    blend: Tensor | None = None  # [N, 1, 1, 1] in [0, 1], where between fakes and reals a gradient penalty looks
    augment: dict[str, Augmentation] = {}  # of "generator", "fakes" and "reals"; empty: none


class Drawing(NamedTuple):
    """What the draws of a step depend on."""

    config: TrainConfig
    step: int
    batch: int
    device: torch.device
    classes: Tensor | None = None  # int64 [M], the class of every training face
    p: Tensor | None = None  # 0-d, probability of every augmentation

    def keyed(self, purpose: str, *, on_cpu: bool = True) -> torch.Generator:
        """The generator of one purpose in this step."""
        return generator(self.config.seed, purpose, self.step, device="cpu" if on_cpu else self.device)

    def latents(self, G: Generator, phase: str, count: int) -> Latents:
        """The latents of one phase."""
        cpu = self.keyed(phase)
        z = torch.randn(count, G.z_dim, generator=cpu).to(self.device)
        mixed, crossover = None, None
        if self.config.style_mixing and G.num_ws > 1:
            # A step that mixes nothing takes all layers from the first latents: every step has the same shape.
            mixed, crossover = z, torch.tensor(G.num_ws, device=self.device)
            if torch.rand([], generator=cpu) < self.config.style_mixing:
                crossover = torch.randint(1, G.num_ws, [], generator=cpu).to(self.device)
                mixed = torch.randn(count, G.z_dim, generator=cpu).to(self.device)
        return Latents(z, mixed, crossover, self._noise(G, phase, count), self._labels(G, phase, count))

    def _noise(self, G: Generator, phase: str, count: int) -> Noise:
        if not G.noise_sizes:
            return "none"
        keyed = self.keyed(f"{phase}/noise", on_cpu=False)
        return [torch.randn(count, 1, s, s, generator=keyed, device=self.device) for s in G.noise_sizes]

    def _labels(self, G: Generator, phase: str, count: int) -> Tensor | None:
        """Classes as often as the training faces have them."""
        if self.classes is None:
            return None
        which = torch.randint(len(self.classes), [count], generator=self.keyed(f"{phase}/labels"))
        return F.one_hot(self.classes[which], G.num_labels).float().to(self.device)

    def blend(self) -> Tensor:
        """Where between its fake and its real image every gradient penalty is taken, [N, 1, 1, 1]."""
        return torch.rand(self.batch, 1, 1, 1, generator=self.keyed("blend")).to(self.device)

    def augmentation(self, purpose: str, size: int) -> Augmentation:
        """How one phase's images are augmented."""
        assert self.p is not None
        shape = (self.batch, self.config.network.image_channels, size, size)
        return draw_augmentation(self.config.augment.transforms, self.p, shape, self.keyed(f"augment/{purpose}"))


def draw_step(drawing: Drawing, G: Generator, size: int) -> Draws:
    """Every random number of a step whose images have so many px."""
    config, step, batch = drawing.config, drawing.step, drawing.batch
    turn = step % config.generator_interval == 0
    path, path_noise = None, None
    if turn and config.path_interval and step % config.path_interval == 0:
        count = batch // config.path_batch_shrink
        path = drawing.latents(G, "path", count)
        keyed = drawing.keyed("path/image-noise", on_cpu=False)
        path_noise = torch.randn(count, G.image_channels, size, size, generator=keyed, device=drawing.device)
    purposes = ("generator", "fakes", "reals") if config.augment.mode != "none" else ()
    return Draws(
        drawing.latents(G, "discriminator", batch),
        drawing.latents(G, "generator", batch) if turn else None,
        path,
        path_noise,
        drawing.blend() if config.penalty == "gradient" else None,
        {purpose: drawing.augmentation(purpose, size) for purpose in purposes},
    )
