"""A trained model, ready to use: `stylegan.load(path)`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stylegan.architectures import Discriminator, Generator, Noise, build_networks
from stylegan.checkpoint import MODEL, STATE, load_weights, read_model_file, read_record, read_tensors
from stylegan.config import TrainConfig
from stylegan.random import generator

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
        self.w_dim = config.network.w_dim
        self.num_ws = G.num_ws

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

    def _tensor(self, values: Tensor | np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        return tensor.to(device=self.device, dtype=torch.float32)

    def _refuse_labels(self, labels: Tensor | None) -> None:
        if labels is not None:
            raise ValueError("this model was trained without labels: leave labels out")

    @torch.no_grad()
    def map(
        self, z: Tensor | np.ndarray, labels: Tensor | None = None, psi: float = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """w for every layer, [N, num_ws, w_dim], from z [N, z_dim].

        psi draws the first `cutoff` layers (all of them without it) towards the mean: 1 not at all, 0 wholly.
        """
        self._refuse_labels(labels)
        w: Tensor = self.G.mapping(self._tensor(z))
        return self.G.mapping.truncate(w, psi, cutoff)

    @torch.no_grad()
    def synthesise(
        self, w: Tensor | np.ndarray, noise: Literal["const", "random", "none"] = "const", noise_seed: int = 0
    ) -> Tensor:
        """Images float32 [N, 3, H, W] about [-1, 1] from w [N, num_ws, w_dim]."""
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
        labels: Tensor | None = None,
        psi: float = 0.7,
        cutoff: int | None = None,
        noise: Literal["const", "random", "none"] = "const",
    ) -> Tensor:
        """Images float32 [N, 3, H, W] about [-1, 1] from z [N, z_dim]."""
        return self.synthesise(self.map(z, labels, psi, cutoff), noise)

    @property
    def discriminator(self) -> Discriminator:
        """The discriminator; ValueError where the file holds none."""
        if self.D is None:
            raise ValueError("this file holds no discriminator, so it cannot score: load a checkpoint folder instead")
        return self.D

    @torch.no_grad()
    def score(self, images: Tensor | np.ndarray, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of images [N, 3, H, W] in [-1, 1], as training sees this very batch; larger is more real.

        A logit depends on its whole batch through minibatch-std; ranking.score_faces makes it depend on its face.
        """
        self._refuse_labels(labels)
        logits: Tensor = self.discriminator(self._tensor(images))
        return logits


def load(path: Path | str, device: torch.device | str = "cpu") -> Model:
    """The model of a checkpoint folder (checked against its record) or of a model.safetensors alone."""
    path = Path(path)
    reference = None
    if path.is_dir():
        record = read_record(path)
        tensors, config, images_seen = read_tensors(path, MODEL, record), record.config, record.images_seen
        if (path / STATE).is_file():
            reference = read_tensors(path, STATE, record)["reference"]
    elif path.is_file():
        tensors, config, images_seen = read_model_file(path)
    else:
        raise FileNotFoundError(f"{path} is neither a checkpoint folder nor a model file")
    G, D = build_networks(config.network, config.resolution)
    load_weights(G, "G_ema", tensors, path)
    has_discriminator = any(k.startswith("D.") for k in tensors)
    if has_discriminator:
        load_weights(D, "D", tensors, path)
    return Model(config, G, D if has_discriminator else None, images_seen=images_seen, reference=reference).to(device)
