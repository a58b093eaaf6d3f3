"""A trained model, ready to use: `stylegan.load(path)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.architectures import Discriminator, Generator, Noise, build_networks
from stylegan.checkpoint import load_weights, serialised
from stylegan.config import TrainConfig
from stylegan.foreign.imported import read_weights
from stylegan.growth import growth_at
from stylegan.random import generator

Labels = Tensor | np.ndarray | Sequence[int]  # class numbers [N], or one-hot rows [N, num_labels]
Psi = float | Tensor | Sequence[float]  # one number, or one for every layer, [num_ws]

SYNTHESIS_BATCH = 32  # images made at a time; each is made from its own w alone


class Model:
    """The averaged generator, and the discriminator where the file holds one."""

    def __init__(
        self,
        config: TrainConfig,
        G: Generator,
        D: Discriminator | None = None,
        *,
        images_seen: int = 0,
        reference: Tensor | None = None,
    ) -> None:
        self.config = config
        self.G = G.eval().requires_grad_(False)
        self.D = None if D is None else D.eval().requires_grad_(False)
        self.images_seen = images_seen
        self.reference = reference  # uint8 [R, 3, H, W], training faces beside which others are scored
        self.resolution = config.resolution
        self.z_dim = config.network.z_dim
        self.w_dim = G.w_dim
        self.num_ws = G.num_ws
        self.num_labels = G.num_labels

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.G.mapping.w_avg.device

    def to(self, device: torch.device | str) -> Model:
        """The model itself, its weights moved."""
        self.G.to(device)
        if self.D is not None:
            self.D.to(device)
        return self

    def save(self, path: Path | str) -> None:
        """Write the networks and their config as one safetensors file, which `load` and other programs read."""
        networks = {"G_ema": self.G} | ({} if self.D is None else {"D": self.D})
        tensors = {f"{name}.{k}": v for name, network in networks.items() for k, v in network.state_dict().items()}
        about = {"config": self.config.model_dump(mode="json"), "images_seen": self.images_seen}
        Path(path).write_bytes(serialised(tensors, about))

    def _tensor(self, values: Tensor | np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        return tensor.to(device=self.device, dtype=torch.float32)

    def _labels(self, labels: Labels | None, count: int) -> Tensor | None:
        """Labels as one-hot rows [N, num_labels]."""
        if self.num_labels == 0:
            if labels is not None:
                raise ValueError("this model was trained without labels: leave labels out")
            return None
        wanted = f"{count} class numbers from 0 to {self.num_labels - 1}, or rows [{count}, {self.num_labels}]"
        if labels is None:
            raise ValueError(f"this model was trained with labels and cannot do without: give {wanted}")
        given = torch.as_tensor(labels).to(self.device)
        if given.ndim == 1 and not given.is_floating_point():
            if len(given) != count or int(given.min()) < 0 or int(given.max()) >= self.num_labels:
                raise ValueError(f"labels are {given.tolist()[:8]}: give {wanted}")
            given = F.one_hot(given.long(), self.num_labels)
        if given.shape != (count, self.num_labels):
            raise ValueError(f"labels have shape {list(given.shape)}: give {wanted}")
        return given.float()

    def _psi(self, psi: Psi) -> float | Tensor:
        """psi as one number, or as one for every layer, [num_ws]."""
        if isinstance(psi, (int, float)):
            return float(psi)
        given = torch.as_tensor(psi, dtype=torch.float32).to(self.device)
        if given.shape not in ((), (self.num_ws,)):
            raise ValueError(f"psi has shape {list(given.shape)}: give one number, or one for each of {self.num_ws} w")
        return given

    @torch.no_grad()
    def map(
        self, z: Tensor | np.ndarray, labels: Labels | None = None, psi: Psi = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """w for every layer, [N, num_ws, w_dim], from z [N, z_dim].

        labels: class numbers [N], or one-hot rows [N, num_labels]; for models trained with them, and only those.
        psi draws the first `cutoff` layers (all of them without it) towards the mean: 1 not at all, 0 wholly; one
        number, or one for every layer, [num_ws].
        """
        w = self.G.mapping(self._tensor(z), self._labels(labels, len(z)))
        return self.G.mapping.truncate(w, self._psi(psi), cutoff)

    @torch.no_grad()
    def synthesise(
        self, w: Tensor | np.ndarray, noise: Literal["const", "random", "none"] = "const", noise_seed: int = 0
    ) -> Tensor:
        """Images float32 [N, C, H, W] about [-1, 1] from w [N, num_ws, w_dim]; noise: for networks that take any."""
        w = self._tensor(w)
        parts = [w[i : i + SYNTHESIS_BATCH] for i in range(0, len(w), SYNTHESIS_BATCH)]
        return torch.cat(
            [self.G.synthesis(part, self._noise(noise, len(part), noise_seed, i)) for i, part in enumerate(parts)]
        )

    def _noise(self, noise: Literal["const", "random", "none"], count: int, seed: int, part: int) -> Noise:
        if noise != "random":
            return noise
        keyed = generator(seed, "sample/noise", part, device=self.device)
        sizes = self.G.noise_sizes
        return [torch.randn(count, 1, size, size, generator=keyed, device=self.device) for size in sizes]

    def sample(
        self,
        z: Tensor | np.ndarray,
        labels: Labels | None = None,
        psi: Psi = 0.7,
        cutoff: int | None = None,
        noise: Literal["const", "random", "none"] = "const",
    ) -> Tensor:
        """Images float32 [N, C, H, W] about [-1, 1] from z [N, z_dim]; labels and psi as for `map`."""
        return self.synthesise(self.map(z, labels, psi, cutoff), noise)

    @property
    def discriminator(self) -> Discriminator:
        """The discriminator; ValueError where the file holds none."""
        if self.D is None:
            raise ValueError("this file holds no discriminator, so it cannot score: load a checkpoint folder instead")
        return self.D

    @torch.no_grad()
    def score(self, images: Tensor | np.ndarray, labels: Labels | None = None) -> Tensor:
        """Logits [N] of images [N, C, H, W] in [-1, 1], as training sees this very batch; larger is more real.

        A logit depends on its whole batch through minibatch-std; ranking.score_faces makes it depend on its face.
        """
        logits: Tensor = self.discriminator(self._tensor(images), self._labels(labels, len(images)))
        return logits


def load(path: Path | str, device: torch.device | str = "cpu", resolution: int | None = None) -> Model:
    """The model that a path leads to, whatever wrote it.

    path: a checkpoint folder (checked against its record), an imported model's folder, a model.safetensors, or another
    project's file (stylegan.foreign.formats.FORMATS), of which nothing is ever run; resolution: px, for files that do
    not say how far their training grew.
    """
    path = Path(path)
    found = read_weights(path, resolution)
    G, D = build_networks(found.config.network, found.config.resolution)
    load_network(G, "G_ema", found.tensors, path)
    if "D" in found.tensors:
        load_network(D, "D", found.tensors, path)
    if found.config.growth is not None:
        growth = growth_at(found.config.growth, found.config.resolution, found.images_seen)
        G.grow(growth)
        D.grow(growth)
    whole = D if "D" in found.tensors else None
    return Model(found.config, G, whole, images_seen=found.images_seen, reference=found.reference).to(device)


def load_network(network: nn.Module, name: str, tensors: dict[str, dict[str, Tensor]], path: Path) -> None:
    """Give a network its weights; ValueError where a file has none of that name, or others than the network's."""
    if name not in tensors:
        raise ValueError(f"{path} holds no {name}, only {', '.join(tensors) or 'nothing'}")
    load_weights(network, name, {f"{name}.{k}": v for k, v in tensors[name].items()}, path)
