"""Contact sheets of ledger rows: what was kept, what left for which reason, both ends of a ranking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from imaging.cut import cut
from imaging.decode import Image8, Undecodable, decode
from imaging.detect import Box
from imaging.sheet import sheet
from manifests.ledger import face_of, kept, rows_of
from tasks.job import Job
from tasks.shards import Span, read_span
from tasks.store import Record

COLUMNS = 8
BLANK: Image8 = np.full((64, 64, 3), 200, np.uint8)  # stands for a file that shows nothing


def face_sheet(job: Job, shards: Record, faces: pd.DataFrame, caption: str = "") -> Image8:
    """The faces as training sees them; caption names a column whose value is written below each."""
    images = _images(job, shards, faces)
    return sheet(images, min(COLUMNS, len(images)), [f"{value:.2f}" for value in faces[caption]] if caption else None)


def variant_sheet(job: Job, shards: Record, ledger: pd.DataFrame, num_faces: int = 6) -> Image8 | None:
    """The first faces that have variants, a row each: the face, then what was made of it, said below; None for none."""
    variants = kept(ledger, "variant").sort_values("id")
    faces = variants["id"].map(face_of)
    ids = [id for face in faces.unique()[:num_faces] for id in (face, *variants["id"][faces == face][: COLUMNS - 1])]
    if not ids:
        return None
    chosen = ledger.set_index("id", drop=False).loc[ids]
    captions = chosen["notes"].where(chosen["kind"] == "variant", "face").tolist()
    return sheet(_images(job, shards, chosen), len(ids) // min(num_faces, faces.nunique()), captions)


def reason_sheets(
    job: Job, pictures: Record, ledger: pd.DataFrame, count: int = COLUMNS
) -> dict[tuple[str, str], Image8]:
    """{(kind, reason): sheet} with a few rows of every reason, from the pictures as they came."""
    paths = path_of(job, pictures)
    reasons = ledger["reason"].str.replace(r"^duplicate_of:.*", "duplicate", regex=True)
    sheets = {}
    for (kind, reason), rows in ledger[reasons != ""].groupby([ledger["kind"], reasons]):
        # Spread over the ledger: neighbours in it are neighbours in nothing else.
        chosen = rows.iloc[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
        images = [_thumb(row, paths) for row in rows_of(chosen)]
        sheets[str(kind), str(reason)] = sheet(
            images, min(COLUMNS, len(images)), [Path(o).name for o in chosen["origin"]]
        )
    return sheets


def _images(job: Job, shards: Record, rows: pd.DataFrame) -> list[Image8]:
    images = []
    for row in rows_of(rows):
        with (job.folder(shards) / row["shard"]).open("rb") as opened:
            data = read_span(opened, Span(int(row["offset"]), int(row["length"])))
        images.append(decode(data).image)
    return images


def path_of(job: Job, pictures: Record) -> Callable[[str], Path]:
    """A function from a picture's id to where its bytes lie."""
    tables = [pd.read_parquet(job.root / bucket.folder / "paths.parquet") for bucket in pictures.buckets.values()]
    paths = pd.concat(tables).set_index("id")["path"]
    return lambda picture: Path(paths[picture])


def _thumb(row: dict[str, Any], path_of: Callable[[str], Path]) -> Image8:
    try:
        image = decode(path_of(row["picture"]).read_bytes()).image
    except (Undecodable, OSError):  # what left because it does not decode, or a folder that moved on since
        return BLANK
    if row["kind"] != "picture":
        image = cut(image, Box(row["x0"], row["y0"], row["x1"], row["y1"]))
    scale = 128 / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
