"""nagadomi's waifu2x networks (UpConv7, CUNet), as nihui's ncnn files hold them, on the backend that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from imaging.decode import Image8

Model = Literal["upconv7_anime", "upconv7_photo", "cunet"]
Backend = Literal["torch", "torch-bf16", "ncnn", "cuda"]

# nihui's own names of the folders; the files in them are named alike.
FOLDERS: dict[Model, str] = {
    "upconv7_anime": "models-upconv_7_anime_style_art_rgb",
    "upconv7_photo": "models-upconv_7_photo",
    "cunet": "models-cunet",
}
# Tiles that go through a network at once. On a CPU more than one is slower: they leave the cache.
BATCH: dict[Backend, int] = {"torch": 1, "torch-bf16": 1, "ncnn": 1, "cuda": 16}
Run = Callable[[Image8], Image8]


class NetworkFiles(NamedTuple):
    """The two files that ncnn keeps a network in."""

    param: Path
    weights: Path


class Loaded(NamedTuple):
    """A network ready to run, uint8 [N, H, W, 3] -> [N, scale (H - 2 margin), ..., 3], and what it does to sides."""

    run: Run
    scale: int
    margin: int
    step: int
    is_local: bool
    batch: int


def file_stem(noise: int, scale: int) -> str:
    """The name, less its suffix, that nihui gives a network; noise -1 removes none, scale 1 only removes noise."""
    if scale == 1 and noise < 0:
        raise ValueError("waifu2x at scale 1 only removes noise: noise 0..3 was expected, not -1")
    parts = ([f"noise{noise}"] if noise >= 0 else []) + ([f"scale{scale}.0x"] if scale > 1 else [])
    return "_".join([*parts, "model"])


def choose_backend(asked: Backend | Literal["auto"]) -> Backend:
    """The backend that was asked for, or the fastest one that this machine has; ValueError when it has not got it.

    All but torch-bf16 and cuda give torch's pixels to one in 10,000 (benchmarks/upscale.py).
    """
    import torch

    there: dict[Backend, bool] = {
        "cuda": torch.cuda.is_available(),
        "ncnn": find_spec("ncnn") is not None,
        "torch-bf16": any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")),
        "torch": True,
    }
    if asked == "auto":
        return next(name for name in there if there[name])
    if asked in ("cuda", "ncnn") and not there[asked]:
        what = "torch sees no GPU" if asked == "cuda" else "it is not installed: pip install 'stylegan-flows[ncnn]'"
        raise ValueError(f"upscale.backend {asked}: {what}; or choose one of {', '.join(n for n in there if there[n])}")
    return asked


@functools.lru_cache(maxsize=4)
def load_network(files: NetworkFiles, backend: Backend) -> Loaded:
    """The network in the files; ValueError names file and layer where they are no network that is known here."""
    from imaging.ncnn_file import read_network
    from imaging.ncnn_net import geometry_of

    layers = read_network(*files)
    try:
        scale, margin, step, is_local = geometry_of(layers)
    except ValueError as error:
        raise ValueError(f"{files.param}: {error}") from error
    run = _ncnn_run(files, layers) if backend == "ncnn" else _torch_run(layers, backend)
    return Loaded(run, scale, margin, step, is_local, BATCH[backend])


def enlarge(images: list[Image8], network: Loaded, tile: int) -> list[Image8]:
    """Images, all of one size [H, W, 3], by the network: [scale H, scale W, 3] each.

    Beyond its edge an image goes on with its last pixel. A network whose pixels depend on their surroundings only goes
    over tiles, and a pixel does not depend on the tiling; one that looks at the whole (CUNet) gets the whole.
    """
    height, width = images[0].shape[:2]
    margin, step = network.margin, network.step
    below, right = -height % step, -width % step
    pads = ((margin, margin + below), (margin, margin + right), (0, 0))
    padded = np.stack([np.pad(image, pads, mode="edge") for image in images])
    if not network.is_local:
        tile = max(height, width) + step
    result = np.empty((len(images), height * network.scale, width * network.scale, 3), np.uint8)
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            parts = padded[:, y : y + tile + 2 * margin, x : x + tile + 2 * margin]
            _place(result, _in_batches(parts, network), y * network.scale, x * network.scale)
    return list(result)


def _in_batches(parts: Image8, network: Loaded) -> Image8:
    runs = [network.run(parts[start : start + network.batch]) for start in range(0, len(parts), network.batch)]
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


def _place(result: Image8, parts: Image8, y: int, x: int) -> None:
    """Put the parts where they belong; what reaches over the edge is of the padding up to a whole step."""
    space = result[:, y : y + parts.shape[1], x : x + parts.shape[2]]
    space[:] = parts[:, : space.shape[1], : space.shape[2]]


def _torch_run(layers: list[Any], backend: Backend) -> Run:
    import torch

    from imaging.ncnn_net import Network

    half = {"torch": torch.float32, "torch-bf16": torch.bfloat16, "cuda": torch.float16}[backend]
    network = Network(layers, half, "cuda" if backend == "cuda" else "cpu")

    def run(images: Image8) -> Image8:
        values = torch.from_numpy(np.ascontiguousarray(images)).to(network.device).permute(0, 3, 1, 2)
        pixels = network(values.float() / 255).clamp(0, 1).mul(255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    return run


def _ncnn_run(files: NetworkFiles, layers: list[Any]) -> Run:
    """The same by Tencent's ncnn, in 32 bits throughout; its C++ reads only files that were read here first."""
    from imaging.ncnn_file import layers_text

    ncnn = import_module("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = 1
    for name in ("vulkan_compute", "fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{name}", False)
    if net.load_param_mem(layers_text(layers)) or net.load_model(str(files.weights)):
        raise ValueError(f"ncnn does not load {files.param} with {files.weights}; backend torch does")
    source, target = layers[0].outputs[0], layers[-1].outputs[0]

    def one(image: Image8) -> Image8:
        values = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)
        with net.create_extractor() as extractor:
            extractor.input(source, ncnn.Mat(values))
            failed, found = extractor.extract(target)
            if failed:
                raise RuntimeError(f"ncnn gives {failed} for {files.param} and {values.shape}")
            pixels = np.clip(np.asarray(found), 0, 1) * np.float32(255)
        return np.asarray(np.rint(pixels).transpose(1, 2, 0), np.uint8)

    return lambda images: np.stack([one(image) for image in images])
