"""shard: the selection's bytes are copied, never re-encoded, into shards for training and held-out ones."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from manifests.ledger import count_reasons, kept, ledger_of, read_ledger, rows_of, write_ledger
from tasks.buckets import Portion, bucket_of, each_bucket
from tasks.errors import Refused
from tasks.job import Job
from tasks.shards import Span, open_shard, read_span
from tasks.stage import Outcome, Place, stage
from tasks.store import Bucket, Record, digest_of
from tasks.upscale import SHARD

SPLITS = ("train", "held_out")
SHOWN = ("face", "variant")  # what a training may see


@stage("shard", version=3, config=lambda job: job.manifest.shard)
def write_shards(at: Place, selection: Record, faces: Record) -> Outcome:
    """Copy the selection's faces into shards with one index; `faces` is the stage that holds their bytes."""
    ledger = at.job.ledger(selection.buckets)
    splits = split_faces(ledger, at.job.manifest.shard.held_out)
    if not (splits == "train").any():
        raise Refused(_nothing_left(at.job, ledger))
    portions = {}
    for name, bucket in selection.buckets.items():
        mine = splits[[bucket_of(face, at.job.manifest.buckets) == name for face in splits.index]]
        folders = (at.job.root / bucket.folder, at.job.root / faces.buckets[name].folder)
        inputs = {"selection": bucket.output, "faces": faces.buckets[name].output, "splits": digest_of(mine.to_dict())}
        portions[name] = Portion(inputs, (name, *folders, mine))
    buckets = each_bucket(at, copy_bucket, portions)
    ledger = at.job.ledger(buckets)
    classes = class_numbers(kept(ledger, *SHOWN)["label"])
    facts = {"train": int((splits == "train").sum()), "held_out": int((splits == "held_out").sum())}
    return Outcome(
        files=_gather(at, buckets, ledger, classes),
        buckets=buckets,
        counts=count_reasons(ledger),
        facts={**facts, "classes": classes} if classes else facts,
    )


def class_numbers(labels: Iterable[str]) -> dict[str, int]:
    """{class: number}: classes that are all named by whole numbers keep them, others are numbered by name from 0."""
    names = sorted(set(labels) - {""})
    if all(re.fullmatch("0|[1-9][0-9]{0,8}", name) for name in names):
        return {name: int(name) for name in sorted(names, key=int)}
    return {name: number for number, name in enumerate(names)}


def split_faces(ledger: pd.DataFrame, held_out: float) -> pd.Series[str]:
    """`train` or `held_out` for every kept face and variant, by hash of its picture.

    All that share a duplicate are on one side, and so are a face and its variants.

    The trailing bits of the id decide: the leading ones choose the bucket.
    """
    family = _families(ledger)
    faces = kept(ledger, *SHOWN).set_index("id")["picture"]
    splits = {}
    for face, picture in faces.items():
        share = int(family.get(picture, picture)[-8:], 16) / 2**32
        splits[face] = "held_out" if share < held_out else "train"
    return pd.Series(splits, dtype="str")


def _families(ledger: pd.DataFrame) -> dict[str, str]:
    """For every picture in a duplicate group, whether by itself or by a face, the smallest id of its family."""
    root: dict[str, str] = {}

    def find(picture: str) -> str:
        while root.setdefault(picture, picture) != picture:
            picture = root[picture]
        return picture

    grouped = ledger[ledger["group"] != ""]
    for picture, group in zip(grouped["picture"], grouped["group"].str[:64], strict=True):
        low, high = sorted((find(picture), find(group)))
        root[high] = low
    return {picture: find(picture) for picture in root}


def copy_bucket(folder: Path, name: str, selection: Path, faces: Path, splits: pd.Series[str]) -> None:
    """The bucket's shards, train-NAME.tar and held_out-NAME.tar, and its ledger with where each face lies now."""
    ledger = read_ledger(selection / "ledger.parquet")
    sources = read_ledger(faces / "ledger.parquet").set_index("id")
    rows = rows_of(ledger[~ledger["id"].isin(splits.index) | ~ledger["kind"].isin(SHOWN)])
    rows = [{**row, "shard": "", "offset": None, "length": None, "split": ""} for row in rows]
    chosen = ledger[ledger["kind"].isin(SHOWN) & ledger["id"].isin(splits.index)]
    with ExitStack() as stack:
        source = stack.enter_context((faces / SHARD).open("rb"))
        shards = {split: stack.enter_context(open_shard(folder / f"{split}-{name}.tar")) for split in SPLITS}
        codec = _suffix_of(faces / SHARD)
        for row in rows_of(chosen.sort_values("id")):
            found, split = sources.loc[row["id"]], splits[row["id"]]
            data = read_span(source, Span(int(found["offset"]), int(found["length"])))
            span = shards[split].add(f"{row['id']}.{codec}", data)
            place = {"shard": f"{split}-{name}.tar", "offset": span.offset, "length": span.length, "split": split}
            rows.append({**row, **place})
    write_ledger(ledger_of(rows), folder / "ledger.parquet")


def _suffix_of(shard: Path) -> str:
    """The suffix of the first member of a tar; its name is at the head of the file."""
    with shard.open("rb") as opened:
        return opened.read(100).rstrip(b"\0").decode("ascii").rpartition(".")[2]


def _gather(at: Place, buckets: dict[str, Bucket], ledger: pd.DataFrame, classes: dict[str, int]) -> tuple[str, ...]:
    """One folder that any WebDataset reader opens: links to the buckets' tars, and the index for offset reads."""
    for bucket in buckets.values():
        for name in bucket.files:
            if name.endswith(".tar"):
                _link(at.job.root / bucket.folder / name, at.folder / name)
    faces = kept(ledger, *SHOWN)
    index = faces[["id", "shard", "offset", "length", "split"]].copy()
    index["label"] = faces["label"].map(classes).fillna(-1).astype("int64")
    index.sort_values("id").to_parquet(at.folder / "index.parquet", index=False)
    return ("index.parquet",)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _nothing_left(job: Job, ledger: pd.DataFrame) -> str:
    counts = count_reasons(ledger)
    return (
        f"no face is left to train on; by reason: {counts}. Look at `stylegan ledger {job.path}`, then loosen what "
        "drops most: crop.min_face for face_too_small, crop.detector for no_face, crop.min_saturation for grey"
    )
