"""The stage augment on a few drawn pictures: what it adds, what it leaves alone, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from flows.prepare import prepare_faces
from imaging.augment import CopyConfig, alter
from imaging.decode import decode
from manifests.ledger import face_of, kept, ledger_of
from manifests.schema import CleanConfig, Manifest
from stylegan.training import Stop, run_job
from tasks.clean import decide, drop_by_score
from tasks.evaluate import evaluate_model
from tasks.examples import variant_sheet
from tasks.expect import with_expectations
from tasks.job import Job
from tasks.rank import score_real
from tasks.shard import write_shards
from tasks.shards import Span, read_span
from tasks.store import Record
from tasks.summary import report_job

MANIFEST: dict[str, Any] = {
    "name": "few",
    "seed": 5,
    "resolution": 32,
    "buckets": 4,
    "sources": [{"kind": "toon", "pictures": 24, "min_side": 300, "max_side": 340, "workers": 1}],
    "crop": {"min_face": 48},
    "shard": {"held_out": 0.3},
    "train": {"preset": "toon"},
}
COPIES = 3
TINY = {
    "preset": "toon",
    "kimg": 0.016,
    "batch": 8,
    "tick_kimg": 0.016,
    "snapshot_kimg": 0.016,
    "sample_columns": 2,
    "sample_rows": 1,
    "threads": 1,
    "network": {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8},
}
Prepare = Callable[..., Job]


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Prepares the manifest, with other values, under the root of that name; the sources are drawn once a root."""
    folder = tmp_path_factory.mktemp("augment")

    def prepared(root: str = "data", workers: int = 2, **other: Any) -> Job:
        manifest = Manifest.model_validate({**MANIFEST, **other})
        path = folder / "few.yaml"
        path.write_text("name: few\n")
        job = Job(manifest, path, folder / root, workers=workers)
        prepare_faces(job)
        return job

    return prepared


@pytest.fixture(scope="module")
def job(prepare: Prepare) -> Job:
    return prepare(augment={"copies": COPIES})


def record_of(job: Job, stage: str) -> Record:
    return next(record for record in job.steps if record.stage == stage)


def ledger_at(job: Job, stage: str) -> pd.DataFrame:
    return job.ledger(record_of(job, stage).buckets)


def bytes_at(job: Job, stage: str) -> dict[str, bytes]:
    """The encoded faces and variants by id, from where the stage's ledger says that they lie."""
    found = {}
    for name, bucket in record_of(job, stage).buckets.items():
        for row in kept(job.ledger({name: bucket}), "face", "variant").to_dict("records"):
            with (job.root / bucket.folder / row["shard"]).open("rb") as opened:
                found[row["id"]] = read_span(opened, Span(row["offset"], row["length"]))
    return found


def test_without_the_section_there_is_no_stage_and_every_digest_is_as_before(prepare: Prepare, job: Job) -> None:
    plain = prepare()
    assert [record.stage for record in plain.steps] == ["download", "crop", "dedup", "upscale", "shard"]
    assert [record.stage for record in job.steps] == ["download", "crop", "dedup", "upscale", "augment", "shard"]
    assert [r.output for r in plain.steps[:4]] == [r.output for r in job.steps[:4]]
    assert "variant" not in record_of(plain, "shard").counts
    faces = ledger_at(plain, "shard")
    assert "augment" not in record_of(plain, "shard").model_dump_json()
    assert set(faces["kind"]) == {"picture", "face"}


def test_every_training_face_has_its_copies_and_no_held_out_face_any(job: Job) -> None:
    shards = ledger_at(job, "shard")
    faces, variants = kept(shards, "face"), kept(shards, "variant")
    sides = faces.set_index("id")["split"]
    assert set(sides) == {"train", "held_out"}
    assert set(variants["split"]) == {"train"}
    given = variants["id"].map(face_of).value_counts()
    assert given.to_dict() == dict.fromkeys(sides.index[sides == "train"], COPIES)
    assert record_of(job, "shard").facts["train"] == (1 + COPIES) * (sides == "train").sum()
    assert record_of(job, "augment").counts["variant"] == {"kept": len(variants)}


def test_faces_keep_their_bytes_and_copies_are_what_the_pixel_functions_make(job: Job) -> None:
    before, after, shards = (bytes_at(job, stage) for stage in ("upscale", "augment", "shard"))
    assert before.items() <= after.items()
    assert shards == after
    config = CopyConfig(copies=COPIES)
    for id in [id for id in after if id != face_of(id)][:9]:
        made = alter(decode(before[face_of(id)]).image, face_of(id), int(id[-2:]), MANIFEST["seed"], config)
        np.testing.assert_array_equal(decode(after[id]).image, made.image)


def test_a_variants_row_says_where_it_is_from_and_what_was_changed(job: Job) -> None:
    ledger = ledger_at(job, "augment").set_index("id")
    for id, row in ledger[ledger["kind"] == "variant"].iterrows():
        face = ledger.loc[face_of(str(id))]
        same = ["picture", "source", "origin", "licence", "label", "cut_x0", "cut_y1", "reason"]
        assert row[same].equals(face[same])
        assert row["notes"].split()[0] in CopyConfig(copies=1).kinds
        assert row["hash"] == row["hash256"] == row["group"] == ""
        assert row[["sharpness", "border", "jpeg_quality", "thumb"]].isna().all()


