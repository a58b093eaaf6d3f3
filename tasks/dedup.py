"""dedup: near-duplicates among all pictures, then among all faces; one of each group stays. Reads ledgers only."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from imaging.alike import Thumbs
from imaging.dedup import (
    DedupConfig,
    Flags,
    Looks,
    all_candidates,
    contents_of,
    copies_of,
    groups_of,
    is_blank,
    matcher,
    pairs_of,
    places_in,
    ranks,
    sorted_pairs,
    star_keepers,
)
from imaging.hamming import Rows
from imaging.hash import SIDE
from manifests.ledger import SCHEMA, count_reasons
from tasks.buckets import seal_bucket
from tasks.looks import Sheet, each_thumb, read_sheet
from tasks.stage import Outcome, Place, stage
from tasks.store import Bucket, Record, files_in, key_of
from tasks.verdicts import UNKNOWN, Memory, read_memory, remembered, write_memory


class Scratch(NamedTuple):
    """Where dedup may write: thumbnails while it runs, verdicts for the next time."""

    thumbs: Path
    verdicts: Path


@stage("dedup", version=5, config=lambda job: job.manifest.dedup)
def drop_duplicates(at: Place, faces: Record) -> Outcome:
    """Give near-duplicate rows their group, keeper and reason: pictures first, what is left of the faces then.

    A picture that leaves takes its faces along: a detector's box moves between two copies of a picture, and a hash of
    what it cuts moves with it, but the pictures themselves stay alike.
    """
    sheet = read_sheet([at.job.root / bucket.folder / "ledger.parquet" for bucket in faces.buckets.values()])
    config = at.job.manifest.dedup
    # What a row looks like follows from its id, crop's code and crop's config; what matches from ours.
    known = key_of(at.stage, at.version, at.config, {"crop": key_of(faces.stage, faces.version, faces.config, {})})
    with tempfile.TemporaryDirectory(dir=at.folder) as scratch:
        place = Scratch(Path(scratch), at.job.root / at.stage / "verdicts" / known)
        drop_pictures(sheet, config, place)
        drop_faces(sheet, config, place)
    return Outcome(buckets=_written(at, faces, sheet), counts=count_reasons(sheet.rows))


def drop_pictures(sheet: Sheet, config: DedupConfig, scratch: Scratch) -> None:
    """Among near-duplicate pictures the one with most kept faces stays, then the largest, sharpest, least compressed.

    Last of all the smallest id decides.
    """
    rows = sheet.rows
    chosen = np.flatnonzero((rows["kind"] == "picture") & (rows["reason"] == ""))
    pictures = rows.iloc[chosen]
    num_faces = rows[(rows["kind"] == "face") & (rows["reason"] == "")].groupby("picture").size()
    areas = pictures["width"] * pictures["height"].astype(float)
    faces = num_faces.reindex(pictures["id"])
    _mark(sheet, chosen, [_floats(faces), _floats(areas)], config, scratch, "pictures")
    keeper_of = rows.iloc[chosen].set_index("id")["keeper"]
    left = rows["id"].iloc[chosen][rows["reason"].iloc[chosen] != ""]
    faces_left = (rows["kind"] == "face") & (rows["reason"] == "") & rows["picture"].isin(left)
    rows.loc[faces_left, "reason"] = "duplicate_of:" + rows.loc[faces_left, "picture"].map(keeper_of).astype(str)


def drop_faces(sheet: Sheet, config: DedupConfig, scratch: Scratch) -> None:
    """Among near-duplicate faces the one cut from most px stays, then sharpest, least compressed, smallest id."""
    rows = sheet.rows
    chosen = np.flatnonzero((rows["kind"] == "face") & (rows["reason"] == ""))
    faces = rows.iloc[chosen].astype(dict.fromkeys(("cut_x0", "cut_y0", "cut_x1", "cut_y1"), float))
    areas = (faces["cut_x1"] - faces["cut_x0"]) * (faces["cut_y1"] - faces["cut_y0"])
    _mark(sheet, chosen, [_floats(areas)], config.for_faces(), scratch, "faces")


def _floats(column: pd.Series[Any]) -> NDArray[np.float64]:
    """The numbers of a column, 0 where there is none."""
    return np.asarray(np.nan_to_num(column.to_numpy(dtype=np.float64, na_value=np.nan)))


def _mark(
    sheet: Sheet, chosen: Rows, first: list[NDArray[np.float64]], config: DedupConfig, scratch: Scratch, name: str
) -> None:
    """Give the chosen rows their group and keeper, and a reason to those that leave."""
    rows = sheet.rows.iloc[chosen]
    quality = [_floats(rows[column]) for column in ("sharpness", "jpeg_quality")]
    keeper = _keepers(sheet, chosen, ranks(*first, *quality), config, scratch, name)
    ids, lost = rows["id"].to_numpy(dtype=object), keeper != np.arange(len(keeper))
    _set(sheet.rows, "group", chosen, ids[groups_of(keeper)])
    _set(sheet.rows, "keeper", chosen, ids[keeper])
    _set(sheet.rows, "reason", chosen[lost], "duplicate_of:" + ids[keeper[lost]])


def _set(rows: pd.DataFrame, column: str, where: Rows, values: NDArray[np.object_]) -> None:
    whole = rows[column].to_numpy(dtype=object, copy=True)
    whole[where] = values
    rows[column] = pd.Series(whole, dtype="str")


def _keepers(sheet: Sheet, chosen: Rows, places: Rows, config: DedupConfig, scratch: Scratch, name: str) -> Rows:
    """The keeper of each of the chosen rows, by its place among them."""
    looks = sheet.looks.of(chosen)
    best, blank = _copies(sheet, chosen, looks, places)
    nodes = np.flatnonzero((best == np.arange(len(best))) & ~blank)
    ids = sheet.rows["id"].to_numpy(dtype=object)[chosen[nodes]].astype("S")
    memory, new = read_memory(scratch.verdicts / f"{name}.npz").moved_to(ids, looks.hash[nodes])
    memory = _completed(memory, new, sheet, chosen[nodes], looks.of(nodes), config, scratch.thumbs)
    open_rows = np.unique(memory.pairs[memory.verdicts == UNKNOWN])
    thumbs = _thumbs(sheet, chosen[nodes[open_rows]], scratch.thumbs)
    match = matcher(looks.of(nodes), lambda rows: thumbs[np.searchsorted(open_rows, rows)], memory.candidates, config)
    keeper = np.arange(len(best))
    keeper[nodes] = nodes[star_keepers(places[nodes], memory.pairs, remembered(match, memory))]
    write_memory(memory, scratch.verdicts / f"{name}.npz")
    return np.asarray(keeper[best])


def _copies(sheet: Sheet, chosen: Rows, looks: Looks, places: Rows) -> tuple[Rows, Flags]:
    """The best copy of each row that equals it in all, and whether it shows nothing and has a rival of equal hash."""
    mixed = looks.hash * np.uint64(0x9E3779B97F4A7C15)
    for word in looks.hash256.T:
        mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
    _, member, counts = np.unique(mixed, return_inverse=True, return_counts=True)
    twins = np.flatnonzero(counts[member] > 1)
    best, blank = np.arange(len(chosen)), np.zeros(len(chosen), dtype=bool)
    contents = []
    for part, thumbs in each_thumb(sheet, chosen[twins]):
        contents.append(contents_of(looks.of(twins[part]), thumbs))
        blank[twins[part]] = is_blank(thumbs)
    if contents:
        best[twins] = twins[copies_of(np.concatenate(contents), places[twins])]
    return best, blank


def _completed(
    memory: Memory, new: Flags, sheet: Sheet, rows: Rows, looks: Looks, config: DedupConfig, folder: Path
) -> Memory:
    """The memory with the candidate pairs of new rows; where most are new, all pairs are looked for."""
    thumbs = _thumbs(sheet, rows, folder) if config.also else None
    most = new.mean() > 0.2 if len(new) else True
    found = all_candidates(looks, config, None if most else new, thumbs)
    if not most:
        found = {turn: sorted_pairs([pairs, memory.candidates[turn]]) for turn, pairs in found.items()}
    pairs = pairs_of(found)
    verdicts = np.full(len(pairs), UNKNOWN, dtype=np.int8)
    verdicts[places_in(pairs, memory.pairs)] = memory.verdicts
    return memory._replace(candidates=found, pairs=pairs, verdicts=verdicts)


def _thumbs(sheet: Sheet, rows: Rows, folder: Path) -> Thumbs:
    """The thumbnails of these rows, ascending, in a file: there may be millions of them."""
    if not len(rows):
        return np.empty((0, SIDE, SIDE), dtype=np.uint8)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _, thumbs in each_thumb(sheet, rows):
            file.write(thumbs.tobytes())
        file.flush()
        return np.memmap(file.name, dtype=np.uint8, mode="r", shape=(len(rows), SIDE, SIDE))


def _written(at: Place, faces: Record, sheet: Sheet) -> dict[str, Bucket]:
    """Each bucket's ledger with what was found; what did not change keeps its digest, and its next stage its work."""
    buckets = {}
    for number, name in enumerate(faces.buckets):
        table = pq.read_table(sheet.paths[number], schema=SCHEMA)
        for column in ("group", "keeper", "reason"):
            values = pa.array(sheet.rows[column].iloc[sheet.of_file(number)], pa.string(), from_pandas=False)
            table = table.set_column(SCHEMA.get_field_index(column), SCHEMA.field(column), values)
        folder = f"{at.stage}/{at.key}/{name}"
        (at.job.root / folder).mkdir(exist_ok=True)
        pq.write_table(table, at.job.root / folder / "ledger.parquet", compression="zstd")
        files = files_in(at.job.root / folder, ["ledger.parquet"])
        buckets[name] = seal_bucket(at.job.root, folder, files, seconds=0.0)
    return buckets
