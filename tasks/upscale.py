"""upscale: kept faces are cut, brought to the target size and encoded, once; a shard and a ledger slice a bucket."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from imaging.align import cut_quad, quad_of
from imaging.cut import cut
from imaging.decode import DecodeConfig, Decoded, Image8, decode
from imaging.detect import Box
from imaging.encode import Codec, encode
from imaging.resample import resample
from imaging.upscale import ASSETS, Networks, UpscaleConfig, bring_to_size, files_in, history
from imaging.waifu2x import NetworkFiles
from manifests.ledger import count_reasons, kept, read_ledger, write_ledger
from tasks.assets import find_asset, read_assets
from tasks.buckets import Portion, each_bucket
from tasks.guard import busy_with, leave_out
from tasks.job import Job
from tasks.shards import ShardWriter, Span, open_shard, read_span
from tasks.stage import Outcome, Place, stage
from tasks.store import Bucket, Record, file_of

SHARD = "faces.tar"
AT_ONCE = 32  # faces in memory before they are upscaled and written
GPU_WORKERS = 2  # processes that share a GPU: one cuts and encodes while the other one's faces go through the network
SAMPLE = 64  # faces whose size as PNG is looked at


def needed_assets(config: UpscaleConfig) -> list[str]:
    """File names of the assets that the upscaler needs."""
    if config.upscaler != "waifu2x" or config.networks:
        return []
    stem = ASSETS[config.model, config.noise]
    return [f"{stem}.param", f"{stem}.bin"]


def find_networks(config: UpscaleConfig, root: Path) -> Networks:
    """The files of the networks that the upscaler runs; ValueError or AssetMissing where one is not there."""
    if config.upscaler == "lanczos":
        return ()
    if config.networks is None:
        param, weights = (find_asset(name, root) for name in needed_assets(config))
        return (NetworkFiles(param, weights),)
    place = Path(config.networks).expanduser()
    networks: Networks = files_in(place, config) if config.upscaler == "waifu2x" else (place,)
    for path in _each_file(networks):
        if not path.is_file():
            raise ValueError(f"upscale.networks: {path} is not there, which {config.upscaler} needs")
    return networks


def _each_file(networks: Networks) -> Iterator[Path]:
    for one in networks:
        yield from one if isinstance(one, NetworkFiles) else (one,)


def _asked(job: Job) -> Any:
    """What decides about the pixels: a network by its digest, not by where it lies, and the backend that `auto` is."""
    config, crop = job.manifest.upscale.settled(), job.manifest.crop
    if config.networks is None:
        digests = [read_assets()[name].sha256 for name in needed_assets(config)]
    else:
        digests = [file_of(path).sha256 for path in _each_file(find_networks(config, job.root))]
    return {
        "resolution": job.manifest.resolution,
        "upscale": config.model_dump(mode="json", exclude={"networks"}),
        "networks": digests,
        "decode": {name: getattr(crop, name) for name in DecodeConfig.model_fields},
    }


@stage("upscale", version=3, config=_asked)
def cut_faces(at: Place, faces: Record, pictures: Record) -> Outcome:
    """Cut every kept face from its picture at the target size; only those that are smaller are upscaled."""
    manifest = at.job.manifest
    config = manifest.upscale.settled()
    settings = (manifest.resolution, config, manifest.crop, find_networks(config, at.job.root), _gpus(config))
    portions = {
        name: Portion(
            {"faces": bucket.output},
            (at.job.root / bucket.folder, at.job.root / pictures.buckets[name].folder, *settings),
        )
        for name, bucket in faces.buckets.items()
    }
    workers = min(at.job.workers, GPU_WORKERS) if config.backend == "cuda" else None
    buckets = each_bucket(at, cut_bucket, portions, workers)
    ledger = at.job.ledger(buckets)
    return Outcome(buckets=buckets, counts=count_reasons(ledger), facts=_facts(at, ledger, buckets, config))


class Face(NamedTuple):
    """A face on its way: its id, its pixels at the target size or below, and what is done to them."""

    id: str
    image: Image8
    history: str


def cut_bucket(
    folder: Path,
    faces: Path,
    pictures: Path,
    resolution: int,
    config: UpscaleConfig,
    limits: DecodeConfig,
    networks: Networks,
    gpus: str | None = None,
) -> None:
    """The bucket's shard, and its ledger with where each face lies in it and how it came to its size.

    A function of worker processes, which see no GPU: gpus (CUDA_VISIBLE_DEVICES) says which, where one is to be used.
    """
    import torch

    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    torch.set_num_threads(1)
    ledger = leave_out(read_ledger(faces / "ledger.parquet"))
    listed = pd.read_parquet(pictures / "paths.parquet")
    paths = dict(zip(listed["id"], listed["path"], strict=True))
    wanted = kept(ledger, "face").sort_values(["picture", "id"])
    found = []
    with open_shard(folder / SHARD) as shard:
        for some in _some_at_once(_cut(wanted, paths, resolution, config, limits)):
            images = bring_to_size([face.image for face in some], resolution, config, networks)
            for face, image in zip(some, images, strict=True):
                place = place_face(shard, face.id, encode(image, config.codec), config.codec)
                found.append({"notes": face.history, **place})
    said = pd.DataFrame(found, index=wanted.index, columns=["notes", "shard", "offset", "length"])
    rest = ledger.drop(wanted.index)
    write_ledger(pd.concat([rest, wanted.assign(**said)]) if found else rest, folder / "ledger.parquet")


def _cut(
    wanted: pd.DataFrame, paths: dict[str, str], size: int, config: UpscaleConfig, limits: DecodeConfig
) -> Iterator[Face]:
    """The faces of a ledger picture by picture, each picture decoded once."""
    rows = wanted[["id", "picture", "quad", "cut_x0", "cut_y0", "cut_x1", "cut_y1"]].to_dict("records")
    for picture, group in itertools.groupby(rows, key=lambda row: row["picture"]):
        of_picture = list(group)
        reduced = min(reduction(row, size, config) for row in of_picture)
        with busy_with(picture):
            found = decode(Path(paths[picture]).read_bytes(), limits, reduced=reduced)
        for row in of_picture:
            yield cut_face(found, row, size, config)


def reduction(row: Mapping[Hashable, Any], size: int, config: UpscaleConfig) -> int:
    """The factor by which a JPEG may shrink while it is decoded: for the filter area, if the face stays on whole px.

    It must come out at the target size, or at twice that or more: filters in a row low-pass more than one of them.
    """
    if config.filter != "area" or row["quad"] is not None:
        return 1
    places = [int(row[name]) for name in ("cut_x0", "cut_y0", "cut_x1", "cut_y1")]
    side = places[2] - places[0]
    fitting = [r for r in (8, 4, 2) if side == r * size or side >= 2 * r * size]
    return next((r for r in fitting if not any(place % r for place in places)), 1)


def _some_at_once(faces: Iterator[Face]) -> Iterator[list[Face]]:
    some: list[Face] = []
    for face in faces:
        some.append(face)
        if len(some) == AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def cut_face(picture: Decoded, row: Mapping[Hashable, Any], size: int, config: UpscaleConfig) -> Face:
    """The face of a ledger's row, cut upright or along its quad: at the target size, or its own where that is less."""
    if row["quad"] is None:
        whole = Box(row["cut_x0"], row["cut_y0"], row["cut_x1"], row["cut_y1"])
        part = cut(picture.image, Box(*(place // picture.reduced for place in whole)))
        if part.shape[0] > size:
            part = resample(part, size, config.filter)
        return Face(row["id"], part, history(whole.x1 - whole.x0, size, config))
    quad = quad_of(list(row["quad"]))
    side = max(1, round(quad.side))
    if side < size:
        return Face(row["id"], cut_quad(picture.image, quad, side), f"aligned, {history(side, size, config)}")
    return Face(row["id"], cut_quad(picture.image, quad, size), f"aligned, x{size / quad.side:.3g}")


def place_face(shard: ShardWriter, face_id: str, data: bytes, codec: Codec) -> dict[str, Any]:
    """Put an encoded face into the bucket's shard; where it lies there, as the ledger says it."""
    span = shard.add(f"{face_id}.{codec.format}", data)
    return {"shard": SHARD, "offset": span.offset, "length": span.length}


def _gpus(config: UpscaleConfig) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0") if config.backend == "cuda" else None


def _facts(at: Place, ledger: pd.DataFrame, buckets: dict[str, Bucket], config: UpscaleConfig) -> dict[str, Any]:
    """How many faces were enlarged and by what, and what their codec saves beside PNG."""
    faces = kept(ledger, "face")
    facts: dict[str, Any] = {
        "enlarged": int(faces["notes"].str.contains("enlarged").sum()),
        "upscaler": config.upscaler,
        "filter": config.filter,
        "codec": config.codec.model_dump(mode="json"),
        "bytes": int(faces["length"].sum()),
    }
    if config.upscaler != "lanczos":
        facts["backend"] = config.backend
    if config.codec.format != "png" and len(faces):
        facts["of_png"] = _share_of_png(at, buckets)
    return facts


def _share_of_png(at: Place, buckets: dict[str, Bucket]) -> float:
    """The encoded bytes of the first faces over those of the same pixels as PNG."""
    own = png = taken = 0
    for name, bucket in sorted(buckets.items()):
        rows = kept(at.job.ledger({name: bucket}), "face").head(SAMPLE - taken)
        with (at.job.root / bucket.folder / SHARD).open("rb") as shard:
            for offset, length in zip(rows["offset"], rows["length"], strict=True):
                data = read_span(shard, Span(int(offset), int(length)))
                own, png = own + len(data), png + len(encode(decode(data).image, Codec()))
        taken += len(rows)
        if taken >= SAMPLE:
            break
    return round(own / png, 3)
