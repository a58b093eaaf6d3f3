"""export: figures, films and the model itself, in one folder to hand on."""

from __future__ import annotations

import shutil

from tasks.stage import Outcome, Place, stage
from tasks.store import Record
from tasks.track import publish_image
from tasks.train import checkpoint_of, runs_of


@stage("export", version=2, config=lambda job: job.manifest.export)
def export_model(at: Place, model: Record) -> Outcome:
    """Draw the figures, roll the films, and lay the model beside them (without the optimiser's state)."""
    from stylegan import load
    from stylegan.figures import FIGURES, write_image
    from stylegan.films import FilmSubject, make_film

    config = at.job.manifest.export
    checkpoint = checkpoint_of(at.job, model)
    network = load(checkpoint)
    names = ["model.safetensors", "checkpoint.json"]
    for name in names:
        shutil.copyfile(checkpoint / name, at.folder / name)
    for name in config.figures:
        write_image(at.folder / f"{name}.png", FIGURES[name](network, config.figure))
        names.append(f"{name}.png")
    for number, name in enumerate(config.films):
        at.progress(number, len(config.films), "films")
        make_film(name, at.folder / f"{name}.mp4", FilmSubject(network, runs_of(at.job, model)), config.film)
        names.append(f"{name}.mp4")
    if "sample-grid" in config.figures:
        publish_image(f"{at.job.manifest.name}-sample-grid", at.folder / "sample-grid.png", "uncurated samples")
    return Outcome(files=tuple(names))
