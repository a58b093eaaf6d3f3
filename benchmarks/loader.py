"""Faces a second of the loader and of what others use, from the same pictures in the same run.

    python -m benchmarks.loader [--sizes 64,256] [--faces 2048] [--batch 32] [--rounds 3] [--pictures FOLDER]

Everything ends in uint8 batches [N, 3, H, W] on the CPU, half of them mirrored, in an order that is shuffled; nothing
trains beside it. The peers have a process a core:

  webdataset, torchrgb        shards, a buffer of 1,000, decode("torchrgb") (Pillow, floats) and default collation in
                              WebLoader, as its documentation begins
  webdataset, rgb8            the same with decode("rgb8"), which makes no floats
  webdataset, OpenCV          the same with OpenCV in Pillow's place and whole batches made in the worker
  NVIDIA's zip                PNG in a zip without compression as dataset_tool writes it, read as its dataset class does
                              (zipfile, Pillow), torch's DataLoader
  folder                      one JPEG a file, Pillow, torch's DataLoader

Rates count from the first batch on, so that starting processes costs nobody anything, and are medians over rounds in
which every way has its turn; the files are in the system's cache. `cpu` is the processor time of an epoch, all
processes and their start together, for a face: on a busy machine it says more. `ram` is the second epoch of a loader
that keeps what it decoded, which no peer does.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import resource
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
import webdataset
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stylegan.config import TrainConfig
from stylegan.faces import Faces, Picture
from stylegan.loader import Loader
from tasks.shards import open_shard

SHARDS = 8
CPU = torch.device("cpu")
WORKERS = os.cpu_count() or 1

Way = Callable[[], Iterable[Tensor]]


def drawn(seed: int, size: int) -> Picture:
    """A picture whose spectrum falls off as that of photographs does: octaves of noise, coarse ones stronger."""
    random = np.random.default_rng(seed)
    picture = np.full((size, size, 3), 128.0)
    for octave in range(2, size.bit_length()):
        noise = random.normal(0, 90 / octave**1.5, (1 << octave, 1 << octave, 3))
        picture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(picture.clip(0, 255), np.uint8)


def pictures_of(folder: Path | None, count: int, size: int) -> Iterator[Picture]:
    """So many pictures of this size: those of a folder, again and again, or drawn ones."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png")) if folder else []
    for number in range(count):
        if not found:
            yield drawn(number, size)
            continue
        with Image.open(found[number % len(found)]) as picture:
            yield np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))


def file_of(picture: Picture, format: Literal["JPEG", "PNG"]) -> bytes:
    """The picture's file: as the upscale stage writes JPEG, and as NVIDIA's dataset_tool writes PNG."""
    out = io.BytesIO()
    how = {"quality": 95, "subsampling": 0, "optimize": True} if format == "JPEG" else {"compress_level": 0}
    Image.fromarray(picture).save(out, format, **how)
    return out.getvalue()


def write_faces(folder: Path, pictures: Iterable[Picture]) -> float:
    """The same pictures as shards with their index, as a folder and as NVIDIA's zip; bytes of a JPEG on average."""
    rows, num_bytes = [], 0
    (folder / "files").mkdir()
    paths = [folder / f"train-{shard}.tar" for shard in range(SHARDS)]
    writers = [open_shard(path) for path in paths]
    shards = [writer.__enter__() for writer in writers]
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, picture in enumerate(pictures):
            data, shard = file_of(picture, "JPEG"), number % SHARDS
            span = shards[shard].add(f"{number:06d}.jpg", data)
            place = {"shard": paths[shard].name, "offset": span.offset, "length": span.length}
            rows.append({"id": f"{number:06d}", **place, "split": "train", "label": -1})
            (folder / "files" / f"{number:06d}.jpg").write_bytes(data)
            archive.writestr(f"{number // 1000:05d}/img{number:08d}.png", file_of(picture, "PNG"))
            num_bytes += len(data)
    for writer in writers:
        writer.__exit__(None, None, None)
    pd.DataFrame(rows).to_parquet(folder / "index.parquet")
    return num_bytes / len(rows)


def config(size: int, batch: int, cache: Literal["none", "ram"]) -> TrainConfig:
    """What the loader is told of a training."""
    return TrainConfig(resolution=size, batch=batch, cache=cache)


def our_batches(loader: Loader, epoch: int, batch: int) -> Iterator[Tensor]:
    """One epoch of the loader."""
    steps = len(loader.faces) // batch
    for step in range(epoch * steps, (epoch + 1) * steps):
        yield loader.batch(step * batch, step, batch).pixels


def our_epoch(folder: Path, size: int, batch: int) -> Iterator[Tensor]:
    """One epoch of a loader that keeps nothing."""
    with Loader(Faces(folder), config(size, batch, "none"), CPU) as loader:
        yield from our_batches(loader, 0, batch)


def webdataset_epoch(folder: Path, batch: int, decoder: Literal["torchrgb", "rgb8"]) -> Iterator[Tensor]:
    """One epoch of webdataset as its documentation shows it."""
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    faces = webdataset.WebDataset(urls, shardshuffle=SHARDS, seed=0).shuffle(1000).decode(decoder).to_tuple("jpg")
    for (pixels,) in webdataset.WebLoader(faces, batch_size=batch, num_workers=WORKERS):
        planes = torch.as_tensor(pixels)
        if decoder == "rgb8":
            planes = planes.permute(0, 3, 1, 2).contiguous()
        rows = torch.nonzero(torch.rand(len(planes)) < 0.5).flatten()
        planes[rows] = planes[rows].flip(3)
        yield planes


