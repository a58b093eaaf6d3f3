"""What is on disk: records, the folders they seal, and the digests that name them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.errors import IntegrityError

Counts = dict[str, dict[str, int]]  # {"picture": {"kept": 90, "no_face": 10}, "face": {...}}


class File(BaseModel):
    """A file of a stage: its sha256 and its size."""

    model_config = ConfigDict(frozen=True)
    sha256: str
    bytes: int


class Bucket(BaseModel):
    """One bucket's share of a stage: where it lies (relative to the root) and the files in it."""

    model_config = ConfigDict(frozen=True)
    folder: str
    files: dict[str, File]
    seconds: float = 0.0  # of work, once; a bucket that was there already cost nothing

    @property
    def output(self) -> str:
        """Digest of what is in it, wherever it lies."""
        return digest_of({name: file.sha256 for name, file in self.files.items()})


class Record(BaseModel):
    """The seal of a finished stage; written last, so a stage without one is not finished."""

    model_config = ConfigDict(frozen=True)
    stage: str
    version: int
    config: Any
    inputs: dict[str, str]  # argument name -> output digest of that record
    key: str  # digest of the four above; names the folder
    files: dict[str, File] = {}
    buckets: dict[str, Bucket] = {}
    counts: Counts = {}
    facts: dict[str, Any] = {}  # numbers that came out: metrics, rows, the run's folder
    seconds: float = 0.0
    finished: str = ""  # UTC, ISO 8601
    pending: bool = False  # a plan's stand-in for a record that a run would write

    @property
    def folder(self) -> str:
        """The stage's folder, relative to the root."""
        return f"{self.stage}/{self.key}"

    @property
    def output(self) -> str:
        """Digest of what came out: equal outputs, equal digest, whenever and wherever they were made."""
        return digest_of(
            {
                "files": {name: file.sha256 for name, file in self.files.items()},
                "buckets": {name: bucket.output for name, bucket in self.buckets.items()},
            }
        )

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        files = [*self.files.values(), *(f for bucket in self.buckets.values() for f in bucket.files.values())]
        return sum(file.bytes for file in files)


def digest_of(value: Any) -> str:
    """16 hex digits of the sha256 of the value as sorted JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def key_of(stage: str, version: int, config: Any, inputs: dict[str, str]) -> str:
    """The name of the folder of a stage (or of a bucket of it) with this version, config and these inputs."""
    return digest_of({"stage": stage, "version": version, "config": config, "inputs": inputs})


def file_of(path: Path) -> File:
    """Size and sha256 of a file."""
    with path.open("rb") as opened:
        return File(sha256=hashlib.file_digest(opened, "sha256").hexdigest(), bytes=path.stat().st_size)


def files_in(folder: Path, names: Iterator[str] | list[str]) -> dict[str, File]:
    """Size and sha256 of the named files of a folder."""
    return {name: file_of(folder / name) for name in sorted(names)}


def write_file(path: Path, data: bytes, sync: bool = True) -> None:
    """Write a file so that under its name it is there whole or not at all.

    With sync that holds after a power cut, too; sync=False leaves it to one os.sync() for many files.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as out:
            out.write(data)
            if sync:
                out.flush()
                os.fsync(out.fileno())
        partial.replace(path)
    except OSError as error:
        raise explain_disk_full(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


def explain_disk_full(error: OSError, path: Path) -> OSError:
    """The error itself, or, where the disk or a quota is full, one that says so and what to do."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return OSError(error.errno, "the disk is full: make room and run again, what is here already stays", str(path))


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) as write_file does."""
    write_file(path, text.encode())


def write_record(root: Path, record: Record) -> None:
    """Seal the stage."""
    write_text(root / record.folder / "record.json", record.model_dump_json(indent=1) + "\n")


def read_record(root: Path, stage: str, key: str) -> Record | None:
    """The stage's record, None when it is not finished."""
    path = root / stage / key / "record.json"
    if not path.is_file():
        return None
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(
            f"{path} is no record: delete that folder and the stage is done again ({error})"
        ) from error


def lost_file(root: Path, record: Record) -> Path | None:
    """The first of the record's files that is gone or has another size; None when all are there.

    A look at names and sizes only, so that it costs nothing to look each time; `verify --deep` compares digests.
    """
    parts = [(record.folder, record.files), *((bucket.folder, bucket.files) for bucket in record.buckets.values())]
    for folder, files in parts:
        if lost := lost_in(root / folder, files):
            return lost
    checkpoint = root / str(record.facts.get("run", "")) / "checkpoints" / str(record.facts.get("checkpoint", ""))
    return checkpoint if "checkpoint" in record.facts and not (checkpoint / "checkpoint.json").is_file() else None


def lost_in(folder: Path, files: dict[str, File]) -> Path | None:
    """The first of these files that is gone from the folder or has another size."""
    for name, file in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file.bytes:
            return path
    return None


def records_of(root: Path, stage: str) -> list[Record]:
    """All records of a stage, the newest last."""
    keys = [path.parent.name for path in (root / stage).glob("*/record.json")]
    found = [record for key in keys if (record := read_record(root, stage, key))]
    return sorted(found, key=lambda record: record.finished)
