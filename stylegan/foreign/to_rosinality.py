"""Our StyleGAN2 for rosinality/stylegan2-pytorch: safetensors with its names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from stylegan.checkpoint import write_folder
from stylegan.config import NetworkConfig, StyleGAN2Config
from stylegan.foreign.rosinality import (
    Rule,
    discriminator_filters,
    discriminator_rules,
    generator_filters,
    generator_rules,
)
from stylegan.model import Model

README = """In rosinality/stylegan2-pytorch:

    from model import Generator
    from safetensors.torch import load_file

    g = Generator({resolution}, {w_dim}, {layers})
    g.load_state_dict(load_file("g_ema.safetensors"))
    mean = load_file("latent_avg.safetensors")["latent_avg"][None]
    images, _ = g([z], truncation=0.7, truncation_latent=mean, randomize_noise=False)

Its table of channels is fixed: networks of other widths need `Generator.channels` changed first. Without
randomize_noise=False it draws new noise for every image, and images differ from those made here.
"""


def to_rosinality(model: Model) -> dict[str, dict[str, Tensor]]:
    """State dicts that rosinality's classes load strictly: g_ema, and d where the model has a discriminator."""
    config = check_writable(model.config.network)
    rules = generator_rules(model.resolution, config.mapping_layers)
    found = {"g_ema": _theirs(model.G.state_dict(), rules) | generator_filters(model.resolution)}
    if model.D is not None:
        rules = discriminator_rules(model.resolution)
        found["d"] = _theirs(model.D.state_dict(), rules) | discriminator_filters(model.resolution)
    return found


def _theirs(weights: Mapping[str, Tensor], rules: list[Rule]) -> dict[str, Tensor]:
    return {rule.theirs: rule.shape.there(weights[rule.ours]).contiguous().cpu() for rule in rules}


def write_rosinality(model: Model, folder: Path) -> None:
    """Write a folder of safetensors with rosinality's names, and how to load them; no pickle is written."""
    if folder.exists():
        raise ValueError(f"{folder} is there already: give the name of a new folder")
    states = to_rosinality(model) | {"latent_avg": {"latent_avg": model.G.mapping.w_avg.cpu()}}
    files = {f"{name}.safetensors": safetensors.torch.save(state) for name, state in states.items()}
    config = model.config.network
    about = README.format(resolution=model.resolution, w_dim=config.w_dim, layers=check_writable(config).mapping_layers)
    write_folder(folder, files | {"README.md": about.encode()})


def check_writable(config: NetworkConfig) -> StyleGAN2Config:
    """The config itself; ValueError for a network that rosinality's classes cannot be."""
    if not isinstance(config, StyleGAN2Config):
        raise ValueError(f"this network is a {config.architecture}: only a stylegan2 can be written for rosinality")
    wanted = {
        "generator": "skip", "discriminator": "resnet", "noise": True, "num_labels": 0, "head": "linear",
        "image_channels": 3, "mapping_lr_multiplier": 0.01, "minibatch_group": 4, "minibatch_channels": 1,
    }  # fmt: skip
    wrong = [f"{k} is {getattr(config, k)}, there it is {v}" for k, v in wanted.items() if getattr(config, k) != v]
    if config.z_dim != config.w_dim:
        wrong.append(f"z_dim {config.z_dim} and w_dim {config.w_dim} are one number there")
    if wrong:
        raise ValueError(f"this network cannot be written for rosinality's classes: {'; '.join(wrong)}")
    return config
