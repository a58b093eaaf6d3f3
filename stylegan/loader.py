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


class Wanted(NamedTuple):
    """What a batch shows."""

    positions: Positions  # of its faces
    mirrored: npt.NDArray[np.bool_]  # those that are left for right

    @property
    def key(self) -> bytes:
        """The same for the same batch."""
        return self.positions.tobytes() + self.mirrored.tobytes()


class Ahead(NamedTuple):
    """A batch on its way."""

    wanted: Wanted
    parts: list[Future[float]]  # of the work on it, with the seconds that each took
    place: Tensor  # where its pictures come to lie
    missing: Positions  # the faces that are decoded for it, where others are not


class HostBatches:
    """Puts batches together in the decoding threads, from shards or from faces that are kept decoded in memory."""

    def __init__(self, faces: Faces, shape: tuple[int, int, int], device: torch.device, keep: bool) -> None:
        self.faces, self.shape, self.device = faces, shape, device
        self._kept = np.zeros(len(faces), bool)
        # Untouched pages of a large allocation cost nothing: the table fills as faces are first shown.
        self._table = np.empty((len(faces), *shape), np.uint8) if keep else None

    def begin(self, wanted: Wanted, pool: ThreadPoolExecutor, workers: int) -> Ahead:
        """Start the work on a batch."""
        height, width, channels = self.shape
        n = len(wanted.positions)
        planes = torch.empty(n, channels, height, width, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        parts = np.array_split(np.arange(n), min(workers, n))
        work = [pool.submit(self._fill, wanted, planes.numpy(), rows) for rows in parts]
        return Ahead(wanted, work, planes, wanted.positions)

    def end(self, batch: Ahead) -> Tensor:
        """The batch [N, C, H, W] whose parts are done."""
        return batch.place.to(self.device, non_blocking=True)

    def _fill(self, wanted: Wanted, planes: Picture, rows: Positions) -> float:
        begin = time.perf_counter()
        for row in rows.tolist():
            put_planes(self._picture(int(wanted.positions[row])), bool(wanted.mirrored[row]), planes[row])
        return time.perf_counter() - begin

    def _picture(self, position: int) -> Picture:
        if self._table is None:
            return self.faces.picture(position, self.shape)
        if not self._kept[position]:  # two threads that meet here write the same
            self._table[position] = self.faces.picture(position, self.shape)
            self._kept[position] = True
        return np.asarray(self._table[position])


class DeviceBatches:
    """Keeps decoded faces on the device, and puts batches together there."""

    def __init__(self, faces: Faces, shape: tuple[int, int, int], device: torch.device) -> None:
        self.faces, self.shape = faces, shape
        self._kept = np.zeros(len(faces), bool)
        self._table = torch.empty((len(faces), *shape), dtype=torch.uint8, device=device)

    def begin(self, wanted: Wanted, pool: ThreadPoolExecutor, workers: int) -> Ahead:
        """Start to decode those faces of a batch that the device has not yet, each once."""
        missing = np.unique(wanted.positions[~self._kept[wanted.positions]])
        pinned = self._table.device.type == "cuda" and len(missing) > 0
        decoded = torch.empty((len(missing), *self.shape), dtype=torch.uint8, pin_memory=pinned)
        parts = np.array_split(np.arange(len(missing)), min(workers, len(missing))) if len(missing) else []
        work = [pool.submit(self._fill, missing, decoded.numpy(), rows) for rows in parts]
        return Ahead(wanted, work, decoded, missing)

    def end(self, batch: Ahead) -> Tensor:
        """The batch [N, C, H, W] whose parts are done."""
        place = self._table.device
        if len(batch.missing):
            self._table[torch.from_numpy(batch.missing).to(place)] = batch.place.to(place)
            self._kept[batch.missing] = True
        pictures = self._table.index_select(0, torch.from_numpy(batch.wanted.positions).to(place))
        planes = pictures.permute(0, 3, 1, 2).contiguous()
        mirrored = torch.from_numpy(batch.wanted.mirrored).to(place)
        return torch.where(mirrored[:, None, None, None], planes.flip(3), planes)

    def _fill(self, missing: Positions, decoded: Picture, rows: Positions) -> float:
        begin = time.perf_counter()
        for row in rows.tolist():
            decoded[row] = self.faces.picture(int(missing[row]), self.shape)
        return time.perf_counter() - begin


class Loader:
    """Batches of the faces of a data set by the images seen so far; close it when the training ends."""

    def __init__(self, faces: Faces, config: TrainConfig, device: torch.device) -> None:
        self.faces, self.config, self.device = faces, config, device
        self.labels = check_labels(faces, config.network.num_labels)
        height, width, channels = faces.image(0).shape
        shape = (height, width, channels)
        self.cache = choose_cache(config.cache, len(faces) * height * width * channels, device)
        if os.environ.get("RANK", "0") == "0":
            print(f"decoded faces are kept: {self.cache.where} ({self.cache.why})", flush=True)
        self._shares = None if faces.weights is None else Shares(faces.weights)
        self._where: HostBatches | DeviceBatches
        if self.cache.where == "device":
            self._where = DeviceBatches(faces, shape, device)
        else:
            self._where = HostBatches(faces, shape, device, self.cache.where == "ram")
        self._workers = min(MOST_WORKERS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._workers, "decode")
        self._ahead: dict[bytes, Ahead] = {}
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
        ahead = [self._wanted(images_seen + i * count, step + i, count, chosen) for i in range(1 + AHEAD)]
        self._ahead = {wanted.key: self._begun(wanted) for wanted in ahead}
        pixels = self._fetched(self._ahead[ahead[0].key])
        self._samples += len(chosen)
        self._own += time.perf_counter() - begin - (self._waited - waited)
        return Batch(pixels, self._one_hot(ahead[0].positions))

    def speed(self) -> Speed:
        """Samples a second that the loader gives by itself, and how long steps waited, since this was last asked."""
        alone = self._busy / self._workers + self._own
        speed = Speed(self._samples / alone if alone else 0.0, self._waited)
        self._samples, self._busy, self._own, self._waited = 0, 0.0, 0.0, 0.0
        return speed

    def _wanted(self, images_seen: int, step: int, count: int, rows: Tensor) -> Wanted:
        """These rows of a step; which are mirrored is drawn for the whole batch, whoever has which rows of it."""
        positions = batch_indices(self.config.seed, images_seen, count, len(self.faces), self._shares)[rows]
        mirrored = torch.zeros(count, dtype=torch.bool)
        if self.config.mirror:
            mirrored = torch.rand(count, generator=generator(self.config.seed, "mirror", step)) < 0.5
        return Wanted(positions.numpy(), mirrored[rows].numpy())

    def _begun(self, wanted: Wanted) -> Ahead:
        begun = self._ahead.get(wanted.key)
        return self._where.begin(wanted, self._pool, self._workers) if begun is None else begun

    def _fetched(self, batch: Ahead) -> Tensor:
        """The pictures of a batch, uint8 [N, C, H, W] on the device, as soon as they are there."""
        begin = time.perf_counter()
        self._busy += sum(part.result() for part in batch.parts)
        self._waited += time.perf_counter() - begin
        return self._where.end(batch)

    def _one_hot(self, positions: Positions) -> Tensor | None:
        if self.labels is None:
            return None
        labels = self.labels[torch.from_numpy(positions)]
        return F.one_hot(labels, self.config.network.num_labels).float().to(self.device)


def put_planes(picture: Picture, mirror: bool, planes: Picture) -> None:
    """Put a picture [H, W, C] into planes [C, H, W], left for right if it is to be mirrored.

    torch's strided copy and flip take 170 us for 256 px, half as long as decoding does; OpenCV's 10, without the GIL.
    """
    source = cv2.flip(picture, 1).reshape(picture.shape) if mirror else picture
    cv2.split(source, list(planes))


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


def shown_classes(faces: Faces) -> Tensor:
    """The faces' classes as often as an epoch shows them, int64 [N]: generated faces get theirs from these."""
    labels = torch.tensor(faces.labels)
    return labels if faces.weights is None else labels[torch.from_numpy(Shares(faces.weights).places(0.5))]
