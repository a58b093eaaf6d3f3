from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stylegan.ranks import Ranks, batch_parts, rank_rows
from tests.stylegan.one_step import gradients_of_a_step

ROOT = Path(__file__).resolve().parents[2]


def start_ranks(count: int, *command: str) -> list[subprocess.Popen[bytes]]:
    """What torchrun does: as many processes as ranks, which find each other at a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **shared, "RANK": str(rank)})
        for rank in range(count)
    ]


def end_ranks(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    return [process.wait(120) for process in processes]


def test_ranks_share_a_batch_in_whole_groups() -> None:
    parts = [batch_parts(32, 8, 4, Ranks(rank, 2)) for rank in range(2)]
    assert sorted(torch.cat([rank_rows(p) for p in parts]).tolist()) == list(range(32))
    for rank in parts:
        assert [p.place for p in rank] == [slice(0, 8), slice(8, 16)]
        assert all(len(set((p.rows % 8).tolist())) == 2 for p in rank)


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a batch of 12 images in groups of 4 .* on 2 ranks"):
        batch_parts(12, None, 4, Ranks(0, 2))


@pytest.mark.parametrize(("micro_batch", "way"), [(0, "plain"), (8, "labels"), (0, "stylegan3")])
def test_two_ranks_give_the_gradients_of_one(tmp_path: Path, micro_batch: int, way: str) -> None:
    found = tmp_path / "gradients.safetensors"
    assert end_ranks(start_ranks(2, "tests.stylegan.one_step", str(found), str(micro_batch), way)) == [0, 0]
    alone, shared = gradients_of_a_step(None, way=way), safetensors.torch.load_file(found)
    assert set(alone) == set(shared)
    for phase in sorted({name.split(".")[0] for name in alone}):
        names = [name for name in alone if name.startswith(phase)]
        a, b = (torch.cat([side[name].flatten() for name in names]) for side in (alone, shared))
        assert float((a - b).norm() / a.norm().clamp(min=1e-12)) < 1e-5, phase


def await_checkpoint(run: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    while not list((run / "checkpoints").glob("0*")):
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.02)


def weights_of(run: Path) -> str:
    done = json.loads((run / "done.json").read_text())
    return hashlib.sha256((run / "checkpoints" / done["checkpoint"] / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_two_ranks_killed_and_started_again_end_as_if_never_killed(make_run: Callable[..., Path]) -> None:
    whole, killed = make_run("whole", kimg=0.8), make_run("killed", kimg=0.8)
    assert end_ranks(start_ranks(2, "stylegan.training", str(whole))) == [0, 0]
    processes = start_ranks(2, "stylegan.training", str(killed))
    await_checkpoint(killed, processes)
    for process in processes:
        process.kill()
    assert end_ranks(processes) == [-signal.SIGKILL, -signal.SIGKILL]
    assert not (killed / "done.json").exists()
    assert end_ranks(start_ranks(2, "stylegan.training", str(killed))) == [0, 0]
    assert weights_of(killed) == weights_of(whole)


@pytest.mark.slow
def test_one_rank_that_is_asked_to_stop_stops_all(make_run: Callable[..., Path]) -> None:
    run = make_run("stopped", kimg=50)
    processes = start_ranks(2, "stylegan.training", str(run))
    await_checkpoint(run, processes)
    processes[1].send_signal(signal.SIGTERM)
    assert end_ranks(processes) == [143, 143]
    assert not (run / "done.json").exists()
