"""Data sets that NVIDIA's dataset_tool packed: a zip of square pictures, and dataset.json with their class numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifests.sources import NvidiaZipSource
from tasks.errors import IntegrityError
from tasks.sources.archive import identity, limits_of, obtain, unpack
from tasks.sources.found import Found, Progress, Said, clean_origin, facts_digest, read_found, write_found
from tasks.sources.transfer import PATIENCE, Patience
from tasks.sources.unpack import Unpacking

ABOUT = "dataset.json"
MOST_CLASSES = 1_000_000  # a larger class number is no class


def nvidia_zip_fingerprint(config: NvidiaZipSource) -> object:
    """Which zip it is and what is taken from it."""
    return [identity(config), config.count, config.members]


def find_in_nvidia_zip(
    config: NvidiaZipSource, work: Path, progress: Progress, patience: Patience = PATIENCE
) -> Iterator[Found]:
    """Every wanted picture of the zip, in its own order; its label is the class number that dataset.json gives it.

    Without dataset.json, or where its labels are null, no picture has a class. IntegrityError when the zip is damaged
    or dataset.json does not say one whole number for each picture.
    """
    record = work / f"found-{facts_digest(nvidia_zip_fingerprint(config))}.jsonl"
    if (files := read_found(record)) is None:
        archive = obtain(config, work, progress, patience)
        classes = read_classes(config, archive)
        files = unpack(config, archive, work, progress, lambda name: Said(classes.get(name) if classes else None))
        _judge_classes(archive, files, classes)
        write_found(record, files)
    return iter(files)


def read_classes(config: NvidiaZipSource, archive: Path) -> dict[str, str] | None:
    """The class of every picture that dataset.json names, as the ledger writes it; None where there are no classes."""
    members = [data for _, data in Unpacking(archive, limits_of(config), lambda name: clean_origin(name) == ABOUT)]
    if len(members) > 1:
        raise IntegrityError(f"{archive} holds {len(members)} members called {ABOUT}: one was expected")
    labels = _labels(archive, members[0]) if members else None
    if labels is None:
        return None
    classes: dict[str, str] = {}
    for entry in labels:
        name, number = _entry(archive, entry)
        if classes.setdefault(name, number) != number:
            raise IntegrityError(f"{archive}: {ABOUT} gives {name} two classes, {classes[name]} and {number}")
    return classes


def _labels(archive: Path, data: bytes) -> list[Any] | None:
    try:
        about = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{archive}: its {ABOUT} is no JSON: {error}") from error
    if isinstance(about, dict) and isinstance(labels := about.get("labels"), list | None):
        return labels
    raise IntegrityError(f'{archive}: its {ABOUT} is not of the form {{"labels": [[NAME, CLASS], ...]}}')


def _entry(archive: Path, entry: Any) -> tuple[str, str]:
    match entry:
        case [str(name), int(number)] if number is not True and number is not False and 0 <= number < MOST_CLASSES:
            return clean_origin(name), str(number)
    raise IntegrityError(
        f"{archive}: {ABOUT} says {json.dumps(entry)[:200]}; expected [NAME, CLASS], a whole number from 0: "
        "vectors and other conditions are not read, set labels to null to train without them"
    )


def _judge_classes(archive: Path, files: list[Found], classes: dict[str, str] | None) -> None:
    without = [file.origin for file in files if file.label is None]
    if classes is not None and without:
        raise IntegrityError(f"{archive}: {ABOUT} gives {len(without):,} pictures no class, the first is {without[0]}")
