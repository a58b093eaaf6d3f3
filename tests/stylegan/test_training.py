from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import stylegan
from stylegan.beginning import read_job, transferred
from stylegan.checkpoint import MODEL, RECORD, STATE, IntegrityError, newest_valid, read_record
from stylegan.events import read_events
from stylegan.faces import Faces, to_pixels
from stylegan.loader import Loader
from stylegan.presets import resolve
from stylegan.progress import fixed_samples, tile
from stylegan.training import Stop, locked, run_job
from tests.stylegan.conftest import write_shards

MakeRun = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


def weights_of(run: Path) -> str:
    done = json.loads((run / "done.json").read_text())
    data = (run / "checkpoints" / done["checkpoint"] / MODEL).read_bytes()
    assert hashlib.sha256(data).hexdigest() == done["sha256"]
    return str(done["sha256"])


def start_child(run: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stylegan.training", str(run), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came in time"
        time.sleep(0.01)


def num_ticks(run: Path) -> int:
    stats = run / "stats.jsonl"
    return len(stats.read_text().splitlines()) if stats.exists() else 0


def test_a_run_leaves_everything_that_it_promises(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    assert run_job(run, Stop()) == 0
    ticks = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert [t["kimg"] for t in ticks] == [0.04, 0.08, 0.12, 0.16]
    assert [t["step"] for t in ticks] == [5, 10, 15, 20]
    expected = {"seconds", "seconds_per_kimg", "eta_seconds", "loss_G", "loss_D", "r1", "path_length", "sign_real"}
    assert expected <= set(ticks[0])
    assert sorted(p.name for p in (run / "samples").iterdir()) == [
        *(f"fakes-{kimg}.png" for kimg in ("000000.000", "000000.064", "000000.128", "000000.160")),
        "reals.png",
    ]
    assert cv2.imread(str(run / "samples" / "reals.png")).shape == (32, 64, 3)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["000000.064", "000000.128", "000000.160"]
    assert any((run / "tensorboard").iterdir())
    assert json.loads((run / "done.json").read_text())["kimg"] == 0.16
    assert "kimg 0.040     step 5" in capsys.readouterr().out


def test_a_finished_run_is_left_as_it_is(make_run: MakeRun) -> None:
    run = make_run(kimg=0.016)
    assert run_job(run, Stop()) == 0
    before = weights_of(run), (run / "checkpoints/000000.016" / RECORD).stat().st_mtime_ns
    assert run_job(run, Stop()) == 0
    assert (weights_of(run), (run / "checkpoints/000000.016" / RECORD).stat().st_mtime_ns) == before


def test_killed_and_resumed_equals_never_killed(make_run: MakeRun) -> None:
    whole, torn = make_run("whole"), make_run("torn")
    assert run_job(whole, Stop()) == 0
    child = start_child(torn)
    wait_for(lambda: num_ticks(torn) >= 2)  # past the first checkpoint, before the second
    child.kill()
    child.communicate()
    assert not (torn / "done.json").exists()
    assert run_job(torn, Stop()) == 0
    assert weights_of(torn) == weights_of(whole)
    kimgs = [json.loads(line)["kimg"] for line in (torn / "stats.jsonl").read_text().splitlines()]
    assert kimgs == [0.04, 0.08, 0.12, 0.16]


def test_sigterm_saves_the_exact_step_and_exits_143(make_run: MakeRun) -> None:
    whole, stopped = make_run("whole", kimg=0.4), make_run("stopped", kimg=0.4)
    assert run_job(whole, Stop()) == 0
    child = start_child(stopped)
    wait_for(lambda: num_ticks(stopped) >= 1)
    child.send_signal(signal.SIGTERM)
    said = child.communicate()[0]
    assert child.returncode == 143
    assert "stopped at kimg" in said
    newest = newest_valid(stopped / "checkpoints")
    assert newest is not None
    assert 0.04 <= read_record(newest).kimg < 0.4
    assert run_job(stopped, Stop()) == 0
    assert weights_of(stopped) == weights_of(whole)


def test_a_closed_stdin_saves_and_exits_143(make_run: MakeRun) -> None:
    run = make_run(kimg=50)
    child = start_child(run, "--watch-stdin", stdin=subprocess.PIPE)
    wait_for(lambda: num_ticks(run) >= 1)
    assert child.stdin is not None
    child.stdin.close()
    child.wait(timeout=60)
    assert child.returncode == 143
    assert newest_valid(run / "checkpoints") is not None


def test_an_interrupt_saves_and_exits_130(make_run: MakeRun) -> None:
    run = make_run(kimg=50)
    child = start_child(run)
    wait_for(lambda: num_ticks(run) >= 1)
    os.kill(child.pid, signal.SIGINT)
    child.communicate()
    assert child.returncode == 130
    assert newest_valid(run / "checkpoints") is not None


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    assert run_job(run, Stop()) == 0
    whole = weights_of(run)
    file = run / "checkpoints" / "000000.160" / STATE
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    assert newest_valid(run / "checkpoints") == run / "checkpoints" / "000000.128"
    assert f"{file} has SHA-256" in capsys.readouterr().err
    assert run_job(run, Stop()) == 0
    assert weights_of(run) == whole


def test_a_half_written_checkpoint_is_not_taken_for_one(make_run: MakeRun) -> None:
    run = make_run(kimg=0.064)
    assert run_job(run, Stop()) == 0
    folder = run / "checkpoints"
    (folder / ".000000.128.part").mkdir()
    (folder / "000000.128").mkdir()
    (folder / "000000.128" / MODEL).write_bytes(b"half")
    assert newest_valid(folder) == folder / "000000.064"


def test_loading_a_damaged_model_names_the_file(make_run: MakeRun) -> None:
    run = make_run(kimg=0.016)
    assert run_job(run, Stop()) == 0
    folder = run / "checkpoints" / "000000.016"
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-8])
    with pytest.raises(IntegrityError, match=r"000000\.016/model\.safetensors has SHA-256"):
        stylegan.load(folder)


