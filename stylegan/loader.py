"""Real pictures for every step of a training: decoded ahead by threads, kept decoded where they fit.

Which faces a step shows is a function of the seed, of the images seen before and of the faces' weights, if they have
any (stylegan.random.batch_indices), so the loader has no position to save or to restore: a resumed training asks for
the same numbers again. What was decoded ahead or kept changes the time it takes, never what comes.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.config import TrainConfig
from stylegan.faces import Faces, Picture
from stylegan.random import Shares, batch_indices, generator

AHEAD = 2  # batches decoded before they are asked for: one while the step works, one against a slow disk
MOST_WORKERS = 16
DEVICE_SHARE = 0.3  # of free device memory that decoded faces may take: the training needs the rest
RAM_SHARE = 0.4  # of available memory
GB = 1e9

Where = Literal["none", "ram", "device"]
Positions = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """Real pictures of one step, or one rank's share of them, on the training's device."""

    pixels: Tensor  # uint8 [N, C, H, W]
    labels: Tensor | None  # one-hot float32 [N, num_labels]; None for a training without classes


class Speed(NamedTuple):
    """How fast the loader was since it was last asked."""

    samples_per_second: float  # that it would give alone, with nothing to wait for
    waited: float  # seconds that steps waited for it


class Cache(NamedTuple):
    """Where decoded faces are kept, and why there."""

    where: Where
    why: str


def choose_cache(asked: Where | Literal["auto"], num_bytes: int, device: torch.device) -> Cache:
    """Where so many decoded bytes are kept; "auto" answers device, ram or none, the first in which they fit."""
    need = f"{num_bytes / GB:.2f} GB decoded"
    if asked == "device" and device.type != "cuda":
        raise ValueError(f"train.cache is device, but the training is on {device}: choose auto, ram or none")
    if asked != "auto":
        return Cache(asked, f"{need}, as asked")
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if num_bytes < DEVICE_SHARE * free:
            return Cache("device", f"{need}, {free / GB:.2f} GB free there")
    available = available_memory()
    if available is None:
        return Cache(
            "none", f"{need}, and this system does not say how much memory it has: train.cache: ram keeps them"
        )
    # Every process of a training on this machine keeps its own.
    fits = num_bytes < RAM_SHARE * available / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Cache("ram" if fits else "none", f"{need}, {available / GB:.2f} GB of memory available")


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that may be taken without swapping, a container's limit included; None where the system does not say."""
    facts = root / "proc/meminfo"
    if not facts.is_file():
        return None
    rows = dict(line.split(":", 1) for line in facts.read_text().splitlines())
    available = int(rows["MemAvailable"].split()[0]) * 1024
    limit, used = root / "sys/fs/cgroup/memory.max", root / "sys/fs/cgroup/memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        available = min(available, max(0, int(most) - int(used.read_text())))
    return available


class _Ahead(NamedTuple):
    """A batch on its way."""

    positions: Positions  # of its faces
    missing: Positions  # those that are decoded for it, each once
    decoded: list[Future[tuple[Picture, float]]]  # pictures, and seconds it took


