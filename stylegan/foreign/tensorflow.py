"""StyleGAN2 of NVIDIA's TensorFlow projects (stylegan2, stylegan2-ada): a pickle of the networks G, D and Gs.

Each is a `dnnlib.tflib.network.Network` with its variables by name and the source text that built it, which is never
run. Convolutions are [height, width, in, out] there, dense layers [in, out]; weights that upsample are stored turned by
180 degrees, and the bias of a style is one less. StyleGAN (1), whose layers are other ones, is refused.

No genuine file was at hand when this was written: it is tested on files made from our own networks by the inverse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from stylegan.foreign.donor import Donor, Hints, channel_rule, images_of_snapshot, make_donor
from stylegan.foreign.records import Opaque, UnreadableFile, clip

CLASS = ("dnnlib.tflib.network", "Network")
ORDER = ("G", "D", "G_ema")  # of the networks in a file
# What our networks are, where a file may say otherwise.
FIXED: dict[str, Any] = {
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "mapping_lrmul": 0.01,
    "resample_kernel": [1, 3, 3, 1],
    "use_noise": True,
    "normalize_latents": True,
}
T = TypeVar("T")
ASIDE = {"lod", "pl_mean_var"}  # variables of the training


class Rule(NamedTuple):
    """One weight: our name, theirs, and what makes theirs ours."""

    ours: str
    theirs: str
    ours_of: Callable[[Tensor], Tensor] = lambda w: w


def _conv(w: Tensor) -> Tensor:
    return w.permute(3, 2, 0, 1)


def _turned(w: Tensor) -> Tensor:
    return w.flip(0, 1).permute(3, 2, 0, 1)


def _dense(w: Tensor) -> Tensor:
    return w.t()


def _plus_one(w: Tensor) -> Tensor:
    return w + 1


def recognise(tree: Any) -> bool:
    """Whether a file's values are networks of these projects."""
    networks = tree if isinstance(tree, (tuple, list)) else [tree]
    return bool(networks) and all(isinstance(n, Opaque) and (n.module, n.name) == CLASS for n in networks)


def read(tree: Any, hints: Hints) -> Donor:
    """The networks of a file: G, D and Gs, or one generator alone."""
    given = list(tree) if isinstance(tree, (tuple, list)) else [tree]
    if len(given) not in (1, 3):
        raise UnreadableFile(f"holds {len(given)} networks, expected G, D and Gs, or one generator")
    records = dict(zip(ORDER if len(given) == 3 else ("G_ema",), given, strict=True))
    variables = {name: _variables(record, name) for name, record in records.items()}
    asked: dict[str, Any] = {name: _arguments(record, name) for name, record in records.items()}
    resolution, about = _generator_config(variables["G_ema"], asked["G_ema"])
    if "D" in variables:
        about |= _discriminator_config(variables["D"], asked["D"], about)
    tensors = {
        name: _translated(found, (_discriminator_rules if name == "D" else _generator_rules)(resolution, about), name)
        for name, found in variables.items()
    }
    return make_donor(about, resolution, tensors, hints, images_of_snapshot(hints))


def _part(record: Any, what: str, key: str, kind: type[T]) -> T:
    """A part of a network's state, checked to be of a kind; empty where it is absent."""
    if not isinstance(record, Opaque) or not isinstance(record.state, dict):
        raise UnreadableFile(f"{what} has no state")
    value = record.state.get(key)
    if value is not None and not isinstance(value, kind):
        raise UnreadableFile(f"{what} has the {key} {clip(value)}, expected a {kind.__name__}")
    return kind() if value is None else value


def _variables(record: Any, what: str) -> dict[str, Tensor]:
    """Variables of a network and its components by path: synthesis/4x4/Const/const."""
    found: dict[str, Tensor] = {}
    for item in _part(record, what, "variables", list):
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
            raise UnreadableFile(f"{what} has the variable {clip(item)}, expected a name and an array")
        if not isinstance(item[1], (np.ndarray, float, int)):
            raise UnreadableFile(f"{what}: variable {clip(item[0])} is {clip(item[1])}, expected an array")
        found[item[0]] = torch.from_numpy(np.array(item[1], dtype=np.float32))
    for part, inner in _part(record, what, "components", dict).items():
        if what not in ORDER:
            raise UnreadableFile(f"{what} has components of its own: no network of these projects has")
        found |= {f"{part}/{k}": v for k, v in _variables(inner, f"{what}.{clip(part)}").items()}
    return {k: v for k, v in found.items() if k.rpartition("/")[2] not in ASIDE}


