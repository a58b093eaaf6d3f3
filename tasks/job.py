"""A job: one manifest at work in one data root, and what it has to say while it works."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from manifests.ledger import read_ledger
from manifests.schema import Manifest
from tasks.errors import Refused
from tasks.store import Bucket, Record
from tasks.track import in_flow_run

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """The manifest, the root under which everything lies, and the records of this run in order.

    A dry job runs no stage: it notes in `planned` what a run would do. An arm is a job beside another one: what it
    makes is only compared with.
    """

    manifest: Manifest
    path: Path
    root: Path
    dry: bool = False
    until: str = ""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    steps: list[Record] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    reused: set[str] = field(default_factory=set)
    arm: str = ""
    arms: dict[str, Job] = field(default_factory=dict)

    @property
    def all_steps(self) -> list[Record]:
        """The records of this job and of its arms."""
        return [*self.steps, *(record for arm in self.arms.values() for record in arm.steps)]

    def beside(self, arm: str) -> Job:
        """An arm of this name: it shares the plan and ends with this job, but its steps are kept apart."""
        other = Job(
            self.manifest,
            self.path,
            self.root,
            dry=self.dry,
            workers=self.workers,
            planned=self.planned,
            reused=self.reused,
            arm=arm,
        )
        self.arms[arm] = other
        return other

    def ledger(self, buckets: dict[str, Bucket]) -> pd.DataFrame:
        """The ledger as a stage left it in its buckets."""
        return read_ledger(*(self.root / bucket.folder / "ledger.parquet" for bucket in buckets.values()))

    def dry_copy(self) -> Job:
        """The same job, looking only."""
        return Job(self.manifest, self.path, self.root, dry=True)

    def take_over(self, other: Job) -> None:
        """Begin where a dry job found that all is there."""
        self.steps = list(other.steps)
        self.arms = dict(other.arms)
        self.reused = {record.key for record in other.all_steps}

    def folder(self, record: Record) -> Path:
        """Where the stage's files lie."""
        return self.root / record.folder


@dataclass(frozen=True)
class Planned:
    """What a run would do about one stage."""

    stage: str
    state: str  # "there" | "run"
    why: str
    rows: int | None = None
    bytes: int | None = None
    arm: str = ""

    @property
    def title(self) -> str:
        """The stage, and the arm that it belongs to."""
        return f"{self.stage} ({self.arm})" if self.arm else self.stage


class UntilReached(Exception):  # noqa: N818  no error
    """The stage named by --until is done; not an error."""


class Progress:
    """Says how far a stage is: on a terminal in one line that moves, elsewhere a line every ten seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = self.said = time.monotonic()
        self.moving = sys.stderr.isatty()

    def __call__(self, done: int, total: int | None = None, unit: str = "") -> None:
        """So many done, of so many if that is known."""
        now = time.monotonic()
        if now - self.said < (0.2 if self.moving else 10.0):
            return
        self.said = now
        self._write(self._line(done, total, unit, now - self.began), end="\r" if self.moving else "\n")

    def say(self, line: str) -> None:
        """A line of the stage's own; in a flow run it goes to the run's log, which is shown here, too."""
        if in_flow_run():
            logger.info("%s: %s", self.name, line)
        else:
            self._write(line, end="\n")

    def _line(self, done: int, total: int | None, unit: str, seconds: float) -> str:
        if not total or not done:
            return f"{done:,} {unit}, {seconds:.0f} s"
        left = seconds / done * (total - done)
        return f"{done:,} / {total:,} {unit}, {seconds:.0f} s, about {left:.0f} s left"

    def _write(self, line: str, end: str) -> None:
        clear = "\x1b[2K" if self.moving else ""
        print(f"{clear}  {self.name}: {line}", end=end, file=sys.stderr, flush=True)


def data_root() -> Path:
    """The one folder under which everything lies: $STYLEGAN_DATA, else data/ here."""
    return Path(os.environ.get("STYLEGAN_DATA") or "data").absolute()


def check_root(root: Path, needed_bytes: int) -> None:
    """Refuse before any work when the root cannot be written or is too small."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Refused(
            f"{root} cannot be written ({error.strerror}): choose another folder with STYLEGAN_DATA=/path, "
            "or change its permissions"
        ) from error
    free = shutil.disk_usage(root).free
    if free < needed_bytes:
        raise Refused(
            f"{root} has {free / 1e9:.2f} GB free, this manifest needs about {needed_bytes / 1e9:.2f} GB: "
            "free some, or choose another disk with STYLEGAN_DATA=/path"
        )
