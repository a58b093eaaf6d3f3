from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from flows.carry_out import carry_out, open_job, plan
from flows.export import export_only
from flows.retrain import retrain_and_export
from manifests.ledger import kept
from manifests.lock import lock_path, read_lock
from tasks.errors import Refused
from tasks.job import Job, UntilReached
from tasks.lock import differences
from tasks.shards import Span, read_span
from tasks.store import Record
from tasks.summary import final_ledger, last
from tests.flows.conftest import SMALL, Small


def _done(small: Small, *settings: str) -> Job:
    return plan(retrain_and_export, small.manifest, settings)


def test_a_run_goes_from_pictures_to_films(small: Small) -> None:
    stages = [record.stage for record in _done(small).steps]
    assert stages == (
        [
            "download",
            "crop",
            "dedup",
            "upscale",
            "shard",
            "train",
            "evaluate",
            "rank",
            "clean",
            "shard",
            "retrain",
            "evaluate",
            "choose",
            "export",
        ]
    )
    control = [record.stage for record in _done(small).arms["control"].steps]
    assert control == ["control", "shard", "retrain", "evaluate"]
    assert small.report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_second_run_does_no_work(small: Small) -> None:
    job = open_job(small.manifest)
    retrain_and_export(job)
    assert {record.key for record in job.all_steps} == job.reused


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        ("dedup.threshold=2", "dedup"),
        ("upscale.codec.format=webp", "upscale"),
        ("shard.held_out=0.1", "shard"),
        ("train.gamma=4", "train"),
        ("clean.drop_lowest=0.2", "clean"),
        ("export.figure.psi=1", "export"),
    ],
)
def test_changing_one_option_redoes_that_stage_and_what_follows(small: Small, setting: str, first: str) -> None:
    job = _done(small, setting)
    states = [step.state for step in job.planned]
    begin = [step.stage for step in job.planned].index(first)
    assert states == ["there"] * begin + ["run"] * (len(states) - begin)
    why = next(step.why for step in job.planned if step.stage == first)
    assert setting.partition("=")[0].split(".")[-1] in why


def test_plan_expects_rows_and_bytes(small: Small) -> None:
    fresh = _done(small, "sources.0.pictures=100")
    download = fresh.planned[0]
    assert (download.state, download.rows) == ("run", 100)
    assert all(step.rows and step.bytes for step in fresh.planned)


def test_no_row_is_ever_lost(small: Small) -> None:
    job = _done(small)
    pictures = {sum(r.counts["picture"].values()) for r in job.steps if r.counts}
    faces = {sum(r.counts["face"].values()) for r in job.steps if r.counts and r.stage != "download"}
    assert pictures == {60}
    assert len(faces) == 1


def test_every_kept_face_lies_where_the_ledger_says(small: Small) -> None:
    job = _done(small)
    shards = last(job, "shard")
    assert shards is not None
    faces = kept(final_ledger(job), "face")
    assert len(faces) > 20
    for row in faces.to_dict("records"):
        with (job.folder(shards) / row["shard"]).open("rb") as opened:
            data = read_span(opened, Span(row["offset"], row["length"]))
        assert data.startswith(b"\x89PNG")
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (32, 32, 3)


def test_shards_copy_the_bytes_that_upscale_wrote(small: Small) -> None:
    job = _done(small)
    cuts, shards = last(job, "upscale"), last(job, "shard")
    assert cuts is not None
    assert shards is not None
    before, after = _faces_in(job, cuts), _faces_in(job, shards)
    assert after
    assert after.items() <= before.items()


def _faces_in(job: Job, record: Record) -> dict[str, bytes]:
    found = {}
    for name, bucket in record.buckets.items():
        for row in kept(job.ledger({name: bucket}), "face").to_dict("records"):
            with (job.root / bucket.folder / row["shard"]).open("rb") as opened:
                found[row["id"]] = read_span(opened, Span(row["offset"], row["length"]))
    return found


def test_held_out_faces_are_in_no_training_shard(small: Small) -> None:
    job = _done(small)
    faces = kept(final_ledger(job), "face")
    assert set(faces["split"]) == {"train", "held_out"}
    assert all(row["shard"].startswith(row["split"]) for row in faces.to_dict("records"))
    assert not set(faces[faces["split"] == "train"]["picture"]) & set(faces[faces["split"] == "held_out"]["picture"])


