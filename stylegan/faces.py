"""The faces of a data set, read from its shards by offset."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet
import simplejpeg
import torch
from torch import Tensor

MOST_OPEN = 512  # shards whose files stay open; systems let a process open 1024 files
_JPEG = b"\xff\xd8\xff"
_JPEG_AS = {1: "GRAY", 3: "RGB"}  # channels as the codec gives them

Picture = npt.NDArray[np.uint8]


class Faces:
    """One split of a shard folder: ids in a fixed order, and their pictures by position.

    The folder holds tars and index.parquet, which says where in them every encoded face lies. Pictures have 1 to 4
    channels whatever their files have: grey, grey and alpha, RGB, RGB and alpha.
    """

    def __init__(self, folder: Path, split: str = "train", channels: int = 3) -> None:
        self.folder = folder
        self.channels = channels
        index = folder / "index.parquet"
        if not index.is_file():
            raise ValueError(f"{folder} holds no index.parquet: give the folder that the shard stage wrote")
        rows = pyarrow.parquet.read_table(index, filters=[("split", "=", split)]).sort_by("id")
        self.ids: list[str] = rows["id"].to_pylist()
        self.labels: list[int] = rows["label"].to_pylist()
        # How often training shows each beside the others; None: all alike.
        self.weights = rows["weight"].to_numpy() if "weight" in rows.column_names else None
        shards = rows["shard"].combine_chunks().dictionary_encode()
        self._shards: list[str] = shards.dictionary.to_pylist()
        self._shard_of = shards.indices.to_numpy()
        self._offsets, self._lengths = rows["offset"].to_numpy(), rows["length"].to_numpy()
        self._files: dict[str, int] = {}
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return len(self.ids)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)

    @property
    def digest(self) -> str:
        """SHA-256 over the ids, and the weights if there are any: the same faces, wherever and however sharded."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        if self.weights is not None:
            digest.update(self.weights.astype("<f8").tobytes())
        return digest.hexdigest()

    def encoded(self, position: int) -> bytes:
        """The face's file as it lies in the shard; threads may read at the same time."""
        shard = self._shards[self._shard_of[position]]
        length = int(self._lengths[position])
        data = self._read(shard, length, int(self._offsets[position]))
        if len(data) != length:
            raise ValueError(f"{self.folder / shard} ends within face {self.ids[position]}: write the shards again")
        return data

    def _read(self, shard: str, length: int, offset: int) -> bytes:
        with self._opening:
            if shard not in self._files and len(self._files) < MOST_OPEN:
                self._files[shard] = os.open(self.folder / shard, os.O_RDONLY)
            descriptor = self._files.get(shard)
        if descriptor is not None:
            return os.pread(descriptor, length, offset)  # moves no file position, so threads share the file
        with (self.folder / shard).open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)

    def image(self, position: int) -> Picture:
        """The face as uint8 [H, W, C]."""
        picture = decode(self.encoded(position), self.channels)
        if picture is None:
            shard = self.folder / self._shards[self._shard_of[position]]
            raise ValueError(f"{shard}: face {self.ids[position]} cannot be decoded: write the shards again")
        return picture

    def picture(self, position: int, shape: tuple[int, int, int]) -> Picture:
        """The face as uint8 of this shape, [H, W, C]; ValueError when it has another size."""
        picture = self.image(position)
        if picture.shape != shape:
            raise ValueError(
                f"face {self.ids[position]} in {self.folder} is {picture.shape[1]} x {picture.shape[0]} px, others "
                f"{shape[1]} x {shape[0]} px: write shards of one size"
            )
        return picture

    def pictures(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> Picture:
        """Faces by position, uint8 [N, H, W, C]; all of one size, which is the first one's."""
        first = self.image(int(positions[0]))
        height, width, channels = first.shape
        others = [self.picture(int(position), (height, width, channels)) for position in positions[1:]]
        return np.stack([first, *others])

    def images(self, positions: Sequence[int] | Tensor) -> Tensor:
        """Faces by position, uint8 [N, C, H, W]."""
        pictures = self.pictures([int(i) for i in positions])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def decode(data: bytes, channels: int) -> Picture | None:
    """A picture file of 8 bits a channel as uint8 [H, W, channels], None when it is none or is damaged."""
    if data.startswith(_JPEG) and channels in _JPEG_AS:
        return _decode_jpeg(data, channels)
    if not data:  # for OpenCV that is an error
        return None
    encoded = np.frombuffer(data, np.uint8)
    if channels == 3:
        return _whole(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))
    if channels == 1:
        return _whole(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))
    picture = _whole(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))
    if picture is None:
        return None
    to_rgba = {1: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}[picture.shape[2]]
    rgba = np.asarray(cv2.cvtColor(picture, to_rgba), np.uint8)
    return rgba if channels == 4 else np.dstack([cv2.cvtColor(rgba, cv2.COLOR_RGBA2GRAY), rgba[..., 3]])


def _decode_jpeg(data: bytes, channels: int) -> Picture | None:
    """The same of a JPEG by libjpeg-turbo itself: the pixels of OpenCV and Pillow in less time, and no GIL held.

    Its slow, exact transform, as theirs. A file that any of them would fill up with grey is damaged here.
    """
    try:
        picture = simplejpeg.decode_jpeg(data, _JPEG_AS[channels], strict=True)
    except ValueError:
        return None
    return np.asarray(picture, np.uint8)


def _whole(picture: npt.NDArray[np.generic] | None) -> Picture | None:
    """A decoded picture with its axis of channels, None when it is none of 8 bits."""
    if picture is None or picture.dtype != np.uint8:
        return None
    return np.atleast_3d(np.asarray(picture, np.uint8))


def to_images(pixels: Tensor) -> Tensor:
    """uint8 [N, C, H, W] in 0 .. 255 -> float32 in [-1, 1], as every network here takes them."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """float32 [N, C, H, W] about [-1, 1] -> uint8, as the reference quantises."""
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
