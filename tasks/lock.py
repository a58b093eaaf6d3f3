"""Write the lock of a job beside its manifest, and look whether the disk still holds what the records say."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from manifests.load import ManifestError
from manifests.lock import Lock, LockedStage, dump_lock, lock_path, read_lock
from tasks.assets import read_assets
from tasks.job import Job
from tasks.preflight import needed_assets
from tasks.store import File, Record, digest_of, file_of, read_record, write_text

# Libraries whose version can change a byte of what comes out.
LIBRARIES = (
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "pillow",
    "opencv-python-headless",
    "simplejpeg",
    "imagehash",
    "safetensors",
)
# Facts of the clock and of this disk: a lock holds what comes out again.
_OF_THE_DAY = ("seconds", "seconds_per_kimg", "run", "runs")


def write_lock(job: Job) -> Path:
    """What the job's stages made, in manifests/NAME.lock.json."""
    known = read_assets()
    manifest = job.manifest.model_dump(mode="json")
    lock = Lock(
        manifest=manifest,
        settings_digest=digest_of(manifest),
        seed=job.manifest.seed,
        libraries={"python": platform.python_version(), **{name: version(name) for name in libraries_of(job)}},
        assets={name: known[name].sha256 for name in needed_assets(job.manifest)},
        stages=[_locked(record) for record in job.all_steps],
    )
    path = lock_path(job.path)
    write_text(path, dump_lock(lock))
    return path


def libraries_of(job: Job) -> tuple[str, ...]:
    """Those that made this job's bytes."""
    ncnn = any(record.facts.get("backend") == "ncnn" for record in job.all_steps)
    return (*LIBRARIES, "ncnn") if ncnn else LIBRARIES


def _locked(record: Record) -> LockedStage:
    return LockedStage(
        stage=record.stage,
        version=record.version,
        config=record.config,
        inputs=record.inputs,
        key=record.key,
        output=record.output,
        files={name: file.sha256 for name, file in record.files.items()},
        buckets={name: bucket.output for name, bucket in record.buckets.items()},
        counts=record.counts,
        facts={name: value for name, value in record.facts.items() if name not in _OF_THE_DAY},
    )


def locked_records(job: Job) -> Iterator[Record | Difference]:
    """The records that the manifest's lock names; a Difference for one that is gone or came out otherwise."""
    path = lock_path(job.path)
    if not path.is_file():
        raise ManifestError(f"{path} is not there: `stylegan run {job.path}` writes it at its end")
    for locked in read_lock(path).stages:
        record = read_record(job.root, locked.stage, locked.key)
        seal = job.root / locked.stage / locked.key / "record.json"
        if record is None:
            yield Difference(locked.stage, "", seal, "missing", "a record")
        elif record.output != locked.output:
            yield Difference(locked.stage, "", seal, f"output {record.output}", f"output {locked.output}")
        else:
            yield record


class Difference(NamedTuple):
    """A file that is not what its record says."""

    stage: str
    bucket: str
    file: Path
    found: str
    expected: str


def differences(root: Path, records: list[Record], deep: bool) -> Iterator[Difference]:
    """Files of these stages that are gone or have another size; with deep, another digest."""
    for record in records:
        yield from _differ(record.stage, "", root / record.folder, record.files, deep)
        for name, bucket in record.buckets.items():
            yield from _differ(record.stage, name, root / bucket.folder, bucket.files, deep)


def _differ(stage: str, bucket: str, folder: Path, files: dict[str, File], deep: bool) -> Iterator[Difference]:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            yield Difference(stage, bucket, path, "missing", f"{expected.bytes} bytes")
        elif path.stat().st_size != expected.bytes:
            yield Difference(stage, bucket, path, f"{path.stat().st_size} bytes", f"{expected.bytes} bytes")
        elif deep and (found := file_of(path)).sha256 != expected.sha256:
            yield Difference(stage, bucket, path, f"sha256 {found.sha256[:16]}", f"sha256 {expected.sha256[:16]}")
