"""What stages that have not run will bring: rows and bytes, from what is known, else from measured averages."""

from __future__ import annotations

import dataclasses

from manifests.schema import Manifest
from stylegan.config import TrainConfig
from tasks.job import Job, Planned
from tasks.preflight import expected_rows, source_bytes
from tasks.store import Record

ROW_BYTES = 2400  # of a ledger on disk, most of it the thumbnail; toon and photographs, 2026-11-20
FACE_BYTES_PER_PX = {"png": 1.9, "webp": 1.4, "jpg": 0.7}  # the same pictures at 64 px
FACES_A_PICTURE = 1.0  # of sources never seen before
EXPORT_BYTES = 6_000_000  # figures and films of the default export


def with_expectations(job: Job) -> list[Planned]:
    """The plan with rows and bytes filled in where a stage has not run."""
    rows = _rows(job)
    sizes = _sizes(job.manifest, rows)
    return [
        step if step.state == "there" else dataclasses.replace(step, rows=rows[step.stage], bytes=sizes.get(step.stage))
        for step in job.planned
    ]


def _rows(job: Job) -> dict[str, int | None]:
    """Rows a stage: pictures for download, pictures and faces for what writes ledgers, kept faces for the rest."""
    known = {record.stage: record for record in reversed(job.steps) if not record.pending}
    pictures = _total(known.get("download"), "picture") or sum(expected_rows(s) or 0 for s in job.manifest.sources)
    faces = _total(known.get("crop"), "face") or round(pictures * FACES_A_PICTURE)
    shards = known.get("shard") or known.get("dedup")
    kept = shards.counts.get("face", {}).get("kept", 0) if shards else faces
    copies = job.manifest.augment.copies if job.manifest.augment else 0
    variants = _total(known.get("augment"), "variant") or kept * copies
    return {
        "download": pictures,
        **dict.fromkeys(("crop", "dedup", "review", "upscale"), pictures + faces),
        **dict.fromkeys(("augment", "shard", "rank", "clean", "control"), pictures + faces + variants),
        **dict.fromkeys(("train", "retrain"), kept + variants),
        **dict.fromkeys(("evaluate", "choose", "export"), kept),
    }


def _total(record: Record | None, kind: str) -> int:
    return sum(record.counts.get(kind, {}).values()) if record else 0


def _sizes(manifest: Manifest, rows: dict[str, int | None]) -> dict[str, int]:
    ledger = (rows["crop"] or 0) * ROW_BYTES
    face = manifest.resolution**2 * FACE_BYTES_PER_PX[manifest.upscale.codec.format]
    training = {
        name: config.keep_last * checkpoint_bytes(config)
        for name, config in (("train", manifest.train), ("retrain", manifest.retrain))
        if config
    }
    return {
        "download": sum(source_bytes(source) for source in manifest.sources) + (rows["download"] or 0) * 100,
        **dict.fromkeys(("crop", "dedup", "review", "rank", "clean", "control"), ledger),
        "upscale": ledger + round((rows["evaluate"] or 0) * face),
        **dict.fromkeys(("augment", "shard"), ledger + round((rows["train"] or 0) * face)),
        **training,
        **dict.fromkeys(("evaluate", "choose"), 1000),
        "export": EXPORT_BYTES + checkpoint_bytes(manifest.train) // 4,
    }


def checkpoint_bytes(config: TrainConfig) -> int:
    """Size of a checkpoint: generator, its average, discriminator, and Adam's two moments of what learns."""
    import torch

    from stylegan.architectures import build_networks

    with torch.device("meta"):
        G, D = build_networks(config.network, config.resolution)
    size_G, size_D = (sum(p.numel() for p in network.parameters()) for network in (G, D))
    return 4 * (4 * size_G + 3 * size_D)
