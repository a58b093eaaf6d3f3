"""shard: the selection's bytes are copied, never re-encoded, into shards for training and held-out ones."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.ledger import count_reasons, kept, read_ledger, rows_of, write_ledger
from manifests.schema import Manifest
from tasks.buckets import Portion, bucket_of, each_bucket
from tasks.errors import Refused
from tasks.job import Job
from tasks.shards import Span, open_shard, read_span, suffix_of
from tasks.stage import Outcome, Place, stage
from tasks.store import Bucket, Record, digest_of, write_text
from tasks.upscale import SHARD

SPLITS = ("train", "held_out")
SUMMARY = "shards.json"  # every shard's size, digest and faces, for those who read no Parquet
_ABOUT = ("label", "source", "origin", "licence", "rating", "tags")  # columns of the ledger, where they say something
# Columns that are looked at in all buckets at once, before the faces are copied and after.
_ASKED = ("id", "kind", "picture", "label", "rating", "tags", "facts", "group", "reason")
_PLACED = ("id", "kind", "source", "label", "shard", "offset", "length", "split", "reason")
SHOWN = ("face", "variant")  # what a training may see


def _asked(job: Job) -> Any:
    weights = {name: weight for name, weight in source_weights(job.manifest).items() if weight != 1}
    shard = job.manifest.shard.model_dump(mode="json")
    return {**shard, "weights": weights} if weights else shard


@stage("shard", version=4, config=_asked)
def write_shards(at: Place, selection: Record, faces: Record) -> Outcome:
    """Copy the selection's faces into shards with one index; `faces` is the stage that holds their bytes."""
    ledger = columns_of(at.job, selection.buckets, _ASKED)
    config = at.job.manifest.shard
    splits = split_faces(ledger, config.held_out)
    if not (splits == "train").any():
        raise Refused(_nothing_left(at.job, ledger))
    with_about = config.about == "always" or (config.about == "auto" and _is_described(kept(ledger, *SHOWN)))
    portions = {}
    by_bucket = splits.groupby([bucket_of(face, at.job.manifest.buckets) for face in splits.index])
    for name, bucket in selection.buckets.items():
        mine = by_bucket.get_group(name) if name in by_bucket.groups else splits[:0]
        folders = (at.job.root / bucket.folder, at.job.root / faces.buckets[name].folder)
        inputs = {"selection": bucket.output, "faces": faces.buckets[name].output, "splits": digest_of(mine.to_dict())}
        portions[name] = Portion({**inputs, "about": str(with_about)}, (name, *folders, mine, with_about))
    buckets = each_bucket(at, copy_bucket, portions)
    ledger = columns_of(at.job, buckets, _PLACED)
    shown = kept(ledger, *SHOWN)
    classes = class_numbers(shown["label"])
    index = index_of(shown, classes, source_weights(at.job.manifest))
    facts: dict[str, Any] = {split: int((splits == split).sum()) for split in SPLITS}
    facts["overhead"] = round(_tar_bytes(buckets) / int(index["length"].sum()), 4)  # shards over encoded faces
    if "weight" in index:
        facts["mean_weight"] = float(index.loc[index["split"] == "train", "weight"].mean())
    return Outcome(
        files=_gather(at, buckets, index, classes),
        buckets=buckets,
        counts=count_reasons(ledger),
        facts={**facts, "classes": classes} if classes else facts,
    )


def _tar_bytes(buckets: dict[str, Bucket]) -> int:
    files = (item for bucket in buckets.values() for item in bucket.files.items())
    return sum(file.bytes for name, file in files if name.endswith(".tar"))


def columns_of(job: Job, buckets: Mapping[str, Bucket], names: Sequence[str]) -> pd.DataFrame:
    """Some columns of the ledger: with all of them, thumbnails too, millions of rows would fill the memory."""
    paths = [job.root / bucket.folder / "ledger.parquet" for bucket in buckets.values()]
    frame: pd.DataFrame = pa.concat_tables(pq.read_table(path, columns=list(names)) for path in paths).to_pandas()
    return frame


