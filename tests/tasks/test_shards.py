from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import webdataset

from flows.prepare import prepare_faces
from manifests.schema import Manifest
from stylegan.faces import Faces
from tasks.job import Job
from tasks.shard import about_face, write_shards
from tasks.shards import header_of, open_shard, read_span

FACES = {"ab_000.png": b"first", "ab_001.png": b"x" * 1000, "cd_000.png": b""}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    with open_shard(tmp_path / "s.tar") as writer:
        for name, data in FACES.items():
            writer.add(name, data)
    return tmp_path / "s.tar"


def test_a_shard_is_the_same_bytes_each_time(shard: Path, tmp_path: Path) -> None:
    with open_shard(tmp_path / "again.tar") as writer:
        for name, data in FACES.items():
            writer.add(name, data)
    assert (tmp_path / "again.tar").read_bytes() == shard.read_bytes()


def test_spans_lead_to_the_members_bytes(tmp_path: Path) -> None:
    with open_shard(tmp_path / "s.tar") as writer:
        spans = {name: writer.add(name, data) for name, data in FACES.items()}
    with (tmp_path / "s.tar").open("rb") as opened:
        assert {name: read_span(opened, span) for name, span in spans.items()} == FACES


def test_tar_itself_opens_a_shard(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} == FACES  # type: ignore[union-attr]
        assert {member.mtime for member in tar} == {0}


def test_webdataset_opens_a_shard(shard: Path) -> None:
    found = {sample["__key__"]: sample["png"] for sample in webdataset.WebDataset(str(shard), shardshuffle=False)}
    assert found == {name.removesuffix(".png"): data for name, data in FACES.items()}


@pytest.mark.parametrize("length", [0, 1, 511, 512, 123_456_789, 8**11 - 1])
@pytest.mark.parametrize("name", ["a.jpg", "x" * 96 + ".png", f"{7:064x}_000_a01.json"])
def test_headers_are_those_of_tarfile(name: str, length: int) -> None:
    expected = tarfile.TarInfo(name)
    expected.size = length
    assert header_of(name, length) == expected.tobuf(tarfile.USTAR_FORMAT)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def write_folder(folder: Path, numbers: range, classes: tuple[str, ...] = ("",)) -> Path:
    for number in numbers:
        place = folder / classes[number % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number:03d}.png"), picture(number))
    return folder


def asked(folder: Path, **values: Any) -> dict[str, Any]:
    return {"kind": "folder", "path": str(folder), **values}


def prepared(tmp_path: Path, *sources: dict[str, Any], workers: int = 1, **shard: Any) -> tuple[Job, Path]:
    """The job whose manifest has these sources as they are, and the folder of its shards."""
    manifest = Manifest(
        name="set",
        resolution=16,
        buckets=4,
        sources=list(sources),
        crop={"detector": "none", "min_face": 0, "min_saturation": 0},
        shard=shard,
        train={"device": "cpu"},
    )
    path = tmp_path / "set.yaml"
    path.write_text("name: set\n")
    job = Job(manifest, path, tmp_path / "data", workers=workers)
    return job, job.folder(prepare_faces(job).shards)


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def samples(folder: Path) -> list[dict[str, Any]]:
    """Everything in a folder's shards, as webdataset reads it."""
    paths = [str(path) for path in sorted(folder.glob("*.tar")) if path.stat().st_size > 1024]
    return list(webdataset.WebDataset(paths, shardshuffle=False))


