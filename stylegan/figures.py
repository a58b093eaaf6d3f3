"""FIGURES: labelled pictures of what a model makes, for one model and one config each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.canvas import Image, label_grid, resize_tile, tile_size, to_image
from stylegan.latents import seed_latents, slerp

if TYPE_CHECKING:
    from stylegan.model import Model

Noise = Literal["const", "random", "none"]

# Seeds of the published figures, so that a known donor shows known faces.
TRUNCATION_SEEDS = (91, 388, 389, 390, 391, 392, 393, 394, 395, 396)
LEFT_SEEDS = (888, 829, 1898, 1733, 1614, 845)
TOP_SEEDS = (639, 701, 687, 615, 2268)
# Layers of w by what they steer: pose and shape (4-8 px), features (16-32 px), colour and texture (64 px and up).
GROUPS = {"coarse": range(0, 4), "middle": range(4, 8), "fine": range(8, 64)}


class FigureConfig(BaseModel):
    """What a figure shows; a figure ignores the fields it has no use for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: tuple[int, ...] | None = Field(default=None, min_length=1, description="Faces; None: the figure's own.")
    top_seeds: tuple[int, ...] | None = Field(default=None, min_length=1, description="Top row of style mixing.")
    seed: int = Field(default=0, ge=0, description="First of the consecutive, uncurated seeds of a sample grid.")
    columns: int = Field(default=8, ge=1, description="Columns of a sample grid.")
    rows: int = Field(default=4, ge=1, description="Rows of a sample grid.")
    psi: float = Field(default=0.7, description="Truncation: 0 mean face, 0.5 dull, 0.7 balance, 1 none, 1.2 wild.")
    psis: tuple[float, ...] = Field(
        default=(1, 0.7, 0.5, 0.25, 0, -0.25, -0.5, -1), min_length=1, description="Columns of the truncation grid."
    )
    cutoff: int | None = Field(default=None, ge=0, description="Layers that psi acts on; None: all.")
    crossover: int = Field(default=4, ge=1, description="First layer of the fine source in the style-mixing grid.")
    steps: int = Field(default=8, ge=2, description="Pictures an interpolation takes, both ends included.")
    tile: int | None = Field(default=None, ge=8, description="Side of a face in px; None: 128 to 256 by the model.")
    label: int | None = Field(default=None, ge=0, description="Class of all faces; None: the classes in turn.")
    noise: Noise = Field(default="const", description="Noise inputs of the synthesis.")
    batch_size: int = Field(default=32, ge=1, description="Faces made at once.")


def sample_grid(model: Model, config: FigureConfig) -> Image:
    """Uncurated samples: consecutive seeds, none left out."""
    seeds = config.seeds or tuple(range(config.seed, config.seed + config.columns * config.rows))
    faces = _faces(model, _map(model, seeds, config.psi, config), config)
    columns = min(config.columns, len(faces))
    grid = [faces[i : i + columns] for i in range(0, len(faces), columns)]
    consecutive = seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))
    named = f"seeds {seeds[0]}-{seeds[-1]}" if consecutive and len(seeds) > 1 else "seeds " + ", ".join(map(str, seeds))
    return label_grid(grid, title=f"uncurated, {named}, psi {config.psi:g}")


def truncation_grid(model: Model, config: FigureConfig) -> Image:
    """The same faces under falling psi, down to their opposites: one row a seed, one column a psi.

    w' = w_mean + psi (w - w_mean), section B of Karras et al. 2019 (arXiv:1812.04948).
    """
    seeds = config.seeds or TRUNCATION_SEEDS
    columns = [_faces(model, _map(model, seeds, psi, config), config) for psi in config.psis]
    grid = [[column[row] for column in columns] for row in range(len(seeds))]
    return label_grid(
        grid,
        title="truncation: psi from left to right, 0 is the mean face",
        top=[f"psi {psi:g}" for psi in config.psis],
        left=[f"seed {seed}" for seed in seeds],
    )


def style_mixing_grid(model: Model, config: FigureConfig) -> Image:
    """Left column: source of the coarse layers; top row: source of the layers from `crossover` on.

    A row keeps the pose and shape of its left face, a column the features and colours of its top face.
    """
    _check_crossover(model, config)
    left, top = _sources(config)
    w_left, w_top = (_map(model, seeds, config.psi, config) for seeds in (left, top))
    rows = [
        torch.cat([w[: config.crossover].expand(len(w_top), -1, -1), w_top[:, config.crossover :]], 1) for w in w_left
    ]
    grid = _with_sources(model, w_left, w_top, rows, config)
    return label_grid(
        grid,
        title=f"style mixing: left = coarse source, layers 0-{config.crossover - 1}; "
        f"top = fine source, layers {config.crossover}-{model.num_ws - 1}; psi {config.psi:g}",
        top=["", *(f"seed {seed}" for seed in top)],
        left=["", *(f"seed {seed}" for seed in left)],
    )