def test_a_training_from_a_donor_begins_with_its_pictures_weights_and_optimiser(make_run: MakeRun) -> None:
    donor = make_run("donor")
    assert run_job(donor, Stop()) == 0
    start = donor / "checkpoints" / "000000.160"
    run = make_run("retraining", start=start, seed=99, kimg=0.008)
    assert run_job(run, Stop()) == 0
    first = cv2.imread(str(run / "samples" / "fakes-000000.000.png"))
    last = cv2.imread(str(donor / "samples" / "fakes-000000.160.png"))
    assert np.array_equal(first, last)
    record = read_record(run / "checkpoints" / "000000.008")
    assert (record.images_seen, record.donor) == (8, json.loads((donor / "done.json").read_text())["sha256"])
    # Adam goes on counting from the donor's steps: 20 + 20 / 4 path lengths, then one and one.
    from safetensors.torch import load_file

    steps = [
        load_file(p / STATE)["opt_G.mapping.fc0.weight.step"].item() for p in (start, run / "checkpoints/000000.008")
    ]
    assert steps == [25, 27]


GROWING = {
    "kimg": 0.3,
    "batch": 8,
    "path_interval": 0,
    "growth": {"start": 4, "fade_kimg": 0.05, "stable_kimg": 0.05, "batch": {8: 4}, "lr": {16: 0.001}},
    "network": {"architecture": "stylegan1", "z_dim": 16, "w_dim": 16, "channel_base": 128, "channel_max": 16},
}


