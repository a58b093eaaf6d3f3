"""What a training leaves behind while it goes on: ticks, sample grids, checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from stylegan.checkpoint import Record, checkpoint_name, delete_old, write_checkpoint
from stylegan.config import TrainConfig
from stylegan.faces import Faces, to_pixels
from stylegan.metrics import SlicedWassersteinConfig, sliced_wasserstein
from stylegan.phases import Stats
from stylegan.progress import Progress, fixed_samples, sample_grid, write_png, write_reals
from stylegan.random import batch_indices
from stylegan.state import TrainState, check_finite

MEASURED = 128  # samples and held-out faces whose distance decides which checkpoint is the best
FEWEST = 32  # held-out faces; with fewer the distance says nothing
QUICK = SlicedWassersteinConfig(num_patches=64, num_directions=128, num_bootstraps=2)


class Scribe:
    """Writes ticks, sample grids and checkpoints of a training into its run folder; one rank does so for all."""

    def __init__(self, run: Path, shards: Path, state: TrainState, record: Record, reference: Tensor) -> None:
        config = record.config
        self.run = run
        self.config = config
        self.record = record  # of the checkpoint that the training goes on from
        self.reference = reference
        self.progress = Progress(run, config, state.images_seen, state.step, record.seconds)
        self.held_out = _held_out(shards, config)
        write_reals(run / "samples", Faces(shards, "train", config.network.image_channels), config)

    def add(self, stats: Stats) -> None:
        """Take note of one step's figures."""
        self.progress.add(stats)

    def tick(self, state: TrainState) -> None:
        """Write this tick's line; Diverged when one of its figures is no number."""
        check_finite({k: torch.tensor(v) for k, v in self.progress.tick(state.images_seen, state.step).items()})

    def show(self, state: TrainState) -> None:
        """Write a grid of samples of the averaged generator."""
        image = sample_grid(state.G_ema, self.config, state.images_seen, state.step)
        write_png(self.run / "samples" / f"fakes-{checkpoint_name(state.images_seen)}.png", image)
        self.progress.show("fakes", image, state.step)

    def save(self, state: TrainState, *, phase_end: bool) -> Path:
        """Write a checkpoint, and delete those that are worth keeping no longer."""
        check_finite(all_weights(state))
        measured = {"seconds": round(self.progress.seconds, 3), "distance": self._distance(state)}
        record = self.record.model_copy(update=measured | {"phase_end": phase_end})
        path = write_checkpoint(self.run / "checkpoints", state, record, self.reference)
        delete_old(self.run / "checkpoints", self.config.keep_last)
        return path

    @torch.no_grad()
    def _distance(self, state: TrainState) -> float | None:
        """How far samples are from held-out faces; None where there are too few of these to say."""
        if len(self.held_out) < FEWEST or self.config.network.image_channels != 3:
            return None
        fakes = to_pixels(fixed_samples(state.G_ema, self.config, len(self.held_out)))
        return sliced_wasserstein(self.held_out, fakes.cpu(), self.config.sample_seed, QUICK).mean.value

    def close(self) -> None:
        """Finish what is open."""
        self.progress.close()


def _held_out(shards: Path, config: TrainConfig) -> Tensor:
    """A fixed choice of held-out faces, uint8 [M, C, H, W]."""
    faces = Faces(shards, "held_out", config.network.image_channels)
    return faces.images(
        batch_indices(config.sample_seed, 0, min(MEASURED, len(faces)), len(faces)) if len(faces) else []
    )


def all_weights(state: TrainState) -> dict[str, Tensor]:
    """Every weight of a training, by name."""
    return {f"{n}.{k}": v for n, m in (("G", state.G), ("D", state.D)) for k, v in m.state_dict().items()}
