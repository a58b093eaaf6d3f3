"""Snapshots of NVIDIA's torch projects: stylegan2-ada-pytorch and stylegan3 (`network-snapshot-*.pkl`).

They hold G, D and G_ema as objects with the source text of their classes. The text is never run: the networks are
ours, and only the attributes and weights of theirs are used. Names of weights are the same here and there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from stylegan.architectures.stylegan3 import MARGIN, NUM_CRITICAL, OUTPUT_SCALE, bands
from stylegan.config import StyleGAN3Config
from stylegan.foreign.donor import Donor, Hints, channel_rule, images_of_snapshot, make_donor
from stylegan.foreign.modules import PERSISTENT, Module, module_of
from stylegan.foreign.records import Opaque, UnreadableFile, clip
from stylegan.operators import resample_filter

NETWORKS = ("G_ema", "G", "D")


def recognise(tree: Any) -> bool:
    """Whether a file's values are a snapshot of these projects."""
    return isinstance(tree, dict) and any(
        isinstance(tree.get(name), Opaque) and tree[name].name == PERSISTENT for name in NETWORKS
    )


def read(tree: Any, hints: Hints) -> Donor:
    """The networks of a snapshot."""
    networks = {name: module_of(tree[name], name) for name in NETWORKS if tree.get(name) is not None}
    if "G_ema" not in networks:
        raise UnreadableFile("holds no G_ema: it is not a whole snapshot")
    for name, module in networks.items():
        if module.class_name != ("Discriminator" if name == "D" else "Generator"):
            raise UnreadableFile(f"{name} is of the class {clip(module.class_name)}, which this project has not")
    G = networks["G_ema"]
    synthesis = G.child("synthesis")
    resolution = G.attribute("img_resolution", int)
    about = _shared(G) | (_stylegan2(synthesis) if "b4" in synthesis.names() else _stylegan3(synthesis))
    if "D" in networks:
        about |= _discriminator(networks["D"], about)
    weights = {name: _weights(module) for name, module in networks.items()}
    donor = make_donor(about, resolution, weights, hints, images_of_snapshot(hints))
    if isinstance(donor.config.network, StyleGAN3Config):
        _check_bands(synthesis, donor.config.network, resolution)
    return donor


def _shared(G: Module) -> dict[str, Any]:
    mapping = G.child("mapping")
    return {
        "z_dim": G.attribute("z_dim", int),
        "w_dim": G.attribute("w_dim", int),
        "num_labels": G.attribute("c_dim", int),
        "image_channels": G.attribute("img_channels", int),
        "mapping_layers": mapping.attribute("num_layers", int),
        "mapping_lr_multiplier": mapping.child("fc0").number("bias_gain"),
    }


def _one(values: dict[str, Any], what: str) -> Any:
    """The value that all layers share; UnreadableFile with the first that differs."""
    items = list(values.items())
    for name, value in items:
        if not isinstance(value, (str, int, float, type(None))) or value != items[0][1]:
            raise UnreadableFile(f"{what} is {clip(items[0][1])} in {items[0][0]} but {clip(value)} in {name}")
    return items[0][1] if items else None


def _attributes(module: Module, name: str) -> dict[str, Any]:
    """An attribute of all modules that have it, by the module's path."""
    return {inner.path: inner.state[name] for _, inner in module.walk() if name in inner.state}


def _check_activations(module: Module) -> None:
    for path, activation in _attributes(module, "activation").items():
        if not isinstance(activation, str) or activation not in ("lrelu", "linear"):
            raise UnreadableFile(f"{path} has the activation {clip(activation)}, this project has lrelu and linear")


def _clamp(module: Module) -> float | None:
    """conv_clamp of all layers; convolutions without activation have none."""
    layers = [inner for _, inner in module.walk() if "conv_clamp" in inner.state]
    found = {m.path: m.state["conv_clamp"] for m in layers if m.state.get("activation") != "linear"}
    clamp = _one(found, "conv_clamp")
    if clamp is not None and (isinstance(clamp, bool) or not isinstance(clamp, (int, float))):
        raise UnreadableFile(f"conv_clamp is {clip(clamp)}, expected a number")
    return None if clamp is None else float(clamp)


