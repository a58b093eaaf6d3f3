"""The story of a picture out of ledgers that are not read, against the ledgers read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manifests import ledger as ledger_module
from manifests.ledger import SCHEMA, ledger_of, read_ledger, rows_of, write_ledger
from manifests.schema import Manifest
from manifests.unfold import POINTS, unfold
from tasks.buckets import bucket_of
from tasks.job import Job
from tasks.lookup import Lookup
from tasks.store import Bucket, Record, files_in
from tasks.why import lines_of, stories_of

NUM_BUCKETS = 4


def id_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def rows_named(number: int) -> list[dict[str, Any]]:
    """A picture in one of three kinds of places, and as many faces as its number says."""
    base = f"{number:06d}.jpg"
    origin = (f"a/{base}", f"https:/example.org/p/{base}?size=large", f"Ü mlaut {base}")[number % 3]
    about = {"source": "photos", "origin": origin, "picture": (picture := id_of(str(number))), "reason": ""}
    facts = json.dumps({"score": number, "tags": ["x"]}) if number % 2 else ""
    rows = [{**about, "id": picture, "kind": "picture", "bytes": 1000, "format": "JPEG", "facts": facts}]
    for face in range(number % 3):
        box = {"x0": 1, "y0": 2, "x1": 30, "y1": 40, "landmarks": [float(i) for i in range(10)], "confidence": 0.5}
        rows.append({**about, **box, "id": f"{picture}_{face:03d}", "kind": "face", "split": "train"})
    return rows


def write_stage(job: Job, stage: str, rows: list[dict[str, Any]], **facts: Any) -> Record:
    """What a stage leaves that wrote these rows, as the job's last step."""
    ledger, buckets = ledger_of(rows), {}
    for name, part in ledger.groupby(ledger["picture"].map(lambda id: bucket_of(id, NUM_BUCKETS))):
        folder = f"{stage}/key/{name}"
        (job.root / folder).mkdir(parents=True, exist_ok=True)
        write_ledger(part, job.root / folder / "ledger.parquet")
        buckets[str(name)] = Bucket(folder=folder, files=files_in(job.root / folder, ["ledger.parquet"]))
    record = Record(stage=stage, version=1, config={}, inputs={}, key="key", buckets=buckets, facts=facts)
    job.steps.append(record)
    return record


