"""retrain: clean the data with the model, train on, keep the new model only if cleaning made it better, export it."""

from __future__ import annotations

from typing import NamedTuple

from prefect import flow

from flows.carry_out import carry_out
from flows.prepare import prepare_faces
from flows.train import Trained
from tasks.champion import base_of, promote
from tasks.clean import drop_at_random, drop_by_score
from tasks.evaluate import evaluate_model, keep_better, keep_proven
from tasks.export import export_model
from tasks.gate import wait_for_review
from tasks.job import Job, Progress
from tasks.rank import score_real
from tasks.shard import write_shards
from tasks.store import Record
from tasks.train import retrain_model, train_model


class Arm(NamedTuple):
    """A model that went on with fewer faces, and how near it came."""

    model: Record
    metrics: Record


class Chosen(NamedTuple):
    """The model that is kept, the shards it was chosen on, and the champion that it went on from."""

    model: Record
    shards: Record
    base: Record | None


def better_model(job: Job) -> Chosen:
    """The manifest's model; where it cleans, the cleaned one if that beats the first one and the control."""
    faces = prepare_faces(job)
    base = base_of(job, faces.shards)
    model = base or train_model(job, faces.shards)
    first = Trained(faces, model, evaluate_model(job, model, faces.shards))
    chosen = clean_and_compare(job, first) if job.manifest.clean else model
    return Chosen(chosen, faces.shards, base)


def clean_and_compare(job: Job, first: Trained) -> Record:
    """The first model, or the one that went on with the cleaned faces if it is proven to be better."""
    assert job.manifest.clean is not None, "a flow that cleans has a clean section"
    scores = score_real(job, first.faces.shards, first.model)
    wait_for_review(job, scores)
    cleaned = train_arm(job, first, drop_by_score(job, scores))
    if not job.manifest.clean.control:
        return keep_better(job, first.metrics, first.model, cleaned.metrics, cleaned.model)
    beside = job.beside("control")
    control = train_arm(beside, first, drop_at_random(beside, scores))
    return keep_proven(job, first.metrics, first.model, cleaned.metrics, cleaned.model, control.metrics)


def train_arm(job: Job, first: Trained, selection: Record) -> Arm:
    """Go on from the first model with the selected faces."""
    model = retrain_model(job, write_shards(job, selection, first.faces.cuts), first.model)
    # All are judged by the faces of before: cleaning must not choose its own judges.
    return Arm(model, evaluate_model(job, model, first.faces.shards))


def retrain_and_export(job: Job) -> None:
    """All of it, and the figures and films; then the model becomes the champion if it earned that."""
    chosen = better_model(job)
    export_model(job, chosen.model)
    if not job.dry and (said := promote(job, *chosen)):
        Progress("champion").say(said)


@flow(name="retrain", description="Clean the data with the model, train on, keep the better one.", persist_result=False)
def retrain(manifest: str, settings: list[str] | None = None) -> str:
    """Clean and retrain as the manifest says; returns where the report lies."""
    return carry_out(retrain_and_export, manifest, settings or [])