def test_low_scores_leave_before_retraining(small: Small) -> None:
    job = _done(small)
    ledger = final_ledger(job)
    low = ledger[ledger["reason"] == "low_score"]
    train = ledger[(ledger["kind"] == "face") & (ledger["split"] == "train")]
    assert len(low) >= 1
    assert low["worth"].max() <= train["worth"].min()


def test_films_are_mp4_that_browsers_play(small: Small) -> None:
    job = _done(small)
    export = last(job, "export")
    assert export is not None
    for name in ("training-montage.mp4", "random-walk.mp4"):
        film = job.folder(export) / name
        said = subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-i", film], capture_output=True, text=True, check=False
        ).stderr
        assert "h264" in said
        assert "yuv420p" in said


def test_the_lock_says_what_came_out(small: Small) -> None:
    lock = read_lock(lock_path(small.manifest))
    job = _done(small)
    assert [(s.stage, s.output) for s in lock.stages] == [(r.stage, r.output) for r in job.all_steps]
    assert lock.libraries["torch"].startswith("2.")
    assert (
        lock_path(small.manifest).read_text()
        == json.dumps(json.loads(lock_path(small.manifest).read_text()), indent=1, sort_keys=True, ensure_ascii=False)
        + "\n"
    )


def test_a_flipped_byte_is_found_and_named(small: Small, tmp_path: Path) -> None:
    job = _done(small)
    shutil.copytree(small.root, tmp_path / "data")
    shards = last(job, "shard")
    assert shards is not None
    bucket = next(b for b in shards.buckets.values() if any(f.bytes > 2000 for n, f in b.files.items() if "train" in n))
    name = next(n for n, f in bucket.files.items() if "train" in n and f.bytes > 2000)
    path = tmp_path / "data" / bucket.folder / name
    data = bytearray(path.read_bytes())
    data[1500] ^= 1
    path.write_bytes(data)
    assert not list(differences(tmp_path / "data", job.steps, deep=False))
    found = list(differences(tmp_path / "data", job.steps, deep=True))
    assert {(d.stage, d.file.name) for d in found} == {("shard", name)}
    path.unlink()
    assert [d.found for d in differences(tmp_path / "data", job.steps, deep=False)] == ["missing"]


def test_another_folder_and_another_number_of_workers_give_the_same_digests(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLEGAN_DATA", str(tmp_path / "elsewhere"))
    again = open_job(small.manifest, until="shard")
    again.workers = 1
    with pytest.raises(UntilReached):
        retrain_and_export(again)
    assert [r.output for r in again.steps] == [r.output for r in _done_at(small).steps[: len(again.steps)]]


def _done_at(small: Small) -> Job:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLEGAN_DATA", str(small.root))
        return _done(small)


def test_a_new_picture_redoes_one_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imaging.toon import ToonConfig, draw_picture

    monkeypatch.setenv("STYLEGAN_DATA", str(tmp_path / "data"))
    (tmp_path / "pics").mkdir()
    for index in range(13):
        if index == 12:
            first = _until_upscale(tmp_path)
        picture = draw_picture(3, index, ToonConfig(fault_rate=0))
        (tmp_path / "pics" / picture.name).write_bytes(picture.data)
    second = _until_upscale(tmp_path)
    for stage in ("crop", "upscale"):
        before, after = (next(r for r in job.steps if r.stage == stage).buckets for job in (first, second))
        again = {name for name, bucket in after.items() if name not in before or before[name].folder != bucket.folder}
        assert len(again) == 1
        assert len(after) > 4


def _until_upscale(folder: Path) -> Job:
    text = SMALL.replace("kind: toon\n    pictures: 60", f"kind: folder\n    path: {folder / 'pics'}")
    (folder / "m.yaml").write_text(text.replace("buckets: 4", "buckets: 16"))
    job = open_job(folder / "m.yaml", until="upscale")
    with pytest.raises(UntilReached):
        retrain_and_export(job)
    return job


def test_exporting_before_there_is_a_model_is_refused(small: Small) -> None:
    with pytest.raises(Refused, match="has no finished model yet"):
        carry_out(export_only, small.manifest, ["train.gamma=3"])


def test_exporting_anew_trains_nothing(small: Small) -> None:
    carry_out(export_only, small.manifest, ["export.films=[]", "export.figures=[truncation-grid]"])
    job = _done(small, "export.films=[]", "export.figures=[truncation-grid]")
    export = last(job, "export")
    assert export is not None
    assert set(export.files) == {"model.safetensors", "checkpoint.json", "truncation-grid.png"}
