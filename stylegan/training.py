"""Trains a StyleGAN in a folder: `python -m stylegan.training RUN_DIR [--watch-stdin]`.

RUN_DIR/job.json says what ({"config", "shards", "start"}). The training goes on from RUN_DIR/checkpoints by itself;
killed at any moment and started again it ends with the same weights, bit for bit on CPU, as one never killed.
Exit codes: 0 done, 1 failed, 2 refused, 4 data differ from the record, 7 diverged, 130 and 143 stopped and saved.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    # Threads that wait for each other spin for a moment, then sleep. Left to spin they stall where other work shares
    # the cores: 9 s a step instead of 0.2. The threads' library reads this when torch loads it.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.architectures import build_networks
from stylegan.checkpoint import (
    IntegrityError,
    Record,
    checkpoint_name,
    delete_old,
    model_digest,
    newest_valid,
    read_record,
    restore_state,
    write_checkpoint,
)
from stylegan.config import TrainConfig
from stylegan.faces import Faces, to_images
from stylegan.phases import Diverged, TrainState, check_finite, draw_step, new_state, train_step
from stylegan.progress import Progress, sample_grid, write_png, write_reals
from stylegan.random import batch_indices, generator

REFERENCE_FACES = 15  # kept with every checkpoint, so that a score needs nothing but its face and the checkpoint

# What may change between two starts of the same run without changing what it learns.
FREE = {"kimg", "tick_kimg", "sample_kimg", "snapshot_kimg", "keep_last", "device", "threads"}


class Job(BaseModel):
    """What job.json holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: TrainConfig
    shards: Path = Field(description="Folder that the shard stage wrote.")
    start: Path | None = Field(default=None, description="Checkpoint folder to continue from with new counters.")


class Stop:
    """Whether someone asked the training to save and stop, and with which exit code."""

    def __init__(self) -> None:
        self.code = 0

    def ask(self, code: int) -> None:
        """Ask for it; the first wish counts."""
        self.code = self.code or code


