"""import: another project's checkpoint as a model of ours, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stylegan.foreign.imported import import_file
from tasks.job import data_root


def import_model(
    path: Path, out: Path | None, licence: str | None, resolution: int | None
) -> tuple[Path, dict[str, Any]]:
    """The new folder, and what its model.json says; without `out` it is models/NAME under the data root."""
    folder = out or data_root() / "models" / path.stem
    return folder, import_file(path, folder, licence, resolution)
