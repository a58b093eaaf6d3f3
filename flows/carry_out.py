"""Carry out an order on a manifest: open the job, check first, do it, write lock and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from manifests.load import load_manifest
from tasks.alone import alone
from tasks.errors import PipelineError
from tasks.expect import with_expectations
from tasks.job import Job, UntilReached, check_root, data_root
from tasks.lock import write_lock
from tasks.preflight import check_before, needed_bytes
from tasks.summary import report_job
from tasks.track import publish_link

Order = Callable[[Job], Any]


def open_job(manifest: str | Path, settings: Sequence[str] = (), dry: bool = False, until: str = "") -> Job:
    """The manifest at work in this folder's data root."""
    path = Path(manifest)
    return Job(load_manifest(path, settings), path, data_root(), dry=dry, until=until)


def carry_out(order: Order, manifest: str | Path, settings: Sequence[str] = (), until: str = "") -> str:
    """Do what the order says as far as `until`; returns the path of the report."""
    job = open_job(manifest, settings, until=until)
    check_root(job.root, needed_bytes(job.manifest))
    with alone(job.root, job.manifest.name):
        return _carried_out(order, job)


def _carried_out(order: Order, job: Job) -> str:
    check_before(job)
    try:
        order(job)
    except UntilReached:
        return str(report_job(job))  # the lock is of whole runs
    except PipelineError as error:
        if job.steps:
            report_job(job, failure=str(error))
        raise
    write_lock(job)
    report = report_job(job)
    publish_link(f"{job.manifest.name}-report", report, "report", f"report of {job.manifest.name}")
    return str(report)


def plan(order: Order, manifest: str | Path, settings: Sequence[str] = ()) -> Job:
    """The job with what each stage would do, in order; nothing is done."""
    job = open_job(manifest, settings, dry=True)
    order(job)
    job.planned = with_expectations(job)
    return job
