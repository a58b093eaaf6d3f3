"""What all stages share: was I here before, do the work, seal it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec

from pydantic import BaseModel

from tasks.job import Job, Planned, Progress, UntilReached
from tasks.store import Bucket, Counts, Record, files_in, key_of, lost_file, read_record, records_of, write_record
from tasks.track import publish_table, tracked

P = ParamSpec("P")


class Outcome(NamedTuple):
    """What the work of a stage leaves behind: names of files in its folder, buckets, counts, numbers."""

    files: tuple[str, ...] = ()
    buckets: dict[str, Bucket] = {}
    counts: Counts = {}
    facts: dict[str, Any] = {}


@dataclass(frozen=True)
class Place:
    """Where a stage works: its folder, its config, and the job it belongs to."""

    job: Job
    stage: str
    version: int
    config: Any
    key: str
    progress: Progress

    @property
    def folder(self) -> Path:
        """The stage's own folder."""
        return self.job.root / self.stage / self.key


def stage(
    name: str, version: int, config: Callable[[Job], Any]
) -> Callable[[Callable[Concatenate[Place, P], Outcome]], Callable[Concatenate[Job, P], Record]]:
    """Make a stage of a function (place, *input records) -> outcome; what it returns takes a job in the place's stead.

    A stage with the same version, config and input digests is done once: its record is returned ever after. Raise the
    version when the same config should give something else.
    """

    def of(body: Callable[Concatenate[Place, P], Outcome]) -> Callable[Concatenate[Job, P], Record]:
        names = list(inspect.signature(body).parameters)[1:]

        def run(job: Job, /, *records: P.args, **_: P.kwargs) -> Record:
            inputs = {n: r.output for n, r in zip(names, records, strict=True)}  # type: ignore[attr-defined]
            asked = plain(config(job))
            key = key_of(name, version, asked, inputs)
            at = Place(job, name, version, asked, key, Progress(f"{name} ({job.arm})" if job.arm else name))
            unfinished = [r.stage for r in records if r.pending]  # type: ignore[attr-defined]
            record = None if unfinished else read_record(job.root, name, key)
            lost = lost_file(job.root, record) if record else None
            if lost:
                record = None
            if job.dry:
                record = record or Record(
                    stage=name, version=version, config=asked, inputs=inputs, key=key, pending=True
                )
                job.planned.append(_plan(job, record, unfinished, lost))
            elif record:
                job.reused.add(record.key)
            else:
                if lost:
                    at.progress.say(f"{lost} is gone or not what it was: done again")
                record = tracked(name, _work)(at, inputs, lambda: body(at, *records, **_))
            return _passed(job, record)

        run.__doc__, run.__name__ = body.__doc__, body.__name__
        return run

    return of


def plain(value: Any) -> Any:
    """The value as JSON knows it; models become what they were asked."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _work(at: Place, inputs: dict[str, str], body: Callable[[], Outcome]) -> Record:
    at.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    outcome = body()
    record = Record(
        stage=at.stage,
        version=at.version,
        config=at.config,
        inputs=inputs,
        key=at.key,
        files=files_in(at.folder, list(outcome.files)),
        buckets=dict(sorted(outcome.buckets.items())),
        counts=outcome.counts,
        facts=outcome.facts,
        seconds=round(time.monotonic() - began, 2),
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    # The seal before any word to Prefect: a server that is away must not undo finished work.
    write_record(at.job.root, record)
    at.progress.say(summary(record))
    publish_table(f"{at.job.manifest.name}-{at.stage}-counts", table_of(record), f"{at.stage}: rows by reason")
    return record


def _passed(job: Job, record: Record) -> Record:
    job.steps.append(record)
    if job.until == record.stage:
        raise UntilReached(record.stage)
    return record


def summary(record: Record) -> str:
    """One line for a person: what came out and how long it took."""
    kinds = [
        f"{sum(reasons.values()):,} {kind}s ({', '.join(f'{n:,} {reason}' for reason, n in by_size(reasons))})"
        for kind, reasons in record.counts.items()
        if reasons
    ]
    numbers = [f"{name} {value:.4g}" for name, value in record.facts.items() if isinstance(value, float)]
    return "; ".join([*kinds, *numbers, f"{record.seconds:.1f} s"])


def by_size(reasons: dict[str, int]) -> list[tuple[str, int]]:
    """Reasons with their counts: kept first, then the most frequent."""
    return sorted(reasons.items(), key=lambda item: (item[0] != "kept", -item[1], item[0]))


def table_of(record: Record) -> list[dict[str, Any]]:
    """The counts by reason as rows of a table."""
    return [
        {"kind": kind, "reason": reason, "rows": rows}
        for kind, reasons in record.counts.items()
        for reason, rows in by_size(reasons)
    ]


def _plan(job: Job, record: Record, unfinished: list[str], lost: Path | None) -> Planned:
    if not record.pending:
        rows = sum(n for reasons in record.counts.values() for n in reasons.values())
        return Planned(record.stage, "there", f"done {record.finished[:19]}", rows or None, record.bytes, job.arm)
    if lost:
        return Planned(record.stage, "run", f"{lost.name} is gone or not what it was", arm=job.arm)
    why = f"after {', '.join(dict.fromkeys(unfinished))}" if unfinished else why_again(job, record)
    return Planned(record.stage, "run", why, arm=job.arm)


def why_again(job: Job, record: Record) -> str:
    """Why there is no record yet: what differs from the nearest one that there is."""
    before = records_of(job.root, record.stage)
    if not before:
        return "never run"
    nearest = min((_differences(record, old) for old in reversed(before)), key=lambda found: len(found))
    return "; ".join(nearest)


def _differences(new: Record, old: Record) -> list[str]:
    found = [f"code {old.version} -> {new.version}"] if old.version != new.version else []
    before, after = _flat(old.config), _flat(new.config)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            found.append(f"{name} {before.get(name)!r} -> {after.get(name)!r}")
    return found + [f"{name} differs" for name in new.inputs if new.inputs[name] != old.inputs.get(name)]


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(config, dict):
        return {n: v for key, item in config.items() for n, v in _flat(item, f"{prefix}{key}.").items()}
    if isinstance(config, list):
        return {n: v for i, item in enumerate(config) for n, v in _flat(item, f"{prefix}{i}.").items()}
    return {prefix.rstrip("."): config}
