"""What a training leaves behind while it goes on: ticks, alarms, sample grids, checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from stylegan.beginning import Beginning
from stylegan.checkpoint import checkpoint_name, delete_old, write_checkpoint
from stylegan.config import TrainConfig
from stylegan.events import Event, Events, Kind
from stylegan.faces import Faces, to_pixels
from stylegan.health import Watch, diverged
from stylegan.loader import Speed
from stylegan.metrics import SlicedWassersteinConfig, sliced_wasserstein
from stylegan.phases import Stats
from stylegan.progress import Progress, fixed_samples, sample_grid, write_png, write_reals
from stylegan.random import batch_indices
from stylegan.state import Diverged, TrainState, check_finite
from stylegan.vitals import watched_faces

EARLY = 1  # the wish of an alarm that ends the training; signals give larger codes
MEASURED = 128  # samples and held-out faces whose distance decides which checkpoint is the best
FEWEST = 32  # held-out faces; with fewer the distance says nothing
QUICK = SlicedWassersteinConfig(num_patches=64, num_directions=128, num_bootstraps=2)


class Scribe:
    """Writes ticks, alarms, sample grids and checkpoints of a training into its run folder, for all ranks."""

    def __init__(self, run: Path, shards: Path, begun: Beginning, faces: Faces) -> None:
        state, self.record, self.reference, checkpoint = begun
        self.run = run
        self.config = config = self.record.config
        self.progress = Progress(run, config, state.images_seen, state.step, self.record.seconds)
        self.events = Events(run, state.step)
        others = Faces(shards, "held_out", config.network.image_channels)
        self.held_out = _some(others, config)
        device = state.path_mean.device
        training, held_out = (watched_faces(split, config, device) for split in (faces, others))
        self.watch = Watch(config, training, held_out, self.progress.past())
        write_reals(run / "samples", faces, config)
        if checkpoint is not None:
            self._note("resume", state, says=f"from {checkpoint.name}")
        print(f"{len(faces)} faces at {config.resolution} px, from kimg {self.record.kimg:.3f} on {device}", flush=True)
        print(config.rules, flush=True)

    def _note(self, kind: Kind, state: TrainState, **about: str) -> None:
        self.events.add(Event(kind=kind, step=state.step, kimg=state.images_seen / 1000, **about))

    def learning_rates(self, state: TrainState, rates: tuple[float, float]) -> tuple[float, float]:
        """The learning rates of the next step, where the config says `rates` and somebody may ask for others."""
        asked = self.events.take_request(state.step, state.images_seen / 1000)
        if asked is not None:
            print(f"asked for while training, from step {asked.step}: {asked.says}", flush=True)
        return self.events.learning_rates(rates, state.step)

    def add(self, stats: Stats) -> None:
        """Take note of one step's figures."""
        self.progress.add(stats)

    @property
    def wish(self) -> int:
        """EARLY while an alarm holds that shall end the training, else 0."""
        return EARLY if self.watch.ends(self.config.stop_on) else 0

    def tick(self, state: TrainState, loader: Speed) -> None:
        """Write this tick's line and alarms; Diverged when one of its figures is no number."""
        means = self.progress.means()
        look = self.watch.look(state, means)
        speed = {"loader_per_second": loader.samples_per_second, "loader_waited": loader.waited}
        self.progress.tick(state.images_seen, state.step, means | look.figures | speed)
        for alarm in look.alarms:
            print(alarm, flush=True)
            self._note("alarm", state, name=alarm.name, says=f"{alarm.says}; {alarm.advice}")
        check_finite({k: torch.tensor(v) for k, v in means.items()})

    def lost(self, state: TrainState, error: Diverged) -> Diverged:
        """The error of a training that cannot go on, with the layer where it began; it is noted as an alarm."""
        alarm = diverged(state, self.config, error)
        self._note("alarm", state, name=alarm.name, says=f"{alarm.says}; {alarm.advice}")
        return Diverged(alarm.says)

    def show(self, state: TrainState) -> None:
        """Write a grid of samples of the averaged generator."""
        image = sample_grid(state.G_ema, self.config, state.images_seen, state.step)
        write_png(self.run / "samples" / f"fakes-{checkpoint_name(state.images_seen)}.png", image)
        self.progress.show("fakes", image, state.step)

    def save(self, state: TrainState, *, phase_end: bool) -> Path:
        """Write a checkpoint, and delete those that are worth keeping no longer."""
        check_finite(all_weights(state))
        if phase_end:
            self._note("phase", state, says="a size is done")
        measured = {"seconds": round(self.progress.seconds, 3), "distance": self._distance(state)}
        record = self.record.model_copy(update=measured | {"phase_end": phase_end})
        path = write_checkpoint(self.run / "checkpoints", state, record, self.reference)
        delete_old(self.run / "checkpoints", self.config.keep_last)
        return path

    @torch.no_grad()
    def _distance(self, state: TrainState) -> float | None:
        """How far samples are from held-out faces; None where these are too few, or the networks still grow."""
        grown = state.growth is None or state.growth.size == self.config.resolution
        if len(self.held_out) < FEWEST or self.config.network.image_channels != 3 or not grown:
            return None
        fakes = to_pixels(fixed_samples(state.G_ema, self.config, len(self.held_out)))
        return sliced_wasserstein(self.held_out, fakes.cpu(), self.config.sample_seed, QUICK).mean.value

    def close(self, state: TrainState, stopped: int) -> None:
        """Finish what is open, and say why a training ends before its kimg."""
        self.progress.close()
        alarm = self.watch.ends(self.config.stop_on)
        if stopped:
            why = f"by alarm {alarm}: done" if alarm else "and saved: start again to go on"
            self._note("stop", state, says=why)
            print(f"stopped at kimg {state.images_seen / 1000:.3f} {why}", flush=True)


def _some(faces: Faces, config: TrainConfig) -> Tensor:
    """A fixed choice of faces, uint8 [M, C, H, W]."""
    if not len(faces):
        return torch.empty(0)
    return faces.images(batch_indices(config.sample_seed, 0, min(MEASURED, len(faces)), len(faces)))


def all_weights(state: TrainState) -> dict[str, Tensor]:
    """Every weight of a training, by name."""
    return {f"{n}.{k}": v for n, m in (("G", state.G), ("D", state.D)) for k, v in m.state_dict().items()}
