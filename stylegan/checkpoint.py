"""Checkpoints: safetensors and JSON in a folder that appears whole or not at all.

KKKKKK.KKK/ (kimg) holds model.safetensors (G_ema, G, D: all that another program needs), state.safetensors
(optimisers, running means, reference faces: what continuing and ranking need) and checkpoint.json (config,
counters, SHA-256 of both files), written last. No pickle is written or read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor

from stylegan.architectures import build_networks
from stylegan.config import TrainConfig
from stylegan.state import TrainState, new_state

MODEL, STATE, RECORD = "model.safetensors", "state.safetensors", "checkpoint.json"
SCALARS = ("path_mean", "augment_p", "sign_sum")  # of a TrainState


class IntegrityError(ValueError):
    """A file is not what its record says."""


class Record(BaseModel):
    """What checkpoint.json says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    config: TrainConfig
    images_seen: int
    step: int  # optimiser steps so far
    seconds: float  # spent training so far
    faces: str  # digest of the training faces' ids
    donor: str | None  # digest of the model that the training started from
    distance: float | None = None  # sliced Wasserstein distance to the held-out faces
    phase_end: bool = False  # the last one of a size, where networks grow
    sha256: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, raw: Any) -> Any:
        """Format 1 knew no step: every step had config.batch images."""
        if isinstance(raw, dict) and raw.get("format") == 1:
            return {**raw, "format": 2, "step": raw["images_seen"] // raw["config"]["batch"]}
        return raw

    @property
    def kimg(self) -> float:
        """Thousands of real pictures seen."""
        return self.images_seen / 1000


def checkpoint_name(images_seen: int) -> str:
    """The folder's name: kimg with three decimals, zero-padded, so that names sort by age."""
    return f"{images_seen / 1000:010.3f}"


def _trained(optimizer: torch.optim.Adam, module: torch.nn.Module) -> list[str]:
    """Names of the weights that an optimiser holds, in its order; frozen ones are not among them."""
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    return [k for k, p in module.named_parameters() if id(p) in held]


def _optimizer_tensors(optimizer: torch.optim.Adam, module: torch.nn.Module, name: str) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    names = _trained(optimizer, module)
    return {f"{name}.{names[i]}.{key}": value for i, entry in state.items() for key, value in entry.items()}


def _load_optimizer(
    optimizer: torch.optim.Adam, module: torch.nn.Module, name: str, tensors: dict[str, Tensor]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for i, key in enumerate(_trained(optimizer, module)):
        prefix = f"{name}.{key}."
        # A parameter that never had a gradient has no state; its name is no prefix of another's.
        found = {k: tensors[prefix + k] for k in ("step", "exp_avg", "exp_avg_sq") if prefix + k in tensors}
        if found:
            state[i] = found
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_checkpoint(folder: Path, state: TrainState, record: Record, reference: Tensor) -> Path:
    """Write the state as one folder in `folder`, which appears whole or not at all.

    record: what it says beside counters and digests; reference: uint8 [R, C, H, W], training faces beside which
    others are scored (see ranking).
    """
    networks = (("G_ema", state.G_ema), ("G", state.G), ("D", state.D))
    model = {f"{name}.{k}": v for name, module in networks for k, v in module.state_dict().items()}
    rest = _optimizer_tensors(state.opt_G, state.G, "opt_G") | _optimizer_tensors(state.opt_D, state.D, "opt_D")
    rest |= {name: getattr(state, name) for name in SCALARS} | {"reference": reference}
    check_room(folder, [*model.values(), *rest.values()])
    about = {"config": record.config.model_dump(mode="json"), "images_seen": state.images_seen}
    files = {MODEL: serialised(model, about), STATE: serialised(rest, about)}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    now = {"images_seen": state.images_seen, "step": state.step, "sha256": digests}
    files[RECORD] = (record.model_copy(update=now).model_dump_json(indent=1) + "\n").encode()
    return write_folder(folder / checkpoint_name(state.images_seen), files)


def check_room(folder: Path, tensors: Iterable[Tensor]) -> None:
    """Raise OSError before the work when the disk cannot take these tensors as files."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(t.numel() * t.element_size() for t in tensors) + 2**20
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"a checkpoint needs {needed / 1e6:,.0f} MB, the disk of {folder} has {free / 1e6:,.0f} MB left: make room "
            "and start again, it goes on from the last checkpoint",
        )


def serialised(tensors: dict[str, Tensor], about: dict[str, Any]) -> bytes:
    """Tensors and what they are about as a safetensors file."""
    # One metadata key only: the format does not fix the order of several, and bytes should repeat.
    metadata = {"stylegan": json.dumps(about, sort_keys=True)}
    return safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata)


def write_folder(target: Path, files: dict[str, bytes]) -> Path:
    """Write files into a temporary folder, force them to disk, then give it its name."""
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, data in files.items():
        with (temporary / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    if target.exists():
        shutil.rmtree(target)  # a damaged one of the same name: a valid one is never written again
    temporary.rename(target)
    for place in (target, target.parent):
        descriptor = os.open(place, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return target


def read_record(path: Path) -> Record:
    """The record of a checkpoint folder."""
    try:
        return Record.model_validate_json((path / RECORD).read_bytes())
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} holds no {RECORD}: it is no checkpoint, or its writing was cut short") from error
    except ValidationError as error:
        raise IntegrityError(f"{path / RECORD} cannot be read: {error}") from error


def read_tensors(path: Path, name: str, record: Record) -> dict[str, Tensor]:
    """The tensors of one file of a checkpoint folder, checked against its record first."""
    file = path / name
    if not file.is_file():
        raise IntegrityError(f"{file} is missing: use another checkpoint of the same run")
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.sha256.get(name):
        raise IntegrityError(
            f"{file} has SHA-256 {digest[:16]}..., its record says {record.sha256.get(name, 'nothing')[:16]}...: "
            "it is damaged; use another checkpoint of the same run"
        )
    return safetensors.torch.load(data)


def read_model_file(file: Path) -> tuple[dict[str, Tensor], TrainConfig, int]:
    """Tensors, config and images seen of a model.safetensors that stands alone."""
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            about = json.loads((opened.metadata() or {}).get("stylegan", "{}"))
            tensors = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise IntegrityError(f"{file} cannot be read as safetensors: {error}") from error
    if "config" not in about:
        raise ValueError(f"{file} does not say what network it holds: it was not written by this project")
    return tensors, TrainConfig.model_validate(about["config"]), int(about["images_seen"])


def newest_valid(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what its record says; damaged ones are named on stderr and passed over."""
    for path in sorted(folder.glob("[0-9]*.[0-9][0-9][0-9]"), reverse=True):
        try:
            record = read_record(path)
            for name in (MODEL, STATE):
                read_tensors(path, name, record)
        except IntegrityError as error:
            print(f"passed over: {error}", file=sys.stderr, flush=True)
        else:
            return path
    return None


def delete_old(folder: Path, keep: int) -> None:
    """Delete all checkpoints but the newest, the best, those at the end of a size, and what was left half-written."""
    for path in folder.glob(".*.part"):
        shutil.rmtree(path)
    records = _readable_records(folder)
    kept = {path for path, record in records.items() if record.phase_end} | {best_checkpoint(folder)}
    for path in sorted(folder.glob("[0-9]*.[0-9][0-9][0-9]"))[:-keep]:
        if path not in kept:
            shutil.rmtree(path)


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint whose samples came nearest to the held-out faces, or None where none was measured."""
    measured = [(r.distance, path) for path, r in _readable_records(folder).items() if r.distance is not None]
    return min(measured)[1] if measured else None


def _readable_records(folder: Path) -> dict[Path, Record]:
    found = {}
    for path in folder.glob("[0-9]*.[0-9][0-9][0-9]"):
        try:
            found[path] = read_record(path)
        except IntegrityError as error:  # a damaged one is worth no keeping
            print(f"passed over: {error}", file=sys.stderr, flush=True)
    return found


def restore_state(path: Path, config: TrainConfig, device: torch.device) -> tuple[TrainState, Record, Tensor]:
    """The training state of a checkpoint folder, its record and its reference faces.

    The recipe is `config`'s; resolution and network must be the checkpoint's.
    """
    record = read_record(path)
    model, rest = (read_tensors(path, name, record) for name in (MODEL, STATE))
    G, D = build_networks(config.network, config.resolution)
    load_weights(G, "G", model, path)
    load_weights(D, "D", model, path)
    state = new_state(G.to(device), D.to(device), config)
    load_weights(state.G_ema, "G_ema", model, path)
    _load_optimizer(state.opt_G, state.G, "opt_G", rest)
    _load_optimizer(state.opt_D, state.D, "opt_D", rest)
    for name in SCALARS:
        if name in rest:  # format 1 knew no augmentation
            getattr(state, name).copy_(rest[name])
    state.images_seen, state.step = record.images_seen, record.step
    return state, record, rest["reference"]


def load_weights(module: torch.nn.Module, name: str, tensors: dict[str, Tensor], path: Path) -> None:
    """Give a network the weights whose names begin with its name."""
    weights = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
    own = module.state_dict()
    wrong = [
        k for k in own.keys() | weights.keys() if k not in weights or k not in own or own[k].shape != weights[k].shape
    ]
    if wrong:
        raise IntegrityError(f"{path}: {name} does not fit its config in {len(wrong)} tensors, first {min(wrong)}")
    module.load_state_dict(weights)


def model_digest(path: Path) -> str:
    """SHA-256 of a checkpoint's weights."""
    return read_record(path).sha256[MODEL]
