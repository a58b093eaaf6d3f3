"""The ledger: one row for every picture and every face ever seen, Parquet on disk, pandas in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 4096  # rows that a reader of one row has to read: the file says which ids each group holds
_POINTS = pa.list_(pa.float32())
# What each column means is said once, here: `stylegan ledger --help` and docs/guide.md print it.
COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "id": (pa.string(), "sha256 of the picture's bytes; a face adds _000, _001, ..., a variant of it _a01, ..."),
    "kind": (pa.string(), "picture | face | variant (an altered copy of a face)"),
    "picture": (pa.string(), "id of the picture that a face was found in (its own id for a picture)"),
    "source": (pa.string(), "name of the source in the manifest"),
    "origin": (pa.string(), "name inside the source, as it came"),
    "licence": (pa.string(), "licence stated by the source"),
    "label": (pa.string(), "class, when the source has classes"),
    "rating": (
        pa.string(),
        "what the source says of its content: g, s, q, e (general, sensitive, questionable, ...)",
    ),
    "tags": (pa.string(), "the source's tags, sorted, with a space between them"),
    "facts": (pa.string(), "what else the source says: a JSON object with sorted keys; `stylegan ledger` unfolds it"),
    "bytes": (pa.int64(), "size of the picture's file"),
    "format": (pa.string(), "JPEG, PNG, ... by content"),
    "notes": (pa.string(), "what decoding had to do: exif_rotated, cmyk, animated, ...; what a variant changes"),
    "width": (pa.int32(), "px, upright"),
    "height": (pa.int32(), "px, upright"),
    "x0": (pa.int32(), "detector's box, px of the upright picture, half-open"),
    "y0": (pa.int32(), ""),
    "x1": (pa.int32(), ""),
    "y1": (pa.int32(), ""),
    "confidence": (pa.float32(), "detector's own, not comparable between detectors"),
    "landmarks": (
        _POINTS,
        "x, y of the eyes, the nose, the corners of the mouth; each pair left first as seen; px of the upright picture",
    ),
    "yaw": (pa.float32(), "degrees that the face looks to the side, 0 = straight ahead (imaging/pose.py)"),
    "roll": (pa.float32(), "degrees that the line of the eyes is tilted, 0 = level"),
    "cut_x0": (pa.int32(), "the square that is cut, px of the upright picture, half-open"),
    "cut_y0": (pa.int32(), ""),
    "cut_x1": (pa.int32(), ""),
    "cut_y1": (pa.int32(), ""),
    "quad": (
        _POINTS,
        "corners of an aligned cut, x, y from the top left against the clock; cut_x0 ... is then what surrounds it",
    ),
    "brightness": (pa.float32(), "see imaging/measure.py"),
    "contrast": (pa.float32(), "see imaging/measure.py"),
    "saturation": (pa.float32(), "see imaging/measure.py"),
    "sharpness": (pa.float32(), "see imaging/measure.py"),
    "border": (pa.float32(), "share of the picture that is a flat border, 0..1 (imaging/measure.py)"),
    "jpeg_quality": (pa.float32(), "of a JPEG: the quality, 1..100, whose tables are nearest to its own"),
    "hash": (pa.string(), "64-bit perceptual hash, 16 hex digits"),
    "hash256": (pa.string(), "256-bit perceptual hash of the same kind, 64 hex digits"),
    "thumb": (pa.binary(), "48 x 48 grey, the second look before anything is called a duplicate"),
    "group": (pa.string(), "smallest id among the row's near-duplicates"),
    "keeper": (pa.string(), "id of the row kept for its group"),
    "shard": (pa.string(), "tar that holds the face"),
    "offset": (pa.int64(), "where its encoded bytes begin in the tar"),
    "length": (pa.int64(), "how many encoded bytes"),
    "split": (pa.string(), "train | held_out"),
    "score": (pa.float32(), "discriminator's logit (stylegan/ranking.py)"),
    "distance": (pa.float32(), "mean distance to the nearest training faces in the discriminator's features"),
    "worth": (pa.float32(), "what the ranking follows, in deviations of the training faces: logits less distance"),
    "rank": (pa.int64(), "0 = least worth"),
    "reason": (pa.string(), "why the row is not kept; empty = kept"),
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])
# Counts, boxes and hashes stay whole numbers where a row has none.
_WHOLE = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
_LISTS = [name for name, (kind, _) in COLUMNS.items() if kind == _POINTS]
_TEXT = [name for name, (kind, _) in COLUMNS.items() if kind == pa.string()]


def ledger_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a ledger: every column present, sorted by id then origin, texts never null."""
    frame = pd.DataFrame(list(rows)).reindex(columns=list(COLUMNS))
    return _settled(frame)


def read_ledger(*paths: Path) -> pd.DataFrame:
    """The ledgers in these files as one."""
    tables = [pq.read_table(path, schema=SCHEMA) for path in paths]
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    frame: pd.DataFrame = table.to_pandas(types_mapper=_WHOLE.get)
    return frame


def write_ledger(frame: pd.DataFrame, path: Path) -> str:
    """Write the ledger under its name in one step and return the sha256 of the file.

    The same rows in any order give the same bytes (with the same pyarrow).
    """
    table = pa.Table.from_pandas(_settled(frame), schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
    partial = path.with_name(path.name + ".part")
    pq.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP)
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    partial.replace(path)
    return digest


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def kept(frame: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    """The rows of these kinds without a reason."""
    return frame[frame["kind"].isin(kinds) & (frame["reason"] == "")]


def variant_id(face: str, number: int) -> str:
    """The id of a face's altered copy; numbers begin with 1."""
    return f"{face}_a{number:02d}"


def face_of(id: str) -> str:
    """The id of the face that a variant was made of; a face's own is its own."""
    return id.partition("_a")[0]


def count_reasons(frame: pd.DataFrame) -> dict[str, dict[str, int]]:
    """{kind: {reason: rows}}; `kept` stands for the empty reason and duplicate_of:<id> counts as duplicate.

    The counts of a kind sum to its rows.
    """
    counts: dict[str, dict[str, int]] = {"picture": {}, "face": {}}
    for kind, reason in zip(frame["kind"], frame["reason"], strict=True):
        name = "duplicate" if reason.startswith("duplicate_of:") else reason or "kept"
        of_kind = counts.setdefault(kind, {})  # there are variants only where a manifest asks for them
        of_kind[name] = of_kind.get(name, 0) + 1
    return {kind: dict(sorted(reasons.items())) for kind, reasons in counts.items()}


def _settled(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame[_TEXT] = frame[_TEXT].astype(object).fillna("").astype("str")
    for name in _LISTS:  # a column without any is one of floats to pandas
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    for name, (kind, _) in COLUMNS.items():
        if kind in _WHOLE:
            frame[name] = frame[name].astype(_WHOLE[kind])
    return frame.sort_values(["id", "origin"], kind="stable", ignore_index=True)
