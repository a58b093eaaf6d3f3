"""retrain: clean the data with the model, train on, keep the better model, export it."""

from __future__ import annotations

from prefect import flow

from flows.carry_out import carry_out
from flows.clean import clean_faces
from flows.train import train_and_judge
from tasks.evaluate import evaluate_model, keep_better
from tasks.export import export_model
from tasks.job import Job
from tasks.store import Record
from tasks.train import retrain_model


def better_model(job: Job) -> Record:
    """The manifest's model; where the manifest cleans, the better one of before and after."""
    first = train_and_judge(job)
    if job.manifest.clean is None:
        return first.model
    cleaned = clean_faces(job, first.faces, first.model)
    second = retrain_model(job, cleaned, first.model)
    # Both are judged by the faces of before: cleaning must not choose its own judges.
    metrics = evaluate_model(job, second, first.faces.shards)
    return keep_better(job, first.metrics, first.model, metrics, second)


def retrain_and_export(job: Job) -> None:
    """All of it, and the figures and films."""
    export_model(job, better_model(job))


@flow(name="retrain", description="Clean the data with the model, train on, keep the better one.", persist_result=False)
def retrain(manifest: str, settings: list[str] | None = None) -> str:
    """Clean and retrain as the manifest says; returns where the report lies."""
    return carry_out(retrain_and_export, manifest, settings or [])
