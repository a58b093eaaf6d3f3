"""doctor: what this machine has, and what would stop a run on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Literal, NamedTuple

from tasks.assets import asset_folders, find_asset, read_assets
from tasks.errors import AssetMissing, IntegrityError, PipelineError
from tasks.job import check_root, data_root
from tasks.lock import LIBRARIES


class Finding(NamedTuple):
    """One thing looked at: ok, absent (only who needs it misses it), or BAD."""

    what: str
    state: Literal["ok", "absent", "BAD"]
    says: str


def examine() -> Iterator[Finding]:
    """Python, libraries, processor and GPU, film encoder, data root, assets."""
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        "python",
        "ok" if supported else "BAD",
        platform.python_version() + ("" if supported else ": 3.11-3.13 is needed"),
    )
    for name in ("prefect", *LIBRARIES):
        yield Finding(name, "ok", version(name))
    yield _torch()
    yield _encoder()
    yield _root()
    for name in read_assets():
        yield _asset(name)


def _torch() -> Finding:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Finding("gpu", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    return Finding("gpu", "absent", f"none: training runs on {os.cpu_count()} cores, which is slow beyond 64 px")


def _encoder() -> Finding:
    import imageio_ffmpeg

    program = imageio_ffmpeg.get_ffmpeg_exe()
    first = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    return Finding("ffmpeg", "ok" if first.startswith("ffmpeg") else "BAD", first or f"{program} does not run")


def _root() -> Finding:
    root = data_root()
    try:
        check_root(root, 0)
    except PipelineError as error:
        return Finding("data", "BAD", str(error))
    return Finding("data", "ok", f"{root}, {shutil.disk_usage(root).free / 1e9:.0f} GB free")


def _asset(name: str) -> Finding:
    root = data_root()
    try:
        return Finding(name, "ok", str(find_asset(name, root)))
    except AssetMissing:
        return Finding(name, "absent", "not in " + ", ".join(str(folder) for folder in asset_folders(root)))
    except IntegrityError as error:
        return Finding(name, "BAD", str(error))
