"""Packed faces are the shards' faces, whoever reads them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import webdataset
from PIL import Image

from flows.prepare import prepare_faces
from imaging.encode import encode
from manifests.schema import Manifest
from manifests.sources import NvidiaZipSource
from stylegan.faces import Faces
from tasks.job import Job
from tasks.pack import Asked, asked_of, layout_of, pack_faces
from tasks.sources.found import Found
from tasks.sources.nvidia_zip import find_in_nvidia_zip
from tasks.store import Record

AS_IT_IS = {"detector": "none", "min_face": 0, "min_contrast": 0, "min_saturation": 0, "min_sharpness": 0}


def prepared(tmp_path: Path, codec: str, classes: tuple[str, ...] = ("dog", "cat")) -> tuple[Job, Record]:
    """The job that made shards of twelve pictures of two classes at 32 px, and its shards."""
    for number in range(12):
        place = tmp_path / "in" / classes[number % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(place / f"{number:03d}.png"), cv2.resize(pixels, (40, 40), interpolation=cv2.INTER_CUBIC))
    manifest = Manifest.model_validate(
        {
            "name": "set",
            "resolution": 32,
            "buckets": 2,
            "sources": [{"kind": "folder", "path": str(tmp_path / "in"), "labels": "folders"}],
            "crop": AS_IT_IS,
            "upscale": {"codec": {"format": codec}},
            "shard": {"held_out": 0.2},
            "train": {},
        }
    )
    job = Job(manifest, tmp_path / "set.yaml", tmp_path / "data", workers=1)
    return job, prepare_faces(job).shards


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Record]:
    return prepared(tmp_path_factory.mktemp("pets"), "jpg")


def read_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def find(path: Path, work: Path) -> list[Found]:
    config = NvidiaZipSource.model_validate({"kind": "nvidia-zip", "urls": [str(path)]})
    return list(find_in_nvidia_zip(config, work, lambda done, total, unit: None))


def test_a_packed_zip_is_read_back_with_the_same_bytes_and_classes(pets: tuple[Job, Record], tmp_path: Path) -> None:
    job, shards = pets
    assert pack_faces(job, shards, tmp_path / "set.zip", Asked("nvidia")) == [tmp_path / "set.zip"]
    faces = Faces(job.folder(shards))
    expected = [(faces.encoded(i), str(faces.labels[i])) for i in range(len(faces))]
    assert [(file.path.read_bytes(), file.label) for file in find(tmp_path / "set.zip", tmp_path)] == expected


def test_a_packed_zip_has_the_layout_that_nvidias_trainer_reads(pets: tuple[Job, Record], tmp_path: Path) -> None:
    job, shards = pets
    pack_faces(job, shards, tmp_path / "set.zip", Asked("nvidia"))
    members = read_zip(tmp_path / "set.zip")
    labels = json.loads(members.pop("dataset.json"))["labels"]
    assert list(members) == [f"00000/img{i:08d}.jpg" for i in range(len(members))]
    # As its ImageFolderDataset does: labels by name, for the sorted names that Pillow has an extension for.
    names = sorted(name for name in members if Path(name).suffix in Image.registered_extensions())
    raw = np.array([dict(labels)[name] for name in names])
    assert raw.dtype == np.int64
    assert set(raw.tolist()) == {0, 1}
    for name in names:
        pixels = np.array(Image.open(io.BytesIO(members[name])))
        assert pixels.shape == (32, 32, 3)
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a"])
def test_the_same_faces_give_the_same_bytes(pets: tuple[Job, Record], tmp_path: Path, name: str) -> None:
    job, shards = pets
    digests = []
    for folder in ("one", "two"):
        (written,) = pack_faces(job, shards, tmp_path / folder / name, Asked(layout_of(Path(name))))
        digests.append(json.loads(written.with_name(name + ".json").read_text())["sha256"])
    assert digests[0] == digests[1]
    if name != "a":
        assert digests[0] == hashlib.sha256((tmp_path / "one" / name).read_bytes()).hexdigest()


def test_a_folder_has_the_faces_by_class_and_nothing_half_written(pets: tuple[Job, Record], tmp_path: Path) -> None:
    job, shards = pets
    pack_faces(job, shards, tmp_path / "out", Asked("folder", split="held_out"))
    faces = Faces(job.folder(shards), "held_out")
    files = {path.stem: path for path in (tmp_path / "out").rglob("*.jpg")}
    assert {i: path.read_bytes() for i, path in files.items()} == {
        faces.ids[i]: faces.encoded(i) for i in range(len(faces))
    }
    classes = shards.facts["classes"]
    assert [classes[files[i].parent.name] for i in faces.ids] == faces.labels
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.json"]


def test_webdataset_reads_a_packed_tar_with_classes_and_json(pets: tuple[Job, Record], tmp_path: Path) -> None:
    job, shards = pets
    pack_faces(job, shards, tmp_path / "set.tar", Asked("webdataset"))
    faces = Faces(job.folder(shards))
    found = list(webdataset.WebDataset(str(tmp_path / "set.tar"), shardshuffle=False))
    assert [(s["__key__"], s["jpg"], int(s["cls"])) for s in found] == [
        (faces.ids[i], faces.encoded(i), faces.labels[i]) for i in range(len(faces))
    ]
    assert {json.loads(sample["json"])["label"] for sample in found} == {"cat", "dog"}


def test_copies_at_other_sizes_come_from_one_source_by_the_filter_that_is_recorded(
    pets: tuple[Job, Record], tmp_path: Path
) -> None:
    job, shards = pets
    written = pack_faces(job, shards, tmp_path / "set.zip", Asked("nvidia", sizes=(8, 16, 32)))
    assert [path.name for path in written] == ["set-8.zip", "set-16.zip", "set-32.zip"]
    faces = Faces(job.folder(shards))
    for path, size in zip(written, (8, 16, 32), strict=True):
        pictures = [data for name, data in read_zip(path).items() if name != "dataset.json"]
        about = json.loads(path.with_name(path.name + ".json").read_text())
        assert (about["size"], about["filter"], about["faces"]) == (size, "Lanczos (a = 3), Pillow", len(faces))
        if size == 32:
            assert pictures == [faces.encoded(i) for i in range(len(faces))]
            continue
        for i, data in enumerate(pictures):
            shrunk = Image.fromarray(faces.image(i)).resize((size, size), Image.Resampling.LANCZOS)
            assert data == encode(np.array(shrunk), job.manifest.upscale.codec)


def test_a_named_part_is_packed_by_an_expression_over_the_ledger(pets: tuple[Job, Record], tmp_path: Path) -> None:
    job, shards = pets
    pack_faces(job, shards, tmp_path / "cats", Asked("folder", where="label == 'cat' and width >= 40"))
    assert {path.parent.name for path in (tmp_path / "cats").rglob("*.jpg")} == {"cat"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"where": "label == 'cow'"}, "no train face is meant by"),
        ({"where": "open('x')"}, "may not stand in an expression"),
        ({"sizes": (64,)}, r"--sizes 64: face [0-9a-f_]+ has 32 px, and packing only shrinks"),
    ],
)
def test_what_cannot_be_packed_is_refused_and_leaves_nothing(
    pets: tuple[Job, Record], tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    for name in ("a.zip", "a"):
        with pytest.raises(ValueError, match=words):
            pack_faces(*pets, tmp_path / name, Asked(layout_of(Path(name)), **asked))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(pets: tuple[Job, Record], tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a\.zip is there already"):
        pack_faces(*pets, tmp_path / "a.zip", Asked("nvidia"))
    assert (tmp_path / "a.zip").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("layout", "split", "sizes", "words"),
    [
        ("", "train", "0", "--sizes 0: give whole numbers of px"),
        ("", "train", "8,,16", "--sizes 8,,16"),
        ("", "test", "", "--split test: there are train and held_out"),
        ("tfrecord", "train", "", "--format tfrecord does not go into a.zip"),
    ],
)
def test_words_that_mean_nothing_are_refused(layout: str, split: str, sizes: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        asked_of(Path("a.zip"), layout, split, "", sizes)
    assert asked_of(Path("a"), "", "held_out", "x == 1", "16,8") == Asked("folder", "held_out", "x == 1", (8, 16))


def test_the_name_says_the_format_and_one_that_does_not_fit_is_refused() -> None:
    assert [layout_of(Path(name)) for name in ("a.zip", "a.tar", "a")] == ["nvidia", "webdataset", "folder"]
    assert layout_of(Path("a"), "nvidia") == "nvidia"
    assert layout_of(Path("a.zip"), "folder") == "folder"
    with pytest.raises(ValueError, match=r"--format webdataset does not go into a.zip: it can hold the format nvidia"):
        layout_of(Path("a.zip"), "webdataset")


def test_faces_without_classes_have_null_labels_and_half_of_them_are_refused(tmp_path: Path) -> None:
    job, shards = prepared(tmp_path / "none", "png", ("",))
    pack_faces(job, shards, tmp_path / "set.zip", Asked("nvidia"))
    members = read_zip(tmp_path / "set.zip")
    assert json.loads(members.pop("dataset.json")) == {"labels": None}
    assert {name.rpartition(".")[2] for name in members} == {"png"}
    job, shards = prepared(tmp_path / "some", "png", ("", "cat"))
    with pytest.raises(ValueError, match="faces have no class, and NVIDIA's layout wants one for all or for none"):
        pack_faces(job, shards, tmp_path / "some.zip", Asked("nvidia"))
