"""Data sets of NVIDIA's dataset_tool: the genuine ones of the fixtures, and what is wrong with others."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import stylegan
from flows.prepare import prepare_faces
from manifests.ledger import kept
from manifests.schema import Manifest
from manifests.sources import NvidiaZipSource
from stylegan.faces import Faces
from stylegan.training import Stop, run_job
from tasks.errors import IntegrityError, Refused
from tasks.evaluate import evaluate_model
from tasks.job import Job
from tasks.pack import Asked, pack_faces
from tasks.shard import class_numbers
from tasks.sources.found import Found
from tasks.sources.nvidia_zip import find_in_nvidia_zip
from tasks.store import Record
from tasks.train import checkpoint_of

AS_IT_IS = {"detector": "none", "min_face": 0, "min_contrast": 0, "min_saturation": 0, "min_sharpness": 0}


@pytest.fixture
def _torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def find(path: Path, work: Path, **facts: Any) -> list[Found]:
    config = NvidiaZipSource.model_validate({"kind": "nvidia-zip", "urls": [str(path)], **facts})
    return list(find_in_nvidia_zip(config, work, lambda done, total, unit: None))


def a_zip(path: Path, about: object, **pictures: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (pictures or {"a.png": b"1", "b.png": b"2"}).items():
            archive.writestr(name, data)
        archive.writestr("dataset.json", about if isinstance(about, bytes) else json.dumps(about))
    return path


def prepared(path: Path, tmp_path: Path, **train: Any) -> tuple[Job, Path]:
    """The job that made shards of a zip as it is, and their folder."""
    manifest = Manifest.model_validate(
        {
            "name": "set",
            "resolution": 32,
            "buckets": 2,
            "sources": [{"kind": "nvidia-zip", "urls": [str(path)]}],
            "crop": AS_IT_IS,
            "dedup": {"threshold": 0, "max_difference": 0},
            "shard": {"held_out": 0},
            "train": {"preset": "toon", **train},
        }
    )
    job = Job(manifest, tmp_path / "set.yaml", tmp_path / "data", workers=1)
    return job, job.folder(prepare_faces(job).shards)


def contents(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """The pictures of a zip by name, as its own bytes decode, and its labels."""
    with zipfile.ZipFile(path) as archive:
        pictures = {
            name: cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR_RGB)
            for name in archive.namelist()
            if name.endswith(".png")
        }
        return pictures, json.loads(archive.read("dataset.json"))["labels"]


@pytest.mark.parametrize("name", ["nvzip_rgb32_cond.zip", "nvzip_rgb32_stretch.zip"])
def test_a_genuine_zip_arrives_in_the_shards_with_its_class_numbers_and_its_pixels(
    fixtures: Path, tmp_path: Path, name: str
) -> None:
    pictures, labels = contents(fixtures / name)
    job, folder = prepared(fixtures / name, tmp_path)
    faces = kept(job.ledger(job.steps[-1].buckets), "face").set_index("id")
    index = pd.read_parquet(folder / "index.parquet").set_index("id")
    assert {faces["origin"][i]: int(index["label"][i]) for i in index.index} == dict(labels)
    shown = Faces(folder)
    for position, face in enumerate(shown.ids):
        np.testing.assert_array_equal(shown.image(position), pictures[faces["origin"][face]])
    assert job.steps[-1].facts["classes"] == {"0": 0, "1": 1, "2": 2}


def test_a_grey_zip_without_labels_has_no_classes_and_keeps_its_grey(fixtures: Path, tmp_path: Path) -> None:
    pictures, labels = contents(fixtures / "nvzip_gray32.zip")
    job, folder = prepared(fixtures / "nvzip_gray32.zip", tmp_path)
    assert labels is None
    grey = Faces(folder, channels=1)
    assert grey.labels == [-1] * len(pictures)
    assert "classes" not in job.steps[-1].facts
    assert {grey.image(i).tobytes() for i in range(len(grey))} == {p[..., :1].tobytes() for p in pictures.values()}


def test_the_sources_of_such_a_zip_are_read_with_their_folders(fixtures: Path, tmp_path: Path) -> None:
    found = find(fixtures / "src_images.zip", tmp_path)
    assert {file.origin: int(file.label or -1) for file in found} == dict(contents(fixtures / "src_images.zip")[1])
    assert {file.origin.partition("/")[0] for file in found} == {"a", "b"}


def test_a_zip_without_dataset_json_has_no_classes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("00000/img00000000.png", b"1")
    assert [(file.origin, file.label) for file in find(tmp_path / "z", tmp_path)] == [("00000/img00000000.png", None)]


def test_members_choose_pictures_and_dataset_json_is_never_one(tmp_path: Path) -> None:
    path = a_zip(tmp_path / "z", {"labels": [["a.png", 7], ["b.png", 1], ["gone.png", 2]]})
    assert [(file.origin, file.label) for file in find(path, tmp_path, count=2)] == [("a.png", "7"), ("b.png", "1")]
    assert [file.label for file in find(path, tmp_path, members=["b*"])] == ["1"]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"labels": [["a.png", 0]]}, "gives 1 pictures no class, the first is b.png"),
        ({"labels": [["a.png", 0], ["b.png", 1], ["a.png", 2]]}, "gives a.png two classes, 0 and 2"),
        ({"labels": [["a.png", [0.5, 0.25]], ["b.png", [1, 2]]]}, r'says \["a.png", \[0.5, 0.25\]\]; expected'),
        ({"labels": [["a.png", -1], ["b.png", 0]]}, "a whole number from 0"),
        ({"labels": [["a.png", True], ["b.png", 0]]}, "a whole number from 0"),
        ({"labels": [["a.png", 10**30], ["b.png", 0]]}, "a whole number from 0"),
        ({"labels": {"a.png": 0}}, "is not of the form"),
        ([["a.png", 0]], "is not of the form"),
        (b"{", "is no JSON"),
        (b"\xff\xfe\xfa", "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
    ],
)
def test_a_dataset_json_that_says_no_class_a_picture_is_refused_by_name(
    tmp_path: Path, about: object, words: str
) -> None:
    with pytest.raises(IntegrityError, match=words):
        find(a_zip(tmp_path / "set.zip", about), tmp_path / "work")


def test_a_large_dataset_json_is_refused_as_any_member(tmp_path: Path) -> None:
    path = a_zip(tmp_path / "z", b" " * 2000)
    with pytest.raises(Refused, match=r"its member 'dataset.json' unpacks to 2,000 bytes"):
        find(path, tmp_path / "work", max_member_bytes=1000)


def test_names_that_climb_are_clean_in_dataset_json_too(tmp_path: Path) -> None:
    path = a_zip(tmp_path / "z", {"labels": [["../../a.png", 3]]}, **{"../../a.png": b"1"})
    assert [(file.origin, file.label) for file in find(path, tmp_path / "work")] == [("a.png", "3")]


def test_classes_named_by_numbers_keep_them_and_others_are_numbered_by_name() -> None:
    assert class_numbers(["10", "2", "", "2"]) == {"2": 2, "10": 10}
    assert class_numbers(["dog", "cat", "2"]) == {"2": 0, "cat": 1, "dog": 2}
    assert class_numbers(["01", "00"]) == {"00": 0, "01": 1}
    assert class_numbers([""]) == {}


TINY = {
    "kimg": 0.032,
    "batch": 8,
    "tick_kimg": 0.016,
    "snapshot_kimg": 0.032,
    "sample_columns": 3,
    "sample_rows": 2,
    "threads": 1,
}
TINY_NETWORK = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}


def trained(path: Path, tmp_path: Path, **network: int) -> tuple[Job, Record, Record]:
    """The job of a short training on a zip, its shards, and its model."""
    job, shards = prepared(path, tmp_path, **TINY, network={**TINY_NETWORK, **network})
    run = job.root / "runs" / "00000-set"
    run.mkdir(parents=True)
    asked = {"config": job.manifest.train.model_dump(mode="json"), "shards": str(shards), "start": None}
    (run / "job.json").write_text(json.dumps(asked))
    assert run_job(run, Stop()) == 0
    done = json.loads((run / "done.json").read_text())
    facts = {"run": "runs/00000-set", "checkpoint": done["checkpoint"]}
    return job, job.steps[-1], Record(stage="train", version=1, config={}, inputs={}, key="", facts=facts)


@pytest.mark.usefixtures("_torch_as_it_was")
def test_a_training_on_such_a_zip_learns_its_classes_from_end_to_end(fixtures: Path, tmp_path: Path) -> None:
    job, shards, record = trained(fixtures / "nvzip_rgb32_cond.zip", tmp_path, num_labels=3)
    model = stylegan.load(checkpoint_of(job, record))
    z = np.random.default_rng(0).standard_normal((1, 8), np.float32).repeat(3, 0)
    images = model.sample(z, labels=[0, 1, 2])
    assert images.shape == (3, 3, 32, 32)
    assert (images[0] != images[1]).any()
    assert (images[1] != images[2]).any()
    with pytest.raises(ValueError, match="was trained with labels and cannot do without"):
        model.sample(z)
    assert evaluate_model(job, record, shards).facts["swd"]["train"]["images"] == 12


@pytest.mark.usefixtures("_torch_as_it_was")
def test_a_grey_training_on_such_a_zip_makes_grey_images_and_is_judged(fixtures: Path, tmp_path: Path) -> None:
    job, shards, record = trained(fixtures / "nvzip_gray32.zip", tmp_path, image_channels=1)
    model = stylegan.load(checkpoint_of(job, record))
    assert model.sample(np.zeros((2, 8), np.float32)).shape == (2, 1, 32, 32)
    assert evaluate_model(job, record, shards).facts["swd"]["train"]["images"] == 5


def told_apart(path: Path) -> set[tuple[bytes, int]]:
    """The pictures of a zip with their classes, whatever their names."""
    pictures, labels = contents(path)
    classes = dict(labels)
    return {(picture.tobytes(), classes[name]) for name, picture in pictures.items()}


def test_a_genuine_zip_that_went_through_is_packed_again_with_its_pixels_and_classes(
    fixtures: Path, tmp_path: Path
) -> None:
    genuine = fixtures / "nvzip_rgb32_cond.zip"
    job, _ = prepared(genuine, tmp_path)
    pack_faces(job, job.steps[-1], tmp_path / "again.zip", Asked("nvidia"))
    assert told_apart(tmp_path / "again.zip") == told_apart(genuine)
    with zipfile.ZipFile(genuine) as theirs, zipfile.ZipFile(tmp_path / "again.zip") as ours:
        names = [set(archive.namelist()) - {"dataset.json"} for archive in (theirs, ours)]
        assert names[0] == names[1]
        assert {member.compress_type for member in ours.infolist()} == {zipfile.ZIP_STORED}
        shapes = [json.loads(archive.read("dataset.json")) for archive in (theirs, ours)]
    assert [list(shape) for shape in shapes] == [["labels"], ["labels"]]
    assert {name for name, _ in shapes[1]["labels"]} == names[1]
