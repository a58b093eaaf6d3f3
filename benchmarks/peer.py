"""A StyleGAN2 of others that installs from PyPI, beside ours: stylegan2-pytorch (lucidrains, MIT).

    pip install --no-deps --target PEER stylegan2-pytorch einops kornia kornia_rs

Its module refuses to be imported where there is no CUDA, and imports much that its networks do not need; here it is
told that there is CUDA, and what is not installed (aim, torchvision, fire, ...) is an empty module. Its networks,
penalty and path length run as they are, on our step's schedule, at about our widths: it has no way to set the same.
stylegan2-torch, the other one on PyPI, compiles a CUDA extension when it is imported and cannot run on a CPU.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.config import StyleGAN2Config, TrainConfig

UNUSED = ("aim", "contrastive_learner", "fire", "retry", "retry.api", "torchvision", "tqdm", "vector_quantize_pytorch")


class _Empty(types.ModuleType):
    """A module that has any name in it, each an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@functools.cache
def import_peer(folder: Path) -> Any:
    """Its one module, from the folder that it was installed into."""
    sys.path.append(str(folder))
    for name in [n for n in UNUSED if importlib.util.find_spec(n.partition(".")[0]) is None]:
        sys.modules.setdefault(name, _Empty(name))
    with mock.patch("torch.cuda.is_available", return_value=True):
        return importlib.import_module("stylegan2_pytorch.stylegan2_pytorch")


class Peer:
    """Its networks and the four phases of a step with them."""

    def __init__(self, folder: Path, config: TrainConfig, device: torch.device) -> None:
        network, size = config.network, config.resolution
        assert isinstance(network, StyleGAN2Config)
        self.module = import_peer(folder)
        self.batch, self.size, self.z_dim = config.batch, size, network.z_dim
        width, most = network.channels(size), network.channel_max
        self.S = self.module.StyleVectorizer(network.z_dim, network.mapping_layers).to(device)
        self.G = self.module.Generator(size, network.z_dim, network_capacity=width // 2, fmap_max=most).to(device)
        self.D = self.module.Discriminator(size, network_capacity=width // 4, fmap_max=most).to(device)
        self.device = device
        self.opt_G = torch.optim.Adam([*self.S.parameters(), *self.G.parameters()], lr=0.002, betas=(0.0, 0.99))
        self.opt_D = torch.optim.Adam(self.D.parameters(), lr=0.002, betas=(0.0, 0.99))
        self.reals = torch.rand(config.batch, 3, size, size, device=device)

    def fakes(self, count: int) -> tuple[Tensor, Tensor]:
        """Images, and the styles that they were made from."""
        w = self.S(torch.randn(count, self.z_dim, device=self.device))
        styles = w[:, None].expand(-1, self.G.num_layers, -1)
        return self.G(styles, torch.rand(count, self.size, self.size, 1, device=self.device)), styles

    def generator(self) -> None:
        """The logistic loss of the generator."""
        self.D.requires_grad_(False)
        loss = F.softplus(-self.D(self.fakes(self.batch)[0])[0]).mean()
        self.move(loss, self.opt_G)
        self.D.requires_grad_(True)

    def path(self) -> None:
        """The path length of half the batch."""
        images, styles = self.fakes(self.batch // 2)
        lengths = self.module.calc_pl_lengths(styles, images)
        self.move((lengths - lengths.mean().detach()).square().mean(), self.opt_G)

    def discriminator(self) -> None:
        """The logistic loss of the discriminator."""
        with torch.no_grad():
            images, _ = self.fakes(self.batch)
        self.move(F.softplus(self.D(images)[0]).mean() + F.softplus(-self.D(self.reals)[0]).mean(), self.opt_D)

    def penalty(self) -> None:
        """R1 as the peer has it."""
        images = self.reals.clone().requires_grad_()
        self.move(self.module.gradient_penalty(images, self.D(images)[0]), self.opt_D)

    def move(self, loss: Tensor, optimizer: torch.optim.Adam) -> None:
        """One step of an optimiser."""
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def phases(self) -> dict[str, Callable[[], None]]:
        """The phases by name."""
        return {name: getattr(self, name) for name in ("generator", "path", "discriminator", "penalty")}
