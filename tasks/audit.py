"""The audit page: a hundred kept faces, and a hundred of every reason, drawn at random, to be judged by eye."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from markupsafe import Markup

from imaging.align import cut_quad, quad_of
from imaging.crop import CropConfig
from imaging.cut import cut
from imaging.decode import REDUCTIONS, Image8, Undecodable, decode
from imaging.detect import Box
from imaging.encode import Codec, encode
from manifests.ledger import rows_of
from tasks.job import Job
from tasks.report import MEANINGS, templates, words
from tasks.store import Record, write_file

SHOWN = 100  # rows of each kind and reason: 3 kB a picture make 400 kB a reason, whatever the size of the ledger
MOST_REASONS = 40  # of them pages stay below 20 MB; what is left out is said
TILE = 112  # px
# The measure that decides about a reason, as the ledger or `_side` has it, and the setting that it is held against.
DECIDED = {
    "picture_too_small": ("side", "min_face"),
    "face_too_small": ("side", "min_face"),
    "monochrome": ("contrast", "min_contrast"),
    "grey": ("saturation", "min_saturation"),
    "blurry": ("sharpness", "min_sharpness"),
    "bordered": ("border", "max_flat_border"),
    "low_quality": ("jpeg_quality", "min_jpeg_quality"),
}


class Tile(NamedTuple):
    """One row of the ledger: its picture, or the sentence that stands for it, and what decided about it."""

    id: str
    origin: str
    source: Markup | None
    sentence: str
    decided: str


class Group(NamedTuple):
    """The tiles of one kind and reason, out of so many rows; no reason: kept."""

    kind: str
    reason: str
    num_rows: int
    tiles: tuple[Tile, ...]


def write_audit(job: Job, pictures: Record, ledger: pd.DataFrame, folder: Path) -> Path:
    """Write folder/audit.html and return its path; the same ledger gives the same rows in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = _chosen(ledger)
    made = [_group(name, rows, count, job, pictures) for name, (rows, count) in groups[:MOST_REASONS]]
    counts = [(kind, reason, count) for (kind, reason), (_, count) in groups]
    path = folder / "audit.html"
    write_file(path, _page(job.manifest.name, made, counts).encode("utf-8", "backslashreplace"))
    return path


def _chosen(ledger: pd.DataFrame) -> list[tuple[tuple[str, str], tuple[pd.DataFrame, int]]]:
    """SHOWN rows of every kind and reason, at random by their ids: kept faces first, then by falling count."""
    reasons = ledger["reason"].str.replace(r"^duplicate_of:.*", "duplicate", regex=True)
    found = {}
    for (kind, reason), rows in ledger[ledger["kind"] != "variant"].groupby([ledger["kind"], reasons], sort=True):
        if kind == "picture" and not reason:
            continue  # the faces in it are what is kept
        found[str(kind), str(reason)] = (at_random(rows, SHOWN), len(rows))
    return sorted(found.items(), key=lambda item: (item[0][1] != "", item[0][0], -item[1][1], item[0][1]))


def at_random(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many rows in an order that depends on their ids and origins only, and on nothing that can be seen in them."""
    keys = pd.util.hash_pandas_object(rows[["id", "origin"]], index=False, categorize=False).to_numpy()
    return rows.iloc[np.argsort(keys, kind="stable")[:count]]


def _group(name: tuple[str, str], rows: pd.DataFrame, num_rows: int, job: Job, pictures: Record) -> Group:
    path_of, config = _paths(job, pictures, set(rows["picture"])), job.manifest.crop
    return Group(*name, num_rows, tuple(_tile(row, path_of, config) for row in rows_of(rows)))


def _paths(job: Job, pictures: Record, wanted: set[str]) -> Callable[[str], Path | None]:
    """A function from a picture's id to where its bytes lie, None where nothing does."""
    tables = [
        pd.read_parquet(job.root / bucket.folder / "paths.parquet", filters=[("id", "in", wanted)])
        for bucket in pictures.buckets.values()
    ]
    paths = dict(pd.concat(tables)[["id", "path"]].itertuples(index=False, name=None))
    return lambda picture: Path(paths[picture]) if picture in paths else None


def _tile(row: dict[str, Any], path_of: Callable[[str], Path | None], config: CropConfig) -> Tile:
    source, sentence = None, ""
    try:
        path = path_of(row["picture"])
        source = None if path is None else _data_url(_seen(row, path.read_bytes(), config))
        sentence = "" if source else "no file belongs to it"
    except Undecodable as error:
        sentence = str(error)
    except OSError:
        sentence = "its file is not there any more" if row["bytes"] else "it never came"
    return Tile(row["id"], row["origin"], source, sentence, decided(row, config))


def _seen(row: dict[str, Any], data: bytes, config: CropConfig) -> Image8:
    """The picture or what was cut of it, decoded no larger than a tile needs; what fits nowhere by its box alone."""
    corners = [row[name] for name in ("cut_x0", "cut_y0", "cut_x1", "cut_y1")]
    if row["kind"] == "picture":
        corners = [0, 0, row["width"], row["height"]]
    elif pd.isna(corners[0]):
        corners = [row[name] for name in ("x0", "y0", "x1", "y1")]
    if pd.isna(corners[2]):
        return _fitted(decode(data, config).image)
    x0, y0, x1, y1 = (int(corner) for corner in corners)
    longer = max(x1 - x0, y1 - y0)
    seen = decode(data, config, reduced=max(r for r in REDUCTIONS if r == 1 or longer >= r * TILE))
    if row["quad"] is not None and row["kind"] != "picture":
        return cut_quad(seen.image, quad_of([number / seen.reduced for number in row["quad"]]), TILE)
    x0, y0, x1, y1 = (round(corner / seen.reduced) for corner in (x0, y0, x1, y1))
    return _fitted(cut(seen.image, Box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))))


def _fitted(image: Image8) -> Image8:
    """The image with its longer side at TILE px at most."""
    scale = min(1.0, TILE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _data_url(image: Image8) -> Markup:
    data = encode(image, Codec(format="jpg", quality=80))
    return Markup(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}")


def decided(row: dict[str, Any], config: CropConfig) -> str:
    """The number that decided about a row, and the limit: `side 37 px < 48`; for a kept face, its side."""
    reason = row["reason"]
    if not reason:
        return f"side {_side(row)} px"
    if reason.startswith("duplicate_of:"):
        return f"like {reason.partition(':')[2][:12]}"
    if reason in DECIDED:
        column, limit = DECIDED[reason]
        value = f"{_side(row)} px" if column == "side" else f"{row[column]:.3g}"
        sign = ">" if limit.startswith("max_") else "<"
        return f"{words(column)} {value} {sign} {getattr(config, limit):g}"
    if reason == "not_frontal":
        return f"yaw {row['yaw']:.0f}, roll {row['roll']:.0f} degrees"
    if reason in ("low_score", "high_score"):
        return f"score {row['score']:.2f}, rank {row['rank']}"
    return str(row["notes"]) if reason == "undecodable" else ""


def _side(row: dict[str, Any]) -> int:
    """The shorter side, px: of a face's box, of a picture itself."""
    if row["kind"] == "picture":
        return int(min(row["width"], row["height"]))
    return int(min(row["x1"] - row["x0"], row["y1"] - row["y0"]))


def _page(title: str, groups: list[Group], counts: list[tuple[str, str, int]]) -> str:
    page = templates().get_template("audit.html.j2")
    return page.render(title=title, groups=groups, counts=counts, meanings=MEANINGS, shown=SHOWN)
