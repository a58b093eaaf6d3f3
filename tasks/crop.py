"""crop: each picture is opened once; its faces, measures and hashes become rows. No pixel is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from imaging.crop import CropConfig, Face, Look, Picture, find_faces
from imaging.detect import asset_names, detector_version
from imaging.hash import HashKind
from manifests.ledger import count_reasons, ledger_of, read_ledger, rows_of, write_ledger
from tasks.assets import find_asset, read_assets
from tasks.buckets import Portion, each_bucket
from tasks.errors import IntegrityError
from tasks.guard import busy_with, note_against, quarantined
from tasks.job import Job
from tasks.stage import Outcome, Place, stage
from tasks.store import Record


def _asked(job: Job) -> Any:
    crop = job.manifest.crop
    return {
        "crop": crop,
        "hash": job.manifest.dedup.hash,
        "detector": detector_version(crop),
        "assets": {name: _digest(name) for name in asset_names(crop)},
    }


def detector_files(config: CropConfig, root: Path) -> dict[str, Path]:
    """The files that the detector needs, by name; AssetMissing or ValueError says how to get one that is not there."""
    return {name: path if (path := _own(name)) else find_asset(name, root) for name in asset_names(config)}


def _own(name: str) -> Path | None:
    """The user's own file of this name, None when it is one of manifests/assets.yaml."""
    if name in read_assets():
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"crop.model: no file {path}, and manifests/assets.yaml knows no asset of that name")
    return path


def _digest(name: str) -> str:
    path = _own(name)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else read_assets()[name].sha256


@stage("crop", version=5, config=_asked)
def crop_faces(at: Place, pictures: Record) -> Outcome:
    """Find, measure and hash the faces of every picture that has no reason yet."""
    config = at.job.manifest.crop
    asked = (config, at.job.manifest.dedup.hash, detector_files(config, at.job.root))
    buckets = each_bucket(
        at,
        crop_bucket,
        {
            name: Portion({"pictures": bucket.output}, (at.job.root / bucket.folder, *asked))
            for name, bucket in pictures.buckets.items()
        },
    )
    ledger = at.job.ledger(buckets)
    return Outcome(buckets=buckets, counts=count_reasons(ledger), facts=quarantined(at.job.root, ledger["id"]))


def crop_bucket(folder: Path, pictures: Path, config: CropConfig, kind: HashKind, assets: dict[str, Path]) -> None:
    """The bucket's ledger with its pictures' findings and a row for every face."""
    paths = pd.read_parquet(pictures / "paths.parquet").set_index("id")["path"]
    rows: list[dict[str, Any]] = []
    for row in rows_of(read_ledger(pictures / "ledger.parquet")):
        if row["reason"]:
            rows.append(row)
            continue
        rows.extend(_findings(row, _look_at(row, Path(paths[row["id"]]), config, kind, assets)))
    write_ledger(ledger_of(rows), folder / "ledger.parquet")


def _look_at(row: dict[str, Any], path: Path, config: CropConfig, kind: HashKind, assets: dict[str, Path]) -> Picture:
    if note := note_against(row["id"]):
        return Picture("undecodable", "", (note,), (0, 0), None, None, [])
    data = _bytes_of(path, row)
    with busy_with(row["id"]):
        return find_faces(data, row["origin"], config, kind, assets)


def _findings(row: dict[str, Any], found: Picture) -> Iterator[dict[str, Any]]:
    yield {**row, **_of_picture(found)}
    for number, face in enumerate(found.faces):
        yield {**row, **_of_picture(found), **_of_face(face), "id": f"{row['id']}_{number:03d}", "kind": "face"}


def _bytes_of(path: Path, row: dict[str, Any]) -> bytes:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != row["id"]:
        raise IntegrityError(f"{path} is not what it was when it was listed ({row['origin']}): run again to list anew")
    return data


def _of_picture(found: Picture) -> dict[str, Any]:
    height, width = found.size
    facts = {"format": found.format, "notes": ", ".join(found.notes), "height": height, "width": width}
    return {
        **facts,
        "jpeg_quality": found.quality,
        **(_of_look(found.look) if found.look else {}),
        "reason": found.reason,
    }


def _of_face(face: Face) -> dict[str, Any]:
    x0, y0, x1, y1 = face.detection.box
    box = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "confidence": face.detection.confidence, "reason": face.reason}
    names = ("cut_x0", "cut_y0", "cut_x1", "cut_y1")
    square = dict(zip(names, face.square, strict=True)) if face.square else {}
    return {**box, **square, **_of_points(face), **_of_look(face.look)}


def _of_points(face: Face) -> dict[str, Any]:
    points = {"landmarks": face.detection.landmarks, "quad": face.quad}
    flat = {name: [number for point in found for number in point] for name, found in points.items() if found}
    return {**flat, **(face.pose._asdict() if face.pose else {})}


def _of_look(look: Look) -> dict[str, Any]:
    hashes = {"hash": f"{look.hash:016x}", "hash256": f"{look.hash256:064x}"}
    return {**look.measures._asdict(), **hashes, "thumb": look.thumb.tobytes()}
