"""The drawn source knows the truth, so the pipeline's finds can be counted against it."""

from __future__ import annotations

import json
from typing import NamedTuple

import pandas as pd
import pytest

from manifests.schema import Manifest
from tasks.crop import crop_faces
from tasks.dedup import drop_duplicates
from tasks.download import download_pictures, source_folder
from tasks.job import Job

PICTURES = 160


class Found(NamedTuple):
    ledger: pd.DataFrame
    truth: list[dict]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("toon")
    manifest = Manifest.model_validate(
        {
            "name": "truth",
            "sources": [{"kind": "toon", "pictures": PICTURES, "fault_rate": 0.4, "seed": 7}],
            "crop": {"min_face": 64},
            "train": {"preset": "toon"},
        }
    )
    job = Job(manifest, folder / "m.yaml", folder / "data")
    ledger = job.ledger(drop_duplicates(job, crop_faces(job, download_pictures(job))).buckets)
    lines = (source_folder(job, manifest.sources[0]) / "truth.jsonl").read_text().splitlines()
    return Found(ledger, [json.loads(line) for line in lines])


def _pictures(found: Found) -> pd.DataFrame:
    """Picture rows by origin."""
    return found.ledger[found.ledger["kind"] == "picture"].set_index("origin")


def _is_seen(truth: dict, boxes: pd.DataFrame) -> bool:
    """Whether a detected box has its centre within a quarter of the true box's side of the true centre."""
    x0, y0, x1, y1 = truth["box"]
    dx = (boxes["x0"] + boxes["x1"] - x0 - x1).abs() / 2
    dy = (boxes["y0"] + boxes["y1"] - y0 - y1).abs() / 2
    return bool(((dx < (x1 - x0) / 4) & (dy < (y1 - y0) / 4)).any())


def test_nearly_every_face_is_found_and_little_else(found: Found) -> None:
    faces = found.ledger[found.ledger["kind"] == "face"]
    seen, missed = 0, 0
    good = [line for line in found.truth if "" in line["reasons"]]
    for line in good:
        boxes = faces[faces["origin"] == line["name"]]
        hits = [_is_seen(face, boxes) for face in line["faces"]]
        seen, missed = seen + sum(hits), missed + len(hits) - sum(hits)
    num_boxes = len(faces[faces["origin"].isin([line["name"] for line in good])])
    print(f"recall {seen}/{seen + missed} faces, {num_boxes - seen} of {num_boxes} boxes false")
    assert seen / (seen + missed) >= 0.95
    assert (num_boxes - seen) / num_boxes <= 0.05


def test_planted_duplicates_are_found_and_hardly_anything_else_is(found: Found) -> None:
    pictures = _pictures(found)
    pairs = [(line["name"], line["duplicate_of"]) for line in found.truth if line["duplicate_of"]]
    caught = [sum(pictures.loc[name, "reason"].startswith("duplicate_of") for name in pair) >= 1 for pair in pairs]
    marked = pictures[pictures["reason"].str.startswith("duplicate_of")]
    members = {name for pair in pairs for name in pair}
    wrong = [name for name in marked.index if name not in members]
    print(f"duplicates: recall {sum(caught)}/{len(caught)}, precision {len(marked) - len(wrong)}/{len(marked)}")
    assert sum(caught) / len(caught) >= 0.95
    assert len(wrong) / len(marked) <= 0.05


def test_different_faces_are_not_merged(found: Found) -> None:
    faces = found.ledger[(found.ledger["kind"] == "face") & found.ledger["reason"].str.startswith("duplicate_of")]
    origin_of = found.ledger.drop_duplicates("id").set_index("id")["origin"]
    family = {line["name"]: line["duplicate_of"] or line["name"] for line in found.truth}
    merged = [
        row["id"]
        for row in faces.to_dict("records")
        if family[row["origin"]] != family[origin_of[row["reason"].removeprefix("duplicate_of:")]]
    ]
    num_faces = int((found.ledger["kind"] == "face").sum())
    print(f"{len(merged)} of {num_faces} faces merged with another")
    assert len(merged) <= 0.01 * num_faces


def test_every_planted_fault_leaves_for_its_reason_or_stays_where_it_should(found: Found) -> None:
    pictures = _pictures(found)
    faces = found.ledger[found.ledger["kind"] == "face"]
    right: dict[str, list[bool]] = {}
    for line in found.truth:
        if not line["fault"]:
            continue
        rows = [pictures.loc[line["name"], "reason"], *faces[faces["origin"] == line["name"]]["reason"]]
        reasons = {reason.split(":")[0] for reason in rows}
        kept_fine = "" in line["reasons"] and rows[0] == "" and (not line["faces"] or "" in rows[1:])
        right.setdefault(line["fault"], []).append(kept_fine or bool(reasons & (set(line["reasons"]) - {""})))
    for fault, found_right in sorted(right.items()):
        print(f"{fault}: {sum(found_right)}/{len(found_right)}")
    assert len(right) >= 17
    assert sum(map(sum, right.values())) / sum(map(len, right.values())) >= 0.95
    assert all(any(found_right) for found_right in right.values())