class Loader:
    """Batches of the faces of a data set by the images seen so far; close it when the training ends."""

    def __init__(self, faces: Faces, config: TrainConfig, device: torch.device) -> None:
        self.faces, self.config, self.device = faces, config, device
        self.labels = check_labels(faces, config.network.num_labels)
        self._shares = None if faces.weights is None else Shares(faces.weights)
        shape = (len(faces), *faces.image(0).shape)
        self.cache = choose_cache(config.cache, int(np.prod(shape, dtype=np.int64)), device)
        if os.environ.get("RANK", "0") == "0":
            print(f"decoded faces are kept: {self.cache.where} ({self.cache.why})", flush=True)
        self._kept = np.zeros(len(faces), bool)
        self._table: Tensor | None = None
        if self.cache.where != "none":
            # Untouched pages of a large allocation cost nothing: the table fills as faces are first shown.
            place = device if self.cache.where == "device" else torch.device("cpu")
            self._table = torch.empty(shape, dtype=torch.uint8, device=place)
        self._workers = min(MOST_WORKERS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._workers, "decode")
        self._ahead: dict[bytes, _Ahead] = {}
        self._samples, self._busy, self._own, self._waited = 0, 0.0, 0.0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the threads go; what they were decoding is dropped."""
        self._ahead.clear()
        self._pool.shutdown(cancel_futures=True)

    def batch(self, images_seen: int, step: int, count: int, rows: Tensor | None = None) -> Batch:
        """The faces of a step of `count` images, half of them mirrored if the config wants it.

        `rows` are this rank's places in the batch, int64; None: all of it. The batches that follow are decoded ahead
        as if they had as many images and the same rows; one that has others is decoded when it is asked for.
        """
        begin, waited = time.perf_counter(), self._waited
        chosen = torch.arange(count) if rows is None else rows
        ahead = [self._positions(images_seen + i * count, count, chosen) for i in range(1 + AHEAD)]
        asked = {positions.tobytes(): self._begin(positions) for positions in ahead}
        self._ahead = asked
        now = asked[ahead[0].tobytes()]
        pixels = as_planes(self._fetched(now), self._mirrored(step, count)[chosen])
        self._samples += len(chosen)
        self._own += time.perf_counter() - begin - (self._waited - waited)
        return Batch(pixels, self._one_hot(now.positions))

    def speed(self) -> Speed:
        """Samples a second that the loader gives by itself, and how long steps waited, since this was last asked."""
        alone = self._busy / self._workers + self._own
        speed = Speed(self._samples / alone if alone else 0.0, self._waited)
        self._samples, self._busy, self._own, self._waited = 0, 0.0, 0.0, 0.0
        return speed

    def _positions(self, images_seen: int, count: int, rows: Tensor) -> Positions:
        return batch_indices(self.config.seed, images_seen, count, len(self.faces), self._shares)[rows].numpy()

    def _begin(self, positions: Positions) -> _Ahead:
        """Start to decode what of a batch is not there yet, unless that was done."""
        if (begun := self._ahead.get(positions.tobytes())) is not None:
            return begun
        missing = np.unique(positions[~self._kept[positions]])
        parts = np.array_split(missing, min(self._workers, len(missing))) if len(missing) else []
        return _Ahead(positions, missing, [self._pool.submit(self._decode, part) for part in parts])

    def _decode(self, positions: Positions) -> tuple[Picture, float]:
        begin = time.perf_counter()
        return self.faces.pictures(positions), time.perf_counter() - begin

    def _fetched(self, batch: _Ahead) -> Tensor:
        """The pictures of a batch as they lie in the shards, uint8 [N, H, W, C] on the device."""
        begin = time.perf_counter()
        parts = [part.result() for part in batch.decoded]
        self._waited += time.perf_counter() - begin
        self._busy += sum(seconds for _, seconds in parts)
        decoded = torch.cat([torch.from_numpy(pictures) for pictures, _ in parts]) if parts else None
        pictures = self._placed(batch, decoded)
        if self.device.type == "cuda" and pictures.device.type == "cpu":
            pictures = pictures.pin_memory().to(self.device, non_blocking=True)
        return pictures

    def _placed(self, batch: _Ahead, decoded: Tensor | None) -> Tensor:
        """The pictures of a batch in its order, [N, H, W, C]; what was decoded for it is kept if anything is."""
        if self._table is None:
            assert decoded is not None
            return decoded.index_select(0, torch.from_numpy(np.searchsorted(batch.missing, batch.positions)))
        place = self._table.device
        if decoded is not None:
            self._table[torch.from_numpy(batch.missing).to(place)] = decoded.to(place)
            self._kept[batch.missing] = True
        return self._table.index_select(0, torch.from_numpy(batch.positions).to(place))

    def _mirrored(self, step: int, count: int) -> Tensor:
        """Which images of a step are left for right, bool [count]; drawn for all, whoever has which rows of them."""
        if not self.config.mirror:
            return torch.zeros(count, dtype=torch.bool)
        return torch.rand(count, generator=generator(self.config.seed, "mirror", step)) < 0.5

    def _one_hot(self, positions: Positions) -> Tensor | None:
        if self.labels is None:
            return None
        labels = self.labels[torch.from_numpy(positions)]
        return F.one_hot(labels, self.config.network.num_labels).float().to(self.device)


def as_planes(pictures: Tensor, mirrored: Tensor) -> Tensor:
    """Pictures [N, H, W, C] uint8 as networks take them, [N, C, H, W]; mirrored where `mirrored`, bool [N], says so."""
    if pictures.device.type != "cpu":
        planes = pictures.permute(0, 3, 1, 2).contiguous()
        return torch.where(mirrored.to(planes.device)[:, None, None, None], planes.flip(3), planes)
    # torch's strided copies take 170 us for a picture of 256 px, half as long as decoding it; OpenCV's 10.
    n, height, width, channels = pictures.shape
    planes = torch.empty(n, channels, height, width, dtype=torch.uint8)
    for picture, target, mirror in zip(pictures.numpy(), planes.numpy(), mirrored.tolist(), strict=True):
        source = cv2.flip(picture, 1).reshape(picture.shape) if mirror else picture
        cv2.split(source, list(target))
    return planes


def check_labels(faces: Faces, num_labels: int) -> Tensor | None:
    """The faces' classes, int64 [N], or None when the network asks for none; ValueError when it does and some lack."""
    if not num_labels:
        return None
    labels = torch.tensor(faces.labels)
    wrong = torch.nonzero((labels < 0) | (labels >= num_labels)).flatten().tolist()
    if wrong:
        raise ValueError(
            f"train.network.num_labels is {num_labels}, but {len(wrong)} of {len(faces)} faces in {faces.folder} have "
            f"no label from 0 to {num_labels - 1}, first face {faces.ids[wrong[0]]} (label {faces.labels[wrong[0]]}): "
            "give every source its classes (labels: folders), or train with num_labels: 0"
        )
    return labels
