"""The `stylegan` command: everything the flows do, in one process, with no server running."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.models import models
from flows.review import reviews
from manifests.ledger import COLUMNS
from manifests.load import ManifestError
from tasks.errors import PipelineError
from tasks.job import Job, data_root
from tasks.report import size

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From raw pictures to a trained StyleGAN, its films, and better data for the next training.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage or manifest, 3 refused before the work, 4 data differ from the "
    "record, 5 waits for a review, 6 verification differs, 7 training diverged, 130 and 143 stopped and saved.",
)
app.add_typer(models)
app.add_typer(reviews)
out = Console(soft_wrap=True)

ManifestArgument = Annotated[
    Path, typer.Argument(help="a manifest (YAML), or a folder of pictures", show_default=False)
]
SetOption = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="put over the manifest: train.kimg=4")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]

STAGES = "download crop dedup review upscale augment shard train evaluate rank clean retrain choose export"


@app.command(epilog="Examples:  stylegan run manifests/toon.yaml   |   stylegan run ./pics --set train.kimg=2")
def run(
    manifest: ManifestArgument,
    until: Annotated[str, typer.Option(metavar="STAGE", help=f"stop after this stage: {STAGES}")] = "",
    settings: SetOption = [],  # noqa: B006  typer reads the default, nobody changes it
    track: Annotated[
        bool, typer.Option(help="as a Prefect flow, on the server of PREFECT_API_URL or a temporary one")
    ] = bool(os.environ.get("PREFECT_API_URL")),
) -> None:
    """Carry out a manifest from its sources to its films; what is there already is not done again."""
    from flows.carry_out import carry_out
    from flows.retrain import retrain, retrain_and_export

    if until and until not in STAGES.split():
        raise ManifestError(f"--until {until}: the stages are {STAGES.replace(' ', ', ')}")
    path = _manifest(manifest)
    if track and not until:
        report = retrain(str(path), settings)
    else:
        report = carry_out(retrain_and_export, path, settings, until)
    _say_where(_dry(path, settings), Path(report))


@app.command(epilog="Example:  stylegan plan manifests/photos.yaml --set crop.min_face=96")
def plan(manifest: ManifestArgument, settings: SetOption = [], as_json: JsonOption = False) -> None:  # noqa: B006
    """Say for every stage whether it is there or will run, why, and how much to expect."""
    job = _dry(_manifest(manifest), settings)
    if as_json:
        print(json.dumps([dataclasses.asdict(step) for step in job.planned], indent=1))
        return
    table = Table("stage", "", "why", "rows", "bytes", box=None, header_style="bold")
    for step in job.planned:
        rows = f"{step.rows:,}" if step.rows is not None else "?"
        table.add_row(step.title, step.state, step.why, rows, size(step.bytes) if step.bytes is not None else "?")
    out.print(table)


@app.command(epilog="Example:  stylegan status manifests/toon.yaml")
def status(manifest: ManifestArgument, settings: SetOption = []) -> None:  # noqa: B006
    """Show the finished stages of a manifest with their counts and seconds."""
    from tasks.stage import summary

    for record in _dry(_manifest(manifest), settings).all_steps:
        out.print(f"[bold]{record.stage:<9}[/bold] " + ("not done" if record.pending else summary(record)))


@app.command(epilog="Example:  stylegan why manifests/photos.yaml 000123.jpg")
def why(
    manifest: ManifestArgument,
    what: Annotated[
        str, typer.Argument(help="a stage, the beginning of an id, a file name, a path or URL, or a part of one")
    ] = "",
    as_json: JsonOption = False,
    settings: SetOption = [],  # noqa: B006
) -> None:
    """Why a stage would run again, or the whole story of a picture and its faces."""
    from tasks.why import lines_of, stories_of

    job = _dry(_manifest(manifest), settings)
    if not what or what in STAGES.split():
        for step in job.planned:
            if what in ("", step.stage):
                out.print(f"{step.title}: {'is there' if step.state == 'there' else 'will run'}, {step.why}")
        return
    stories = stories_of(job, what)
    if not stories:
        raise ManifestError(f"no picture and no face of {job.path} is called {what!r}")
    if as_json:
        print(json.dumps(stories, indent=1, ensure_ascii=False))
        return
    for line in (line for story in stories for line in lines_of(story)):
        out.print(line, markup=False, highlight=False)


@app.command(epilog="Example:  stylegan verify manifests/toon.yaml --deep")
def verify(
    manifest: ManifestArgument,
    deep: Annotated[bool, typer.Option("--deep", help="compare digests, not sizes only")] = False,
    settings: SetOption = [],  # noqa: B006
) -> None:
    """Compare what is on disk with the manifest's lock; exits 6 and names every file that differs."""
    from flows.carry_out import open_job
    from tasks.lock import Difference, differences, locked_records

    job = open_job(manifest, settings)
    looked = list(locked_records(job))
    found = [one for one in looked if isinstance(one, Difference)]
    found += differences(job.root, [one for one in looked if not isinstance(one, Difference)], deep)
    for difference in found:
        bucket = f" bucket {difference.bucket}" if difference.bucket else ""
        out.print(f"{difference.stage}{bucket}: {difference.file}: {difference.found}, recorded {difference.expected}")
    if found:
        raise typer.Exit(6)
    out.print(f"{len(looked)} stages are as the lock says" + ("" if deep else " (sizes; --deep compares digests)"))