def new_job(root: Path, **source: Any) -> Job:
    sources = [{"kind": "toon", "name": "photos", **source}, {"kind": "toon", "name": "others"}]
    manifest = Manifest.model_validate({"name": "set", "buckets": NUM_BUCKETS, "sources": sources, "train": {}})
    return Job(manifest, root / "set.yaml", root)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """300 pictures and their faces in row groups of 16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_module, "ROW_GROUP", 16)
        made = new_job(tmp_path_factory.mktemp("why"))
        write_stage(made, "dedup", [row for number in range(300) for row in rows_named(number)])
    return made


@pytest.fixture(scope="module")
def lookup(job: Job) -> Lookup:
    return Lookup(job.root, job.steps[-1], NUM_BUCKETS)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 8, 64, 68])
def test_rows_by_the_beginning_of_an_id_are_those_of_the_whole_ledger(job: Job, lookup: Lookup, length: int) -> None:
    whole = job.ledger(job.steps[-1].buckets)
    for id in whole["id"].iloc[::17]:
        prefix = id[:length]
        expected = whole[whole["id"].str.startswith(prefix)]["id"].tolist() if prefix else []
        assert [row["id"] for row in lookup.rows(prefix)] == sorted(expected)


def test_a_row_has_every_column_but_the_thumbnail_as_the_ledger_has_it(job: Job, lookup: Lookup) -> None:
    whole = job.ledger(job.steps[-1].buckets).set_index("id", drop=False)
    row = lookup.rows(id_of("2") + "_001")[0]
    assert list(row) == [name for name in SCHEMA.names if name != "thumb"]
    for name, value in row.items():
        expected = whole.loc[row["id"], name]
        if value is None:
            assert np.ndim(expected) == 0
            assert pd.isna(expected)
        else:
            assert np.array_equal(value, expected)


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("a/000003.jpg", 3),
        ("000003.jpg", 3),
        ("000003", 3),
        ("./pics/a/000003.jpg", 3),
        ("https://example.org/p/000004.jpg?size=large", 4),
        ("000004.jpg", 4),
        ("Ü mlaut 000005.jpg", 5),
    ],
)
def test_a_picture_is_found_by_its_path_url_or_file_name(lookup: Lookup, what: str, number: int) -> None:
    assert lookup.pictures_called(what) == [id_of(str(number))]


def test_names_that_are_no_pictures_are_not_found(lookup: Lookup) -> None:
    for what in ("b/000003.jpg", "000003.png", "", "00000", "a"):
        assert lookup.pictures_called(what) == []


def test_one_file_name_in_many_folders_finds_them_all_and_a_path_the_one(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    about = {"kind": "picture", "reason": ""}
    rows = [{**about, "id": id_of(n), "picture": id_of(n), "origin": f"{n}/face.png"} for n in "abcdef"]
    lookup = Lookup(job.root, write_stage(job, "download", rows), NUM_BUCKETS)
    assert sorted(lookup.pictures_called("face.png")) == sorted(id_of(n) for n in "abcdef")
    assert lookup.pictures_called("c/face.png") == [id_of("c")]


def test_the_index_of_names_is_built_once_and_anew_for_other_rows(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    record = write_stage(job, "download", rows_named(3))
    assert Lookup(job.root, record, NUM_BUCKETS).pictures_called("000003") == [id_of("3")]
    (index,) = (tmp_path / "download").glob("key/names-*.npy")
    written = index.stat().st_mtime_ns
    assert Lookup(job.root, record, NUM_BUCKETS).pictures_called("000003") == [id_of("3")]
    assert index.stat().st_mtime_ns == written
    other = write_stage(job, "download", rows_named(4))
    assert Lookup(job.root, other, NUM_BUCKETS).pictures_called("000004") == [id_of("4")]


def test_a_part_of_a_name_is_looked_for_where_nothing_is_called_so(job: Job) -> None:
    stories = stories_of(job, "example.org/p/00029")
    assert {row["origin"][-21:-11] for story in stories for row in story["pictures"]} == {
        f"{number:06d}.jpg" for number in range(290, 300) if number % 3 == 1
    }
    assert stories_of(job, "nothing is called so") == []


def test_a_story_has_the_picture_all_its_faces_and_what_its_source_says(job: Job) -> None:
    (story,) = stories_of(job, id_of("5")[:20])
    assert [row["id"] for row in story["faces"]] == [id_of("5") + "_000", id_of("5") + "_001"]
    assert story["pictures"][0]["facts"] == {"score": 5, "tags": ["x"]}
    text = "\n".join(lines_of(story))
    for words in ("Ü mlaut 000005.jpg: kept", "_001: kept", "1,2 to 30,40, confidence 0.5", "score 5", "1,000 bytes"):
        assert words in text
    json.dumps(story)


def test_a_face_tells_the_story_of_its_picture(job: Job) -> None:
    assert stories_of(job, id_of("5") + "_001") == stories_of(job, id_of("5"))


def test_a_duplicate_names_the_picture_that_is_kept_for_it(tmp_path: Path) -> None:
    job, (one, *_), (other, *_) = new_job(tmp_path), rows_named(0), rows_named(3)
    rows = [one, {**other, "reason": f"duplicate_of:{one['id']}", "keeper": one["id"], "group": one["id"]}]
    write_stage(job, "dedup", rows)
    (story,) = stories_of(job, "000003")
    assert story["pictures"][0]["keeper_origin"] == "a/000000.jpg"
    assert f"000003.jpg: duplicate_of:{one['id']} (a/000000.jpg)" in next(lines_of(story))


def test_how_often_a_face_was_shown_is_the_share_of_all_that_was(tmp_path: Path) -> None:
    job = new_job(tmp_path, weight=3.0)
    rows = [*rows_named(2), *({**row, "source": "others"} for row in rows_named(5))]
    write_stage(job, "shard", rows, train=4, mean_weight=2.0)
    for stage, kimg in (("train", 0.2), ("retrain", 0.1)):
        job.steps.append(Record(stage=stage, version=1, config={}, inputs={}, key="", facts={"kimg": kimg}))
    shown = [[row["shown"] for row in stories_of(job, what)[0]["faces"]] for what in ("000002", "000005")]
    assert shown == [[300 / 4 * 3 / 2] * 2, [300 / 4 / 2] * 2]


def test_before_any_ledger_there_is_no_story(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no ledger yet: run it first"):
        stories_of(new_job(tmp_path), "x")


def test_an_unfolded_ledger_has_a_column_a_fact_and_a_coordinate(job: Job) -> None:
    whole = read_ledger(*(job.root / b.folder / "ledger.parquet" for b in job.steps[-1].buckets.values()))
    table = unfold(whole)
    assert len(table) == len(whole)
    assert {"facts", "landmarks", "quad"}.isdisjoint(table.columns)
    by_id = table.set_index("id")
    for row in rows_of(whole):
        facts = json.loads(row["facts"]) if row["facts"] else {}
        unfolded = by_id.loc[row["id"]]
        if facts:
            assert unfolded["facts.score"] == facts["score"]
            assert unfolded["facts.tags"] == '["x"]'
        else:
            assert pd.isna(unfolded["facts.score"])
        points = unfolded[POINTS["landmarks"]].to_numpy(float)
        assert np.array_equal(points, np.arange(10) if row["kind"] == "face" else np.full(10, np.nan), equal_nan=True)


def test_facts_of_several_kinds_become_text_and_whole_numbers_stay_whole(tmp_path: Path) -> None:
    facts = ({"n": 1, "mixed": 1, "yes": True}, {"mixed": "x", "yes": False}, {})
    rows = [{"id": str(i), "facts": json.dumps(f) if f else ""} for i, f in enumerate(facts)]
    unfold(ledger_of(rows)).to_parquet(tmp_path / "l.parquet")
    table = pd.read_parquet(tmp_path / "l.parquet")
    assert table["facts.n"].dropna().tolist() == [1]
    assert str(table["facts.n"].dtype) == "Int64" or table["facts.n"].dtype == float
    assert table["facts.mixed"].tolist()[:2] == ["1", "x"]
    assert table["facts.yes"].tolist()[:2] == [True, False]


def test_a_ranked_face_says_what_its_rank_follows(tmp_path: Path) -> None:
    job, (picture, face) = new_job(tmp_path), rows_named(1)
    write_stage(job, "rank", [picture, {**face, "score": 1.25, "distance": 0.5, "worth": -2.0, "rank": 1234}])
    text = "\n".join(lines_of(stories_of(job, "000001")[0]))
    assert "score     1.25, distance 0.5, worth -2, rank 1,234" in text
