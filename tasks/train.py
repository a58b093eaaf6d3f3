"""train, retrain: a child process trains on the shards; this side starts it, shows how far it is, and seals the end."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from stylegan.config import TrainConfig
from tasks.errors import Diverged, PipelineError, Refused, Stopped
from tasks.job import Job, Progress
from tasks.stage import Outcome, Place, stage
from tasks.store import Record, digest_of, write_text
from tasks.track import Progress as Bar
from tasks.track import publish_image

DIVERGED = 7
GRACE_SECONDS = 60  # a checkpoint is written in far less
POLL_SECONDS = 0.3


def _asked(job: Job) -> Any:
    donor = job.manifest.donor
    return {"train": job.manifest.train, "donor": donor_digest(Path(donor)) if donor else None}


@stage("train", version=3, config=_asked)
def train_model(at: Place, faces: Record) -> Outcome:
    """Train from nothing, or from the manifest's donor."""
    donor = at.job.manifest.donor
    return _train(at, at.job.manifest.train, at.job.folder(faces), Path(donor) if donor else None)


@stage("retrain", version=3, config=lambda job: job.manifest.retrain)
def retrain_model(at: Place, faces: Record, model: Record) -> Outcome:
    """Go on from a model's checkpoint with other faces."""
    config = at.job.manifest.retrain
    assert config is not None, "a flow that retrains has a retrain section"
    return _train(at, config, at.job.folder(faces), checkpoint_of(at.job, model), model)


def checkpoint_of(job: Job, model: Record) -> Path:
    """The folder of the checkpoint that a training (or a choice between two) ended with."""
    return run_of(job, model) / "checkpoints" / str(model.facts["checkpoint"])


def run_of(job: Job, model: Record) -> Path:
    """The folder of the run that a model comes from."""
    return job.root / str(model.facts["run"])


def runs_of(job: Job, model: Record) -> tuple[Path, ...]:
    """The folders of all runs behind a model, the first one first."""
    return tuple(job.root / run for run in model.facts["runs"])


def donor_digest(donor: Path) -> str:
    """The digest of the weights that a training starts from; Refused when there are none."""
    about, model = donor / "checkpoint.json", donor / "model.safetensors"
    if about.is_file():
        return digest_of(json.loads(about.read_text(encoding="utf-8"))["sha256"])
    file = model if donor.is_dir() else donor
    if not file.is_file():
        raise Refused(
            f"donor: {donor} is no checkpoint, no imported model and no file: give data/runs/RUN/checkpoints/KIMG, "
            "the folder that `stylegan import` wrote, or another project's file"
        )
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _train(at: Place, config: TrainConfig, shards: Path, start: Path | None, before: Record | None = None) -> Outcome:
    run = _run_folder(at)
    asked = {"config": config.model_dump(mode="json"), "shards": str(shards), "start": str(start) if start else None}
    write_text(run / "job.json", json.dumps(asked, indent=1))
    at.progress.say(f"in {run}")
    _run_child(run, config, at)
    done = json.loads((run / "done.json").read_text(encoding="utf-8"))
    # The weights' digest stands for the model: what follows is done again only when the weights differ.
    write_text(at.folder / "model.json", json.dumps({"sha256": done["sha256"], "kimg": done["kimg"]}))
    name = run.relative_to(at.job.root).as_posix()
    runs = [*(before.facts["runs"] if before else []), name]
    facts = {"run": name, "runs": runs, **done, **_speed(run)}
    for grid in sorted((run / "samples").glob("fakes-*.png"))[-1:]:
        publish_image(f"{at.job.manifest.name}-{at.stage}-samples", grid, f"{at.stage}: samples at {done['kimg']} kimg")
    return Outcome(files=("model.json",), facts=facts)


def _run_folder(at: Place) -> Path:
    """The run that this stage began before, or a new one with the next number."""
    noted = at.folder / "run.json"
    if noted.is_file():
        run = at.job.root / json.loads(noted.read_text(encoding="utf-8"))["run"]
        run.mkdir(parents=True, exist_ok=True)
        return Path(run)
    runs = at.job.root / "runs"
    runs.mkdir(exist_ok=True)
    number = max((int(name[0]) for path in runs.iterdir() if (name := re.match(r"\d+", path.name))), default=-1) + 1
    while True:
        run = runs / "-".join(filter(None, (f"{number:05d}", at.job.manifest.name, at.job.arm)))
        try:
            run.mkdir()
            break
        except FileExistsError:  # another job took the number
            number += 1
    write_text(noted, json.dumps({"run": run.relative_to(at.job.root).as_posix()}))
    return run


def _run_child(run: Path, config: TrainConfig, at: Place) -> None:
    command = [sys.executable, "-m", "stylegan.training", str(run), "--watch-stdin"]
    with (run / "log.txt").open("ab") as log, _Child(command, log) as child, _stop_with_us(child.process):
        bar = Bar(f"{at.job.manifest.name}-{at.stage}-progress", at.stage)
        shown = 0
        while child.process.poll() is None:
            time.sleep(POLL_SECONDS)
            shown = _show_ticks(run, shown, config.kimg, at.progress, bar)
        _show_ticks(run, shown, config.kimg, at.progress, bar)
    _judge(child.process.returncode, run)


class _Child:
    """A process in a session of its own; its standard input stays open, so that it notices when we are gone."""

    def __init__(self, command: list[str], log: Any) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        if self.process.poll() is None:
            try:
                self.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def _stop_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM to us stops the child first: it saves its exact step. Only the main thread may set handlers."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM)

    try:
        before = signal.signal(signal.SIGTERM, hand_on)
    except ValueError:  # not the main thread: end of input stops the child instead
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_ticks(run: Path, shown: int, kimg: float, progress: Progress, bar: Bar) -> int:
    lines = read_stats(run)
    for tick in lines[shown:]:
        left = tick.get("eta_seconds")
        eta = f", about {left:.0f} s left" if left is not None else ""
        progress.say(
            f"{tick['kimg']:.2f} of {kimg:g} kimg (step {tick['step']}), {tick['seconds_per_kimg']:.1f} s/kimg{eta}"
        )
        bar.show(100 * tick["kimg"] / kimg)
    return len(lines)


def read_stats(run: Path) -> list[dict[str, Any]]:
    """The ticks written so far; the last line may still be on its way."""
    path = run / "stats.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _judge(code: int, run: Path) -> None:
    if code == 0:
        return
    tail = "\n".join((run / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    if code == DIVERGED:
        raise Diverged(f"{run.name}: {tail}\nThe last good checkpoint is kept; lower lr_G and lr_D, or raise gamma")
    if code in (130, 143, -signal.SIGTERM, -signal.SIGINT):
        raise Stopped(f"{run.name} was stopped and has saved its step: the same command goes on from there")
    raise PipelineError(f"training in {run} ended with exit code {code}:\n{tail}")


def _speed(run: Path) -> dict[str, float]:
    ticks = read_stats(run)
    return {"seconds_per_kimg": float(ticks[-1]["seconds_per_kimg"])} if ticks else {}
