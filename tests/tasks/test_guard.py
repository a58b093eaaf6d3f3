"""Decoders that really crash, hang or eat memory: one picture is lost, and the rest comes out as ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imaging.decode import decoder_version
from manifests.schema import Manifest
from tasks import guard
from tasks.buckets import Portion, each_bucket
from tasks.crop import crop_faces
from tasks.download import download_pictures
from tasks.errors import IntegrityError, PipelineError
from tasks.guard import busy_with, note_against, quarantined, read_quarantine, write_quarantine
from tasks.job import Job
from tasks.stage import Outcome, Place, stage
from tasks.store import Record
from tasks.upscale import cut_faces

MANIFEST = {"name": "m", "sources": [{"kind": "toon"}], "train": {"preset": "toon"}, "resolution": 32}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(Manifest.model_validate(MANIFEST), tmp_path / "m.yaml", tmp_path / "data", workers=2)


def open_pictures(folder: Path, fates: dict[str, str]) -> None:
    """A bucket's work that does to its process what a fate says; "once" needs a file that is not there."""
    lines = []
    for picture, fate in sorted(fates.items()):
        if note := note_against(picture):
            lines.append(f"{picture}: {note}")
            continue
        with busy_with(picture):
            _meet(fate)
        lines.append(f"{picture}: fine")
    (folder / "text").write_text("\n".join(lines))


def _meet(fate: str) -> None:
    kind, _, path = fate.partition(" ")
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "abort":
        os.abort()
    elif kind == "hang":
        time.sleep(1000)
    elif kind == "eat":
        bytearray(1 << 60)
    elif kind == "once" and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.002)


