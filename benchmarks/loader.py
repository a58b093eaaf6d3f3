"""Batches a second of the loader and of webdataset with OpenCV, from the same shards in the same run.

    python -m benchmarks.loader [--sizes 64,256] [--faces 4096] [--batch 32]

Both decode JPEG with OpenCV into uint8 batches [N, 3, H, W] on the CPU and mirror half of them; nothing trains beside
them. Cold: the files are not in the system's cache (posix_fadvise); warm: they are. Ram: the second epoch of a loader
that keeps what it decoded, which the peer cannot.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd
import torch
import webdataset
from torch import Tensor

from stylegan.config import TrainConfig
from stylegan.faces import Faces, decode
from stylegan.loader import Loader

SHARDS = 8
CPU = torch.device("cpu")


def drawn(seed: int, size: int) -> bytes:
    """A JPEG whose spectrum falls off as that of photographs does: octaves of noise, coarse ones stronger."""
    random = np.random.default_rng(seed)
    picture = np.full((size, size, 3), 128.0)
    for octave in range(2, size.bit_length()):
        noise = random.normal(0, 90 / octave**1.5, (1 << octave, 1 << octave, 3))
        picture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    pixels = picture.clip(0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def write_faces(folder: Path, count: int, size: int) -> None:
    """Shards of drawn faces with their index, as the shard stage writes them."""
    rows = []
    for shard in range(SHARDS):
        name = f"train-{shard}.tar"
        with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(shard, count, SHARDS):
                data, info = drawn(number, size), tarfile.TarInfo(f"{number:06d}.jpg")
                info.size = len(data)
                place = {"shard": name, "offset": tar.offset + 512, "length": len(data)}
                rows.append({"id": f"{number:06d}", **place, "split": "train", "label": -1})
                tar.addfile(info, io.BytesIO(data))
    pd.DataFrame(rows).to_parquet(folder / "index.parquet")


def forget_files(folder: Path) -> None:
    """Ask the system to drop the shards from its cache."""
    for path in folder.glob("*.tar"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def our_batches(loader: Loader, epoch: int, batch: int) -> Iterator[Tensor]:
    """One epoch of the loader."""
    steps = len(loader.faces) // batch
    for step in range(epoch * steps, (epoch + 1) * steps):
        yield loader.batch(step * batch, step, batch).pixels


def our_epoch(folder: Path, size: int, batch: int) -> Iterator[Tensor]:
    """One epoch of a loader that keeps nothing, its start included."""
    with Loader(Faces(folder), config(size, batch, "none"), CPU) as loader:
        yield from our_batches(loader, 0, batch)


def config(size: int, batch: int, cache: Literal["none", "ram"]) -> TrainConfig:
    """What the loader is told of a training."""
    return TrainConfig(resolution=size, batch=batch, cache=cache)


def peer_epoch(folder: Path, batch: int, workers: int) -> Iterator[Tensor]:
    """One epoch of webdataset: shards and a buffer of 1,000 faces shuffled, decoded by OpenCV in worker processes."""
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    faces = webdataset.WebDataset(urls, shardshuffle=SHARDS, seed=0).shuffle(1000).map(peer_picture)
    whole = faces.batched(batch, collation_fn=np.stack, partial=False)
    for pixels in webdataset.WebLoader(whole, batch_size=None, num_workers=workers):
        yield torch.as_tensor(pixels).permute(0, 3, 1, 2).contiguous()


def peer_picture(sample: dict[str, bytes]) -> np.ndarray:
    """A sample of webdataset decoded, half of them mirrored."""
    picture = decode(sample["jpg"], 3)
    assert picture is not None
    return picture[:, ::-1] if np.random.random() < 0.5 else picture


def rate(batches: Iterator[Tensor]) -> float:
    """Samples a second."""
    begin = time.perf_counter()
    samples = sum(len(pixels) for pixels in batches)
    return samples / (time.perf_counter() - begin)


def measure(folder: Path, size: int, batch: int) -> None:
    """Print every way's samples a second, cold and warm, and its ratio to the best of the peer's."""
    cores = os.cpu_count() or 1
    ways: dict[str, Callable[[], Iterator[Tensor]]] = {
        "webdataset, in process": lambda: peer_epoch(folder, batch, 0),
        f"webdataset, {cores} processes": lambda: peer_epoch(folder, batch, cores),
        "loader, cache none": lambda: our_epoch(folder, size, batch),
    }
    rates: dict[str, tuple[float, float]] = {}
    for name, way in ways.items():
        forget_files(folder)
        rates[name] = rate(way()), max(rate(way()) for _ in range(2))
    with Loader(Faces(folder), config(size, batch, "ram"), CPU) as loader:
        for _ in our_batches(loader, 0, batch):
            pass
        rates["loader, cache ram, epoch 2"] = (float("nan"), rate(our_batches(loader, 1, batch)))
    peer = max(warm for name, (_, warm) in rates.items() if name.startswith("webdataset"))
    for name, (cold, warm) in rates.items():
        print(f"{size:5} px  {name:28} {cold:9.0f} {warm:9.0f}  {warm / peer:6.2f}")


def main() -> None:
    """Print a table a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,256", help="px, with commas between")
    parser.add_argument("--faces", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores; samples/s")
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            write_faces(Path(name), given.faces, size)
            files = sum(path.stat().st_size for path in Path(name).glob("*.tar"))
            print(f"{given.faces} faces of {size} px, {files / given.faces / 1000:.1f} kB each")
            print(f"{'':10}{'':28} {'cold':>9} {'warm':>9}  ratio to the peer's best")
            measure(Path(name), size, given.batch)


if __name__ == "__main__":
    main()
