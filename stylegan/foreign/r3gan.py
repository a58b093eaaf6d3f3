"""Snapshots of brownvc/R3GAN (`network-snapshot-*.pkl`), or its state dicts by network.

The table of names is in architectures/r3gan.py; numbers and shapes are the same. The networks are pickled as plain
objects of its classes, of which only attributes and weights are used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stylegan.foreign.donor import Donor, Hints, channel_rule, images_of_snapshot, make_donor, state_dict
from stylegan.foreign.modules import module_of
from stylegan.foreign.records import Opaque, UnreadableFile, clip
from stylegan.operators import resample_filter

NETWORKS = ("G_ema", "G", "D")
FIRST = "Model.MainLayers.0.Layers.0."
BLOCK = {"LinearLayer1.Layer.weight": "conv0.weight", "NonLinearity1.Bias": "conv0.bias",
         "LinearLayer2.Layer.weight": "conv1.weight", "NonLinearity2.Bias": "conv1.bias",
         "LinearLayer3.Layer.weight": "conv2.weight"}  # fmt: skip
RESIZE = "LinearLayer.Layer.weight"
G_ENDS = {
    "Model.AggregationLayer.Layer.weight": "synthesis.torgb.weight",
    "Model.EmbeddingLayer.weight": "mapping.embed.weight",
}
D_ENDS = {"Model.ExtractionLayer.Layer.weight": "fromrgb.weight", "Model.EmbeddingLayer.weight": "b4.embed.weight"}
ENDS = {"G_ema": G_ENDS, "G": G_ENDS, "D": D_ENDS}


def recognise(tree: Any) -> bool:
    """Whether a file's values are networks of this project."""
    return isinstance(tree, dict) and any(_is_network(tree.get(name)) for name in NETWORKS)


def _is_network(value: Any) -> bool:
    if isinstance(value, Opaque):
        return value.module == "training.networks" and isinstance(value.state, dict)
    return isinstance(value, dict) and any(isinstance(name, str) and name.startswith(FIRST) for name in value)


def read(tree: Any, hints: Hints) -> Donor:
    """The networks of a snapshot; where it holds no G_ema, G stands for it."""
    found = {name: _weights(tree[name], name) for name in NETWORKS if tree.get(name) is not None}
    notes = []
    if "G_ema" not in found and "G" in found:
        found["G_ema"] = found["G"]
        notes.append("the file holds no averaged generator: G stands for it")
    if "G_ema" not in found:
        raise UnreadableFile("holds no generator")
    resolution, about = _about(found["G_ema"])
    tensors = {name: _translated(weights, name, resolution, about["blocks"]) for name, weights in found.items()}
    return make_donor(about, resolution, tensors, hints, images_of_snapshot(hints), notes)


def _weights(value: Any, name: str) -> dict[str, Tensor]:
    """Weights by their names, less the resampling filters, which are checked to be ours."""
    weights = module_of(value, name).tensors() if isinstance(value, Opaque) else state_dict(value, name)
    ours = resample_filter()
    for key in [k for k in weights if k.endswith("Resampler.Kernel")]:
        kernel = weights.pop(key).float()
        if kernel.shape != ours.shape or not torch.allclose(kernel, ours, atol=1e-6):
            raise UnreadableFile(f"{name}: layer {key} is another filter than this project's")
    return weights


def _about(weights: Mapping[str, Tensor]) -> tuple[int, dict[str, Any]]:
    """Resolution and config, from names and shapes."""
    places = [_place(name) for name in weights]
    stages, blocks = 1 + max(stage for stage, _, _ in places), max(layer for _, layer, _ in places)

    def shape(name: str, dimensions: int) -> torch.Size:
        if name not in weights or weights[name].ndim != dimensions:
            raise UnreadableFile(f"G_ema has no layer {name} of {dimensions} dimensions")
        return weights[name].shape

    inside = shape("Model.MainLayers.0.Layers.1.LinearLayer1.Layer.weight", 4)
    widths = {4 << i: shape(f"Model.MainLayers.{i}.Layers.1.LinearLayer3.Layer.weight", 4)[0] for i in range(stages)}
    labels = "Model.EmbeddingLayer.weight" in weights
    embedded = shape("Model.EmbeddingLayer.weight", 2) if labels else torch.Size([0, 0])
    return 4 << (stages - 1), {
        "architecture": "r3gan",
        "z_dim": shape(FIRST + "LinearLayer.weight", 2)[1] - embedded[0],
        "num_labels": embedded[1],
        "image_channels": shape("Model.AggregationLayer.Layer.weight", 4)[0],
        "minibatch_group": 1,
        "blocks": blocks,
        "expansion": max(inside[0] // max(inside[1], 1), 1),
        "group_width": shape("Model.MainLayers.0.Layers.1.LinearLayer2.Layer.weight", 4)[1],
        **channel_rule(widths, "G_ema"),
    }


def _translated(weights: Mapping[str, Tensor], what: str, resolution: int, blocks: int) -> dict[str, Tensor]:
    """Weights by our names; every name must be known."""
    name_of = _discriminator_name if what == "D" else _generator_name
    found = {}
    for theirs, weight in weights.items():
        ours = ENDS[what].get(theirs) or name_of(theirs, resolution, blocks)
        if ours is None:
            raise UnreadableFile(f"{what}: layer {clip(theirs)} is unknown")
        found[ours] = weight
    return found


def _place(name: str) -> tuple[int, int, str]:
    """Stage, layer in it, and the rest of a name; -1 where it has none."""
    found = re.fullmatch(r"Model\.MainLayers\.(\d{1,2})\.Layers\.(\d{1,3})\.(.*)", name)
    return (int(found[1]), int(found[2]), found[3]) if found else (-1, -1, name)


def _generator_name(theirs: str, resolution: int, blocks: int) -> str | None:
    stage, layer, rest = _place(theirs)
    block = f"synthesis.b{4 << max(stage, 0)}"
    if layer == 0:
        return {"Basis": f"{block}.basis", "LinearLayer.weight": f"{block}.linear.weight"}.get(rest) or (
            f"{block}.resize.weight" if rest == RESIZE else None
        )
    return f"{block}.blocks.{layer - 1}.{BLOCK[rest]}" if layer > 0 and rest in BLOCK else None


def _discriminator_name(theirs: str, resolution: int, blocks: int) -> str | None:
    stage, layer, rest = _place(theirs)
    block = f"b{resolution >> max(stage, 0)}"
    if layer == blocks:
        return {"Basis.weight": f"{block}.basis.weight", "LinearLayer.weight": f"{block}.head.weight"}.get(rest) or (
            f"{block}.resize.weight" if rest == RESIZE else None
        )
    return f"{block}.blocks.{layer}.{BLOCK[rest]}" if layer >= 0 and rest in BLOCK else None
