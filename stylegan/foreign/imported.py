"""Foreign files made our own: model.safetensors and model.json in a folder, and whatever a path leads to, read alike.

model.json says what the file does not need to be read for: architecture, config, kimg, the digest of w_avg, the data's
lock, the licence, and where the weights came from.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from stylegan.checkpoint import MODEL, STATE, read_model_file, read_record, read_tensors, serialised, write_folder
from stylegan.config import TrainConfig
from stylegan.foreign.donor import Donor
from stylegan.foreign.formats import read_foreign

ABOUT = "model.json"
NETWORKS = ("G_ema", "G", "D")
OURS = ".safetensors"


class Weights(NamedTuple):
    """What a path leads to: a checkpoint of ours, an imported model, or a foreign file."""

    config: TrainConfig
    tensors: dict[str, dict[str, Tensor]]  # by network: G_ema, and G and D where there are any
    images_seen: int
    reference: Tensor | None = None  # uint8 [R, C, H, W], faces beside which others are scored
    notes: tuple[str, ...] = ()


def read_weights(path: Path, resolution: int | None = None) -> Weights:
    """The networks that a path leads to.

    path: a checkpoint folder (checked against its record), an imported model's folder, a model.safetensors, or a
    foreign file (see FORMATS); resolution: px, for foreign files that do not say how far their training grew.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is neither a checkpoint folder nor a model file")
    if path.is_dir() and not (path / ABOUT).is_file():
        record = read_record(path)
        has_state = (path / STATE).is_file()
        reference = read_tensors(path, STATE, record)["reference"] if has_state else None
        return Weights(record.config, _by_network(read_tensors(path, MODEL, record)), record.images_seen, reference)
    file = path / MODEL if path.is_dir() else path
    if file.suffix == OURS:
        flat, config, images_seen = read_model_file(file)
        return Weights(config, _by_network(flat), images_seen)
    _, donor = read_foreign(file, resolution)
    return Weights(donor.config, donor.tensors, donor.images_seen or 0, None, donor.notes)


def read_donor(path: Path, resolution: int | None = None) -> tuple[TrainConfig, dict[str, dict[str, Tensor]]]:
    """Config and weights by network (G_ema, and G and D where there are any) of what a training may start from."""
    weights = read_weights(path, resolution)
    return weights.config, weights.tensors


def _by_network(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        network, _, name = key.partition(".")
        found.setdefault(network, {})[name] = value
    return {name: found[name] for name in NETWORKS if name in found}


def import_file(path: Path, out: Path, licence: str | None = None, resolution: int | None = None) -> dict[str, Any]:
    """Write a foreign file's networks into the folder `out`, which appears whole or not at all; what model.json says.

    licence: under which the weights may be used, in words; files do not say. resolution: see read_weights.
    """
    if out.exists():
        raise ValueError(f"{out} is there already: give the name of a new folder")
    form, donor = read_foreign(path, resolution)
    about = _about(path, form, donor, licence)
    known = {"config": donor.config.model_dump(mode="json"), "images_seen": donor.images_seen or 0}
    flat = {f"{network}.{k}": v for network, weights in donor.tensors.items() for k, v in weights.items()}
    write_folder(out, {MODEL: serialised(flat, known), ABOUT: _json(about)})
    return about


def _about(path: Path, form: str, donor: Donor, licence: str | None) -> dict[str, Any]:
    w_avg = donor.tensors["G_ema"].get("mapping.w_avg")
    return {
        "format": 1,
        "architecture": donor.config.network.architecture,
        "resolution": donor.config.resolution,
        "network": donor.config.network.model_dump(mode="json"),
        "networks": list(donor.tensors),
        "kimg": None if donor.images_seen is None else donor.images_seen / 1000,
        "w_avg_sha256": None if w_avg is None else hashlib.sha256(w_avg.numpy().tobytes()).hexdigest(),
        "data_lock": None,  # what these weights were trained on is not known here
        "licence": licence or "not stated",
        "from": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "format": form},
        "notes": list(donor.notes),
    }


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