def die_between(folder: Path, _: dict[str, str]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(job: Job, buckets: dict[str, dict[str, str]], work: object = open_pictures) -> Record:
    @stage("open", version=1, config=lambda job: {})
    def opened(at: Place) -> Outcome:
        portions = {name: Portion({"fates": str(fates)}, (fates,)) for name, fates in buckets.items()}
        return Outcome(buckets=each_bucket(at, work, portions))  # type: ignore[arg-type]

    return opened(job)


def texts(job: Job, record: Record) -> dict[str, list[str]]:
    return {name: (job.root / b.folder / "text").read_text().splitlines() for name, b in record.buckets.items()}


def fine(bucket: str, num_pictures: int = 20) -> dict[str, str]:
    return {f"{bucket}{number:02d}": "fine" for number in range(num_pictures)}


@pytest.mark.parametrize(
    ("fate", "note"),
    [
        ("segfault", "the decoder crashed"),
        ("abort", "the decoder crashed"),
        ("eat", "the decoder ran out of memory"),
    ],
)
def test_a_crash_costs_one_picture(job: Job, fate: str, note: str) -> None:
    found = texts(job, run(job, {"00": fine("a"), "01": fine("b") | {"b07": fate}, "02": fine("c")}))
    lines = [line for bucket in found.values() for line in bucket]
    assert len(lines) == 60
    assert [line for line in lines if not line.endswith(": fine")] == [f"b07: {note}"]
    assert read_quarantine(job.root) == {"b07": note}


def test_a_hang_costs_one_picture(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HANG_SECONDS", 1.0)
    found = texts(job, run(job, {"00": fine("a"), "01": fine("b") | {"b07": "hang"}}))
    assert found["01"][7] == "b07: the decoder did not end within 1 s"
    assert sum(line.endswith("fine") for bucket in found.values() for line in bucket) == 39


def test_several_guilty_pictures_are_all_found(job: Job) -> None:
    fates = {"00": fine("a") | {"a03": "segfault", "a04": "abort"}, "01": fine("b") | {"b00": "segfault"}}
    run(job, fates)
    assert sorted(read_quarantine(job.root)) == ["a03", "a04", "b00"]


def test_the_outcome_does_not_depend_on_the_number_of_workers(job: Job, tmp_path: Path) -> None:
    fates = {name: fine(name, 5) | {f"{name}02": "segfault"} for name in ("00", "01", "02")}
    alone = Job(job.manifest, job.path, tmp_path / "other", workers=1)
    assert run(job, fates).output == run(alone, fates).output


def test_what_is_in_quarantine_is_not_opened_again(job: Job) -> None:
    job.root.mkdir()
    write_quarantine(job.root, "a03", "the decoder crashed")
    assert texts(job, run(job, {"00": fine("a")}))["00"][3] == "a03: the decoder crashed"


def test_a_worker_that_died_for_another_reason_costs_nothing(job: Job, tmp_path: Path) -> None:
    found = texts(job, run(job, {"00": fine("a") | {"a05": f"once {tmp_path / 'been'}"}, "01": fine("b")}))
    assert all(line.endswith(": fine") for bucket in found.values() for line in bucket)
    assert read_quarantine(job.root) == {}


def test_a_bucket_that_dies_without_a_guilty_picture_is_named_after_its_second_death(job: Job) -> None:
    with pytest.raises(PipelineError, match=r"died twice at bucket 00.*fewer workers"):
        run(job, {"00": {}}, die_between)


def test_other_versions_of_the_decoders_try_again(job: Job) -> None:
    job.root.mkdir()
    write_quarantine(job.root, "a03", "the decoder crashed")
    path = job.root / "quarantine.jsonl"
    assert read_quarantine(job.root) == {"a03": "the decoder crashed"}
    path.write_text(path.read_text().replace(decoder_version(), "older ones"))
    assert read_quarantine(job.root) == {}


def test_a_record_names_only_its_own_pictures_in_quarantine(job: Job) -> None:
    job.root.mkdir()
    assert quarantined(job.root, ["a", "b"]) == {}
    for picture in ("a", "z"):
        write_quarantine(job.root, picture, "the decoder crashed")
    assert quarantined(job.root, ["a", "b"]) == {"quarantined": {"a": "the decoder crashed"}}


def test_a_damaged_list_is_named(job: Job) -> None:
    job.root.mkdir()
    (job.root / "quarantine.jsonl").write_text('{"picture": "a"')
    with pytest.raises(IntegrityError, match=r"quarantine\.jsonl is no list of pictures.*delete it"):
        read_quarantine(job.root)


def test_outside_a_worker_nothing_is_marked_and_memory_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), busy_with("a"):
        bytearray(1 << 60)
    assert note_against("a") == ""


LIMITED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (1_000_000_000,) * 2)
from manifests.schema import Manifest
from tasks.crop import crop_faces
from tasks.download import download_pictures
from tasks.job import Job
folder = Path(sys.argv[1])
asked = {"name": "m", "sources": [{"kind": "folder", "path": str(folder), "include": ["*.png"]}]}
asked |= {"crop": {"detector": "none"}, "train": {"preset": "toon"}, "resolution": 32}
job = Job(Manifest.model_validate(asked), folder / "m.yaml", folder / "data", workers=2)
job.root.mkdir()
record = crop_faces(job, download_pictures(job))
print(record.counts["picture"], list(record.facts["quarantined"].values()))
"""


def test_a_legal_picture_for_which_the_memory_is_too_small_costs_itself_alone(tmp_path: Path) -> None:
    for number, noise in enumerate(np.random.default_rng(0).integers(0, 255, (6, 90, 90, 3), np.uint8)):
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    Image.new("RGB", (7900, 7900), "green").save(tmp_path / "huge.png")  # 0.2 MB, and 0.6 GB to decode
    ended = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == (
        "{'picture_too_small': 6, 'undecodable': 1} ['the decoder ran out of memory']"
    )


def test_faces_of_a_picture_in_quarantine_are_not_cut(tmp_path: Path) -> None:
    for number, noise in enumerate(np.random.default_rng(0).integers(0, 255, (3, 9, 9, 3), np.uint8)):
        Image.fromarray(noise).resize((90, 90)).save(tmp_path / f"{number}.png")
    asked = {"sources": [{"kind": "folder", "path": str(tmp_path), "include": ["*.png"]}]}
    asked |= {"crop": {"detector": "none", "min_face": 32, "min_sharpness": 0}, "upscale": {"upscaler": "lanczos"}}
    job = Job(Manifest.model_validate(MANIFEST | asked), tmp_path / "m.yaml", tmp_path / "data", workers=2)
    job.root.mkdir()
    pictures = download_pictures(job)
    faces = crop_faces(job, pictures)
    assert faces.counts["face"] == {"kept": 3}
    first = job.ledger(faces.buckets)["picture"].min()
    write_quarantine(job.root, first, "the decoder crashed")
    cut = cut_faces(job, faces, pictures)
    ledger = job.ledger(cut.buckets)
    assert cut.counts["face"] == {"kept": 2, "undecodable": 1}
    assert ledger[ledger["reason"] == "undecodable"][["picture", "notes"]].values.tolist() == [
        [first, "the decoder crashed"]
    ]
