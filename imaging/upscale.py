"""Faces brought to the target size: enlarged where they are smaller, by Lanczos or by a network; shrunk by a filter."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imaging.decode import Image8
from imaging.encode import Codec
from imaging.resample import Filter, resample
from imaging.waifu2x import FOLDERS, Backend, Model, NetworkFiles, choose_backend, enlarge, file_stem, load_network

Networks = tuple[NetworkFiles | Path, ...]  # for the first time a face is enlarged, and for every other time


class UpscaleConfig(BaseModel):
    """How a face reaches the target size and how it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upscaler: Literal["lanczos", "waifu2x", "spandrel"] = Field(
        default="lanczos", description="a key of UPSCALERS; for faces below target"
    )
    model: Model = Field(default="upconv7_anime", description="of waifu2x: which of nagadomi's networks")
    noise: int = Field(default=-1, ge=-1, le=3, description="of waifu2x: how much noise it removes, -1 none")
    networks: str | None = Field(
        default=None,
        description="of waifu2x: a folder of nihui's, as models-cunet, instead of the asset (which is upconv7_anime "
        "without noise removal); of spandrel: the file of a network",
    )
    backend: Backend | Literal["auto"] = Field(
        default="auto",
        description="what networks run on: torch is the reference; ncnn (an extra) gives its pixels but for one in "
        "10,000, torch-bf16 within 1/255, cuda is in 16 bits; auto is the fastest that there is, and the record says "
        "which",
    )
    filter: Filter = Field(default="lanczos", description="how faces above target, and enlarged ones, shrink to it")
    codec: Codec = Field(default=Codec(), description="how each face is encoded, once")
    tile: int = Field(
        default=128, ge=16, le=1024, description="side of the tiles that waifu2x works on, px of its input"
    )

    @model_validator(mode="after")
    def _check_networks(self) -> UpscaleConfig:
        if self.upscaler == "waifu2x" and not self.networks and (self.model, self.noise) not in ASSETS:
            raise ValueError(
                f"waifu2x {self.model} with noise {self.noise} is no asset: name a folder that holds "
                f"{file_stem(self.noise, 2)}.param and .bin (nihui's {FOLDERS[self.model]}) in upscale.networks"
            )
        if self.upscaler == "spandrel" and not self.networks:
            raise ValueError("upscaler spandrel runs a network of yours: name its file in upscale.networks")
        return self

    def settled(self) -> UpscaleConfig:
        """The same config with the backend that `auto` means here; ValueError when the machine lacks what is asked."""
        if self.upscaler == "lanczos":
            return self
        backend: Backend = choose_backend(self.backend)
        if self.upscaler == "spandrel":
            _import_spandrel()
            backend = "cuda" if backend == "cuda" else "torch"
        return self.model_copy(update={"backend": backend})


# What a plain `upscaler: waifu2x` runs: the names of assets.
ASSETS: dict[tuple[Model, int], str] = {("upconv7_anime", -1): "waifu2x_upconv7_anime_scale2x"}
DEFAULTS = UpscaleConfig()
Upscaler = Callable[[list[Image8], int, UpscaleConfig, Networks], list[Image8]]


