"""init: a first manifest for a folder of pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

from manifests.load import load_manifest
from manifests.sources import FolderSource

TEMPLATE = """\
# yaml-language-server: $schema=manifest.schema.json
name: {name}
description: Faces from {path}
resolution: {resolution}          # px, a power of two
sources:
  - kind: folder
    path: {quoted}
crop:
  detector: {detector}        # photographs: haar, yunet (an asset); drawings: anime (assets); centre; none: cut already
  min_face: {min_face}            # px; smaller faces leave as face_too_small
  factor: 1.5             # side of the cut over the side of the face
dedup:
  threshold: 10           # bits of 64, or a likeness such as "90%"; thumbnails decide what is a duplicate
upscale:
  upscaler: lanczos       # waifu2x for drawings (an asset)
train:
  preset: photos          # 64 px on two cores in minutes: rough; `auto` is the recipe for a GPU
  kimg: 16                # thousands of faces shown; a good model takes thousands of kimg
clean:
  drop_lowest: 0.03       # share of faces with the lowest scores
retrain:
  kimg: 4
evaluate:
  num_images: 256
"""


def write_manifest(folder: Path, detector: str = "haar", resolution: int = 64, where: Path = Path("manifests")) -> Path:
    """Write manifests/NAME.yaml for the folder and return its path.

    One that is there already for this folder is left as it is; one for another folder is a ValueError.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give one with pictures, or a manifest (a .yaml file)")
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_") or "pictures"
    path = where / f"{name}.yaml"
    if path.exists():
        _check_same_folder(path, folder)
        return path
    where.mkdir(parents=True, exist_ok=True)
    path.write_text(
        TEMPLATE.format(
            name=name,
            path=folder.name,
            quoted=json.dumps(str(folder.resolve()), ensure_ascii=False),
            detector=detector,
            resolution=resolution,
            min_face=resolution * 3 // 4,
        ),
        encoding="utf-8",
    )
    return path


def _check_same_folder(path: Path, folder: Path) -> None:
    sources = load_manifest(path).sources
    folders = [Path(source.path).expanduser().resolve() for source in sources if isinstance(source, FolderSource)]
    if folder.resolve() not in folders:
        raise ValueError(
            f"{path} is there already and does not read {folder}: run it by its own name, or rename one of the two"
        )
