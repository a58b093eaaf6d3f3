"""The gradients of one step, alone or as one of several ranks: `torchrun -m tests.stylegan.one_step FILE`."""

from __future__ import annotations

import sys
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import Generator, Growth, build_networks
from stylegan.config import TrainConfig
from stylegan.draws import Drawing, Draws, Reals, draw_step
from stylegan.phases import train_step
from stylegan.ranks import Ranks, batch_parts, joined, leave, rank_rows
from stylegan.state import new_state

STEP = {"resolution": 16, "batch": 32, "path_interval": 2, "r1_interval": 2, "seed": 5}

# Every way of training, by what differs from a plain StyleGAN2.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "labels": {"network": {"num_labels": 3, "mapping_layers_D": 2}},
    "blurred": {"blur_width": 2.0},
    "augmented": {"augment": {"mode": "fixed", "p": 0.6, "transforms": ["bgcfnc"]}},
    "san": {"network": {"head": "san"}},
    "wgan": {"loss": "wgan", "penalty": "gradient", "drift": 0.001},
    "relativistic, labels": {"loss": "relativistic", "penalty": "r1+r2", "network": {"num_labels": 3}},
    "growing": {"growth": {"start": 8}, "network": {"generator": "orig", "discriminator": "orig"}},
    "stylegan1": {"path_interval": 0, "network": {"architecture": "stylegan1"}},
    "stylegan3": {"path_interval": 0, "network": {"architecture": "stylegan3-t"}},
    "r3gan": {"loss": "relativistic", "penalty": "r1+r2", "path_interval": 0, "network": {"architecture": "r3gan"}},
    "dcgan": {"path_interval": 0, "network": {"architecture": "dcgan"}},
}
SMALL = {"z_dim": 32, "w_dim": 32, "mapping_layers": 2, "channel_base": 256, "channel_max": 16}
SIZES = {
    "dcgan": {"z_dim": 32, "channels": 16},
    "r3gan": {"z_dim": 32, "channel_base": 256, "channel_max": 32},
}


def config_of(way: str, **values: Any) -> TrainConfig:
    """The config of a step in some way of training, of small networks."""
    asked = WAYS[way]
    network = dict(asked.get("network", {}))
    small = SIZES.get(network.get("architecture", ""), SMALL)
    return TrainConfig.model_validate(STEP | asked | values | {"network": small | network})


def draws_at(config: TrainConfig, G: Generator, step: int, device: str = "cpu") -> Draws:
    """The draws of a step; of faces of every class where there are classes."""
    classes = torch.arange(config.network.num_labels) if config.network.num_labels else None
    p = torch.tensor(config.augment.p, device=device)
    size = config.growth.start if config.growth else config.resolution
    return draw_step(Drawing(config, step, config.batch, torch.device(device), classes, p), G, size)


def reals_of(config: TrainConfig, rows: Tensor) -> Reals:
    """Some of the batch's real images."""
    size = config.growth.start if config.growth else config.resolution
    images = torch.randn(config.batch, 3, size, size, generator=torch.Generator().manual_seed(9)).tanh()
    classes = config.network.num_labels
    labels = F.one_hot(torch.arange(config.batch) % classes, classes).to(images.dtype) if classes else None
    return Reals(images[rows], None if labels is None else labels[rows])


def gradients_of_a_step(
    micro_batch: int | None, ranks: Ranks | None = None, way: str = "plain"
) -> dict[str, torch.Tensor]:
    """What every optimiser was given in a first step, all its phases, minibatch-std groups included."""
    config = config_of(way, micro_batch=micro_batch)
    torch.manual_seed(0)
    G, D = build_networks(config.network, 16)
    for name, p in [*G.named_parameters(), *D.named_parameters()]:
        if "noise" in name or name.endswith("strength"):  # noise that counts
            torch.nn.init.constant_(p, 0.1)
    state = new_state(G, D, config)
    if config.growth:
        for network in (state.G, state.D, state.G_ema):
            network.grow(Growth(config.growth.start, 0.5 if config.growth.start > 8 else 1.0))
    found: dict[str, torch.Tensor] = {}
    phases = {"G": iter(("main", "path")), "D": iter(("main", "r1"))}

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        module, name = (state.G, "G") if optimizer is state.opt_G else (state.D, "D")
        phase = next(phases[name])
        for key, p in module.named_parameters():
            if p.grad is not None:
                found[f"{name}-{phase}.{key}"] = p.grad.clone()

    state.opt_G.register_step_pre_hook(keep)
    state.opt_D.register_step_pre_hook(keep)
    rows = rank_rows(batch_parts(config.batch, micro_batch, config.network.minibatch_group, ranks))
    train_step(state, config, draws_at(config, G, 0), reals_of(config, rows), ranks=ranks)
    buffers = {f"buffer.{k}": v for k, v in state.G.named_buffers()}
    return found | buffers | {"path_mean": state.path_mean}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as ranks:
        found = gradients_of_a_step(int(sys.argv[2]) or None, ranks, sys.argv[3])
        if ranks.first:
            safetensors.torch.save_file({k: v.contiguous() for k, v in found.items()}, sys.argv[1])
    leave(0)
