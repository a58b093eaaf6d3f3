"""The command as a user meets it: in a process of its own, with its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.flows.conftest import SMALL, Small

COMMAND = [sys.executable, "-c", "from flows.cli import main; main()"]


def _run(*arguments: object, cwd: Path, root: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = ("PREFECT_API_URL", "STYLEGAN_ASSETS", "STYLEGAN_DATA")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200", **variables}
    if root:
        environment["STYLEGAN_DATA"] = str(root)
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def _manifest(folder: Path, text: str = SMALL, **replaced: str) -> Path:
    for old, new in replaced.items():
        text = text.replace(old, new)
    path = folder / "m.yaml"
    path.write_text(text)
    return path


def test_a_second_run_says_in_seconds_where_everything_is(small: Small, tmp_path: Path) -> None:
    done = _run("run", small.manifest, cwd=tmp_path, root=small.root)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert done.stderr == ""


def test_plan_is_there_for_programs_too(small: Small, tmp_path: Path) -> None:
    done = _run("plan", small.manifest, "--json", "--set", "clean.drop_lowest=0.3", cwd=tmp_path, root=small.root)
    steps = {step["stage"]: step for step in json.loads(done.stdout)}
    assert steps["train"]["state"] == "there"
    assert steps["clean"]["state"] == "run"
    assert steps["clean"]["why"] == "drop_lowest 0.05 -> 0.3"


def test_status_counts_by_reason(small: Small, tmp_path: Path) -> None:
    done = _run("status", small.manifest, cwd=tmp_path, root=small.root)
    assert "60 pictures" in done.stdout


def test_the_ledger_comes_as_csv_and_as_parquet(small: Small, tmp_path: Path) -> None:
    for name in ("l.csv", "l.parquet"):
        assert _run("ledger", small.manifest, "--out", name, cwd=tmp_path, root=small.root).returncode == 0
    table, parquet = pd.read_csv(tmp_path / "l.csv"), pd.read_parquet(tmp_path / "l.parquet")
    assert len(table) == len(parquet) > 60
    assert {"id", "origin", "x0", "sharpness", "group", "keeper", "score", "reason", "shard"} <= set(table.columns)


def test_why_tells_what_became_of_a_picture(small: Small, tmp_path: Path) -> None:
    done = _run("why", small.manifest, "toon_000001", cwd=tmp_path, root=small.root)
    assert "picture" in done.stdout
    assert "toon_000001" in done.stdout
    assert _run("why", small.manifest, "no-such-picture", cwd=tmp_path, root=small.root).returncode == 2


def test_verify_exits_6_and_names_the_file(small: Small, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(small.root, root)
    assert _run("verify", small.manifest, "--deep", cwd=tmp_path, root=root).returncode == 0
    grid = next((root / "export").glob("*/sample-grid.png"))
    grid.write_bytes(grid.read_bytes()[:-1] + b"x")
    assert _run("verify", small.manifest, cwd=tmp_path, root=root).returncode == 0
    done = _run("verify", small.manifest, "--deep", cwd=tmp_path, root=root)
    assert done.returncode == 6
    assert "sample-grid.png" in done.stdout


def test_a_manifest_with_a_misspelt_key_exits_2_with_its_line(tmp_path: Path) -> None:
    done = _run("run", _manifest(tmp_path, resolution="resolutoin"), cwd=tmp_path)
    assert done.returncode == 2
    assert "m.yaml, line 2: resolutoin is no key of a manifest; did you mean resolution?" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_missing_folder_exits_2(tmp_path: Path) -> None:
    text = SMALL.replace("kind: toon\n    pictures: 60", "kind: folder\n    path: nowhere")
    done = _run("run", _manifest(tmp_path, text), cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_an_empty_folder_exits_2_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = _run("run", "empty", cwd=tmp_path)
    assert done.returncode == 2
    assert "empty" in done.stderr


def test_a_missing_asset_exits_3_before_any_work(tmp_path: Path) -> None:
    text = SMALL.replace("  min_face: 64", "  min_face: 64\n  detector: anime-lbp")
    done = _run("run", _manifest(tmp_path, text), cwd=tmp_path)
    assert done.returncode == 3
    assert "lbpcascade_animeface.xml is missing" in done.stderr
    assert "STYLEGAN_ASSETS" in done.stderr
    assert not (tmp_path / "data" / "download").exists()


def test_an_asset_with_the_wrong_digest_exits_4(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "lbpcascade_animeface.xml").write_text("<other/>")
    text = SMALL.replace("  min_face: 64", "  min_face: 64\n  detector: anime-lbp")
    done = _run("run", _manifest(tmp_path, text), cwd=tmp_path, STYLEGAN_ASSETS=str(tmp_path / "assets"))
    assert done.returncode == 4
    assert "lbpcascade_animeface.xml" in done.stderr


def test_doctor_tells_absent_assets_from_wrong_ones(tmp_path: Path) -> None:
    done = _run("doctor", cwd=tmp_path)
    assert done.returncode == 0
    assert "absent lbpcascade_animeface.xml" in done.stdout
    assert "ok     ffmpeg" in done.stdout
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "lbpcascade_animeface.xml").write_text("<other/>")
    done = _run("doctor", cwd=tmp_path, STYLEGAN_ASSETS=str(tmp_path / "assets"))
    assert done.returncode == 1
    assert "BAD    lbpcascade_animeface.xml" in done.stdout


def test_a_root_that_cannot_be_written_exits_3(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _run("run", _manifest(tmp_path), cwd=tmp_path, root=tmp_path / "file" / "data")
    assert done.returncode == 3
    assert "cannot be written" in done.stderr


def test_a_folder_without_a_face_is_refused_with_its_reasons(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    done = _run("run", "notes", cwd=tmp_path)
    assert done.returncode == 3
    assert "no face is left to train on" in done.stderr
    assert "'undecodable': 1" in done.stderr


def test_init_writes_a_manifest_that_plans(tmp_path: Path) -> None:
    (tmp_path / "My Pictures").mkdir()
    (tmp_path / "My Pictures" / "a.jpg").write_bytes(b"x")
    assert _run("init", "My Pictures", "--resolution", "128", cwd=tmp_path).returncode == 0
    assert (tmp_path / "manifests" / "my-pictures.yaml").is_file()
    done = _run("plan", "manifests/my-pictures.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "never run" in done.stdout


def test_init_does_not_take_another_folders_manifest(tmp_path: Path) -> None:
    for parent in ("one", "two"):
        (tmp_path / parent / "pics").mkdir(parents=True)
    assert _run("init", "one/pics", cwd=tmp_path).returncode == 0
    assert _run("init", "one/pics", cwd=tmp_path).returncode == 0
    done = _run("init", "two/pics", cwd=tmp_path)
    assert done.returncode == 2
    assert "does not read two/pics" in done.stderr


def test_an_unknown_stage_is_refused_with_the_known_ones(small: Small, tmp_path: Path) -> None:
    done = _run("run", small.manifest, "--until", "trian", cwd=tmp_path, root=small.root)
    assert done.returncode == 2
    assert "train" in done.stderr


LOOKING = ("plan", "status", "why", "verify", "ledger", "report", "review", "champion", "doctor")
COMMANDS = ("run", "pack", "init", "import", "export", *LOOKING)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    done = _run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_sigterm_in_a_training_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path = _manifest(tmp_path, SMALL.replace("kimg: 0.256", "kimg: 3").replace("clean:\n  drop_lowest: 0.05\n", ""))
    path.write_text(path.read_text().replace("retrain:\n  kimg: 0.128\n", ""))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "STYLEGAN_DATA": str(tmp_path / "data")}
    environment.pop("PREFECT_API_URL", None)
    run = subprocess.Popen([*COMMAND, "run", path], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    stats = tmp_path / "data" / "runs" / "00000-small" / "stats.jsonl"
    deadline = time.monotonic() + 90
    while not stats.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 143, said
    assert "the same command goes on from there" in said
    saved = json.loads(stats.read_text().splitlines()[-1])["kimg"]
    assert 0 < saved < 3
    done = _run("run", path, "--until", "train", "--set", "train.kimg=3", cwd=tmp_path, root=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    ticks = [json.loads(line)["kimg"] for line in stats.read_text().splitlines()]
    assert ticks == sorted(ticks)
    assert ticks[-1] == 3
    assert len(list((tmp_path / "data" / "runs").iterdir())) == 1
