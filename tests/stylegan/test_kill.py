from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stylegan.checkpoint import MODEL
from stylegan.events import ask, read_events
from stylegan.training import Stop, run_job

ROOT = Path(__file__).resolve().parents[2]


def killed(*arguments: str) -> str:
    """What benchmarks.kill_resume says; it trains in processes forked from a fresh one."""
    command = [sys.executable, "-m", "benchmarks.kill_resume", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_training_killed_thirty_times_ends_with_the_bits_of_one_never_killed() -> None:
    said = killed("--kills", "30")
    assert "30 kills, 1 ranks" in said
    assert "checkpoints/KIMG" in said  # some of them while a checkpoint was written


@pytest.mark.slow
def test_two_ranks_killed_and_resumed_end_with_the_bits_of_two_never_killed() -> None:
    assert "6 kills, 2 ranks" in killed("--kills", "6", "--ranks", "2")


@pytest.mark.slow
def test_resumed_with_other_micro_batches_the_weights_are_the_same_but_for_rounding() -> None:
    assert "4 kills, 1 ranks" in killed("--kills", "4", "--micro-batches", "8,4")


def weights(run: Path, kimg: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "checkpoints" / kimg / MODEL)


def test_a_learning_rate_lowered_on_a_running_training_holds_from_its_step_on(make_run: Callable[..., Path]) -> None:
    values = {"kimg": 0.08, "snapshot_kimg": 0.04, "path_interval": 0, "r1_interval": 0}
    plain, lowered = make_run("plain", **values), make_run("lowered", **values)
    event = {"kind": "lr", "step": 5, "kimg": 0.04, "lr_G": 1e-9, "lr_D": 1e-9}
    (lowered / "events.jsonl").write_text(json.dumps(event) + "\n")
    for run in (plain, lowered):
        assert run_job(run, Stop()) == 0
    before, after = weights(lowered, "000000.040"), weights(lowered, "000000.080")
    assert all(torch.equal(v, before[k]) for k, v in weights(plain, "000000.040").items())
    trained = [k for k in before if k.startswith(("G.", "D.")) and not k.endswith("w_avg")]
    assert all(torch.allclose(after[k], before[k], atol=1e-6) for k in trained)
    assert not any(torch.allclose(weights(plain, "000000.080")[k], before[k], atol=1e-6) for k in trained[:4])


def test_a_training_takes_a_request_and_notes_the_step_from_which_it_holds(make_run: Callable[..., Path]) -> None:
    run = make_run(kimg=0.016)
    ask(run, lr_D=0.0005)
    assert run_job(run, Stop()) == 0
    assert not (run / "request.json").exists()
    (event,) = [e for e in read_events(run) if e.kind == "lr"]
    assert (event.step, event.lr_G, event.lr_D) == (0, None, 0.0005)
