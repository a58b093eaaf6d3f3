"""rosinality/style-based-gan-pytorch, a StyleGAN (`train_step-5.model`, or g_running alone: `010000.model`).

The table of names and factors is in architectures/stylegan1.py. A file always holds layers for 4 .. 1024 px and does
not say how far the training grew. So the resolution is what is asked for, or the step in the file's name (4 * 2^step
px), or the largest size whose colours were ever trained: their biases begin as zeros. Larger layers are left aside.
The project draws noise anew for every image and keeps no mean of w: maps of a fixed seed and a computed mean stand in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stylegan.foreign.donor import Donor, Hints, channel_rule, computed_w_avg, make_donor, state_dict
from stylegan.foreign.records import UnreadableFile, clip
from stylegan.random import generator

NETWORKS = {"G_ema": "g_running", "G": "generator", "D": "discriminator"}
STEPS = 9  # sizes of a file: 4 .. 1024 px
LR_MULTIPLIER = 0.01  # of the mapping network; there it is the optimiser's


class Rule(NamedTuple):
    """One weight: our name, theirs, and what makes theirs ours."""

    ours: str
    theirs: str
    ours_of: Callable[[Tensor], Tensor] = lambda w: w


def _times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda w: w * factor


def _over(divisor: float) -> Callable[[Tensor], Tensor]:
    return lambda w: w / divisor


def _equal(ours: str, theirs: str, factor: float = 1.0) -> list[Rule]:
    """A layer of theirs with equalised learning rate: weight_orig, times a factor, and bias."""
    return [
        Rule(f"{ours}.weight", f"{theirs}.weight_orig", _times(factor)),
        Rule(f"{ours}.bias", f"{theirs}.bias"),
    ]


def _fused(ours: str, theirs: str, ours_of: Callable[[Tensor], Tensor]) -> list[Rule]:
    """A layer of theirs that resamples and convolves at once."""
    return [Rule(f"{ours}.weight", f"{theirs}.weight", ours_of), Rule(f"{ours}.bias", f"{theirs}.bias")]


def _noise_strength(w: Tensor) -> Tensor:
    return w[0, :, 0, 0] * math.sqrt(2 / w.shape[1])


def _upsampling(w: Tensor) -> Tensor:
    return w.transpose(0, 1).flip(2, 3) / 4


def generator_rules(steps: int, mapping_layers: int) -> list[Rule]:
    """Every weight of the generator's first sizes: 4, 8, ... 4 * 2^(steps - 1) px."""
    root = math.sqrt(2)
    rules = []
    for k in range(mapping_layers):
        theirs = f"style.{2 * k + 1}.linear"
        rules.append(Rule(f"mapping.fc{k}.weight", f"{theirs}.weight_orig", _over(LR_MULTIPLIER)))
        rules.append(Rule(f"mapping.fc{k}.bias", f"{theirs}.bias", _over(LR_MULTIPLIER * root)))
    rules.append(Rule("synthesis.b4.const", "generator.progression.0.conv1.input", lambda w: w[0]))
    for i in range(steps):
        ours, theirs = f"synthesis.b{4 * 2**i}", f"generator.progression.{i}"
        if 0 < i < 5:
            rules += _equal(f"{ours}.conv0", f"{theirs}.conv1.1.conv")
        elif i:
            rules += _fused(f"{ours}.conv0", f"{theirs}.conv1.0", _upsampling)
        rules += _equal(f"{ours}.conv1", f"{theirs}.conv2.conv")
        for j in (0, 1):
            noise = f"{theirs}.noise{j + 1}.weight_orig"
            rules.append(Rule(f"{ours}.style{j}.noise_strength", noise, _noise_strength))
            rules += _equal(f"{ours}.style{j}.affine", f"{theirs}.adain{j + 1}.style.linear", root)
        rules += _equal(f"{ours}.torgb", f"generator.to_rgb.{i}.conv")
    return rules


def discriminator_rules(steps: int) -> list[Rule]:
    """Every weight of the discriminator's last sizes, whose blocks are counted from 1024 px down."""
    rules = []
    for i in range(STEPS - steps, STEPS):
        ours, theirs = f"b{1024 // 2**i}", f"progression.{i}"
        rules += _equal(f"{ours}.fromrgb", f"from_rgb.{i}.0.conv")
        rules += _equal(f"{ours}.conv" if i == STEPS - 1 else f"{ours}.conv0", f"{theirs}.conv1.0.conv")
        if i == STEPS - 1:
            rules += _equal(f"{ours}.fc", f"{theirs}.conv2.0.conv")
        elif i < 4:
            rules += _fused(f"{ours}.conv1", f"{theirs}.conv2.1", lambda w: w)
        else:
            rules += _equal(f"{ours}.conv1", f"{theirs}.conv2.1.conv")
    return rules + _equal("b4.out", "linear.linear", math.sqrt(2))


def recognise(tree: Any) -> bool:
    """Whether a file's values are a checkpoint of this project, or its generator alone."""
    first = "generator.progression.0.conv1.input"
    networks = [tree, tree.get("g_running"), tree.get("generator")] if isinstance(tree, dict) else []
    return any(isinstance(network, dict) and first in network for network in networks)


