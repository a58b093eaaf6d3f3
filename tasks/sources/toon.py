"""Pictures that are drawn here: no download, no licence to ask for, and the truth about each is known."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imaging.toon import DRAWING, ToonConfig, draw_picture
from manifests.sources import ToonSource
from tasks.pool import worker_pool
from tasks.sources.found import (
    Found,
    Progress,
    content_path,
    facts_digest,
    keep_bytes,
    read_found,
    write_found,
)
from tasks.store import write_file

# Pictures a process draws at a time: seconds of work. What is interrupted loses no more than one group a process.
GROUP = 16


class Drawn(NamedTuple):
    """One drawn picture, and the line of truth.jsonl that belongs to it."""

    number: int
    origin: str
    id: str
    bytes: int
    truth: dict[str, Any]


def toon_fingerprint(config: ToonSource) -> object:
    """Everything that the pictures depend on, the way of drawing them included."""
    asked = config.model_dump(mode="json", exclude={"name", "workers", "licence", "attribution"})
    return {**asked, "drawing": DRAWING}


def draw_toon(config: ToonSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every picture, in order of its number, drawn by as many processes as the config says.

    `truth.jsonl` in `work` gets what was drawn, for tests; the pipeline never reads it. An interrupted call is gone on
    with: what was drawn is noted group by group.
    """
    version = facts_digest(toon_fingerprint(config))
    record = work / f"found-{version}.jsonl"
    if (files := read_found(record)) is None:
        drawn = _draw_all(config, work, work / f"drawn-{version}.jsonl", progress)
        write_file(work / "truth.jsonl", "".join(json.dumps(one.truth) + "\n" for one in drawn).encode())
        files = [Found(one.origin, content_path(work, one.id), one.id, one.bytes, None) for one in drawn]
        write_found(record, files)
    return iter(files)


def _draw_all(config: ToonSource, work: Path, notes: Path, progress: Progress) -> list[Drawn]:
    work.mkdir(parents=True, exist_ok=True)
    drawn = {one.number: one for one in _read_notes(notes) if _is_there(work, one) and one.number < config.pictures}
    missing = [number for number in range(config.pictures) if number not in drawn]
    groups = [missing[start : start + GROUP] for start in range(0, len(missing), GROUP)]
    with notes.open("a", encoding="utf-8") as out:
        for group in _draw_groups(config, work, groups):
            drawn.update((one.number, one) for one in group)
            out.write("".join(json.dumps(one) + "\n" for one in group))
            out.flush()
            progress(len(drawn), config.pictures, "pictures")
    return [drawn[number] for number in sorted(drawn)]


def _draw_groups(config: ToonSource, work: Path, groups: list[list[int]]) -> Iterator[list[Drawn]]:
    processes = min(config.workers or os.cpu_count() or 1, len(groups))
    if processes <= 1:
        yield from (draw_group(config, work, group) for group in groups)
        return
    with worker_pool(processes) as pool:
        yield from pool.map(draw_group, [config] * len(groups), [work] * len(groups), groups)


def draw_group(config: ToonSource, work: Path, numbers: Iterable[int]) -> list[Drawn]:
    """Draw these pictures and put them into `work`."""
    return [_draw_one(config, work, number) for number in numbers]


def _draw_one(config: ToonSource, work: Path, number: int) -> Drawn:
    plain = ToonConfig(**config.model_dump(include=set(ToonConfig.model_fields)))
    name, data, truth = draw_picture(config.seed, number, plain)
    digest, _ = keep_bytes(data, work)
    faces = [face._asdict() for face in truth.faces]
    return Drawn(number, name, digest, len(data), {"name": name, "id": digest, **vars(truth), "faces": faces})


def _read_notes(notes: Path) -> Iterator[Drawn]:
    """What an interrupted call noted; a line that it did not finish is left out."""
    for line in notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else []:
        try:
            yield Drawn(*json.loads(line))
        except json.JSONDecodeError:
            continue


def _is_there(work: Path, one: Drawn) -> bool:
    path = content_path(work, one.id)
    return path.is_file() and path.stat().st_size == one.bytes
