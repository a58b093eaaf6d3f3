"""upscale: kept faces are cut, brought to the target size and encoded, once; a shard and a ledger slice a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from imaging.align import cut_quad, quad_of
from imaging.cut import cut
from imaging.decode import DecodeConfig, Image8, decode
from imaging.detect import Box
from imaging.encode import Codec, encode
from imaging.upscale import UpscaleConfig, upscale
from manifests.ledger import count_reasons, kept, ledger_of, read_ledger, rows_of, write_ledger
from tasks.assets import find_asset, read_assets
from tasks.buckets import Portion, each_bucket
from tasks.job import Job
from tasks.shards import ShardWriter, open_shard
from tasks.stage import Outcome, Place, stage
from tasks.store import Record

WEIGHTS = {"waifu2x": "waifu2x_upconv7_anime_scale2x.bin"}  # upscalers that need an asset
SHARD = "faces.tar"


def _asked(job: Job) -> Any:
    crop = job.manifest.crop
    asset = WEIGHTS.get(job.manifest.upscale.upscaler)
    return {
        "resolution": job.manifest.resolution,
        "upscale": job.manifest.upscale,
        "weights": read_assets()[asset].sha256 if asset else None,
        "decode": {name: getattr(crop, name) for name in DecodeConfig.model_fields},
    }


@stage("upscale", version=2, config=_asked)
def cut_faces(at: Place, faces: Record, pictures: Record) -> Outcome:
    """Cut every kept face from its picture at the target size; only those that are smaller are upscaled."""
    manifest = at.job.manifest
    asset = WEIGHTS.get(manifest.upscale.upscaler)
    weights = find_asset(asset, at.job.root) if asset else None
    settings = (manifest.resolution, manifest.upscale, manifest.crop, weights)
    portions = {
        name: Portion(
            {"faces": bucket.output},
            (at.job.root / bucket.folder, at.job.root / pictures.buckets[name].folder, *settings),
        )
        for name, bucket in faces.buckets.items()
    }
    buckets = each_bucket(at, cut_bucket, portions)
    return Outcome(buckets=buckets, counts=count_reasons(at.job.ledger(buckets)))


def cut_bucket(
    folder: Path,
    faces: Path,
    pictures: Path,
    resolution: int,
    config: UpscaleConfig,
    limits: DecodeConfig,
    weights: Path | None,
) -> None:
    """The bucket's shard, and its ledger with where each face lies in it."""
    ledger = read_ledger(faces / "ledger.parquet")
    paths = pd.read_parquet(pictures / "paths.parquet").set_index("id")["path"]
    wanted = kept(ledger, "face")
    rows = rows_of(ledger.drop(wanted.index))
    with open_shard(folder / SHARD) as shard:
        for picture, group in wanted.groupby("picture", sort=True):
            image = decode(Path(paths[picture]).read_bytes(), limits).image
            for row in rows_of(group):
                face = face_at(image, row, resolution, config, weights)
                rows.append({**row, **place_face(shard, row["id"], encode(face, config.codec), config.codec)})
    write_ledger(ledger_of(rows), folder / "ledger.parquet")


def face_at(image: Image8, row: dict[str, Any], size: int, config: UpscaleConfig, weights: Path | None) -> Image8:
    """The face of a ledger's row at the target size, cut upright or along its quad."""
    if row["quad"] is None:
        square = Box(row["cut_x0"], row["cut_y0"], row["cut_x1"], row["cut_y1"])
        return upscale(cut(image, square), size, config, weights)
    quad = quad_of(list(row["quad"]))
    return upscale(cut_quad(image, quad, min(size, max(1, round(quad.side)))), size, config, weights)


def place_face(shard: ShardWriter, face_id: str, data: bytes, codec: Codec) -> dict[str, Any]:
    """Put an encoded face into the bucket's shard; where it lies there, as the ledger says it."""
    span = shard.add(f"{face_id}.{codec.format}", data)
    return {"shard": SHARD, "offset": span.offset, "length": span.length}