def read(tree: Any, hints: Hints) -> Donor:
    """The networks of a file at the resolution that the training had reached."""
    if "generator.progression.0.conv1.input" in tree:
        tree = {"g_running": tree}
    found = {ours: state_dict(tree[name], name) for ours, name in NETWORKS.items() if tree.get(name) is not None}
    notes = []
    if "G_ema" not in found:
        found["G_ema"] = found["G"]
        notes.append("the file holds no averaged generator: generator stands for it")
    steps, why = _steps(found["G_ema"], hints)
    notes.append(f"{4 * 2 ** (steps - 1)} px: {why}")
    about = _about(found["G_ema"], steps)
    tensors = {}
    for name in sorted(found.keys() - {"D"}):
        rules = generator_rules(steps, about["mapping_layers"])
        tensors[name] = _translated(found[name], rules, name) | _noise(steps)
        tensors[name]["mapping.w_avg"] = torch.zeros(about["w_dim"])
    if "D" in found:
        tensors["D"] = _translated(found["D"], discriminator_rules(steps), "D")
    notes.append("the project keeps no noise maps: they are drawn from a fixed seed")
    donor = make_donor(about, 4 * 2 ** (steps - 1), tensors, hints._replace(resolution=None), None, notes)
    return computed_w_avg(donor)


def _steps(weights: Mapping[str, Tensor], hints: Hints) -> tuple[int, str]:
    """How many sizes the training had grown to, and how that is known."""
    if hints.resolution is not None:
        if hints.resolution not in [4 * 2**i for i in range(STEPS)]:
            raise UnreadableFile(f"holds sizes 4, 8, ... 1024 px, asked for are {hints.resolution} px")
        return int(math.log2(hints.resolution)) - 1, "asked for"
    named = re.search(r"step-(\d)\.model$", hints.name)
    if named is not None:
        return int(named[1]) + 1, "the step in the file's name"
    trained = [i for i in range(STEPS) if weights.get(f"generator.to_rgb.{i}.conv.bias", torch.zeros(1)).any()]
    return max(trained, default=STEPS - 1) + 1, "the largest size that was trained"


def _about(weights: Mapping[str, Tensor], steps: int) -> dict[str, Any]:
    """The config, from shapes alone."""
    mapping = sorted(name for name in weights if re.fullmatch(r"style\.\d+\.linear\.weight_orig", name))
    names = {4 * 2**i: f"generator.progression.{i}.conv2.conv.weight_orig" for i in range(steps)}
    for name in ["style.1.linear.weight_orig", "generator.to_rgb.0.conv.weight_orig", *names.values()]:
        if name not in weights or weights[name].ndim not in (2, 4):
            raise UnreadableFile(f"g_running has no layer {name} of the shape that this project writes")
    widths = {size: weights[name].shape[0] for size, name in names.items()}
    try:
        channels = channel_rule(widths, "g_running")
    except UnreadableFile as error:
        raise UnreadableFile(f"{error}; name the size that was trained: resolution=128, for example") from error
    return {
        "architecture": "stylegan1",
        "z_dim": weights["style.1.linear.weight_orig"].shape[1],
        "w_dim": weights["style.1.linear.weight_orig"].shape[0],
        "mapping_layers": len(mapping),
        "image_channels": weights["generator.to_rgb.0.conv.weight_orig"].shape[0],
        **channels,
    }


def _noise(steps: int) -> dict[str, Tensor]:
    keyed = generator(0, "import/noise")
    sizes = [4 * 2**i for i in range(steps)]
    return {
        f"synthesis.b{size}.style{j}.noise_const": torch.randn(size, size, generator=keyed)
        for size in sizes
        for j in (0, 1)
    }


def _translated(weights: Mapping[str, Tensor], rules: list[Rule], what: str) -> dict[str, Tensor]:
    """Weights by our names; what belongs to larger sizes and the constant blurs (3 x 3, fixed) are left aside."""
    missing = [rule.theirs for rule in rules if rule.theirs not in weights]
    if missing:
        raise UnreadableFile(f"{what}: layer {missing[0]} is missing ({len(missing)} of {len(rules)})")
    _check_blurs(weights, what)
    try:
        return {rule.ours: rule.ours_of(weights[rule.theirs]) for rule in rules}
    except (IndexError, RuntimeError) as error:
        raise UnreadableFile(f"{what}: a layer has another shape than this project's: {error}") from error


def _check_blurs(weights: Mapping[str, Tensor], what: str) -> None:
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    ours = torch.outer(row, row)
    for name in [k for k in weights if k.endswith("weight_flip")]:
        for blur in (weights[name], weights.get(name.removesuffix("_flip"))):
            if blur is None or blur.shape[-2:] != ours.shape or not torch.allclose(blur.float(), ours, atol=1e-6):
                raise UnreadableFile(f"{what}: layer {clip(name)} is another filter than this project's")