def choose_device(config: TrainConfig) -> torch.device:
    """The device of a config, with torch set up for it: repeatable on CPU, fast on CUDA."""
    cuda = torch.cuda.is_available()
    if config.device.startswith("cuda") and not cuda:
        raise ValueError(f"train.device is {config.device}, but torch sees no CUDA device: choose auto or cpu")
    device = torch.device(("cuda" if cuda else "cpu") if config.device == "auto" else config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # 15 % of the time
        keep_freed_memory()
    else:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return device


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next step instead of handing it back to the system.

    Every step needs the same few hundred MB; fetching them as fresh pages each time took 15 % of the CPU's time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc: another allocator, with ways of its own
        return
    trim_threshold, mmap_max = -1, -4
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


class Beginning(NamedTuple):
    """Where a training stands when it starts or goes on."""

    state: TrainState
    record: Record  # of the checkpoint it goes on from; without digests when there is none yet
    reference: Tensor  # uint8 [R, 3, H, W]
    checkpoint: Path | None


def begin(job: Job, run: Path, faces: Faces, device: torch.device) -> Beginning:
    """Go on from the run's own newest checkpoint, else begin with the donor's weights, else from nothing."""
    config = job.config
    newest = newest_valid(run / "checkpoints")
    if newest is not None:
        state, record, reference = restore_state(newest, config, device)
        check_same_run(newest, record, config, faces)
        return Beginning(state, record.model_copy(update={"config": config}), reference, newest)
    donor = None
    if job.start is not None:
        state, _, _ = restore_state(job.start, config, device)
        state.images_seen = 0
        donor = model_digest(job.start)
    else:
        G, D = build_networks(config.network, config.resolution, config.seed)
        state = new_state(G.to(device), D.to(device), config)
    reference = faces.images(batch_indices(config.seed, 0, min(REFERENCE_FACES, len(faces)), len(faces)))
    record = Record(config=config, images_seen=0, seconds=0.0, faces=faces.digest, donor=donor, sha256={})
    return Beginning(state, record, reference, None)


def check_same_run(checkpoint: Path, record: Record, config: TrainConfig, faces: Faces) -> None:
    """Raise ValueError unless config and faces are those that the run was begun with."""
    then, now = record.config.model_dump(exclude=FREE), config.model_dump(exclude=FREE)
    different = [f"{k} was {then[k]}, is {now[k]}" for k in now if now[k] != then[k]]
    if record.faces != faces.digest:
        different.append(f"the {len(faces)} training faces are others")
    if different:
        raise ValueError(
            f"{checkpoint} belongs to a training with other settings ({'; '.join(different)}): "
            "use a new run folder, with this checkpoint as its start"
        )


def load_batch(faces: Faces, config: TrainConfig, images_seen: int, device: torch.device) -> Tensor:
    """The real images of the next step, [N, 3, H, W] in [-1, 1], half of them mirrored."""
    pixels = faces.images(batch_indices(config.seed, images_seen, config.batch, len(faces)))
    if config.mirror:
        draw = torch.rand(config.batch, generator=generator(config.seed, "mirror", images_seen // config.batch))
        pixels = torch.where((draw < 0.5)[:, None, None, None], pixels.flip(3), pixels)
    return to_images(pixels.to(device))


def check_faces(faces: Faces, config: TrainConfig) -> None:
    """Raise ValueError unless there are faces, of the config's resolution."""
    if not len(faces):
        raise ValueError(f"{faces.folder} holds no training faces: look at the reasons in the ledger")
    height, width = faces.image(0).shape[:2]
    if (height, width) != (config.resolution, config.resolution):
        raise ValueError(
            f"the faces in {faces.folder} are {width} x {height} px, this config trains at {config.resolution}: "
            "write shards of that size, or change train.resolution"
        )


def crossed(before: int, after: int, kimg: float) -> bool:
    """Whether a multiple of so many kimg lies in (before, after] images."""
    return int(after / (kimg * 1000)) > int(before / (kimg * 1000))


def train(run: Path, job: Job, stop: Stop) -> Path | None:
    """Train until the config's kimg or until asked to stop; answer with the last checkpoint, or None if stopped."""
    config = job.config
    device = choose_device(config)

    # The faces, and where the training stands.
    faces = Faces(job.shards, "train")
    check_faces(faces, config)
    state, begun, reference, checkpoint = begin(job, run, faces, device)
    progress = Progress(run, config, state.images_seen, begun.seconds)
    write_reals(run / "samples", faces, config)

    def show() -> None:
        image = sample_grid(state.G_ema, config, device)
        write_png(run / "samples" / f"fakes-{checkpoint_name(state.images_seen)}.png", image)
        progress.show("fakes", image, state.images_seen // config.batch)

    def save() -> Path:
        check_finite(all_weights(state))
        path = write_checkpoint(run / "checkpoints", state, begun, progress.seconds, reference)
        delete_old(run / "checkpoints", config.keep_last)
        return path

    if checkpoint is None:
        show()
    print(f"{len(faces)} faces at {config.resolution} px, from kimg {begun.kimg:.3f} on {device}", flush=True)

    total = config.num_steps * config.batch
    ended = state.images_seen >= total
    while not ended:
        # One step.
        before = state.images_seen
        reals = load_batch(faces, config, before, device)
        draws = draw_step(config, state.G, before // config.batch, device)
        progress.add(train_step(state, config, draws, reals, rampup=begun.donor is None))
        after = state.images_seen
        ended = after >= total or bool(stop.code)  # asked once a step: what ends the loop is also saved

        # Say how it goes.
        if ended or crossed(before, after, config.tick_kimg):
            check_finite({k: torch.tensor(v) for k, v in progress.tick(after).items()})
        if ended or crossed(before, after, config.sample_kimg or config.snapshot_kimg):
            show()

        # Save: at intervals, at the end, and wherever it is stopped.
        if ended or crossed(before, after, config.snapshot_kimg):
            checkpoint = save()

    progress.close()
    if state.images_seen < total:
        print(f"stopped at kimg {state.images_seen / 1000:.3f}, saved: start again to go on", flush=True)
        return None
    return checkpoint or save()


def all_weights(state: TrainState) -> dict[str, Tensor]:
    """Every weight of a training, by name."""
    return {f"{n}.{k}": v for n, m in (("G", state.G), ("D", state.D)) for k, v in m.state_dict().items()}


def write_done(run: Path, checkpoint: Path) -> None:
    """Write done.json, the last of a finished training's files."""
    record = read_record(checkpoint)
    done = {"checkpoint": checkpoint.name, "kimg": record.kimg, "sha256": model_digest(checkpoint)}
    temporary = run / ".done.json.part"
    temporary.write_text(json.dumps(done) + "\n")
    temporary.rename(run / "done.json")


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder: two trainings in one would spoil each other."""
    with (run / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"{run} is being trained in by another process: wait for it, or stop it") from error
        yield


def watch_stdin(stop: Stop) -> None:
    """Ask for a stop when the other end of stdin is closed: the parent is gone, or wants an end."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        stop.ask(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def read_job(run: Path) -> Job:
    """What job.json asks for."""
    try:
        return Job.model_validate_json((run / "job.json").read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{run} holds no job.json: it says config, shards and start") from error


def run_job(run: Path, stop: Stop) -> int:
    """Train what job.json asks for and answer with the exit code."""
    try:
        job = read_job(run)
        with locked(run):
            checkpoint = train(run, job, stop)
            if checkpoint is None:
                return stop.code
            write_done(run, checkpoint)
    except Diverged as error:
        print(f"diverged: {error}; the last good checkpoint is kept: lower lr_G, lr_D, or raise gamma", file=sys.stderr)
        return 7
    except IntegrityError as error:
        print(error, file=sys.stderr)
        return 4
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a missing permission, a folder in use
        print(f"{run}: {error}", file=sys.stderr)
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the training child's command line."""
    parser = argparse.ArgumentParser(prog="python -m stylegan.training", description=__doc__)
    parser.add_argument("run", type=Path, help="the run's folder, with job.json in it")
    parser.add_argument("--watch-stdin", action="store_true", help="save and stop when stdin is closed")
    given = parser.parse_args(arguments)
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: stop.ask(128 + signum))
    if given.watch_stdin:
        watch_stdin(stop)
    return run_job(given.run, stop)


if __name__ == "__main__":
    sys.exit(main())