@app.command(
    epilog="Columns: " + "; ".join(f"{name}: {means}" for name, (_, means) in COLUMNS.items() if means),
)
def ledger(
    manifest: ManifestArgument,
    to: Annotated[
        Path | None, typer.Option("--out", help="FILE.csv or FILE.parquet; else the counts are shown")
    ] = None,
    settings: SetOption = [],  # noqa: B006
) -> None:
    """Write one row a picture and a face: id, origin, box, measures, group, keeper, score, reason, shard.

    What a source says beyond that comes in columns facts.NAME, points in columns of their coordinates.
    """
    from manifests.ledger import count_reasons
    from manifests.unfold import unfold

    rows = _ledger(_dry(_manifest(manifest), settings))
    if to is None:
        for kind, reasons in count_reasons(rows).items():
            out.print(f"{kind}s: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items()))
    elif to.suffix == ".parquet":
        unfold(rows).to_parquet(to, index=False)
    elif to.suffix == ".csv":
        unfold(rows).drop(columns="thumb").to_csv(to, index=False)
    else:
        raise ManifestError(f"--out {to}: give a name that ends in .csv or .parquet")


@app.command(epilog="Example:  stylegan report manifests/toon.yaml")
def report(manifest: ManifestArgument, settings: SetOption = []) -> None:  # noqa: B006
    """Write the HTML report of what there is and print its path."""
    from tasks.summary import report_job

    job = _dry(_manifest(manifest), settings)
    job.steps = [record for record in job.steps if not record.pending]
    for arm in job.arms.values():
        arm.steps = [record for record in arm.steps if not record.pending]
    job.reused = {record.key for record in job.all_steps}
    if not job.steps:
        raise ManifestError(f"{job.path} has nothing to report yet: `stylegan run {job.path}` first")
    print(report_job(job))


@app.command(epilog="Example:  stylegan pack manifests/photos.yaml --to photos.zip --where \"rating == 'g'\"")
def pack(
    manifest: ManifestArgument,
    to: Annotated[Path, typer.Option(help="FILE.zip, FILE.tar or a folder that is not there yet")],
    layout: Annotated[
        str, typer.Option("--format", help="nvidia, folder or webdataset; empty = the usual one of such a name")
    ] = "",
    split: Annotated[str, typer.Option(help="train or held_out")] = "train",
    where: Annotated[str, typer.Option(help="which faces, an expression over the ledger: label == 'cat'")] = "",
    sizes: Annotated[str, typer.Option(help="px, with commas between: a target each, named NAME-SIZE")] = "",
    settings: SetOption = [],  # noqa: B006
) -> None:
    """Pack the faces for others: NVIDIA's zip, a plain folder (of classes), a WebDataset tar."""
    from tasks.pack import asked_of, pack_faces
    from tasks.summary import last

    asked = asked_of(to, layout, split, where, sizes)
    job = _dry(_manifest(manifest), settings)
    job.steps = [record for record in job.steps if not record.pending]
    shards = last(job, "shard")
    if shards is None:
        raise ManifestError(f"{job.path} has no shards yet: `stylegan run {job.path} --until shard` first")
    for path in pack_faces(job, shards, to, asked):
        print(path)


@app.command()
def doctor() -> None:
    """Look at this machine: Python, libraries, GPU, film encoder, data root, assets."""
    from tasks.doctor import examine

    findings = list(examine())
    for finding in findings:
        out.print(f"{finding.state:<6} {finding.what}: {finding.says}", markup=False)
    if any(finding.state == "BAD" for finding in findings):
        raise typer.Exit(1)


@app.command(epilog="Example:  stylegan init ./pics --detector anime-lbp")
def init(
    folder: Annotated[Path, typer.Argument(help="a folder of pictures", show_default=False)],
    detector: Annotated[str, typer.Option(help="haar or yunet; anime or anime-lbp; centre; none")] = "haar",
    resolution: Annotated[int, typer.Option(help="px, a power of two")] = 64,
) -> None:
    """Write manifests/NAME.yaml for a folder of pictures, to be edited."""
    from manifests.load import load_manifest
    from tasks.init import write_manifest

    path = write_manifest(folder, detector, resolution)
    load_manifest(path)
    out.print(f"{path}: edit it, look with `stylegan plan {path}`, then `stylegan run {path}`")


def main() -> None:
    """Run the command; errors that are no bugs become a sentence and an exit code."""
    try:
        app()
    except (PipelineError, ManifestError) as error:
        _end(error, error.exit_code)
    except ValueError as error:
        _end(error, 2)
    except KeyboardInterrupt:
        _end("stopped; the same command goes on from here", 130)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _end(
                f"the disk is full ({error.filename or data_root()}): free some; the same command goes on from here", 1
            )
        if error.errno in (errno.EACCES, errno.EROFS):
            _end(f"no permission to write {error.filename}: change it, or set STYLEGAN_DATA=/another/folder", 1)
        raise


def _end(error: object, code: int) -> None:
    print(f"stylegan: {error}", file=sys.stderr)
    sys.exit(code)


def _manifest(given: Path) -> Path:
    """The manifest itself; for a folder the one that init writes."""
    if not given.is_dir():
        return given
    from tasks.init import write_manifest

    return write_manifest(given)


def _dry(path: Path, settings: list[str]) -> Job:
    from flows.carry_out import plan as plan_order
    from flows.retrain import retrain_and_export

    return plan_order(retrain_and_export, path, settings)


def _ledger(job: Job) -> Any:
    from tasks.summary import final_ledger

    job.steps = [record for record in job.steps if not record.pending]
    return final_ledger(job)


def _say_where(job: Job, report_path: Path) -> None:
    places = {"report": report_path, "data": job.root}
    for record in job.steps:
        if record.stage in ("train", "retrain") and not record.pending:
            places[record.stage] = job.root / str(record.facts["run"])
        if record.stage in ("shard", "export") and not record.pending:
            places[record.stage] = job.folder(record)
    for name, place in places.items():
        out.print(f"{name:<8} {place}", markup=False)
