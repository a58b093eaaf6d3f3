from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manifests.schema import Manifest
from tasks.buckets import Portion, bucket_of, each_bucket
from tasks.errors import IntegrityError, Refused
from tasks.job import Job, UntilReached, check_root
from tasks.stage import Outcome, Place, stage
from tasks.store import Record, read_record

MANIFEST = {"name": "m", "sources": [{"kind": "toon"}], "train": {"preset": "toon"}, "resolution": 32}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(Manifest.model_validate(MANIFEST), tmp_path / "m.yaml", tmp_path / "data", workers=2)


def _writer(text: str, version: int = 1, config: Any = None) -> Any:
    @stage("write", version=version, config=lambda job: config or {})
    def write(at: Place) -> Outcome:
        (at.folder / "text").write_text(text)
        return Outcome(files=("text",), counts={"picture": {"kept": 2, "no_face": 1}})

    return write


@stage("read", version=1, config=lambda job: {})
def _read(at: Place, written: Record) -> Outcome:
    (at.folder / "copy").write_text((at.job.folder(written) / "text").read_text())
    return Outcome(files=("copy",))


def test_a_stage_is_done_once(job: Job) -> None:
    first, second = _writer("a")(job), _writer("b")(job)
    assert first == second
    assert (job.folder(first) / "text").read_text() == "a"
    assert job.reused == {second.key}


def test_another_config_or_version_is_another_folder(job: Job) -> None:
    folders = {_writer("a")(job).folder, _writer("a", version=2)(job).folder, _writer("a", config={"x": 1})(job).folder}
    assert len(folders) == 3


def test_the_next_stage_depends_on_what_came_out_not_on_how(job: Job) -> None:
    same = _read(job, _writer("a")(job)).key
    assert _read(job, _writer("a", version=2)(job)).key == same
    assert _read(job, _writer("b", version=3)(job)).key != same


def test_a_stage_that_fails_leaves_no_record(job: Job) -> None:
    @stage("write", version=1, config=lambda job: {})
    def fails(at: Place) -> Outcome:
        (at.folder / "text").write_text("half")
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fails(job)
    assert _writer("whole")(job).files["text"].bytes == 5


def test_until_ends_the_order_after_its_stage(job: Job) -> None:
    job.until = "write"
    with pytest.raises(UntilReached):
        _writer("a")(job)
    assert [record.stage for record in job.steps] == ["write"]


def test_a_dry_job_does_nothing_and_says_what_would_run(job: Job) -> None:
    _writer("a")(job)
    dry = job.dry_copy()
    _read(dry, _writer("a", config={"x": 1})(dry))
    assert [(step.stage, step.state, step.why) for step in dry.planned] == [
        ("write", "run", "x None -> 1"),
        ("read", "run", "after write"),
    ]
    assert not (job.root / "read").exists()


def test_a_damaged_record_is_named(job: Job) -> None:
    record = _writer("a")(job)
    path = job.folder(record) / "record.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(IntegrityError, match=r"record\.json is no record"):
        read_record(job.root, "write", record.key)


def write_bucket(folder: Path, text: str) -> None:
    (folder / "text").write_text(text)


def fail_bucket(folder: Path, text: str) -> None:
    if text == "bad":
        raise ValueError(f"{folder.name} fails")
    write_bucket(folder, text)


def _bucket_stage(work: Any, texts: dict[str, str], extra: int = 0) -> Any:
    @stage("buckets", version=1, config=lambda job: {})
    def run(at: Place) -> Outcome:
        portions = {name: Portion({"text": text}, (text,)) for name, text in texts.items()}
        return Outcome(buckets=each_bucket(at, work, portions), facts={"extra": extra})

    return run


def test_only_the_bucket_that_changed_is_done_again(job: Job) -> None:
    first = _bucket_stage(write_bucket, {"00": "a", "01": "b"})(job)
    (job.folder(first) / "record.json").unlink()
    second = _bucket_stage(write_bucket, {"00": "a", "01": "c"})(job)
    assert second.buckets["00"].folder == first.buckets["00"].folder
    assert second.buckets["00"].seconds == 0
    assert second.buckets["01"].folder != first.buckets["01"].folder


def test_a_bucket_that_fails_does_not_undo_the_others(job: Job) -> None:
    with pytest.raises(ValueError, match="fails"):
        _bucket_stage(fail_bucket, {"00": "a", "01": "bad"})(job)
    mended = _bucket_stage(fail_bucket, {"00": "a", "01": "good"})(job)
    assert sorted(mended.buckets) == ["00", "01"]


def test_what_a_killed_bucket_left_is_swept(job: Job) -> None:
    first = _bucket_stage(write_bucket, {"00": "a"})(job)
    folder = job.root / first.buckets["00"].folder
    (folder / "bucket.json").unlink()
    (folder / "half").write_text("x")
    (job.folder(first) / "record.json").unlink()
    again = _bucket_stage(write_bucket, {"00": "a"})(job)
    assert again.buckets["00"].files.keys() == {"text"}
    assert again.output == first.output


def test_a_bucket_is_the_leading_bits_of_an_id() -> None:
    assert bucket_of("ff" * 32, 16) == "0f"
    assert bucket_of("7f" * 32, 2) == "00"
    assert bucket_of("80" + "0" * 62, 2) == "01"
    assert bucket_of("ff" * 32, 1) == "00"
    assert bucket_of("ff" * 32, 4096) == "fff"


def test_a_root_that_cannot_be_written_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="STYLEGAN_DATA"):
        check_root(tmp_path / "file", 0)


def test_a_disk_that_is_too_small_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"GB free, this manifest needs about 1000000\.00 GB"):
        check_root(tmp_path, 10**15)


def test_a_stage_whose_file_is_gone_is_done_again(job: Job) -> None:
    first = _writer("a")(job)
    (job.folder(first) / "text").unlink()
    dry = job.dry_copy()
    _writer("a")(dry)
    assert (dry.planned[0].state, dry.planned[0].why) == ("run", "text is gone or not what it was")
    again = _writer("a")(job)
    assert (job.folder(again) / "text").read_text() == "a"
    assert again.output == first.output


def test_only_the_bucket_that_lost_its_file_is_done_again(job: Job) -> None:
    first = _bucket_stage(write_bucket, {"00": "a", "01": "b"})(job)
    (job.root / first.buckets["01"].folder / "text").write_text("longer than it was")
    again = _bucket_stage(write_bucket, {"00": "a", "01": "b"})(job)
    assert again.output == first.output
    assert (job.root / again.buckets["01"].folder / "text").read_text() == "b"
    assert again.buckets["00"].seconds == 0