def webdataset_opencv_epoch(folder: Path, batch: int) -> Iterator[Tensor]:
    """One epoch of webdataset with OpenCV, whole batches made in the workers."""
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    faces = webdataset.WebDataset(urls, shardshuffle=SHARDS, seed=0).shuffle(1000).map(opencv_picture)
    whole = faces.batched(batch, collation_fn=np.stack, partial=False)
    for pixels in webdataset.WebLoader(whole, batch_size=None, num_workers=WORKERS):
        yield torch.as_tensor(pixels).permute(0, 3, 1, 2).contiguous()


def opencv_picture(sample: dict[str, bytes]) -> Picture:
    """A sample of webdataset decoded, half of them mirrored."""
    picture = np.asarray(cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)
    return picture[:, ::-1] if np.random.random() < 0.5 else picture


class NvidiaZip(Dataset[Picture]):
    """Pictures [3, H, W] of a zip, as the dataset class of StyleGAN2-ADA and 3 reads them without pyspng."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            self.names = sorted(archive.namelist())
        self.archive: zipfile.ZipFile | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, position: int) -> Picture:
        if self.archive is None:  # each process opens its own
            self.archive = zipfile.ZipFile(self.path)
        with self.archive.open(self.names[position]) as file:
            picture = np.array(Image.open(file)).transpose(2, 0, 1)
        return np.asarray(picture[:, :, ::-1].copy() if np.random.random() < 0.5 else picture.copy(), np.uint8)


class Folder(Dataset[Picture]):
    """Pictures [3, H, W] of a folder's files."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Picture:
        with Image.open(self.paths[position]) as file:
            picture = np.array(file.convert("RGB")).transpose(2, 0, 1)
        return np.asarray(picture[:, :, ::-1].copy() if np.random.random() < 0.5 else picture.copy(), np.uint8)


def torch_epoch(faces: Dataset[Picture], batch: int) -> Iterator[Tensor]:
    """One epoch of torch's loader."""
    yield from DataLoader(faces, batch, shuffle=True, num_workers=WORKERS, drop_last=True)


class Pace(NamedTuple):
    """What an epoch took."""

    rate: float  # faces a second from the first batch on
    cpu: float  # microseconds of processor time a face


def pace(batches: Iterable[Tensor]) -> Pace:
    """Let an epoch pass and say what it took."""
    before, coming = processor_seconds(), iter(batches)
    first = len(next(coming))
    begin = time.perf_counter()
    others = sum(len(pixels) for pixels in coming)
    seconds = time.perf_counter() - begin
    return Pace(others / seconds, (processor_seconds() - before) / (first + others) * 1e6)


def processor_seconds() -> float:
    """Processor time of this process and of those that it has started and that have ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure(folder: Path, size: int, batch: int, rounds: int) -> None:
    """Print every way's faces a second, and how many times as fast ours is."""
    ours = "loader"
    ways: dict[str, Way] = {
        ours: lambda: our_epoch(folder, size, batch),
        "webdataset, torchrgb": lambda: webdataset_epoch(folder, batch, "torchrgb"),
        "webdataset, rgb8": lambda: webdataset_epoch(folder, batch, "rgb8"),
        "webdataset, OpenCV": lambda: webdataset_opencv_epoch(folder, batch),
        "NVIDIA's zip": lambda: torch_epoch(NvidiaZip(folder / "set.zip"), batch),
        "folder": lambda: torch_epoch(Folder(folder / "files"), batch),
    }
    paces: dict[str, list[Pace]] = {name: [] for name in [*ways, "loader, ram"]}
    with Loader(Faces(folder), config(size, batch, "ram"), CPU) as kept:
        for _ in our_batches(kept, 0, batch):
            pass
        for number in range(rounds):
            for name, way in ways.items():
                paces[name].append(pace(way()))
            paces["loader, ram"].append(pace(our_batches(kept, number + 1, batch)))
    rates = {name: statistics.median(one.rate for one in found) for name, found in paces.items()}
    cpus = {name: statistics.median(one.cpu for one in found) for name, found in paces.items()}
    for name, found in paces.items():
        spread = f"{min(found).rate:.0f} - {max(found).rate:.0f}"
        print(
            f"{size:5} px  {name:24}{rates[name]:8.0f} {spread:>16} {rates[ours] / rates[name]:8.2f}"
            f"{cpus[name]:9.0f} {cpus[name] / cpus[ours]:8.2f}"
        )


def main() -> None:
    """Print a table a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,256", help="px, with commas between")
    parser.add_argument("--faces", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=Path, help="a folder of pictures in the place of drawn ones")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, {WORKERS} cores; median of {given.rounds} rounds")
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            num_bytes = write_faces(Path(name), pictures_of(given.pictures, given.faces, size))
            print(f"{given.faces} faces of {size} px, {num_bytes / 1000:.1f} kB a JPEG")
            print(f"{'':34}{'faces/s':>8} {'range':>16} {'ours is':>8}{'cpu, us':>9} {'ours is':>8}")
            measure(Path(name), size, given.batch, given.rounds)


if __name__ == "__main__":
    main()
