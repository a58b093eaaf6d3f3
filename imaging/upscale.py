"""Faces brought to the target size: enlarged where they are smaller, by Lanczos or by waifu2x."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imaging.cut import resize
from imaging.decode import Image8
from imaging.encode import Codec

if TYPE_CHECKING:
    import torch

# UpConv7 of nagadomi's waifu2x: (outputs, inputs, kernel) of each layer; the last one is transposed, stride 2.
LAYERS = ((16, 3, 3), (32, 16, 3), (64, 32, 3), (128, 64, 3), (128, 128, 3), (256, 128, 3), (3, 256, 4))
FP16_TAG = 0x01306B47
MARGIN = 7  # px of context that the unpadded layers eat on each side of a tile


class UpscaleConfig(BaseModel):
    """How a face reaches the target size and how it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upscaler: Literal["lanczos", "waifu2x"] = Field(
        default="lanczos", description="a key of UPSCALERS; for faces below target"
    )
    codec: Codec = Field(default=Codec(), description="how each face is encoded, once")
    tile: int = Field(
        default=128, ge=16, le=1024, description="side of the tiles that waifu2x works on, px of its input"
    )


DEFAULTS = UpscaleConfig()
Upscaler = Callable[[Image8, int, UpscaleConfig, Path | None], Image8]


def upscale(image: Image8, size: int, config: UpscaleConfig = DEFAULTS, weights: Path | None = None) -> Image8:
    """A square image at size x size px; only one below the size is upscaled, others shrink by Lanczos.

    weights is the ncnn .bin of waifu2x (an asset, given by the caller). Raises FileNotFoundError without it.
    """
    if image.shape[0] >= size:
        return resize(image, size)
    return UPSCALERS[config.upscaler](image, size, config, weights)


def _lanczos(image: Image8, size: int, config: UpscaleConfig, weights: Path | None) -> Image8:
    return resize(image, size)


def _waifu2x(image: Image8, size: int, config: UpscaleConfig, weights: Path | None) -> Image8:
    if weights is None or not weights.is_file():
        raise FileNotFoundError(f"upscaler waifu2x needs the asset waifu2x_upconv7_anime_scale2x.bin, not at {weights}")
    while image.shape[0] < size:
        image = double(image, weights, config.tile)
    return resize(image, size)


UPSCALERS: dict[str, Upscaler] = {"lanczos": _lanczos, "waifu2x": _waifu2x}


def double(image: Image8, weights: Path, tile: int) -> Image8:
    """An image [H, W, 3] at twice its size by the network, tile by tile; a pixel does not depend on the tiling."""
    import torch

    height, width = image.shape[:2]
    padded = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")
    result = np.empty((2 * height, 2 * width, 3), dtype=np.uint8)
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            part = padded[y : y + tile + 2 * MARGIN, x : x + tile + 2 * MARGIN]
            with torch.inference_mode():
                values = torch.from_numpy(part.transpose(2, 0, 1)[None] / np.float32(255))
                out = _network(str(weights), values)[0].permute(1, 2, 0)
            pixels = (out.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
            result[2 * y : 2 * y + pixels.shape[0], 2 * x : 2 * x + pixels.shape[1]] = pixels
    return result


def _network(path: str, images: torch.Tensor) -> torch.Tensor:
    """UpConv7: images [N, 3, H, W] in 0..1 -> [N, 3, 2 (H - 14), 2 (W - 14)]."""
    from torch.nn import functional

    layers = _weights(path)
    for kernel, bias in layers[:-1]:
        images = functional.leaky_relu(functional.conv2d(images, kernel, bias), 0.1)
    kernel, bias = layers[-1]
    return functional.conv_transpose2d(images, kernel, bias, stride=2, padding=3)


@functools.cache
def _weights(path: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The layers of an ncnn .bin: for each a tag (fp16), the kernel as halves [out, in, k, k], the bias as floats."""
    import torch

    data, position, layers = Path(path).read_bytes(), 0, []
    for num_out, num_in, side in LAYERS:
        count = num_out * num_in * side * side
        if int.from_bytes(data[position : position + 4], "little") != FP16_TAG:
            raise ValueError(f"{path} is no waifu2x UpConv7 in ncnn fp16 form: no layer starts at byte {position}")
        if position + 4 + 2 * count + 4 * num_out > len(data):
            raise ValueError(f"{path} is cut off: {len(data)} bytes end inside the layer at byte {position}")
        kernel = np.frombuffer(data, "<f2", count, position + 4).reshape(num_out, num_in, side, side)
        position += 4 + 2 * count + (2 * count) % 4
        bias = np.frombuffer(data, "<f4", num_out, position)
        position += 4 * num_out
        layers.append((torch.from_numpy(kernel.astype(np.float32)), torch.from_numpy(bias.copy())))
    if position != len(data):
        raise ValueError(f"{path} holds {len(data)} bytes, UpConv7 {position}")
    last, last_bias = layers[-1]
    layers[-1] = (last.transpose(0, 1).contiguous(), last_bias)
    return layers
