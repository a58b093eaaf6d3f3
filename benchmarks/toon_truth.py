"""What the pipeline finds in drawn pictures, counted against what was drawn.

    python -m benchmarks.toon_truth [--manifest manifests/toon.yaml]

Runs download, crop and dedup of the manifest where they are not there yet. The pipeline never reads the truth.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from manifests.load import load_manifest
from tasks.crop import crop_faces
from tasks.dedup import drop_duplicates
from tasks.download import download_pictures, source_folder
from tasks.job import Job, data_root


class Share(NamedTuple):
    """So many of so many."""

    hits: int
    total: int

    @property
    def share(self) -> float:
        """0..1."""
        return self.hits / self.total

    def __str__(self) -> str:
        return f"{self.hits}/{self.total} ({100 * self.share:.1f} %)"


class Measured(NamedTuple):
    """The pipeline against the truth."""

    recall: Share  # faces of good pictures that have a box on them
    false_boxes: Share  # boxes of good pictures on no face
    duplicates_found: Share  # planted pairs of which one left
    duplicates_wrong: Share  # pictures that left as duplicates and are in no planted pair
    faces_merged: Share  # faces that left as duplicates of somebody else
    faults: dict[str, Share]  # by planted fault: left for a right reason, or stayed where it should
    reasons: dict[str, Counter[str]]  # by planted fault: what the picture's row says


def prepare(job: Job) -> pd.DataFrame:
    """The ledger after dedup."""
    return job.ledger(drop_duplicates(job, crop_faces(job, download_pictures(job))).buckets)


def read_truth(job: Job) -> list[dict[str, Any]]:
    """What was drawn, a dictionary a picture."""
    lines = (source_folder(job, job.manifest.sources[0]) / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def measure(ledger: pd.DataFrame, truth: list[dict[str, Any]]) -> Measured:
    """Count finds against the truth."""
    pictures = ledger[ledger["kind"] == "picture"].set_index("origin")
    faces = ledger[ledger["kind"] == "face"]
    pairs = [(line["name"], line["duplicate_of"]) for line in truth if line["duplicate_of"]]
    members = {name for pair in pairs for name in pair}
    marked = pictures.index[pictures["reason"].str.startswith("duplicate_of")]
    return Measured(
        *_detection(faces, [line for line in truth if "" in line["reasons"]]),
        Share(sum(bool(set(pair) & set(marked)) for pair in pairs), len(pairs)),
        Share(len(set(marked) - members), len(marked)),
        _merged(ledger, faces, truth),
        *_faults(pictures, faces, truth),
    )


def _detection(faces: pd.DataFrame, good: list[dict[str, Any]]) -> tuple[Share, Share]:
    by_picture = dict(list(faces.groupby("origin")))
    hits = [is_seen(face, by_picture.get(line["name"], faces[:0])) for line in good for face in line["faces"]]
    num_boxes = sum(len(by_picture.get(line["name"], ())) for line in good)
    return Share(sum(hits), len(hits)), Share(num_boxes - sum(hits), num_boxes)


def is_seen(face: dict[str, Any], boxes: pd.DataFrame) -> bool:
    """Whether the centre of a box lies within a quarter of the true box's side of the true centre."""
    x0, y0, x1, y1 = face["box"]
    dx = (boxes["x0"] + boxes["x1"] - x0 - x1).abs() / 2
    dy = (boxes["y0"] + boxes["y1"] - y0 - y1).abs() / 2
    return bool(((dx < (x1 - x0) / 4) & (dy < (y1 - y0) / 4)).any())


def _merged(ledger: pd.DataFrame, faces: pd.DataFrame, truth: list[dict[str, Any]]) -> Share:
    family = {line["name"]: line["duplicate_of"] or line["name"] for line in truth}
    origin_of = ledger.drop_duplicates("id").set_index("id")["origin"]
    left = faces[faces["reason"].str.startswith("duplicate_of")]
    keepers = left["reason"].str.removeprefix("duplicate_of:").map(origin_of)
    wrong = [family[a] != family[b] for a, b in zip(left["origin"], keepers, strict=True)]
    return Share(sum(wrong), len(faces))


def _faults(
    pictures: pd.DataFrame, faces: pd.DataFrame, truth: list[dict[str, Any]]
) -> tuple[dict[str, Share], dict[str, Counter[str]]]:
    right: dict[str, list[bool]] = {}
    reasons: dict[str, Counter[str]] = {}
    for line in (line for line in truth if line["fault"]):
        rows = [pictures.loc[line["name"], "reason"], *faces[faces["origin"] == line["name"]]["reason"]]
        names = [reason.split(":")[0] for reason in rows]
        stayed = "" in line["reasons"] and names[0] == "" and (not line["faces"] or "" in names[1:])
        right.setdefault(line["fault"], []).append(stayed or bool(set(names) & (set(line["reasons"]) - {""})))
        first = names[0] or next((name for name in names[1:] if name), "")
        reasons.setdefault(line["fault"], Counter())[first or "kept"] += 1
    return {fault: Share(sum(hits), len(hits)) for fault, hits in sorted(right.items())}, reasons


def main() -> None:
    """Print the counts as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, default=Path("manifests/toon.yaml"))
    path = parser.parse_args().manifest
    job = Job(load_manifest(path), path, data_root())
    ledger = prepare(job)
    found = measure(ledger, read_truth(job))
    for name in ("recall", "false_boxes", "duplicates_found", "duplicates_wrong", "faces_merged"):
        print(f"{name.replace('_', ' '):<18} {getattr(found, name)}")
    for fault, share in found.faults.items():
        said = ", ".join(f"{count} {reason}" for reason, count in found.reasons[fault].most_common())
        print(f"{fault.replace('_', ' '):<22} {share!s:<16} {said}")


if __name__ == "__main__":
    main()
