"""The faces of a data set, read from its shards by offset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import torch
from torch import Tensor


class Faces:
    """One split of a shard folder: ids in a fixed order, and their pictures by position.

    The folder holds tars and index.parquet, which says where in them every encoded face lies.
    """

    def __init__(self, folder: Path, split: str = "train") -> None:
        self.folder = folder
        index = folder / "index.parquet"
        if not index.is_file():
            raise ValueError(f"{folder} holds no index.parquet: give the folder that the shard stage wrote")
        rows = pyarrow.parquet.read_table(index, filters=[("split", "=", split)]).sort_by("id").to_pydict()
        self.ids: list[str] = rows["id"]
        self.labels: list[int] = rows["label"]
        self._places: list[tuple[str, int, int]] = list(zip(rows["shard"], rows["offset"], rows["length"], strict=True))
        self._files: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)

    @property
    def digest(self) -> str:
        """SHA-256 over the ids: the same faces, wherever and however sharded."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()

    def encoded(self, position: int) -> bytes:
        """The face's file as it lies in the shard."""
        shard, offset, length = self._places[position]
        if shard not in self._files:
            self._files[shard] = os.open(self.folder / shard, os.O_RDONLY)
        # pread moves no file position, so threads may read at the same time.
        data = os.pread(self._files[shard], length, offset)
        if len(data) != length:
            raise ValueError(f"{self.folder / shard} ends within face {self.ids[position]}: write the shards again")
        return data

    def image(self, position: int) -> np.ndarray:
        """The face as uint8 [H, W, 3] RGB."""
        pixels = cv2.imdecode(np.frombuffer(self.encoded(position), np.uint8), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise ValueError(f"{self.ids[position]} in {self.folder} cannot be decoded: write the shards again")
        return np.asarray(pixels)

    def images(self, positions: Sequence[int] | Tensor) -> Tensor:
        """Faces by position, uint8 [N, 3, H, W]."""
        pictures = [torch.from_numpy(self.image(int(i))) for i in positions]
        return torch.stack(pictures).permute(0, 3, 1, 2).contiguous()


def to_images(pixels: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] in 0 .. 255 -> float32 in [-1, 1], as every network here takes them."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """float32 [N, 3, H, W] about [-1, 1] -> uint8, as the reference quantises."""
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