def _widths(module: Module, layer: str, axis: int) -> dict[int, int]:
    """Channels by resolution, from the weights of one layer of every block b4, b8, ..."""
    blocks = {int(name[1:]): module.child(name) for name in module.names() if name[1:].isdigit() and name[0] == "b"}
    found = {}
    for size, block in sorted(blocks.items()):
        if layer in block.names():
            weight = block.child(layer).own_tensors().get("weight")
            if weight is None or weight.ndim != 4:
                raise UnreadableFile(f"{block.path}.{layer} has no weight of a convolution")
            found[size] = weight.shape[axis]
    return found


def _stylegan2(synthesis: Module) -> dict[str, Any]:
    _check_activations(synthesis)
    noise = _one(_attributes(synthesis, "use_noise"), "use_noise")
    return {
        "architecture": "stylegan2",
        "generator": _one(_attributes(synthesis, "architecture"), "architecture"),
        "noise": noise,
        "conv_clamp": _clamp(synthesis),
        **channel_rule(_widths(synthesis, "conv1", 0), "G_ema"),
    }


def _stylegan3(synthesis: Module) -> dict[str, Any]:
    layers = [synthesis.child(name) for name in synthesis.names() if name != "input"]
    if len(layers) < 2 or synthesis.attribute("num_layers", int) != len(layers) - 1:
        raise UnreadableFile(f"{synthesis.path} has no layers of a known generator, or not as many as it says")
    kind = "stylegan3-r" if layers[0].state.get("down_radial") is True else "stylegan3-t"
    grow = 2 if kind == "stylegan3-r" else 1  # there the channels are given doubled
    asked = synthesis.state.get("_init_kwargs")
    asked = {"channel_base": 32768, "channel_max": 512} | (asked if isinstance(asked, dict) else {})
    for name in ("channel_base", "channel_max"):
        if type(asked[name]) is not int or asked[name] % grow:
            raise UnreadableFile(f"{synthesis.path}: {name} is {clip(asked[name])}, expected a number of channels")
    about = {
        "architecture": kind,
        "num_layers": len(layers) - 1,
        "conv_clamp": _clamp(synthesis),
        "channel_base": asked["channel_base"] // grow,
        "channel_max": asked["channel_max"] // grow,
    }
    for name, ours in (("num_critical", NUM_CRITICAL), ("margin_size", MARGIN), ("output_scale", OUTPUT_SCALE)):
        if synthesis.number(name) != ours:
            raise UnreadableFile(f"{synthesis.path}.{name} is {synthesis.number(name)}, this project has {ours}")
    return about


def _check_bands(synthesis: Module, config: StyleGAN3Config, resolution: int) -> None:
    """Raise UnreadableFile unless every layer's signal is what our design makes of the config."""
    layers = [synthesis.child(name) for name in synthesis.names() if name != "input"]
    for layer, band in zip(layers, bands(config, resolution), strict=True):
        ours = {"out_sampling_rate": band.rate, "out_cutoff": band.cutoff, "out_half_width": band.half_width}
        for name, value in ours.items():
            if not math.isclose(layer.number(name), value, rel_tol=1e-6):
                raise UnreadableFile(f"{layer.path}.{name} is {layer.number(name)}, this project makes it {value}")


def _discriminator(D: Module, about: dict[str, Any]) -> dict[str, Any]:
    _check_activations(D)
    last = D.child("b4")
    spread = last.child("mbstd") if "mbstd" in last.names() else None
    found = {
        "discriminator": _one(_attributes(D, "architecture"), "architecture"),
        "minibatch_channels": spread.attribute("num_channels", int) if spread else 0,
        **({"minibatch_group": spread.attribute("group_size", int)} if spread else {}),
    }
    if "mapping" in D.names():
        found["mapping_layers_D"] = D.child("mapping").attribute("num_layers", int)
    return found


def _weights(module: Module) -> dict[str, Tensor]:
    """Weights by name, less the resampling filters, which are checked to be ours."""
    weights = module.tensors()
    ours = resample_filter()
    for name in [k for k in weights if k.endswith("resample_filter")]:
        kernel = weights.pop(name).float()
        if kernel.shape != ours.shape or not torch.allclose(kernel, ours, atol=1e-6):
            raise UnreadableFile(f"{module.path}.{name} is another filter than this project's")
    return weights