def bring_to_size(images: list[Image8], size: int, config: UpscaleConfig, networks: Networks = ()) -> list[Image8]:
    """Square images at size x size px, in their order; those below it are upscaled, the like-sized ones together."""
    result: list[Image8] = list(images)
    groups: dict[int, list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(image.shape[0], []).append(number)
    for side, numbers in groups.items():
        if side < size:
            found = UPSCALERS[config.upscaler]([images[n] for n in numbers], size, config, networks)
        else:
            found = [resample(images[n], size, config.filter) for n in numbers]
        for number, image in zip(numbers, found, strict=True):
            result[number] = image
    return result


def upscale(image: Image8, size: int, config: UpscaleConfig = DEFAULTS, networks: Networks = ()) -> Image8:
    """A square image at size x size px; only one below the size is upscaled, others shrink by the config's filter."""
    return bring_to_size([image], size, config, networks)[0]


def history(side: int, size: int, config: UpscaleConfig) -> str:
    """What happens to a face of this side on its way to the size, in a few words for its row; "" when nothing does."""
    if side == size:
        return ""
    factor = f"x{size / side:.3g}"
    if side > size:
        return f"shrunk {factor}: {config.filter}"
    if config.upscaler != "waifu2x":
        name = f" {Path(config.networks).name}" if config.networks and config.upscaler == "spandrel" else ""
        return f"enlarged {factor}: {config.upscaler}{name}"
    noise = f" noise{config.noise}" if config.noise >= 0 else ""
    return f"enlarged {factor}: waifu2x {config.model}{noise} scale{1 << math.ceil(math.log2(size / side))}"


def files_in(folder: Path, config: UpscaleConfig) -> Networks:
    """waifu2x's networks in a folder of nihui's: noise is removed once, further doublings only enlarge."""
    stems = dict.fromkeys((file_stem(config.noise, 2), file_stem(-1, 2)))
    return tuple(NetworkFiles(folder / f"{stem}.param", folder / f"{stem}.bin") for stem in stems)


def _lanczos(images: list[Image8], size: int, config: UpscaleConfig, networks: Networks) -> list[Image8]:
    return [resample(image, size, "lanczos") for image in images]


def _waifu2x(images: list[Image8], size: int, config: UpscaleConfig, networks: Networks) -> list[Image8]:
    backend = choose_backend(config.backend)
    turns = list(networks)
    while images[0].shape[0] < size:
        files = turns.pop(0) if len(turns) > 1 else turns[0]
        assert isinstance(files, NetworkFiles), "waifu2x gets pairs of files"
        network = load_network(files, backend)
        if network.scale < 2:
            raise ValueError(f"{files.param} does not enlarge, it only removes noise: scale2.0x was expected")
        images = enlarge(images, network, config.tile)
    return [resample(image, size, config.filter) for image in images]


def _spandrel(images: list[Image8], size: int, config: UpscaleConfig, networks: Networks) -> list[Image8]:
    """Whatever network spandrel reads; its answer is taken as it is, whole image by whole image, in float32."""
    model, scale, device = _spandrel_model(networks[0], choose_backend(config.backend) == "cuda")
    while images[0].shape[0] < size:
        if scale < 2:
            raise ValueError(f"{networks[0]} has scale {scale}: a network that enlarges was expected")
        images = [_through(model, image, device) for image in images]
    return [resample(image, size, config.filter) for image in images]


def _through(model: Callable[[Any], Any], image: Image8, device: str) -> Image8:
    import torch

    with torch.inference_mode():
        values = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255
        pixels = model(values)[0].clamp(0, 1).mul(255).round().to(torch.uint8)
        found: Image8 = pixels.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(found)


@functools.lru_cache(maxsize=2)
def _spandrel_model(path: Any, on_gpu: bool) -> tuple[Callable[[Any], Any], int, str]:
    device = "cuda" if on_gpu else "cpu"
    model = _import_spandrel().ModelLoader(device=device).load_from_file(str(path))
    if model.input_channels != 3 or model.output_channels != 3:
        raise ValueError(f"{path} takes {model.input_channels} channels and gives {model.output_channels}, not 3 and 3")
    return model.eval(), int(model.scale), device


def _import_spandrel() -> Any:
    try:
        return import_module("spandrel")
    except ImportError as error:
        raise ValueError(
            f"upscaler spandrel needs the package of that name, which does not import here ({error}): "
            "pip install 'stylegan-flows[spandrel]', which brings torchvision; or choose lanczos or waifu2x"
        ) from error


UPSCALERS: dict[str, Upscaler] = {"lanczos": _lanczos, "waifu2x": _waifu2x, "spandrel": _spandrel}
