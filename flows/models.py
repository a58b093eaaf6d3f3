"""`stylegan import` and `stylegan export`: models from other projects, and for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

models = typer.Typer()

OutOption = Annotated[Path | None, typer.Option("--out", help="where to write", show_default=False)]
ResolutionOption = Annotated[
    int | None, typer.Option(help="px, for files that do not say how far their training grew", show_default=False)
]


@models.command("import", epilog="Example:  stylegan import ffhq.pkl --licence 'Nvidia Source Code License-NC'")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a checkpoint", show_default=False)],
    out: OutOption = None,
    licence: Annotated[str | None, typer.Option(help="of the weights; files do not say", show_default=False)] = None,
    resolution: ResolutionOption = None,
) -> None:
    """Read another project's checkpoint, running nothing of it, and write it as a model of this one."""
    from tasks.import_model import import_model

    folder, about = import_model(file, out, licence, resolution)
    kimg = "kimg unknown" if about["kimg"] is None else f"{about['kimg']:,.0f} kimg"
    typer.echo(f"{folder}: {about['architecture']}, {about['resolution']} px, {kimg}, licence {about['licence']}")
    for note in about["notes"]:
        typer.echo(f"  {note}")


@models.command(epilog="Example:  stylegan champion manifests/celeba.yaml --rollback")
def champion(
    manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a manifest", show_default=False)],
    rollback: Annotated[bool, typer.Option("--rollback", help="take the present one back")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="the manifest's finished model, uncompared")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show the champions of a manifest, take the present one back, or promote the model that is there."""
    from flows.carry_out import open_job
    from flows.retrain import better_model
    from tasks.champion import promote_anyway, read_champions, roll_back

    if rollback and promote:
        raise ValueError("--rollback and --promote: choose one of them")
    job = open_job(manifest)
    if rollback:
        roll_back(job.root, job.manifest.name)
    if promote:
        chosen = better_model(open_job(manifest, dry=True))
        if chosen.model.pending:
            raise ValueError(f"{manifest} has no finished model: `stylegan run {manifest}` makes one")
        promote_anyway(job, chosen.model, chosen.shards)
    known = read_champions(job.root, job.manifest.name)
    if as_json:
        typer.echo(known.model_dump_json(indent=1))
        return
    for number, one in enumerate(known.line, 1):
        present = " (present)" if number == len(known.line) else ""
        typer.echo(f"{number}. {one.sha256[:12]} promoted {one.promoted}{present}: {one.why}")
    for one in known.rolled_back:
        typer.echo(f"rolled back: {one.sha256[:12]} promoted {one.promoted}")
    if not known.line:
        typer.echo(f"{job.manifest.name} has no champion yet")


@models.command(epilog="Example:  stylegan export data/models/ffhq --to onnx --out ffhq.onnx")
def export(
    model: Annotated[Path, typer.Argument(exists=True, help="a checkpoint, model or foreign file", show_default=False)],
    to: Annotated[str, typer.Option(help="onnx, or rosinality (safetensors with its names)")] = "onnx",
    out: OutOption = None,
    resolution: ResolutionOption = None,
) -> None:
    """Write a model in the form that another program reads."""
    from tasks.export_model import export_model

    typer.echo(str(export_model(model, to, out, resolution)))
