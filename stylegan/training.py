"""Trains a StyleGAN in a folder: `python -m stylegan.training RUN_DIR [--watch-stdin]`.

RUN_DIR/job.json says what ({"config", "shards", "start"}). Under `torchrun` several processes train as one
(see ranks). The training goes on from RUN_DIR/checkpoints by itself;
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
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    # Threads that wait for each other spin for a moment, then sleep. Left to spin they stall where other work shares
    # the cores: 9 s a step instead of 0.2. The threads' library reads this when torch loads it.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.architectures import Growth, build_networks
from stylegan.checkpoint import IntegrityError, Record, model_digest, newest_valid, read_record, restore_state
from stylegan.config import TrainConfig
from stylegan.draws import Drawing, Reals, draw_step
from stylegan.faces import Faces, to_images
from stylegan.growth import batch_at, growth_at, lr_at, shrink_reals
from stylegan.loader import Batch, Loader
from stylegan.phases import train_step
from stylegan.random import batch_indices
from stylegan.ranks import Ranks, batch_parts, joined, rank_rows
from stylegan.scribe import Scribe
from stylegan.state import Diverged, TrainState, new_state, pace

REFERENCE_FACES = 15  # kept with every checkpoint, so that a score needs nothing but its face and the checkpoint

# What may change between two starts of the same run without changing what it learns.
FREE = {
    "kimg",
    "tick_kimg",
    "sample_kimg",
    "snapshot_kimg",
    "keep_last",
    "device",
    "threads",
    "cache",
    "micro_batch",
    "compile",  # these two up to rounding
}


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
    reference: Tensor  # uint8 [R, C, H, W]
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
        state.images_seen = state.step = 0
        donor = model_digest(job.start)
    else:
        G, D = build_networks(config.network, config.resolution, config.seed)
        state = new_state(G.to(device), D.to(device), config)
    reference = faces.images(batch_indices(config.seed, 0, min(REFERENCE_FACES, len(faces)), len(faces)))
    record = Record(config=config, images_seen=0, step=0, seconds=0.0, faces=faces.digest, donor=donor, sha256={})
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


def real_images(batch: Batch, growth: Growth) -> Reals:
    """Real pictures as the discriminator takes them, in [-1, 1] and of the size that the networks have come to."""
    return Reals(shrink_reals(to_images(batch.pixels), growth), batch.labels)


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


def train(run: Path, job: Job, stop: Stop, ranks: Ranks) -> int:
    """Train until the config's kimg or until asked to stop, and answer with the exit code."""
    config, total = job.config, round(job.config.kimg * 1000)
    device = choose_device(config)

    # The faces, and where the training stands.
    faces = Faces(job.shards, "train", config.network.image_channels)
    check_faces(faces, config)
    loader = Loader(faces, config, device)
    begun = begin(job, run, faces, device)
    state, checkpoint = begun.state, begun.checkpoint
    classes = torch.tensor(faces.labels) if config.network.num_labels else None
    grow(state, growth_of(config, state.images_seen))
    scribe = Scribe(run, job.shards, state, begun.record, begun.reference) if ranks.first else None
    if scribe and checkpoint is None:
        scribe.show(state)
    say(
        f"{len(faces)} faces at {config.resolution} px, from kimg {begun.record.kimg:.3f} on {device}, {ranks.size} ranks"
    )

    stopped = 0
    while state.images_seen < total and not stopped:
        # One step.
        before, batch = state.images_seen, batch_at(config, state.images_seen)
        growth = growth_of(config, before)
        grow(state, growth)
        set_learning_rates(state, config)
        rows = rank_rows(batch_parts(batch, config.micro_batch, config.network.minibatch_group, ranks))
        reals = real_images(loader.batch(before, state.step, batch, rows), growth)
        draws = draw_step(Drawing(config, state.step, batch, device, classes, state.augment_p), state.G, growth.size)
        stats = train_step(state, config, draws, reals, ranks=ranks, rampup=begun.record.donor is None)
        after = state.images_seen
        size_ended = growth_of(config, after).size != growth.size
        stopped = ranks.agree(stop.code, device)  # asked once a step: what ends the loop is also saved
        due = bool(after >= total or stopped or size_ended)

        # Say how it goes, and save: at intervals, at the end, and wherever it is stopped. One rank does so for all.
        if scribe:
            scribe.add(stats)
            if due or crossed(before, after, config.tick_kimg):
                scribe.tick(state)
            if due or crossed(before, after, config.sample_kimg or config.snapshot_kimg):
                scribe.show(state)
            if due or crossed(before, after, config.snapshot_kimg):
                checkpoint = scribe.save(state, phase_end=size_ended)

    loader.close()
    if scribe:
        scribe.close()
        if not stopped:
            write_done(run, checkpoint or scribe.save(state, phase_end=False))
    ranks.wait()  # nobody leaves before the last checkpoint lies on the disk
    if stopped:
        say(f"stopped at kimg {state.images_seen / 1000:.3f}, saved: start again to go on")
    return stopped


def say(text: str) -> None:
    """Print a line at once: the log is read while the training runs."""
    print(text, flush=True)


def growth_of(config: TrainConfig, images_seen: int) -> Growth:
    """The size in px that a training works at after so many images, and how far it has faded in."""
    if config.growth is None:
        return Growth(config.resolution, 1.0)
    return growth_at(config.growth, config.resolution, images_seen)


def grow(state: TrainState, growth: Growth) -> None:
    """Bring all networks to a size."""
    for network in (state.G, state.D, state.G_ema):
        network.grow(growth)


def set_learning_rates(state: TrainState, config: TrainConfig) -> None:
    """Give both optimisers the learning rate of this step."""
    lr_G, lr_D = lr_at(config, state.images_seen)
    for optimizer, lr, interval in (
        (state.opt_G, lr_G, config.path_interval),
        (state.opt_D, lr_D, config.r1_interval),
    ):
        optimizer.param_groups[0]["lr"] = lr * pace(interval)


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
        with joined() as ranks, locked(run) if ranks.first else nullcontext():
            return train(run, job, stop, ranks)
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