def source_weights(manifest: Manifest) -> dict[str, float]:
    """How often training shows the faces of each source, by the source's name; ValueError when a name has two."""
    weights: dict[str, float] = {}
    for source in manifest.sources:
        name = source.name or source.kind
        if weights.setdefault(name, source.weight) != source.weight:
            raise ValueError(
                f"two sources are called {name} and have the weights {weights[name]:g} and {source.weight:g}: "
                "give each a name of its own"
            )
    return weights


def _is_described(faces: pd.DataFrame) -> bool:
    """Whether any face's source says something of it that its pixels do not."""
    return bool((faces[["label", "rating", "tags", "facts"]] != "").any(axis=None))


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


def copy_bucket(
    folder: Path, name: str, selection: Path, faces: Path, splits: pd.Series[str], with_about: bool
) -> None:
    """The bucket's shards, train-NAME.tar and held_out-NAME.tar, and its ledger with where each face lies now."""
    ledger = read_ledger(selection / "ledger.parquet").assign(shard="", offset=None, length=None, split="")
    chosen = ledger[ledger["kind"].isin(SHOWN) & ledger["id"].isin(splits.index)].sort_values("id")
    places = pq.read_table(faces / "ledger.parquet", columns=["id", "offset", "length"]).to_pandas().set_index("id")
    spans = places.loc[chosen["id"]].astype("int64").itertuples(index=False, name=None)
    abouts = map(about_face, rows_of(chosen)) if with_about else repeat(b"", len(chosen))
    codec, found = suffix_of(faces / SHARD), []
    with ExitStack() as stack:
        source = stack.enter_context((faces / SHARD).open("rb"))
        shards = {split: stack.enter_context(open_shard(folder / f"{split}-{name}.tar")) for split in SPLITS}
        for face, split, span, about in zip(chosen["id"], splits[chosen["id"]], spans, abouts, strict=True):
            data = read_span(source, Span(*span))
            found.append((f"{split}-{name}.tar", *shards[split].add(f"{face}.{codec}", data), split))
            if about:
                shards[split].add(f"{face}.json", about)
    where = pd.DataFrame(found, index=chosen.index, columns=["shard", "offset", "length", "split"])
    write_ledger(pd.concat([ledger.drop(chosen.index), chosen.assign(**where)]), folder / "ledger.parquet")


def about_face(row: Mapping[str, Any]) -> bytes:
    """What is known of a face that its pixels do not say, as the JSON file that lies beside it in the shard."""
    about = {name: row[name] for name in _ABOUT if row[name]}
    if row["facts"]:
        about["facts"] = json.loads(row["facts"])
    return json.dumps(about, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def index_of(faces: pd.DataFrame, classes: Mapping[str, int], weights: Mapping[str, float]) -> pd.DataFrame:
    """Where every face lies, by id, for reading by offset; its class number, and its weight where any is not 1."""
    index = faces[["id", "shard", "offset", "length", "split"]].astype({"offset": "int64", "length": "int64"})
    index["label"] = faces["label"].map(classes).fillna(-1).astype("int64")
    if ((weight := faces["source"].map(weights).astype("float64")) != 1).any():
        index["weight"] = weight
    return index.sort_values("id", ignore_index=True)


def _gather(at: Place, buckets: dict[str, Bucket], index: pd.DataFrame, classes: dict[str, int]) -> tuple[str, ...]:
    """One folder that any WebDataset reader opens: links to the buckets' tars, and two indices."""
    num_faces = index["shard"].value_counts()
    shards = []
    for bucket in buckets.values():
        for name, file in bucket.files.items():
            if name.endswith(".tar"):
                _link(at.job.root / bucket.folder / name, at.folder / name)
                about = {"name": name, "split": name.rpartition("-")[0], "faces": int(num_faces.get(name, 0))}
                shards.append({**about, **file.model_dump()})
    listed = {"shards": sorted(shards, key=lambda shard: shard["name"]), "classes": classes}
    write_text(at.folder / SUMMARY, json.dumps(listed, indent=1) + "\n")
    index.to_parquet(at.folder / "index.parquet", index=False)
    return ("index.parquet", SUMMARY)


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