def test_one_worker_and_two_elsewhere_make_the_same_bytes(prepare: Prepare, job: Job) -> None:
    alone = prepare("elsewhere", workers=1, augment={"copies": COPIES})
    assert [record.output for record in alone.steps] == [record.output for record in job.steps]


def test_more_copies_leave_the_first_ones_as_they_were(prepare: Prepare, job: Job) -> None:
    more = bytes_at(prepare(augment={"copies": COPIES + 1}), "augment")
    assert bytes_at(job, "augment").items() <= more.items()


def test_another_seed_makes_other_copies_of_the_same_faces(prepare: Prepare, job: Job) -> None:
    other, first = bytes_at(prepare(augment={"copies": COPIES}, seed=6), "augment"), bytes_at(job, "augment")
    assert other.keys() == first.keys()
    same = {id for id in first if first[id] == other[id]}
    assert same == {id for id in first if id == face_of(id)}


def test_a_second_run_does_no_work_and_a_plan_says_how_much_there_will_be(prepare: Prepare, job: Job) -> None:
    again = prepare(augment={"copies": COPIES})
    assert {record.key for record in again.steps} == again.reused
    dry = Job(again.manifest.model_copy(update={"augment": CopyConfig(copies=7)}), again.path, again.root, dry=True)
    prepare_faces(dry)
    step = {step.stage: step for step in with_expectations(dry)}
    assert step["augment"].state == "run"
    assert step["augment"].why.endswith("-> 7")
    num_rows, num_faces = len(ledger_at(job, "upscale")), len(kept(ledger_at(job, "upscale"), "face"))
    assert step["augment"].rows == step["shard"].rows == num_rows + 7 * num_faces
    buckets = record_of(job, "upscale").buckets.values()
    faces = sum(file.bytes for bucket in buckets for name, file in bucket.files.items() if name.endswith(".tar"))
    assert (step["augment"].bytes or 0) > 4 * faces


def test_the_report_counts_variants_and_shows_them_beside_their_faces(job: Job) -> None:
    page = report_job(job).read_text()
    num_variants = record_of(job, "augment").counts["variant"]["kept"]
    assert f"and {num_variants} variants" in page
    assert f"{num_variants} variants, {num_variants} kept" in page
    shown = variant_sheet(job, record_of(job, "shard"), ledger_at(job, "shard"), num_faces=2)
    assert shown is not None
    tile = 128 + 4
    assert shown.shape[1] == (1 + COPIES) * tile + 4


def _row(id: str, kind: str, score: float, rank: int | None = None) -> dict[str, Any]:
    return {"id": id, "kind": kind, "picture": id[:2], "split": "train", "score": score, "rank": rank, "reason": ""}


def test_a_variant_leaves_with_its_face_and_its_own_score_drops_nobody() -> None:
    rows = [_row(f"{i:02d}_000", "face", float(i), i) for i in range(10)]
    rows += [_row(f"{i:02d}_000_a01", "variant", -100.0) for i in range(10)]
    reasons = decide(ledger_of(rows), CleanConfig(drop_lowest=0.1, drop=("05_000_a01", "07"))).set_index("id")["reason"]
    assert reasons[reasons != ""].to_dict() == {
        "00_000": "low_score",
        "00_000_a01": "low_score",
        "05_000_a01": "review:drop",
        "07_000": "review:drop",
        "07_000_a01": "review:drop",
    }


@pytest.fixture
def _torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_torch_as_it_was")
def test_after_a_training_faces_are_ranked_and_judged_and_their_copies_follow(prepare: Prepare) -> None:
    job = prepare(augment={"copies": COPIES}, clean={"drop_lowest": 0.2}, retrain={}, train=TINY)
    shards, cuts = record_of(job, "shard"), record_of(job, "augment")
    run = job.root / "runs" / "00000-few"
    run.mkdir(parents=True)
    asked = {"config": job.manifest.train.model_dump(mode="json"), "shards": str(job.folder(shards)), "start": None}
    (run / "job.json").write_text(json.dumps(asked))
    assert run_job(run, Stop()) == 0
    done = json.loads((run / "done.json").read_text())
    facts = {"run": "runs/00000-few", "checkpoint": done["checkpoint"]}
    model = Record(stage="train", version=1, config={}, inputs={}, key="", facts=facts)

    num_faces = len(kept(ledger_at(job, "shard"), "face"))
    num_train = int((kept(ledger_at(job, "shard"), "face")["split"] == "train").sum())
    judged = evaluate_model(job, model, shards).facts["swd"]
    assert judged["train"]["images"] == num_train
    scores = score_real(job, shards, model)
    ledger = job.ledger(scores.buckets)
    assert scores.facts["scored"] == num_faces
    assert sorted(ledger.loc[ledger["kind"] == "face", "rank"].dropna()) == list(range(num_faces))
    assert ledger.loc[ledger["kind"] == "variant", "rank"].isna().all()
    cleaned = write_shards(job, drop_by_score(job, scores), cuts)
    left = job.ledger(cleaned.buckets)
    num_dropped = round(0.2 * num_train)
    assert len(kept(left, "face")) == num_faces - num_dropped
    assert len(kept(left, "variant")) == COPIES * (num_train - num_dropped)
    assert len(pd.read_parquet(job.folder(cleaned) / "index.parquet")) == len(kept(left, "face", "variant"))


def test_flips_are_refused_in_a_manifest_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flip is no kind of copy: training mirrors"):
        Manifest.model_validate({**MANIFEST, "augment": {"copies": 1, "kinds": ["flip"]}})
