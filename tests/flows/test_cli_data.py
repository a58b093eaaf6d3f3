"""The commands that ask the data and hand it on, as a user meets them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pandas as pd

from tests.flows.conftest import Small
from tests.flows.test_cli import _run


def test_why_answers_programs_with_every_column_and_how_often_a_face_was_shown(small: Small, tmp_path: Path) -> None:
    done = _run("ledger", small.manifest, "--out", "l.parquet", cwd=tmp_path, root=small.root)
    assert done.returncode == 0, done.stderr
    ledger = pd.read_parquet(tmp_path / "l.parquet")
    face = ledger[(ledger["kind"] == "face") & (ledger["split"] == "train") & (ledger["reason"] == "")].iloc[0]
    (story,) = json.loads(_run("why", small.manifest, face["id"], "--json", cwd=tmp_path, root=small.root).stdout)
    said = next(row for row in story["faces"] if row["id"] == face["id"])
    assert said["score"] == face["score"]
    assert said["shown"] > 1
    assert story["pictures"][0]["origin"] == face["origin"]


def test_pack_writes_what_its_name_says_and_prints_where(small: Small, tmp_path: Path) -> None:
    done = _run("pack", small.manifest, "--to", "out/set.zip", "--sizes", "8,32", cwd=tmp_path, root=small.root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["out/set-8.zip", "out/set-32.zip"]
    with zipfile.ZipFile(tmp_path / "out" / "set-8.zip") as archive:
        assert json.loads(archive.read("dataset.json")) == {"labels": None}
    again = _run("pack", small.manifest, "--to", "out/set.zip", "--sizes", "8", cwd=tmp_path, root=small.root)
    assert again.returncode == 2
    assert "set-8.zip is there already" in again.stderr