def style_mixing_groups(model: Model, config: FigureConfig) -> Image:
    """Rows in three groups: the top face gives its coarse, its middle or its fine layers to the left face.

    The layout of figure 3 in Karras et al. 2019 (arXiv:1812.04948). Note that the top row is the coarse source in
    the first group only. Groups that the model has no layers for are left out.
    """
    left, top = _sources(config)
    groups = {name: [i for i in layers if i < model.num_ws] for name, layers in GROUPS.items()}
    groups = {name: layers for name, layers in groups.items() if layers}
    names = [name for i in range(len(left)) for name in [list(groups)[i * len(groups) // len(left)]]]
    w_left, w_top = (_map(model, seeds, config.psi, config) for seeds in (left, top))
    rows = []
    for w, name in zip(w_left, names, strict=True):
        mixed = w.repeat(len(w_top), 1, 1)
        mixed[:, groups[name]] = w_top[:, groups[name]]
        rows.append(mixed)
    spans = {name: f"{layers[0]}-{layers[-1]}" for name, layers in groups.items()}
    return label_grid(
        _with_sources(model, w_left, w_top, rows, config),
        title=f"style mixing: the layers named at the left come from the top face, the rest from the left face; "
        f"psi {config.psi:g}",
        top=["", *(f"seed {seed}" for seed in top)],
        left=["", *(f"{name} {spans[name]}\nseed {seed}" for name, seed in zip(names, left, strict=True))],
    )


def interpolation(model: Model, config: FigureConfig) -> Image:
    """From each seed to the next: upper row along the sphere in Z (slerp), lower row straight in W (lerp)."""
    seeds = config.seeds or (0, 1, 2)
    if len(seeds) < 2:
        raise ValueError(f"an interpolation needs two seeds or more, seeds is {seeds}")
    z, t = seed_latents(seeds, model.z_dim), torch.linspace(0, 1, config.steps)
    w = _map(model, seeds, config.psi, config)
    grid, left = [], []
    for i, (a, b) in enumerate(pairwise(seeds)):
        in_z = _truncate(model, slerp(z[i], z[i + 1], t), config.psi, config)
        in_w = torch.lerp(w[i], w[i + 1], t[:, None, None].to(w))
        grid += [_faces(model, in_z, config), _faces(model, in_w, config)]
        left += [f"{a} to {b}\nslerp in Z", f"{a} to {b}\nlerp in W"]
    return label_grid(grid, title=f"interpolation, psi {config.psi:g}", top=[f"{x:.2f}" for x in t.tolist()], left=left)


FIGURES: dict[str, Callable[[Model, FigureConfig], Image]] = {
    "sample-grid": sample_grid,
    "truncation-grid": truncation_grid,
    "style-mixing-grid": style_mixing_grid,
    "style-mixing-groups": style_mixing_groups,
    "interpolation": interpolation,
}


def write_image(path: Path, image: Image) -> Path:
    """Write a picture as .png, .jpg or .webp (lossless) by the name's ending; a reader never sees half of it."""
    options = {".png": [], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}
    if path.suffix not in options:
        raise ValueError(f"{path.name}: a picture is written as {', '.join(options)}, give it one of these endings")
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options[path.suffix])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data.tobytes())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def make_faces(model: Model, w: Tensor, noise: Noise, batch_size: int) -> list[Image]:
    """Pictures of the codes w [N, num_ws, w_dim], made `batch_size` at a time."""
    return [to_image(x) for part in torch.split(w, batch_size) for x in model.synthesise(part, noise=noise)]


def _map(model: Model, seeds: Sequence[int], psi: float, config: FigureConfig) -> Tensor:
    return _truncate(model, seed_latents(seeds, model.z_dim), psi, config)


def _truncate(model: Model, z: Tensor, psi: float, config: FigureConfig) -> Tensor:
    return model.map(z.to(model.device), classes_for(model, len(z), config.label), psi, config.cutoff)


def classes_for(model: Model, count: int, label: int | None) -> Tensor | None:
    """The class numbers [count] of so many faces, or None for a model without classes; label None: all in turn."""
    if not model.num_labels:
        return None
    return torch.arange(count) % model.num_labels if label is None else torch.full([count], label)


def _faces(model: Model, w: Tensor, config: FigureConfig) -> list[Image]:
    side = config.tile or tile_size(model.resolution)
    return [resize_tile(face, side) for face in make_faces(model, w, config.noise, config.batch_size)]


def _sources(config: FigureConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return config.seeds or LEFT_SEEDS, config.top_seeds or TOP_SEEDS


def _check_crossover(model: Model, config: FigureConfig) -> None:
    if config.crossover >= model.num_ws:
        raise ValueError(
            f"crossover is {config.crossover}, the model has layers 0-{model.num_ws - 1}: "
            f"choose 1 to {model.num_ws - 1}, or nothing would come from the top row"
        )


def _with_sources(
    model: Model, w_left: Tensor, w_top: Tensor, rows: list[Tensor], config: FigureConfig
) -> list[list[Image | None]]:
    """The mixed faces with the left sources as first column and the top sources as first row."""
    grid: list[list[Image | None]] = [[None, *_faces(model, w_top, config)]]
    for source, mixed in zip(_faces(model, w_left, config), rows, strict=True):
        grid.append([source, *_faces(model, mixed, config)])
    return grid
