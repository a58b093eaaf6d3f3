"""rosinality/stylegan2-pytorch (`000100.pt`): state dicts g_ema, g and d.

The numbers are StyleGAN2's under other names: a leading 1 in the shapes of modulated convolutions, one noise strength
a layer, resampling filters of the generator times 4. latent_avg stands in converted files alone; where it is absent,
w_avg is computed from the mapping network. The first published files have no noise maps either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stylegan.foreign.donor import Donor, Hints, channel_rule, computed_w_avg, make_donor, state_dict
from stylegan.foreign.records import Opaque, UnreadableFile, clip
from stylegan.operators import resample_filter
from stylegan.random import generator

NETWORKS = {"G_ema": "g_ema", "G": "g", "D": "d"}


class Shape(NamedTuple):
    """How the shape of a weight differs there, and what it is here."""

    there: Callable[[Tensor], Tensor]
    here: Callable[[torch.Size], tuple[int, ...]]


SAME = Shape(lambda w: w, tuple)
LEADING = Shape(lambda w: w[None], lambda shape: tuple(shape[1:]))
SINGLE = Shape(lambda w: w.reshape(1), lambda shape: ())
MAP = Shape(lambda w: w[None, None], lambda shape: tuple(shape[2:]))
COLOUR = Shape(lambda w: w.reshape(1, -1, 1, 1), lambda shape: tuple(shape[1:2]))


class Rule(NamedTuple):
    """One weight: our name, theirs, and its shape."""

    ours: str
    theirs: str
    shape: Shape = SAME


def _modulated(ours: str, theirs: str) -> list[Rule]:
    """Weight and affine of a modulated convolution."""
    affine = [Rule(f"{ours}.affine.{k}", f"{theirs}.conv.modulation.{k}") for k in ("weight", "bias")]
    return [Rule(f"{ours}.weight", f"{theirs}.conv.weight", LEADING), *affine]


def generator_rules(resolution: int, mapping_layers: int) -> list[Rule]:
    """Every weight of the generator, w_avg and the resampling filters aside."""
    rules = [
        Rule(f"mapping.fc{i}.{k}", f"style.{i + 1}.{k}") for i in range(mapping_layers) for k in ("weight", "bias")
    ]
    rules.append(Rule("synthesis.b4.const", "input.input", LEADING))
    layers = [("b4.conv1", "conv1")]
    colours = [("b4.torgb", "to_rgb1")]
    for i in range(int(math.log2(resolution)) - 2):
        size = 2 ** (i + 3)
        layers += [(f"b{size}.conv0", f"convs.{2 * i}"), (f"b{size}.conv1", f"convs.{2 * i + 1}")]
        colours.append((f"b{size}.torgb", f"to_rgbs.{i}"))
    for i, (ours, theirs) in enumerate(layers):
        rules += _modulated(f"synthesis.{ours}", theirs)
        rules.append(Rule(f"synthesis.{ours}.bias", f"{theirs}.activate.bias"))
        rules.append(Rule(f"synthesis.{ours}.noise_strength", f"{theirs}.noise.weight", SINGLE))
        rules.append(Rule(f"synthesis.{ours}.noise_const", f"noises.noise_{i}", MAP))
    for ours, theirs in colours:
        rules += [*_modulated(f"synthesis.{ours}", theirs), Rule(f"synthesis.{ours}.bias", f"{theirs}.bias", COLOUR)]
    return rules


def generator_filters(resolution: int) -> dict[str, Tensor]:
    """The resampling filters of the generator, by their names."""
    doublings = range(int(math.log2(resolution)) - 2)
    names = [f"convs.{2 * i}.conv.blur.kernel" for i in doublings] + [f"to_rgbs.{i}.upsample.kernel" for i in doublings]
    return {name: resample_filter() * 4 for name in names}


def discriminator_rules(resolution: int) -> list[Rule]:
    """Every weight of the discriminator, the resampling filters aside."""
    top = f"b{resolution}"
    rules = [Rule(f"{top}.fromrgb.weight", "convs.0.0.weight"), Rule(f"{top}.fromrgb.bias", "convs.0.1.bias")]
    for i in range(1, int(math.log2(resolution)) - 1):
        ours, theirs = f"b{resolution // 2 ** (i - 1)}", f"convs.{i}"
        rules += [
            Rule(f"{ours}.conv0.weight", f"{theirs}.conv1.0.weight"),
            Rule(f"{ours}.conv0.bias", f"{theirs}.conv1.1.bias"),
            Rule(f"{ours}.conv1.weight", f"{theirs}.conv2.1.weight"),
            Rule(f"{ours}.conv1.bias", f"{theirs}.conv2.2.bias"),
            Rule(f"{ours}.skip.weight", f"{theirs}.skip.1.weight"),
        ]
    rules += [Rule("b4.conv.weight", "final_conv.0.weight"), Rule("b4.conv.bias", "final_conv.1.bias")]
    dense = (("fc", "final_linear.0"), ("out", "final_linear.1"))
    return rules + [Rule(f"b4.{ours}.{k}", f"{theirs}.{k}") for ours, theirs in dense for k in ("weight", "bias")]


def discriminator_filters(resolution: int) -> dict[str, Tensor]:
    """The resampling filters of the discriminator, by their names."""
    blocks = range(1, int(math.log2(resolution)) - 1)
    return {f"convs.{i}.{part}.0.kernel": resample_filter() for i in blocks for part in ("conv2", "skip")}


def recognise(tree: Any) -> bool:
    """Whether a file's values are a checkpoint of this project."""
    networks = [tree.get(name) for name in ("g_ema", "g")] if isinstance(tree, dict) else []
    return any(isinstance(network, dict) and "conv1.conv.weight" in network for network in networks)


