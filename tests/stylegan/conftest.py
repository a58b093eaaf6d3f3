"""Reads the state of the NVIDIA-style snapshots in the fixtures without executing anything of them."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


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
