"""The lock: what came out of a run, complete enough to see what differs elsewhere; sorted, so that it diffs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class LockedStage(BaseModel):
    """One stage as it came out."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: str
    version: int
    config: Any
    inputs: dict[str, str]
    key: str
    output: str
    files: dict[str, str]  # name -> sha256
    buckets: dict[str, str]  # bucket -> digest of its files
    counts: dict[str, dict[str, int]]
    facts: dict[str, Any]


class Lock(BaseModel):
    """What a run of a manifest made, and with what."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    manifest: Any
    settings_digest: str
    seed: int
    libraries: dict[str, str]
    assets: dict[str, str]  # file name -> sha256
    stages: list[LockedStage]


def lock_path(manifest: Path) -> Path:
    """Where a manifest's lock lies: beside it, NAME.lock.json."""
    return manifest.with_suffix(".lock.json")


def dump_lock(lock: Lock) -> str:
    """The lock as text with sorted keys, a line a value."""
    return json.dumps(lock.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_lock(path: Path) -> Lock:
    """The lock in a file; ValueError when it is no lock."""
    return Lock.model_validate_json(path.read_text(encoding="utf-8"))
