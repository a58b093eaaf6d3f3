"""The crop stage on real pictures: what its ledger and its record say, whatever detector is asked."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from manifests.schema import Manifest
from tasks.crop import _asked as asked_by
from tasks.crop import crop_faces
from tasks.download import download_pictures
from tasks.job import Job
from tasks.store import Record

YUNET: dict[str, Any] = {"detector": "yunet", "min_face": 60, "min_saturation": 0}


@pytest.fixture
def pictures(realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STYLEGAN_ASSETS", str(realdata / "assets"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for prefix in ("aaf", "lfw", "noface", "scene"):
        for path in sorted((realdata / "real_photos").glob(f"{prefix}_*"))[:2]:
            shutil.copy(path, folder / path.name)
    (folder / "empty.jpg").write_bytes(b"")
    return folder


def cropped(pictures: Path, workers: int = 2, **crop: Any) -> tuple[Record, pd.DataFrame]:
    raw = {
        "name": "m",
        "sources": [{"kind": "folder", "path": str(pictures)}],
        "buckets": 2,
        "crop": crop,
        "train": {"preset": "toon"},
    }
    root = pictures.parent / f"data-{workers}-{crop.get('model', '').count('/')}"
    job = Job(Manifest.model_validate(raw), pictures.parent / "m.yaml", root, workers=workers)
    record = crop_faces(job, download_pictures(job))
    return record, job.ledger(record.buckets)


def test_faces_carry_points_pose_and_the_quality_of_their_file(pictures: Path) -> None:
    record, ledger = cropped(pictures, **YUNET)
    faces = ledger[ledger["kind"] == "face"]
    assert len(faces) >= 4
    assert {len(points) for points in faces["landmarks"]} == {10}
    assert faces[["yaw", "roll", "jpeg_quality", "confidence"]].notna().all(axis=None)
    assert faces["jpeg_quality"].between(1, 100).all()
    counts = record.counts["picture"]
    assert sum(counts.values()) == (ledger["kind"] == "picture").sum() == 9
    assert counts["no_face"] >= 2
    assert counts["empty"] == 1


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(pictures: Path) -> None:
    (_, one), (_, two) = (cropped(pictures, workers, **YUNET) for workers in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_a_network_of_the_users_is_known_by_its_bytes(pictures: Path) -> None:
    path = pictures.parent / "mine.onnx"
    path.write_bytes(b"not one, but that is for later")
    raw = {
        "name": "m",
        "sources": [{"kind": "folder", "path": str(pictures)}],
        "crop": {"detector": "onnx", "model": str(path)},
        "train": {"preset": "toon"},
    }
    job = Job(Manifest.model_validate(raw), pictures.parent / "m.yaml", pictures.parent / "data", workers=1)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in str(asked_by(job))


def test_a_network_that_is_nowhere_is_named_before_the_work(pictures: Path) -> None:
    with pytest.raises(ValueError, match=r"crop\.model: no file .*absent\.onnx"):
        cropped(pictures, detector="onnx", model="absent.onnx")


def test_the_detectors_version_stands_in_what_the_stage_goes_by(pictures: Path) -> None:
    raw = {"name": "m", "sources": [{"kind": "toon"}], "crop": {"detector": "anime"}, "train": {"preset": "toon"}}
    job = Job(Manifest.model_validate(raw), pictures / "m.yaml", pictures / "data", workers=1)
    asked = asked_by(job)
    assert asked["detector"].startswith("anime opencv 4.")
    assert set(asked["assets"]) == {"lbpcascade_animeface.xml", "face_detection_yunet_2023mar.onnx"}