def _arguments(record: Any, what: str) -> dict[str, Any]:
    """Arguments that a network and its components were built with, checked to be what our networks are."""
    found: dict[str, Any] = {}
    for part in [record, *_part(record, what, "components", dict).values()]:
        given = _part(part, what, "static_kwargs", dict)
        found |= {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    for key, ours in FIXED.items():
        if key in found and (type(found[key]) is not type(ours) or found[key] != ours):
            raise UnreadableFile(f"{what} has {key} {clip(found[key])}, this project has {ours}")
    return found


def _shape(variables: dict[str, Tensor], name: str, dimensions: int) -> torch.Size:
    if name not in variables or variables[name].ndim != dimensions:
        raise UnreadableFile(f"there is no variable {name} of {dimensions} dimensions")
    return variables[name].shape


def _sizes(variables: dict[str, Tensor], pattern: str) -> list[int]:
    return sorted(int(found[1]) for name in variables if (found := re.fullmatch(pattern, name)))


def _architecture(variables: dict[str, Tensor], skips: str, colours: str) -> str:
    """How resolutions are joined, from the layers that are there."""
    if _sizes(variables, skips):
        return "resnet"
    return "skip" if len(_sizes(variables, colours)) > 1 else "orig"


def _clamp(asked: dict[str, Any]) -> float | None:
    clamp = asked.get("conv_clamp")
    if clamp is None:
        return None
    if isinstance(clamp, bool) or not isinstance(clamp, (int, float)):
        raise UnreadableFile(f"conv_clamp is {clip(clamp)}, expected a number")
    return float(clamp)


def _generator_config(variables: dict[str, Tensor], asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if "synthesis/4x4/Const/Noise/weight" in variables or "synthesis/ToRGB_lod0/weight" in variables:
        raise UnreadableFile("is a StyleGAN (1) of TensorFlow, which is not read: convert it with rosinality's project")
    if "mapping/LabelConcat/weight" in variables:
        raise UnreadableFile("mapping/LabelConcat: labels of the first StyleGAN2 are joined to z before it is scaled")
    sizes = _sizes(variables, r"synthesis/(\d+)x\1/Conv1/weight")
    dense = _sizes(variables, r"mapping/Dense(\d+)/weight")
    if not sizes or not dense:
        raise UnreadableFile("has no layers of a StyleGAN2 generator (synthesis/8x8/Conv1, mapping/Dense0)")
    z_dim = _shape(variables, "mapping/Dense0/weight", 2)[0]
    w_dim = _shape(variables, f"mapping/Dense{dense[-1]}/weight", 2)[1]
    labels = "mapping/LabelEmbed/weight" in variables
    resolution = sizes[-1]
    widths = {size: _shape(variables, f"synthesis/{size}x{size}/Conv1/weight", 4)[3] for size in sizes}
    widths[4] = _shape(variables, "synthesis/4x4/Conv/weight", 4)[3]
    colours = f"synthesis/{resolution}x{resolution}/ToRGB/weight"
    return resolution, {
        "architecture": "stylegan2",
        "generator": _architecture(variables, r"synthesis/(\d+)x\1/Skip/weight", r"synthesis/(\d+)x\1/ToRGB/weight"),
        "z_dim": z_dim - (w_dim if labels else 0),
        "w_dim": w_dim,
        "num_labels": _shape(variables, "mapping/LabelEmbed/weight", 2)[0] if labels else 0,
        "image_channels": _shape(variables, colours, 4)[3],
        "mapping_layers": len(dense),
        "conv_clamp": _clamp(asked),
        **channel_rule(widths, "Gs"),
    }


def _discriminator_config(variables: dict[str, Tensor], asked: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    if _clamp(asked) != about["conv_clamp"]:
        raise UnreadableFile("conv_clamp differs between G and D")
    spread = {key: asked.get(f"mbstd_{key}", usual) for key, usual in (("group_size", 4), ("num_features", 1))}
    for key, value in spread.items():
        if type(value) is not int or value < 1:
            raise UnreadableFile(f"mbstd_{key} is {clip(value)}, expected a whole number from 1 up")
    layers = len(_sizes(variables, r"Mapping(\d+)/weight"))
    return {
        "discriminator": _architecture(variables, r"(\d+)x\1/Skip/weight", r"(\d+)x\1/FromRGB/weight"),
        "minibatch_group": spread["group_size"],
        "minibatch_channels": spread["num_features"],
        **({"mapping_layers_D": layers} if layers else {}),
    }


def _dense_rules(ours: str, theirs: str) -> list[Rule]:
    return [Rule(f"{ours}.weight", f"{theirs}/weight", _dense), Rule(f"{ours}.bias", f"{theirs}/bias")]


def _modulated(ours: str, theirs: str, ours_of: Callable[[Tensor], Tensor] = _conv) -> list[Rule]:
    return [
        Rule(f"{ours}.weight", f"{theirs}/weight", ours_of),
        Rule(f"{ours}.bias", f"{theirs}/bias"),
        Rule(f"{ours}.affine.weight", f"{theirs}/mod_weight", _dense),
        Rule(f"{ours}.affine.bias", f"{theirs}/mod_bias", _plus_one),
    ]


def _layer(ours: str, theirs: str, index: int, ours_of: Callable[[Tensor], Tensor] = _conv) -> list[Rule]:
    """A synthesis layer; index counts them from 4 px up, as the noise maps are."""
    return [
        *_modulated(ours, theirs, ours_of),
        Rule(f"{ours}.noise_strength", f"{theirs}/noise_strength", lambda w: w.reshape([])),
        Rule(f"{ours}.noise_const", f"synthesis/noise{index}", lambda w: w[0, 0]),
    ]


def _generator_rules(resolution: int, about: dict[str, Any]) -> list[Rule]:
    rules = [Rule("mapping.w_avg", "dlatent_avg")]
    for i in range(about["mapping_layers"]):
        rules += _dense_rules(f"mapping.fc{i}", f"mapping/Dense{i}")
    if about["num_labels"]:
        rules += _dense_rules("mapping.embed", "mapping/LabelEmbed")
    rules.append(Rule("synthesis.b4.const", "synthesis/4x4/Const/const", lambda w: w[0]))
    rules += _layer("synthesis.b4.conv1", "synthesis/4x4/Conv", 0)
    for i in range(3, resolution.bit_length()):
        ours, theirs = f"synthesis.b{2**i}", f"synthesis/{2**i}x{2**i}"
        rules += _layer(f"{ours}.conv0", f"{theirs}/Conv0_up", 2 * i - 5, _turned)
        rules += _layer(f"{ours}.conv1", f"{theirs}/Conv1", 2 * i - 4)
        if about["generator"] == "resnet":
            rules.append(Rule(f"{ours}.skip.weight", f"{theirs}/Skip/weight", _turned))
    for size in [2**i for i in range(2, resolution.bit_length())]:
        if about["generator"] == "skip" or size == resolution:
            rules += _modulated(f"synthesis.b{size}.torgb", f"synthesis/{size}x{size}/ToRGB")
    return rules


def _convolution(ours: str, theirs: str) -> list[Rule]:
    return [Rule(f"{ours}.weight", f"{theirs}/weight", _conv), Rule(f"{ours}.bias", f"{theirs}/bias")]


def _discriminator_rules(resolution: int, about: dict[str, Any]) -> list[Rule]:
    rules = []
    for size in [2**i for i in range(3, resolution.bit_length())]:
        ours, theirs = f"b{size}", f"{size}x{size}"
        rules += _convolution(f"{ours}.conv0", f"{theirs}/Conv0")
        rules += _convolution(f"{ours}.conv1", f"{theirs}/Conv1_down")
        if about["discriminator"] == "resnet":
            rules.append(Rule(f"{ours}.skip.weight", f"{theirs}/Skip/weight", _conv))
    for size in [2**i for i in range(2, resolution.bit_length())]:
        if about["discriminator"] == "skip" or size == resolution:
            rules += _convolution(f"b{size}.fromrgb", f"{size}x{size}/FromRGB")
    rules += (
        _convolution("b4.conv", "4x4/Conv") + _dense_rules("b4.fc", "4x4/Dense0") + _dense_rules("b4.out", "Output")
    )
    if about["num_labels"]:
        rules += _dense_rules("mapping.embed", "LabelEmbed")
        for i in range(about["mapping_layers_D"]):
            rules += _dense_rules(f"mapping.fc{i}", f"Mapping{i}")
    return rules


def _translated(variables: dict[str, Tensor], rules: list[Rule], what: str) -> dict[str, Tensor]:
    missing = [rule.theirs for rule in rules if rule.theirs not in variables]
    unknown = sorted(set(variables) - {rule.theirs for rule in rules})
    if missing or unknown:
        first = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise UnreadableFile(f"{what}: variable {first} ({len(missing)} missing, {len(unknown)} unknown)")
    try:
        return {rule.ours: rule.ours_of(variables[rule.theirs]).contiguous() for rule in rules}
    except (IndexError, RuntimeError) as error:
        raise UnreadableFile(f"{what}: a variable has another shape than this project's layers: {error}") from error
