"""Reads the state of the NVIDIA-style snapshots in the fixtures without executing anything of them."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas
import pytest
import torch

from stylegan.config import TrainConfig


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


class _Snapshot(pickle.Unpickler):
    """Knows the few names that such a file needs; any other is refused."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): dict,
            ("dnnlib.util", "EasyDict"): dict,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("numpy._core.multiarray", "scalar"): np._core.multiarray.scalar,
            ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("torch.storage", "_load_from_bytes"): lambda b: torch.load(io.BytesIO(b), weights_only=True),
        }
        if (module, name) in known:
            return known[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is not among the names that a snapshot needs")


def _tensors(module: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    state = module["state"]
    found = {prefix + k: v for k, v in {**state["_parameters"], **state["_buffers"]}.items() if v is not None}
    for name, child in state["_modules"].items():
        if child is not None:
            found |= _tensors(child, f"{prefix}{name}.")
    return found


def read_snapshot(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors by name of every network in the file: G, D, G_ema."""
    with path.open("rb") as file:
        data = _Snapshot(file).load()
    return {name: _tensors(data[name]) for name in ("G", "D", "G_ema") if name in data}


def without_filters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state less the constant resampling filters, which are no weights of ours."""
    return {k: v.detach().float() for k, v in state.items() if not k.endswith("resample_filter")}


@pytest.fixture(scope="session")
def snapshot(fixtures: Path) -> Callable[[str], dict[str, dict[str, torch.Tensor]]]:
    """Reads a snapshot of the fixtures by name: weights by name of G, D and G_ema, less the constant filters."""
    return lambda name: {k: without_filters(v) for k, v in read_snapshot(fixtures / name).items()}


def drawn_face(seed: int, size: int) -> np.ndarray:
    """A picture with one coloured disc on a coloured ground, uint8 [size, size, 3] RGB: something to learn."""
    random = np.random.default_rng(seed)
    ground, disc = random.integers(0, 256, (2, 3))
    y, x = np.mgrid[:size, :size]
    cx, cy, radius = random.uniform((0.35, 0.35, 0.2), (0.65, 0.65, 0.35))
    inside = (x / size - cx) ** 2 + (y / size - cy) ** 2 < radius**2
    return np.where(inside[..., None], disc, ground).astype(np.uint8)


def write_shards(folder: Path, count: int, size: int) -> Path:
    """A shard folder of drawn faces, the first eighth of them held out."""
    folder.mkdir(parents=True)
    rows = []
    with tarfile.open(folder / "000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(count):
            data = cv2.imencode(".png", drawn_face(i, size)[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(f"{i:04d}_000.png")
            info.size = len(data)
            row = {"id": f"{i:04d}_000", "shard": "000.tar", "offset": tar.offset + 512, "length": len(data)}
            tar.addfile(info, io.BytesIO(data))
            rows.append(row | {"split": "held_out" if i < count // 8 else "train", "label": -1})
    pandas.DataFrame(rows).to_parquet(folder / "index.parquet")
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawn faces of 16 px: 42 to train on, 6 held out."""
    return write_shards(tmp_path_factory.mktemp("shards") / "faces", 48, 16)


TINY = {
    "resolution": 16,
    "kimg": 0.16,
    "batch": 8,
    "seed": 3,
    "network": {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16},
    "r1_interval": 4,
    "path_interval": 4,
    "tick_kimg": 0.04,
    "snapshot_kimg": 0.064,
    "sample_columns": 4,
    "sample_rows": 2,
    "threads": 1,
}


@pytest.fixture
def make_run(tmp_path: Path, shards: Path) -> Callable[..., Path]:
    """Writes a run folder with its job.json: make_run(name, start=None, **values of the config)."""

    def make(name: str = "run", start: Path | None = None, **values: Any) -> Path:
        run = tmp_path / name
        run.mkdir()
        config = TrainConfig.model_validate(TINY | values)
        job = {"config": config.model_dump(mode="json"), "shards": str(shards), "start": str(start) if start else None}
        (run / "job.json").write_text(json.dumps(job))
        return run

    return make
