"""Where a training starts or goes on: from its own newest checkpoint, from a donor, or from nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.architectures import build_networks
from stylegan.checkpoint import (
    MODEL,
    RECORD,
    Record,
    model_digest,
    newest_valid,
    read_record,
    restore_state,
)
from stylegan.config import TrainConfig
from stylegan.faces import Faces
from stylegan.foreign.imported import Weights, read_weights
from stylegan.model import load, load_network
from stylegan.progress import fixed_samples
from stylegan.random import batch_indices
from stylegan.state import TrainState, new_state
from stylegan.transfer import at_last_size, check_donor, check_same_grid

REFERENCE_FACES = 15  # kept with every checkpoint, so that a score needs nothing but its face and the checkpoint

# What may change between two starts of the same run without changing what it learns.
FREE = {
    "kimg",
    "tick_kimg",
    "sample_kimg",
    "snapshot_kimg",
    "keep_last",
    "stop_on",
    "sample_columns",
    "sample_rows",
    "device",
    "threads",
    "cache",
    "micro_batch",
    "compile",  # these two up to rounding
}


class Job(BaseModel):
    """What job.json holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: TrainConfig
    shards: Path = Field(description="Folder that the shard stage wrote.")
    start: Path | None = Field(
        default=None, description="What to begin with: a checkpoint, an imported model, or another project's file."
    )

    @property
    def training(self) -> TrainConfig:
        """The config that this job trains with: from a donor it begins at the whole resolution."""
        return self.config if self.start is None else at_last_size(self.config)


def read_job(run: Path) -> Job:
    """What job.json asks for."""
    try:
        return Job.model_validate_json((run / "job.json").read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{run} holds no job.json: it says config, shards and start") from error


class Beginning(NamedTuple):
    """Where a training stands when it starts or goes on."""

    state: TrainState
    record: Record  # of the checkpoint it goes on from; without digests when there is none yet
    reference: Tensor  # uint8 [R, C, H, W]
    checkpoint: Path | None


def begin(job: Job, run: Path, faces: Faces, device: torch.device) -> Beginning:
    """Go on from the run's own newest checkpoint, else begin with the donor's weights, else from nothing."""
    config = job.training
    newest = newest_valid(run / "checkpoints")
    if newest is not None:
        check_same_run(newest, read_record(newest), config, faces)
        state, record, reference = restore_state(newest, config, device)
        return Beginning(state, record.model_copy(update={"config": config}), reference, newest)
    donor = None
    if job.start is not None:
        state, donor = transferred(job.start, config, device), donor_digest(job.start)
    else:
        G, D = build_networks(config.network, config.resolution, config.seed)
        state = new_state(G.to(device), D.to(device), config)
    reference = faces.images(batch_indices(config.seed, 0, min(REFERENCE_FACES, len(faces)), len(faces)))
    record = Record(config=config, images_seen=0, step=0, seconds=0.0, faces=faces.digest, donor=donor, sha256={})
    return Beginning(state, record, reference, None)


def transferred(start: Path, config: TrainConfig, device: torch.device) -> TrainState:
    """A state with the donor's weights, whose first samples are the donor's; our own give their Adam too."""
    weights = read_weights(start)
    check_donor(start.name, weights.config, weights.images_seen, config)
    if (start / RECORD).is_file():
        state, _, _ = restore_state(start, config, device)
        state.images_seen = state.step = 0
    else:
        state = _state_of(weights, start, config, device)
    count = config.sample_columns * config.sample_rows
    donors, ours = (fixed_samples(G, config, count) for G in (load(start, device).G, state.G_ema))
    check_same_grid(start.name, donors, ours)
    return state


def _state_of(weights: Weights, start: Path, config: TrainConfig, device: torch.device) -> TrainState:
    G, D = build_networks(config.network, config.resolution, config.seed)
    load_network(G, "G" if "G" in weights.tensors else "G_ema", weights.tensors, start)
    if "D" in weights.tensors:
        load_network(D, "D", weights.tensors, start)
    else:
        print(f"{start.name} holds no discriminator: it begins with fresh weights", flush=True)
    state = new_state(G.to(device), D.to(device), config)
    load_network(state.G_ema, "G_ema", weights.tensors, start)
    return state


def donor_digest(start: Path) -> str:
    """SHA-256 of the weights that a training starts from."""
    if (start / RECORD).is_file():
        return model_digest(start)
    return hashlib.sha256((start / MODEL if start.is_dir() else start).read_bytes()).hexdigest()


def check_same_run(checkpoint: Path, record: Record, config: TrainConfig, faces: Faces) -> None:
    """Raise ValueError unless config and faces are those that the run was begun with."""
    then, now = _flat(record.config.model_dump(exclude=FREE)), _flat(config.model_dump(exclude=FREE))
    keys = [*now, *(k for k in then if k not in now)]
    different = [f"{k} was {then.get(k)}, is {now.get(k)}" for k in keys if now.get(k) != then.get(k)]
    if record.faces != faces.digest:
        different.append(f"the {len(faces)} training faces are others")
    if different:
        raise ValueError(
            f"{checkpoint} belongs to a training with other settings ({'; '.join(different)}): "
            "use a new run folder, with this checkpoint as its start"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys of sections within as `section.key`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_faces(faces: Faces, config: TrainConfig) -> None:
    """Raise ValueError unless there are faces, of the config's resolution."""
    if not len(faces):
        raise ValueError(f"{faces.folder} holds no training faces: look at the reasons in the ledger")
    height, width = faces.image(0).shape[:2]
    if (height, width) != (config.resolution, config.resolution):
        raise ValueError(
            f"the faces in {faces.folder} are {width} x {height} px, this config trains at {config.resolution}: "
            "write shards of that size, or change train.resolution"
        )
