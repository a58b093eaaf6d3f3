"""train: prepare the faces, train on them, judge the model, export it."""

from __future__ import annotations

from typing import NamedTuple

from prefect import flow

from flows.carry_out import carry_out
from flows.prepare import Faces, prepare_faces
from tasks.evaluate import evaluate_model
from tasks.export import export_model
from tasks.job import Job
from tasks.store import Record
from tasks.train import train_model


class Trained(NamedTuple):
    """A model with the faces it saw and how near it came."""

    faces: Faces
    model: Record
    metrics: Record


def train_and_judge(job: Job) -> Trained:
    """Prepare, train, evaluate."""
    faces = prepare_faces(job)
    model = train_model(job, faces.shards)
    return Trained(faces, model, evaluate_model(job, model, faces.shards))


def train_and_export(job: Job) -> None:
    """The same, and the figures and films."""
    export_model(job, train_and_judge(job).model)


@flow(name="train", description="From sources to a trained model with its figures and films.", persist_result=False)
def train(manifest: str, settings: list[str] | None = None) -> str:
    """Train as the manifest says; returns where the report lies."""
    return carry_out(train_and_export, manifest, settings or [])