def test_shards_are_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", range(12), ("cat", "dog"))
    found = []
    for workers in (1, 2):
        (tmp_path / f"{workers}").mkdir()
        _, shards = prepared(tmp_path / f"{workers}", asked(folder, labels="folders"), workers=workers)
        found.append({**tars(shards), "shards.json": (shards / "shards.json").read_bytes()})
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of twelve pictures of two classes, some of them held out."""
    folder = tmp_path_factory.mktemp("pets")
    source = asked(write_folder(folder / "in", range(12), ("dog", "cat")), labels="folders", name="pets", licence="CC0")
    return prepared(folder, source, held_out=0.2)[1]


def test_a_plain_reader_learns_sizes_digests_and_splits_from_one_file(pets: Path) -> None:
    listed = json.loads((pets / "shards.json").read_text())
    assert {shard["name"] for shard in listed["shards"]} == set(tars(pets))
    for shard in listed["shards"]:
        data = (pets / shard["name"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        with tarfile.open(pets / shard["name"]) as tar:
            assert shard["faces"] == sum(name.endswith(".png") for name in tar.getnames())
        assert shard["name"].startswith(shard["split"])
    assert sum(shard["faces"] for shard in listed["shards"]) == 12
    assert listed["classes"] == {"cat": 0, "dog": 1}


def test_labelled_faces_have_a_json_member_each_and_webdataset_gives_both(pets: Path) -> None:
    found = samples(pets)
    assert len(found) == 12
    for sample in found:
        about = json.loads(sample["json"])
        assert about == {"label": about["label"], "licence": "CC0", "origin": about["origin"], "source": "pets"}
        assert about["origin"].startswith(about["label"] + "/")
        assert sample["png"].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("about", "labels", "members"), [("auto", "none", 0), ("always", "none", 6), ("never", "folders", 0)]
)
def test_json_members_are_there_when_they_are_asked_for(tmp_path: Path, about: str, labels: str, members: int) -> None:
    folder = write_folder(tmp_path / "in", range(6), ("cat",))
    _, shards = prepared(tmp_path, asked(folder, labels=labels), about=about)
    assert sum("json" in sample for sample in samples(shards)) == members


def test_the_loader_reads_the_pictures_between_json_members(pets: Path) -> None:
    by_id = {sample["__key__"]: sample["png"] for sample in samples(pets)}
    faces = [Faces(pets, split) for split in ("train", "held_out")]
    assert {face.ids[i]: face.encoded(i) for face in faces for i in range(len(face))} == by_id
    assert min(len(face) for face in faces) > 0
    assert set(faces[0].labels) == {0, 1}


def test_shards_that_are_read_back_as_a_source_keep_pixels_classes_and_terms(pets: Path, tmp_path: Path) -> None:
    job, again = prepared(tmp_path, {"kind": "webdataset", "shards": [str(pets / "*.tar")], "licence": "?"})
    before, after = ([Faces(folder, split) for split in ("train", "held_out")] for folder in (pets, again))
    assert pixels_of(before) == pixels_of(after)
    ledger = job.ledger(job.steps[-1].buckets)
    assert set(ledger["label"]) == {"cat", "dog"}
    assert set(ledger["licence"]) == {"CC0"}


def pixels_of(faces: list[Faces]) -> set[tuple[bytes, int]]:
    return {(face.image(i).tobytes(), face.labels[i]) for face in faces for i in range(len(face))}


def test_what_a_source_says_of_a_face_stands_in_its_json() -> None:
    row = {"label": "", "source": "s", "origin": "a/ü.jpg", "licence": "", "rating": "g", "tags": "1girl smile"}
    about = json.loads(about_face({**row, "facts": '{"score": 3}'}))
    assert about == {"source": "s", "origin": "a/ü.jpg", "rating": "g", "tags": "1girl smile", "facts": {"score": 3}}


def test_weights_of_sources_are_weights_of_their_training_faces(tmp_path: Path) -> None:
    few, many = write_folder(tmp_path / "few", range(4)), write_folder(tmp_path / "many", range(4, 20))
    job, folder = prepared(tmp_path, asked(few, name="few", weight=4), asked(many, name="many"))
    faces, ledger = Faces(folder), job.ledger(job.steps[-1].buckets).set_index("id")
    assert faces.weights is not None
    assert {(ledger.loc[face, "source"], w) for face, w in zip(faces.ids, faces.weights, strict=True)} == {
        ("few", 4.0),
        ("many", 1.0),
    }


def test_the_stage_says_how_much_larger_shards_are_than_their_faces(tmp_path: Path) -> None:
    job, folder = prepared(tmp_path, asked(write_folder(tmp_path / "in", range(6))), held_out=0)
    faces = sum(len(sample["png"]) for sample in samples(folder))
    assert job.steps[-1].facts["overhead"] == round(sum(map(len, tars(folder).values())) / faces, 4)


def test_without_weights_the_index_has_none_and_equal_ones_are_none(tmp_path: Path) -> None:
    _, folder = prepared(tmp_path, asked(write_folder(tmp_path / "in", range(6)), weight=1.0))
    assert Faces(folder).weights is None


def test_two_sources_of_one_name_and_two_weights_are_refused_before_the_work(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", range(3))
    job, _ = prepared(tmp_path, asked(folder))
    sources = (asked(folder), asked(folder, weight=2))
    manifest = Manifest(**{**job.manifest.model_dump(exclude={"train", "retrain"}), "sources": sources, "train": {}})
    with pytest.raises(ValueError, match="two sources are called folder and have the weights 1 and 2"):
        write_shards(Job(manifest, job.path, job.root, dry=True), *job.steps[-2:])