def read(tree: Any, hints: Hints) -> Donor:
    """The networks of a checkpoint; where it holds no g_ema, g stands for it."""
    found = {ours: state_dict(tree[name], name) for ours, name in NETWORKS.items() if tree.get(name) is not None}
    notes = []
    if "G_ema" not in found:
        found["G_ema"] = found["G"]
        notes.append("the file holds no averaged generator: g stands for it")
    resolution, about = _about(found["G_ema"])
    filters, rules = generator_filters(resolution), generator_rules(resolution, about["mapping_layers"])
    tensors: dict[str, dict[str, Tensor]] = {}
    for name in sorted(found.keys() - {"D"}):
        notes += _without_noise(found[name], rules)
        tensors[name] = _translated(found[name], rules, filters, name) | {"mapping.w_avg": _w_avg(tree, about)}
    if "D" in found:
        tensors["D"] = _translated(found["D"], discriminator_rules(resolution), discriminator_filters(resolution), "D")
    donor = make_donor(about, resolution, tensors, hints, _images_seen(tree, hints), dict.fromkeys(notes))
    return donor if "latent_avg" in tree else computed_w_avg(donor)


def _about(weights: Mapping[str, Tensor]) -> tuple[int, dict[str, Any]]:
    """Resolution and config, from the shapes alone: the project keeps them nowhere else."""
    doublings = sum(name.startswith("to_rgbs.") and name.endswith(".conv.weight") for name in weights)
    mapping_layers = sum(name.startswith("style.") and name.endswith(".weight") for name in weights)
    names = ["conv1.conv.weight"] + [f"convs.{2 * i + 1}.conv.weight" for i in range(doublings)]
    for name in ["style.1.weight", "to_rgb1.conv.weight", *names]:
        if name not in weights or weights[name].ndim != (2 if name.startswith("style") else 5):
            raise UnreadableFile(f"g_ema has no layer {name} of the shape that this project writes")
    widths = {2 ** (i + 2): weights[name].shape[1] for i, name in enumerate(names)}
    return 2 ** (doublings + 2), {
        "architecture": "stylegan2",
        "z_dim": weights["style.1.weight"].shape[1],
        "w_dim": weights["style.1.weight"].shape[0],
        "mapping_layers": mapping_layers,
        "image_channels": weights["to_rgb1.conv.weight"].shape[1],
        **channel_rule(widths, "g_ema"),
    }


def _without_noise(weights: dict[str, Tensor], rules: list[Rule]) -> list[str]:
    """Give maps drawn from a fixed seed to a generator that has none, as the first published files; say so."""
    if any(name.startswith("noises.") for name in weights):
        return []
    keyed = generator(0, "import/noise")
    for rule in rules:
        if rule.theirs.startswith("noises."):
            size = 2 ** ((int(rule.theirs.removeprefix("noises.noise_")) + 5) // 2)
            weights[rule.theirs] = torch.randn(1, 1, size, size, generator=keyed)
    return ["the file holds no noise maps: they are drawn from a fixed seed"]


def _translated(
    weights: dict[str, Tensor], rules: list[Rule], filters: dict[str, Tensor], what: str
) -> dict[str, Tensor]:
    """Weights by our names and in our shapes; every name must be known, every filter be ours."""
    unknown = sorted(set(weights) - {rule.theirs for rule in rules} - set(filters))
    missing = [name for name in [*(rule.theirs for rule in rules), *filters] if name not in weights]
    if unknown or missing:
        first = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise UnreadableFile(f"{what}: layer {first} ({len(missing)} missing, {len(unknown)} unknown)")
    for name, kernel in filters.items():
        if weights[name].shape != kernel.shape or not torch.allclose(weights[name].float(), kernel, atol=1e-6):
            raise UnreadableFile(f"{what}: layer {name} is another filter than this project's")
    return {rule.ours: _ours(weights[rule.theirs], rule, what) for rule in rules}


def _ours(weight: Tensor, rule: Rule, what: str) -> Tensor:
    """A weight of theirs in our shape."""
    shape = rule.shape.here(weight.shape)
    if math.prod(shape) != weight.numel() or rule.shape.there(weight.reshape(shape)).shape != weight.shape:
        raise UnreadableFile(f"{what}: layer {rule.theirs} has shape {list(weight.shape)}: this project has none such")
    return weight.reshape(shape)


def _w_avg(tree: Any, about: Mapping[str, Any]) -> Tensor:
    w_avg = tree.get("latent_avg")
    if w_avg is None:
        return torch.zeros(about["w_dim"])
    if not isinstance(w_avg, Tensor) or w_avg.numel() != about["w_dim"]:
        raise UnreadableFile(f"latent_avg is {clip(w_avg)}, expected {about['w_dim']} numbers")
    return w_avg.reshape(-1)


def _images_seen(tree: Any, hints: Hints) -> int | None:
    """Images seen: steps from the file's name (000100.pt) times the batch that the file keeps."""
    args = tree.get("args")
    batch = args.state.get("batch") if isinstance(args, Opaque) and isinstance(args.state, dict) else None
    stem = hints.name.removesuffix(".pt").rpartition("_")[2]
    return int(stem) * batch if type(batch) is int and stem.isdecimal() and len(stem) < 10 else None
