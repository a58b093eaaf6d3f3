"""export: a model in the form that another program reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stylegan.foreign.to_onnx import write_onnx
from stylegan.foreign.to_rosinality import write_rosinality
from stylegan.model import Model, load

# What is written, and the ending of its name.
EXPORTS: dict[str, tuple[Callable[[Model, Path], None], str]] = {
    "onnx": (write_onnx, ".onnx"),
    "rosinality": (write_rosinality, "-rosinality"),
}


def export_model(path: Path, form: str, out: Path | None, resolution: int | None) -> Path:
    """The file or folder that was written, beside the model where `out` says nothing else."""
    if form not in EXPORTS:
        raise ValueError(f"--to {form}: choose one of {', '.join(EXPORTS)}")
    write, ending = EXPORTS[form]
    target = out or path.with_name(path.stem + ending)
    write(load(path, resolution=resolution), target)
    return target
