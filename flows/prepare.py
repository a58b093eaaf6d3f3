"""prepare: from sources to shards."""

from __future__ import annotations

from typing import NamedTuple

from prefect import flow

from flows.carry_out import carry_out
from tasks.augment import augment_faces
from tasks.crop import crop_faces
from tasks.dedup import drop_duplicates
from tasks.download import download_pictures
from tasks.job import Job
from tasks.review import BEFORE_TRAINING, apply_decisions, decisions_of
from tasks.shard import write_shards
from tasks.store import Record
from tasks.upscale import cut_faces


class Faces(NamedTuple):
    """What training reads, and the stage that holds its bytes."""

    cuts: Record
    shards: Record


def prepare_faces(job: Job) -> Faces:
    """Download, crop, dedup, what people decided, upscale, augment where the manifest asks for it, shard."""
    pictures = download_pictures(job)
    found = crop_faces(job, pictures)
    unique = drop_duplicates(job, found)
    if decisions_of(job, *BEFORE_TRAINING):
        unique = apply_decisions(job, unique)
    cuts = cut_faces(job, unique, pictures)
    if job.manifest.augment:
        cuts = augment_faces(job, cuts)
    return Faces(cuts, write_shards(job, cuts, cuts))


@flow(name="prepare", description="From sources to shards.", persist_result=False)
def prepare(manifest: str, settings: list[str] | None = None) -> str:
    """Prepare the manifest's faces; returns where the report lies."""
    return carry_out(prepare_faces, manifest, settings or [])
