"""clean: let the discriminator rank the real faces, drop the tails, shard what is left."""

from __future__ import annotations

from prefect import flow

from flows.carry_out import carry_out
from flows.prepare import Faces
from flows.train import train_and_judge
from tasks.clean import drop_by_score
from tasks.job import Job
from tasks.rank import score_real
from tasks.shard import write_shards
from tasks.store import Record


def clean_faces(job: Job, faces: Faces, model: Record) -> Record:
    """Rank, decide, shard; returns the shards that are left."""
    scores = score_real(job, faces.shards, model)
    selection = drop_by_score(job, scores)
    return write_shards(job, selection, faces.cuts)


def train_and_clean(job: Job) -> None:
    """Clean with the manifest's model; trains it first where there is none yet."""
    trained = train_and_judge(job)
    clean_faces(job, trained.faces, trained.model)


@flow(name="clean", description="Rank the real faces with the discriminator and drop the tails.", persist_result=False)
def clean(manifest: str, settings: list[str] | None = None) -> str:
    """Clean the manifest's faces; returns where the report lies."""
    return carry_out(train_and_clean, manifest, settings or [])
