"""The report of a job: its records, ledger, runs and exports, gathered for one page."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from manifests.ledger import kept
from tasks import report
from tasks.audit import write_audit
from tasks.distributions import distributions
from tasks.evaluate import NO_CONTROL
from tasks.examples import face_sheet, reason_sheets, variant_sheet
from tasks.job import Job
from tasks.lock import LIBRARIES
from tasks.stage import summary
from tasks.store import Record
from tasks.train import read_stats


def last(job: Job, *stages: str) -> Record | None:
    """The last record of this job that is of one of these stages."""
    return next((record for record in reversed(job.steps) if record.stage in stages), None)


def final_ledger(job: Job) -> pd.DataFrame:
    """The ledger as the last stage that has one left it."""
    record = next((record for record in reversed(job.steps) if record.buckets), None)
    if record is None:
        raise ValueError(f"{job.path} has no ledger yet: run it first")
    return job.ledger(record.buckets)


def report_job(job: Job, failure: str = "") -> Path:
    """Write data/reports/NAME/report.html of what is there and return its path."""
    ledger = final_ledger(job)
    choice = last(job, "choose")
    content = report.ReportContent(
        title=job.manifest.name,
        subtitle=job.manifest.description,
        manifest=job.path.read_text(encoding="utf-8", errors="replace"),
        manifest_name=job.path.name,
        verdict=_verdict(job, choice, failure),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hero=_hero(job),
        numbers=_numbers(job, ledger),
        stages=tuple(_stage_row(job, record) for record in job.steps),
        reasons=_reasons(job, ledger),
        audit=_audit(job, ledger),
        distributions=distributions(ledger, job.manifest.crop),
        kept=_kept(job, ledger),
        variants=_variants(job, ledger),
        trainings=tuple(_training(job, record) for record in job.all_steps if record.stage in ("train", "retrain")),
        rankings=_rankings(job),
        comparisons=_comparisons(job),
        comparison_note=_comparison_note(job) if choice else "",
        figures=_figures(job),
        films=_films(job),
        environment=_environment(job),
        commands=_commands(job),
    )
    return report.write_report(report_folder(job), content)


def report_folder(job: Job) -> Path:
    """Where the report of a job lies, and what belongs to it."""
    return job.root / "reports" / job.manifest.name


def _verdict(job: Job, choice: Record | None, failure: str) -> report.Verdict:
    if failure:
        return report.Verdict("failed", failure)
    if choice:
        return report.Verdict("done", str(choice.facts["verdict"]))
    return report.Verdict("done", f"done as far as {job.steps[-1].stage}")


def _hero(job: Job) -> report.Sheet | None:
    export = last(job, "export")
    if not export or "sample-grid.png" not in export.files:
        return None
    return report.Sheet(job.folder(export) / "sample-grid.png", "Uncurated faces of the exported model")


def _numbers(job: Job, ledger: pd.DataFrame) -> tuple[report.Number, ...]:
    found = [
        report.Number(f"{int((ledger['kind'] == 'picture').sum()):,}", "pictures"),
        report.Number(f"{len(kept(ledger, 'face')):,}", "faces kept"),
    ]
    if num_variants := len(kept(ledger, "variant")):
        found.append(report.Number(f"{num_variants:,}", "variants of them"))
    if model := last(job, "choose", "retrain", "train"):
        found.append(report.Number(f"{model.facts['kimg']:g}", "kimg behind the model"))
    found.append(report.Number(report.duration(sum(record.seconds for record in job.all_steps)), "of work"))
    return tuple(found)


def _stage_row(job: Job, record: Record) -> report.StageRow:
    faces = record.counts.get("face") or record.counts.get("picture") or {}
    num_variants = record.counts.get("variant", {}).get("kept", 0)
    return report.StageRow(
        name=record.stage,
        state="cached" if record.key in job.reused else "done",
        seconds=record.seconds,
        rows_in=sum(faces.values()) or None,
        rows_kept=faces.get("kept") if faces else None,
        num_bytes=record.bytes,
        note=f"and {num_variants:,} variants" if num_variants else "" if record.counts else summary(record),
    )


def _reasons(job: Job, ledger: pd.DataFrame) -> tuple[report.ReasonCount, ...]:
    record = next(record for record in reversed(job.steps) if record.buckets)
    pictures = last(job, "download")
    sheets = reason_sheets(job, pictures, ledger) if pictures else {}
    rows = []
    for kind, reasons in record.counts.items():
        for reason, count in reasons.items():
            image = sheets.get((kind, reason))
            examples = report.Sheet(image, "") if image is not None else None
            rows.append(report.ReasonCount(kind, "" if reason == "kept" else reason, count, examples))
    return tuple(rows)


def _audit(job: Job, ledger: pd.DataFrame) -> str:
    pictures = last(job, "download")
    return write_audit(job, pictures, ledger, report_folder(job)).name if pictures else ""


def _kept(job: Job, ledger: pd.DataFrame) -> report.Sheet | None:
    shards = last(job, "shard")
    faces = kept(ledger, "face")
    if not shards or faces.empty or (faces["shard"] == "").any():
        return None
    return report.Sheet(face_sheet(job, shards, faces.head(48)), f"The first 48 of {len(faces):,} kept faces, by id")


def _variants(job: Job, ledger: pd.DataFrame) -> report.Sheet | None:
    shards = last(job, "shard")
    image = variant_sheet(job, shards, ledger) if shards else None
    return None if image is None else report.Sheet(image, "Faces and the altered copies that training is shown, too")


def _training(job: Job, record: Record) -> report.Training:
    run = job.root / record.facts["run"]
    control = any(record in arm.steps for arm in job.arms.values())
    grids = sorted((run / "samples").glob("fakes-*.png"))
    chosen = [grids[round(i * (len(grids) - 1) / 5)] for i in range(6)] if len(grids) > 6 else grids
    reals = run / "samples" / "reals.png"
    return report.Training(
        name=f"{record.stage}{', control' if control else ''} ({record.facts['kimg']:g} kimg)",
        rows=read_stats(run),
        reals=report.Sheet(reals, "Real faces") if reals.is_file() else None,
        fakes=tuple(report.Sheet(grid, f"{float(grid.stem.removeprefix('fakes-')):g} kimg") for grid in chosen),
        note=run.relative_to(job.root).as_posix(),
    )


def _rankings(job: Job) -> tuple[report.Ranking, ...]:
    rank, shards = last(job, "rank"), next((record for record in job.steps if record.stage == "shard"), None)
    if not rank or not shards:
        return ()
    faces = job.ledger(rank.buckets).dropna(subset="rank").sort_values("rank")
    worst, best = faces.head(16), faces.tail(16)[::-1]
    return (
        report.Ranking(
            "Real faces by the discriminator's score",
            best=report.Sheet(face_sheet(job, shards, best, "score"), "Highest scores"),
            worst=report.Sheet(face_sheet(job, shards, worst, "score"), "Lowest scores"),
            note="The top is odd too, at times: look at both ends.",
            scores=faces["score"].tolist(),
        ),
    )


def _comparisons(job: Job) -> tuple[report.Comparison, ...]:
    """Cleaned against the first model, and against the control where there is one."""
    metrics = [record.facts["swd"] for record in job.steps if record.stage == "evaluate"]
    if len(metrics) < 2:
        return ()
    control = [r.facts["swd"] for arm in job.arms.values() for r in arm.steps if r.stage == "evaluate"]
    others = {"the first model": metrics[0], **dict(zip(("the control",), control, strict=False))}
    return tuple(
        report.Comparison(
            f"cleaned against {name}: sliced Wasserstein distance x 1,000 to {other[split]['images']} "
            f"{split.replace('_', '-')} faces",
            report.Measure(*(other[split][number] for number in ("value", "low", "high"))),
            report.Measure(*(metrics[-1][split][number] for number in ("value", "low", "high"))),
        )
        for name, other in others.items()
        for split in other
        if split in metrics[-1]
    )


def _comparison_note(job: Job) -> str:
    if not job.arms:
        return f"No control arm: {NO_CONTROL}."
    return (
        "The control went on training as long, from the same model and with the same seeds, on faces of which as many "
        "were dropped at random: what cleaning did is the difference to it. Intervals are over the repeats of the "
        "measurement, not over trainings."
    )


def _figures(job: Job) -> tuple[report.Sheet, ...]:
    export = last(job, "export")
    names = [name for name in export.files if name.endswith(".png") and name != "sample-grid.png"] if export else []
    return tuple(
        report.Sheet(job.folder(export) / name, name.removesuffix(".png").replace("-", " ")) for name in names if export
    )


def _films(job: Job) -> tuple[report.Film, ...]:
    export = last(job, "export")
    names = [name for name in export.files if name.endswith(".mp4")] if export else []
    return tuple(
        report.Film(job.folder(export) / name, name.removesuffix(".mp4").replace("-", " ")) for name in names if export
    )


def _environment(job: Job) -> tuple[tuple[str, str], ...]:
    libraries = [(name, version(name)) for name in ("prefect", *LIBRARIES)]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return (("python", platform.python_version()), ("machine", machine), *libraries, ("seed", str(job.manifest.seed)))


def _commands(job: Job) -> tuple[report.Command, ...]:
    return (
        report.Command(f"stylegan run {job.path}", "the same again; what is there is not done twice"),
        report.Command(f"stylegan ledger {job.path} --out {job.manifest.name}.csv", "a row for every picture and face"),
        report.Command(f"stylegan verify {job.path} --deep", "does the disk still hold what the records say?"),
    )
