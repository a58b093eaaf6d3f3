"""Trains a StyleGAN in a folder: `python -m stylegan.training RUN_DIR [--watch-stdin]`.

RUN_DIR/job.json says what ({"config", "shards", "start"}). Under `torchrun` several processes train as one
(see ranks). The training goes on from RUN_DIR/checkpoints by itself; killed at any moment and started again it ends
with the same weights, bit for bit on CPU, as one never killed.
Exit codes: 0 done, 1 failed, 2 refused, 4 data differ from the record, 7 diverged, 130 and 143 stopped and saved.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

if __name__ == "__main__":
    # Threads that wait for each other spin for a moment, then sleep. Left to spin they stall where other work shares
    # the cores: 9 s a step instead of 0.2. The threads' library reads this when torch loads it.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

from stylegan.architectures import Growth
from stylegan.beginning import Job, begin, check_faces, read_job
from stylegan.checkpoint import IntegrityError, model_digest, read_record
from stylegan.compiled import compiled_objectives
from stylegan.config import TrainConfig
from stylegan.device import choose_device
from stylegan.draws import Drawing, Reals, draw_step
from stylegan.faces import Faces, to_images
from stylegan.growth import batch_at, growth_at, lr_at, shrink_reals
from stylegan.loader import Batch, Loader, shown_classes
from stylegan.objectives import PLAIN
from stylegan.phases import train_step
from stylegan.ranks import Ranks, batch_parts, joined, leave, rank_rows
from stylegan.scribe import EARLY, Scribe
from stylegan.state import Diverged, TrainState, pace


class Stop:
    """Whether someone asked the training to save and stop, and with which exit code."""

    def __init__(self) -> None:
        self.code = 0

    def ask(self, code: int) -> None:
        """Ask for it; the first wish counts."""
        self.code = self.code or code


def real_images(batch: Batch, growth: Growth) -> Reals:
    """Real pictures as the discriminator takes them, in [-1, 1] and of the size that the networks have come to."""
    return Reals(shrink_reals(to_images(batch.pixels), growth), batch.labels)


def crossed(before: int, after: int, kimg: float) -> bool:
    """Whether a multiple of so many kimg lies in (before, after] images."""
    return int(after / (kimg * 1000)) > int(before / (kimg * 1000))


def train(run: Path, job: Job, stop: Stop, ranks: Ranks) -> int:
    """Train until the config's kimg, or until asked or alarmed to stop, and answer with the exit code."""
    config, total = job.training, round(job.training.kimg * 1000)
    device = choose_device(config)

    # The faces, and where the training stands.
    faces = Faces(job.shards, "train", config.network.image_channels)
    check_faces(faces, config)
    loader = Loader(faces, config, device)
    begun = begin(job, run, faces, device)
    state, checkpoint = begun.state, begun.checkpoint
    classes = shown_classes(faces) if config.network.num_labels else None
    objectives = compiled_objectives(config, device) if config.compile else PLAIN
    state.grow(growth_of(config, state.images_seen))
    scribe = Scribe(run, job.shards, begun, faces) if ranks.first else None
    if scribe and checkpoint is None:
        scribe.show(state)

    stopped = ranks.agree(scribe.wish if scribe else 0, device)
    while state.images_seen < total and not stopped:
        # One step.
        before, batch = state.images_seen, batch_at(config, state.images_seen)
        growth = growth_of(config, before)
        state.grow(growth)
        set_learning_rates(state, config, scribe, ranks)
        rows = rank_rows(batch_parts(batch, config.micro_batch, config.network.minibatch_group, ranks))
        reals = real_images(loader.batch(before, state.step, batch, rows), growth)
        draws = draw_step(Drawing(config, state.step, batch, device, classes, state.augment_p), state.G, growth.size)
        rampup = begun.record.donor is None
        try:
            stats = train_step(state, config, draws, reals, ranks=ranks, objectives=objectives, rampup=rampup)
        except Diverged as error:
            raise (scribe.lost(state, error) if scribe else error) from error
        after = state.images_seen
        size_ended = growth_of(config, after).size != growth.size
        due = after >= total or size_ended

        # Say how it goes, and save: at intervals, at the end, and wherever it is stopped. One rank does so for all.
        if scribe:
            scribe.add(stats)
            if due or stop.code or crossed(before, after, config.tick_kimg):
                scribe.tick(state, loader.speed())
                stop.ask(scribe.wish)
        stopped = ranks.agree(stop.code, device)  # asked once a step: what ends the loop is also saved
        due = bool(due or stopped)
        if scribe:
            if due or crossed(before, after, config.sample_kimg or config.snapshot_kimg):
                scribe.show(state)
            if due or crossed(before, after, config.snapshot_kimg):
                checkpoint = scribe.save(state, phase_end=size_ended)

    loader.close()
    if scribe:
        scribe.close(state, stopped)
        if stopped in (0, EARLY):
            write_done(run, checkpoint or scribe.save(state, phase_end=False))
    ranks.wait()  # nobody leaves before the last checkpoint lies on the disk
    return 0 if stopped == EARLY else stopped


def growth_of(config: TrainConfig, images_seen: int) -> Growth:
    """The size in px that a training works at after so many images, and how far it has faded in."""
    if config.growth is None:
        return Growth(config.resolution, 1.0)
    return growth_at(config.growth, config.resolution, images_seen)


def set_learning_rates(state: TrainState, config: TrainConfig, scribe: Scribe | None, ranks: Ranks) -> None:
    """Give both optimisers the learning rate of this step: the config's, unless somebody asked for another."""
    rates = scribe.learning_rates(state, lr_at(config, state.images_seen)) if scribe else (0.0, 0.0)
    lr_G, lr_D = ranks.share(rates, state.path_mean.device)
    state.opt_G.param_groups[0]["lr"] = lr_G * pace(config.path_interval)
    state.opt_D.param_groups[0]["lr"] = lr_D * pace(config.r1_interval)


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
    leave(main())
