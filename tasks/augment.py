"""augment: training faces get altered copies, made and encoded once; the faces' own bytes are copied as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imaging.augment import CopyConfig, alter
from imaging.decode import decode
from imaging.encode import Codec, encode
from manifests.ledger import count_reasons, kept, ledger_of, read_ledger, rows_of, variant_id, write_ledger
from tasks.buckets import Portion, each_bucket
from tasks.job import Job
from tasks.shard import split_faces
from tasks.shards import Span, open_shard, read_span
from tasks.stage import Outcome, Place, stage
from tasks.store import Record, digest_of
from tasks.upscale import SHARD, place_face

# What was measured on the picture or decided by it, and does not hold of a variant.
_NOT_OF_A_VARIANT = {
    **dict.fromkeys(("brightness", "contrast", "saturation", "sharpness", "border", "jpeg_quality", "thumb")),
    **dict.fromkeys(("hash", "hash256", "group", "keeper"), ""),
}


def _asked(job: Job) -> Any:
    manifest = job.manifest
    codec, held_out = manifest.upscale.codec, manifest.shard.held_out
    return {"augment": manifest.augment, "seed": manifest.seed, "codec": codec, "held_out": held_out}


@stage("augment", version=2, config=_asked)
def augment_faces(at: Place, faces: Record) -> Outcome:
    """Give every training face its altered copies; held-out faces get none, they judge what was learned."""
    manifest = at.job.manifest
    assert manifest.augment is not None, "a flow that augments has an augment section"
    splits = split_faces(at.job.ledger(faces.buckets), manifest.shard.held_out)
    portions = {}
    for name, bucket in faces.buckets.items():
        there = kept(at.job.ledger({name: bucket}), "face")["id"]
        train = sorted(face for face in there if splits[face] == "train")
        settings = (manifest.augment, manifest.seed, manifest.upscale.codec)
        inputs = {"faces": bucket.output, "train": digest_of(train)}
        portions[name] = Portion(inputs, (at.job.root / bucket.folder, frozenset(train), *settings))
    buckets = each_bucket(at, augment_bucket, portions)
    return Outcome(buckets=buckets, counts=count_reasons(at.job.ledger(buckets)))


def augment_bucket(
    folder: Path, faces: Path, train: frozenset[str], config: CopyConfig, seed: int, codec: Codec
) -> None:
    """The bucket's shard, every face followed by its variants, and its ledger with a row for each of them."""
    ledger = read_ledger(faces / "ledger.parquet")
    there = kept(ledger, "face")
    rows = rows_of(ledger.drop(there.index))
    with (faces / SHARD).open("rb") as source, open_shard(folder / SHARD) as shard:
        for row in rows_of(there.sort_values("id")):
            data = read_span(source, Span(int(row["offset"]), int(row["length"])))
            rows.append({**row, **place_face(shard, row["id"], data, codec)})
            if row["id"] not in train:
                continue
            image = decode(data).image
            for number in range(1, config.copies + 1):
                variant = alter(image, row["id"], number, seed, config)
                about = {**row, **_NOT_OF_A_VARIANT, "id": variant_id(row["id"], number), "kind": "variant"}
                place = place_face(shard, about["id"], encode(variant.image, codec), codec)
                rows.append({**about, "notes": variant.what, **place})
    write_ledger(ledger_of(rows), folder / "ledger.parquet")