def test_a_growing_training_keeps_the_end_of_every_size_and_captions_its_grids(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(**GROWING, keep_last=1)
    job = json.loads((run / "job.json").read_text())
    job["shards"] = str(write_shards(tmp_path / "faces", 264, 16))  # 33 held out: enough to measure a distance to
    (run / "job.json").write_text(json.dumps(job))
    assert run_job(run, Stop()) == 0
    records = [read_record(path) for path in sorted((run / "checkpoints").iterdir())]
    assert [(r.images_seen, r.step) for r in records if r.phase_end] == [(104, 13), (200, 37)]
    assert records[-1].images_seen == 304
    assert [r.images_seen for r in records if r.distance is None] == [104, 200]  # not measured before it has grown
    assert {cv2.imread(str(path)).shape for path in (run / "samples").glob("fakes-*")} == {(2 * 16 + 16, 4 * 16, 3)}
    assert [e.step for e in read_events(run) if e.kind == "phase"] == [13, 37]


def test_a_growing_training_that_pauses_in_a_fade_ends_as_one_that_did_not(make_run: MakeRun) -> None:
    whole, paused = make_run("whole", **GROWING), make_run("paused", **GROWING | {"kimg": 0.12})
    assert run_job(whole, Stop()) == run_job(paused, Stop()) == 0
    shutil.copy(whole / "job.json", paused / "job.json")
    assert run_job(paused, Stop()) == 0
    assert weights_of(paused) == weights_of(whole)


def test_an_alarm_named_in_stop_on_ends_the_training_for_good(make_run: MakeRun) -> None:
    run = make_run(**GROWING | {"kimg": 1}, stop_on=["imbalance"])  # far too few faces and steps for a balance
    assert run_job(run, Stop()) == 0
    done = json.loads((run / "done.json").read_text())
    assert done["kimg"] < 1
    stop = [e for e in read_events(run) if e.kind == "stop"]
    assert [e.says for e in stop] == ["by alarm imbalance: done"]
    assert run_job(run, Stop()) == 0
    assert json.loads((run / "done.json").read_text()) == done


@pytest.mark.parametrize("name", ["nv_sg2_uncond_32.pkl", "ros_sg2_32_000100.pt"])
def test_a_training_begins_with_another_projects_weights(tmp_path: Path, fixtures: Path, name: str) -> None:
    shards = write_shards(tmp_path / "faces", 16, 32)
    model = stylegan.load(fixtures / name)
    config = model.config.model_copy(update={"kimg": 0.008, "batch": 8, "sample_columns": 2, "sample_rows": 2})
    run = tmp_path / "run"
    run.mkdir()
    job = {"config": config.model_dump(mode="json"), "shards": str(shards), "start": str(fixtures / name)}
    (run / "job.json").write_text(json.dumps(job))
    assert run_job(run, Stop()) == 0
    first = cv2.imread(str(run / "samples/fakes-000000.000.png"))
    donors = tile(to_pixels(fixed_samples(model.G, config, 4)), 2)[..., ::-1]
    assert np.abs(first.astype(int) - donors).max() <= 1
    assert (
        read_record(run / "checkpoints/000000.008").donor == hashlib.sha256((fixtures / name).read_bytes()).hexdigest()
    )


def test_a_donor_of_another_resolution_is_refused_before_the_work(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    donor = make_run("donor", kimg=0.008)
    assert run_job(donor, Stop()) == 0
    with pytest.raises(ValueError, match=r"000000\.008 was trained at 16 px, this config asks for 32: choose a donor"):
        transferred(donor / "checkpoints/000000.008", resolve("toon", {"resolution": 32}), torch.device("cpu"))
    other = make_run("other", start=donor / "checkpoints/000000.008", network={"z_dim": 32, "channel_base": 128})
    assert run_job(other, Stop()) == 2
    assert "z_dim 16 there, 32 here" in capsys.readouterr().err
    assert not (other / "checkpoints").exists()


def test_a_run_does_not_go_on_with_other_settings(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(kimg=0.008)
    assert run_job(run, Stop()) == 0
    job = json.loads((run / "job.json").read_text())
    job["config"]["gamma"] = 3.5
    (run / "job.json").write_text(json.dumps(job))
    assert run_job(run, Stop()) == 2
    assert "gamma was auto, is 3.5" in capsys.readouterr().err


def test_divergence_exits_7_names_the_tensor_and_keeps_the_last_good_checkpoint(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(lr_G=1e30, lr_D=1e30, snapshot_kimg=0.008)
    assert run_job(run, Stop()) == 7
    assert "gradient of " in capsys.readouterr().err
    newest = newest_valid(run / "checkpoints")
    assert newest is None or all(torch.isfinite(v).all() for v in stylegan.load(newest).G.state_dict().values())
    assert not (run / "done.json").exists()


def test_a_full_disk_stops_before_a_checkpoint_is_begun_and_keeps_the_last(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(kimg=0.064)
    assert run_job(run, Stop()) == 0
    job = json.loads((run / "job.json").read_text())
    job["config"]["kimg"] = 0.16
    (run / "job.json").write_text(json.dumps(job))
    usage = shutil.disk_usage(run)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        assert run_job(run, Stop()) == 1
    assert "a checkpoint needs 1 MB" in capsys.readouterr().err
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000000.064"]
    assert run_job(run, Stop()) == 0


def test_two_trainings_in_one_folder_are_refused(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    with locked(run):
        assert run_job(run, Stop()) == 1
    assert "is being trained in by another process" in capsys.readouterr().err


def test_faces_of_another_size_are_refused(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(make_run(resolution=32), Stop()) == 2
    assert "are 16 x 16 px, this config trains at 32" in capsys.readouterr().err


def test_every_face_is_shown_once_an_epoch_in_an_order_of_the_seed(shards: Path, make_run: MakeRun) -> None:
    with Loader(Faces(shards), read_job(make_run(mirror=False)).config, torch.device("cpu")) as loader:
        batches = [loader.batch(i, i // 8, 8).pixels for i in range(0, 168, 8)]  # 21 batches of 8, 4 epochs of 42
        shown = torch.cat(batches)
        for epoch in range(4):
            assert len({t.numpy().tobytes() for t in shown[epoch * 42 : (epoch + 1) * 42]}) == 42
        assert not torch.equal(shown[:42], shown[42:84])
        assert torch.equal(loader.batch(80, 10, 8).pixels, shown[80:88])


def test_held_out_faces_are_never_trained_on(shards: Path) -> None:
    train, held_out = Faces(shards, "train"), Faces(shards, "held_out")
    assert (len(train), len(held_out)) == (42, 6)
    assert not set(train.ids) & set(held_out.ids)
