"""export: figures and films of the model that there is; nothing is trained."""

from __future__ import annotations

from prefect import flow

from flows.carry_out import carry_out
from flows.retrain import better_model
from tasks.errors import Refused
from tasks.export import export_model
from tasks.job import Job


def export_only(job: Job) -> None:
    """Export the manifest's model; refused when a run would have to make it first."""
    there = job.dry_copy()
    model = better_model(there).model
    if model.pending:
        raise Refused(f"{job.path} has no finished model yet: `stylegan run {job.path}` makes one")
    job.take_over(there)
    export_model(job, model)


@flow(name="export", description="Figures and films of a finished model.", persist_result=False)
def export(manifest: str, settings: list[str] | None = None) -> str:
    """Export the manifest's model; returns where the report lies."""
    return carry_out(export_only, manifest, settings or [])
