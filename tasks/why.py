"""why: the whole story of a picture and its faces, out of the ledgers of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tasks.job import Job
from tasks.lookup import MOST, Lookup, Row
from tasks.shard import source_weights
from tasks.store import Record

Story = dict[str, Any]  # {"pictures": [row, ...], "faces": [row, ...]}; a row has the columns that say something
_MEASURES = ("brightness", "contrast", "saturation", "sharpness", "border", "jpeg_quality")


def stories_of(job: Job, what: str) -> list[Story]:
    """What became of the pictures that are meant by the beginning of an id, an origin, a file name, or a part of one.

    Answered by the last finished stage that has a ledger; parts of names are looked for only where nothing else fits.
    ValueError when no stage has a ledger yet.
    """
    record = next((record for record in reversed(job.steps) if record.buckets and not record.pending), None)
    if record is None:
        raise ValueError(f"{job.path} has no ledger yet: run it first")
    ledger = Lookup(job.root, record, job.manifest.buckets)
    pictures = dict.fromkeys(row["picture"] for row in ledger.rows(what))
    pictures |= dict.fromkeys(ledger.pictures_called(what))
    if not pictures:
        pictures = dict.fromkeys(ledger.pictures_with(what))
    trainings = _trainings(job)
    return [_story(job, ledger, picture, trainings) for picture in list(pictures)[:MOST]]


def _trainings(job: Job) -> list[tuple[Record, Lookup, Record]]:
    """Every training so far with the shards that it was shown."""
    found, shards = [], None
    for record in job.steps:
        if record.stage == "shard" and not record.pending:
            shards = record
        elif record.stage in ("train", "retrain") and not record.pending and shards:
            found.append((shards, Lookup(job.root, shards, job.manifest.buckets), record))
    return found


def _story(job: Job, ledger: Lookup, picture: str, trainings: list[tuple[Record, Lookup, Record]]) -> Story:
    rows = ledger.rows(picture)
    shown = _times_shown(job, picture, trainings)
    story: Story = {"pictures": [], "faces": []}
    for row in rows:
        said = {name: value for name, value in row.items() if value not in ("", None)}
        if row["facts"]:
            said["facts"] = json.loads(row["facts"])
        keeper = row["keeper"] or row["reason"].partition("duplicate_of:")[2]
        if keeper not in ("", row["id"]) and (other := ledger.rows(keeper[:64], 1)):
            said["keeper_origin"] = other[0]["origin"]
        if row["id"] in shown:
            said["shown"] = round(shown[row["id"]], 1)
        story["pictures" if row["kind"] == "picture" else "faces"].append(said)
    return story


def _times_shown(job: Job, picture: str, trainings: list[tuple[Record, Lookup, Record]]) -> dict[str, float]:
    """{face: how often trainings have shown it, on average}: images shown over faces, times the share of its weight."""
    times: dict[str, float] = {}
    weights = source_weights(job.manifest)
    for shards, ledger, training in trainings:
        rounds = training.facts["kimg"] * 1000 / shards.facts["train"] / shards.facts.get("mean_weight", 1.0)
        for row in ledger.rows(picture):
            if row["split"] == "train" and not row["reason"]:
                weight = weights.get(row["source"], 1.0) if "mean_weight" in shards.facts else 1.0
                times[row["id"]] = times.get(row["id"], 0.0) + rounds * weight
    return times


def lines_of(story: Story) -> Iterator[str]:
    """The story for a person."""
    for row in story["pictures"]:
        yield f"picture {row['id'][:12]} {row['origin']}: {_verdict(row)}"
        yield from _indented(_picture_facts(row), "  ")
    for row in story["faces"]:
        yield f"  {row['kind']} {row['id'][:12]}{row['id'][64:]}: {_verdict(row)}"
        yield from _indented(_face_facts(row), "    ")


def _verdict(row: Row) -> str:
    reason: str = row.get("reason", "kept")
    return f"{reason} ({row['keeper_origin']})" if "keeper_origin" in row and ":" in reason else reason


def _indented(facts: dict[str, str], indent: str) -> Iterator[str]:
    for name, value in facts.items():
        if value:
            yield f"{indent}{name:<9} {value}"


def _picture_facts(row: Row) -> dict[str, str]:
    size = f"{row['width']} x {row['height']} px" if "width" in row else ""
    file = (f"{row.get('bytes', 0):,} bytes", row.get("format", ""), size, row.get("notes", ""))
    return {
        "id": row["id"],
        "source": _said(row, "source", "licence", "label", "rating", "tags"),
        "facts": ", ".join(f"{name} {value}" for name, value in row.get("facts", {}).items()),
        "file": ", ".join(filter(None, file)),
        "measures": _measures(row),
        "alike": _alike(row),
    }


def _face_facts(row: Row) -> dict[str, str]:
    aligned = ", aligned by its landmarks" if "quad" in row else ""
    pose = "".join(f", {name} {row[name]:.1f}" for name in ("yaw", "roll") if name in row)
    found = f"{_box(row, '')}, confidence {row['confidence']:.3g}{pose}" if "confidence" in row else _box(row, "")
    place = f"{row['shard']} at {row['offset']:,}, {row['length']:,} bytes" if "offset" in row else ""
    return {
        "found": found,
        "cut": f"{_box(row, 'cut_')}{aligned}" if "cut_x0" in row else "",
        "notes": row.get("notes", ""),
        "measures": _measures(row),
        "alike": _alike(row),
        "shard": ", ".join(filter(None, (place, row.get("split", "").replace("_", " ")))),
        "score": _score(row),
        "shown": f"about {row['shown']:g} times in training" if "shown" in row else "",
    }


def _said(row: Row, *names: str) -> str:
    first, *others = (row.get(name, "") if name == "source" else f"{name} {row[name]}" for name in names if name in row)
    return ", ".join((first, *others))


def _measures(row: Row) -> str:
    return ", ".join(f"{name} {row[name]:.3g}" for name in _MEASURES if name in row)


def _score(row: Row) -> str:
    numbers = [f"{name} {row[name]:.4g}" for name in ("score", "distance", "worth") if name in row]
    return ", ".join([*numbers, f"rank {row['rank']:,}"] if "rank" in row else numbers).removeprefix("score ")


def _box(row: Row, prefix: str) -> str:
    corners = [row.get(f"{prefix}{corner}") for corner in ("x0", "y0", "x1", "y1")]
    return "" if None in corners else "{},{} to {},{}".format(*corners)


def _alike(row: Row) -> str:
    group = f"group {row['group'][:12]}{row['group'][64:]}" if "group" in row else ""
    keeper = f"keeper {row['keeper'][:12]}{row['keeper'][64:]}" if "keeper" in row else ""
    return ", ".join(filter(None, (f"hash {row['hash']}" if "hash" in row else "", group, keeper)))
