"""What a training tells the world: tick lines, stats.jsonl, TensorBoard, sample grids."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import Generator
from stylegan.config import TrainConfig
from stylegan.faces import Faces, to_pixels
from stylegan.phases import Stats
from stylegan.random import batch_indices, generator

SAMPLE_BATCH = 16


def tile(images: Tensor, columns: int) -> np.ndarray:
    """uint8 images [N, 3, H, W], row by row, as one picture, uint8 [rows * H, columns * W, 3]."""
    rows = -(-len(images) // columns)
    n, c, h, w = images.shape
    blank = torch.zeros(rows * columns - n, c, h, w, dtype=images.dtype)
    grid = torch.cat([images.cpu(), blank]).reshape(rows, columns, c, h, w).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * h, columns * w, c).numpy()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture [H, W, 1 .. 4] so that a reader never sees half of it."""
    ok, data = cv2.imencode(".png", to_bgr(image))
    assert ok
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data.tobytes())
    temporary.rename(path)


def to_bgr(image: np.ndarray) -> np.ndarray:
    """OpenCV's order of channels; two channels, which PNG has not in this order, are shown as red and green."""
    channels = image.shape[2]
    if channels == 2:
        image = np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    order = {1: [0], 2: [2, 1, 0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    return np.ascontiguousarray(image[..., order])


def write_reals(folder: Path, faces: Faces, config: TrainConfig) -> None:
    """Write reals.png: as many training faces as a sample grid has pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    count = min(config.sample_columns * config.sample_rows, len(faces))
    pixels = faces.images(batch_indices(config.sample_seed, 0, count, len(faces)))
    write_png(folder / "reals.png", tile(pixels, config.sample_columns))


def sample_grid(G_ema: Generator, config: TrainConfig, images_seen: int, step: int) -> np.ndarray:
    """Pictures of the fixed latents; networks that grow are shown at the full size, with a line that says theirs."""
    pixels = to_pixels(fixed_samples(G_ema, config, config.sample_columns * config.sample_rows)).cpu()
    if config.growth is None:
        return tile(pixels, config.sample_columns)
    size = pixels.shape[-1]
    grid = tile(F.interpolate(pixels, config.resolution, mode="nearest"), config.sample_columns)
    return captioned(grid, f"step {step:,}   {images_seen / 1000:,.1f} kimg   {size} px")


@torch.no_grad()
def fixed_samples(G_ema: Generator, config: TrainConfig, count: int) -> Tensor:
    """Images [count, C, h, w] of latents that depend on sample_seed and not on the training's own seed.

    Of a network with labels every row of the grid shows one class.
    """
    device = next(G_ema.parameters()).device
    z = torch.randn(count, G_ema.z_dim, generator=generator(config.sample_seed, "sample-grid")).to(device)
    labels = None
    if G_ema.num_labels:
        classes = torch.arange(count) // config.sample_columns % G_ema.num_labels
        labels = F.one_hot(classes, G_ema.num_labels).float().to(device)
    parts = torch.split(torch.arange(count), SAMPLE_BATCH)
    return torch.cat([G_ema(z[rows], None if labels is None else labels[rows]) for rows in parts])


def captioned(image: np.ndarray, text: str) -> np.ndarray:
    """A picture above a line of text."""
    height = max(16, image.shape[1] // 32)
    strip = np.zeros((height, image.shape[1], image.shape[2]), np.uint8)
    scale = height / 32
    cv2.putText(
        strip, text, (height // 4, int(height * 0.75)), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA
    )
    return np.concatenate([image, strip])


def duration(seconds: float) -> str:
    """Seconds as people say them: 45s, 3m 20s, 2h 05m, 3d 04h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


class Progress:
    """Gathers a training's figures between ticks and writes them at every tick."""

    def __init__(self, run: Path, config: TrainConfig, images_seen: int, step: int, seconds: float) -> None:
        # A second or more of import: only the training child pays it.
        from torch.utils.tensorboard import SummaryWriter

        self.config = config
        self.stats_file = run / "stats.jsonl"
        self.images_at_tick = images_seen
        self.seconds_at_tick = seconds
        self._started = time.monotonic() - seconds
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._forget_the_future(images_seen)
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step)

    def _forget_the_future(self, images_seen: int) -> None:
        """Drop the ticks that a killed training wrote after its last checkpoint: they are made again."""
        if self.stats_file.exists():
            lines = self.stats_file.read_text().splitlines(keepends=True)
            kept = [
                line for line in lines if line.endswith("\n") and json.loads(line)["kimg"] * 1000 <= images_seen + 0.5
            ]
            self.stats_file.write_text("".join(kept))

    @property
    def seconds(self) -> float:
        """Time spent training so far, earlier runs of the same folder included."""
        return time.monotonic() - self._started

    def add(self, stats: Stats) -> None:
        """Take note of one step's figures; they stay on their device until the tick."""
        for name, value in stats.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Means of the figures since the last tick."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def tick(self, images_seen: int, step: int, figures: dict[str, float]) -> None:
        """Write the line of this tick everywhere."""
        now, kimg = self.seconds, images_seen / 1000
        per_kimg = (now - self.seconds_at_tick) / max((images_seen - self.images_at_tick) / 1000, 1e-9)
        left = max(self.config.kimg - kimg, 0)
        line = {"kimg": kimg, "step": step, "seconds": round(now, 3)}
        line |= {"seconds_per_kimg": round(per_kimg, 3), "eta_seconds": round(left * per_kimg, 1)}
        line |= {name: float(f"{value:.6g}") for name, value in sorted(figures.items())}
        with self.stats_file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._to_board(line)
        print(tick_line(line), flush=True)
        self.images_at_tick, self.seconds_at_tick = images_seen, now
        self._sums, self._counts = {}, {}

    def past(self) -> list[dict[str, float]]:
        """The ticks that have been written."""
        if not self.stats_file.exists():
            return []
        return [json.loads(line) for line in self.stats_file.read_text().splitlines()]

    def _to_board(self, line: dict[str, float]) -> None:
        for name, value in line.items():
            if name not in ("kimg", "step"):
                self.board.add_scalar(name, value, line["step"])
        self.board.flush()

    def show(self, name: str, image: np.ndarray, step: int) -> None:
        """Give TensorBoard a picture."""
        self.board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Finish TensorBoard's file."""
        self.board.close()


def tick_line(line: dict[str, float]) -> str:
    """One status line for people: kimg and optimiser steps both, for the two are often mixed up."""
    words = [
        f"kimg {line['kimg']:<9.3f} step {line['step']:<7.0f}",
        f"{line['seconds_per_kimg']:.2f} s/kimg  time {duration(line['seconds'])}  eta {duration(line['eta_seconds'])}",
    ]
    names = {"loss_G": "G", "loss_D": "D", "r1": "r1", "path_length": "path", "augment_p": "p"}
    words += ["  ".join(f"{short} {line[name]:.3f}" for name, short in names.items() if name in line)]
    if "loader_per_second" in line:
        words += [f"loader {line['loader_per_second']:,.0f}/s"]
    if "sign_real" in line:
        words += [f"sign D(real) {line['sign_real']:+.2f} D(fake) {line['sign_fake']:+.2f}"]
    return "  ".join(words)
