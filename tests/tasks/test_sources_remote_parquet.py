from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from manifests.sources.remote import ParquetSource
from tasks.errors import IntegrityError
from tasks.preflight import expected_rows, source_bytes
from tasks.sources.found import Found
from tasks.sources.parquet import check_parquet, find_in_parquet, parquet_fingerprint

PICTURES = [b"picture %d " % number * 20 for number in range(6)]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write(path: Path, **columns: Any) -> Path:
    images = [{"bytes": data, "path": f"{number:06d}.jpg"} for number, data in enumerate(PICTURES)]
    table = pa.table({"image": images, **columns})
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def source(*files: object, **more: Any) -> ParquetSource:
    return ParquetSource(kind="parquet", files=tuple(map(str, files)), **more)


def find(config: ParquetSource, work: Path) -> list[Found]:
    return list(find_in_parquet(config, work, lambda done, total, unit: None))


def test_rows_of_the_datasets_library_come_with_their_classes_and_facts(tmp_path):
    path = write(
        tmp_path / "train.parquet", label=[0, 1, 0, 1, 0, None], celeb_id=list(range(6)), Eyeglasses=[True] * 6
    )
    found = find(source(path), tmp_path / "work")
    assert [file.path.read_bytes() for file in found] == PICTURES
    assert [file.id for file in found] == [hashlib.sha256(data).hexdigest() for data in PICTURES]
    assert [file.label for file in found] == ["cat", "dog", "cat", "dog", "cat", None]
    assert found[3].origin == "000003.jpg"
    assert found[3].about.facts == {"celeb_id": 3, "Eyeglasses": True}


def test_plain_bytes_without_a_name_are_named_by_file_and_row(tmp_path):
    pq.write_table(pa.table({"jpg": PICTURES}), tmp_path / "0001.parquet", row_group_size=4)
    found = find(source(tmp_path / "*.parquet", columns={"image": "jpg"}), tmp_path / "work")
    assert [file.origin for file in found] == [f"0001/{number:07d}" for number in range(6)]
    assert [file.path.read_bytes() for file in found] == PICTURES


def test_any_file_system_gives_the_same_rows(tmp_path):
    path = write(tmp_path / "train.parquet", id=[f"n{number}" for number in range(6)])
    fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/train.parquet", path.read_bytes())
    here = find(source(path), tmp_path / "here")
    there = find(source(f"memory://{tmp_path.name}/*.parquet"), tmp_path / "there")
    assert [file[2:] for file in there] == [file[2:] for file in here]
    assert [file.origin for file in there] == [f"n{number}" for number in range(6)]


def test_pictures_that_are_not_selected_are_not_read(tmp_path):
    path = write(tmp_path / "train.parquet", score=[1, 1, 5, 5, 1, 1])
    found = find(source(path, where="score > 3"), tmp_path / "work")
    assert [file.reason for file in found] == ["not_selected"] * 2 + [""] * 2 + ["not_selected"] * 2
    assert len(list((tmp_path / "work/files").rglob("*/*"))) == 2


@pytest.mark.parametrize(
    ("data", "reason", "facts"),
    [
        (None, "missing", {}),
        (b"", "empty", {}),
        (b"<html><title>Log in</title>", "not_a_picture", {"page": "Log in"}),
        (b"x" * 1000, "too_large", {"limit": 999}),
    ],
    ids=["none", "empty", "page", "large"],
)
def test_a_row_without_a_picture_has_its_reason(tmp_path, data, reason, facts):
    images = [{"bytes": data, "path": "a.jpg"}, {"bytes": b"1", "path": "b.jpg"}]
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
    file, other = find(source(tmp_path / "t.parquet", limits={"max_picture_bytes": 999}), tmp_path / "work")
    assert (file.reason, file.about.facts, file.bytes) == (reason, facts, 0)
    assert other.reason == ""


def test_a_file_that_is_no_parquet_is_a_row_and_the_others_are_read(tmp_path):
    write(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:300])
    found = find(source(tmp_path / "*.parquet"), tmp_path / "work")
    assert [file.reason for file in found] == [""] * 6 + ["unreadable"]
    assert found[-1].about.facts["file"] == str(tmp_path / "b.parquet")
    with pytest.raises(IntegrityError, match="none of 1 files can be read"):
        find(source(tmp_path / "b.parquet"), tmp_path / "work")


def test_a_damaged_part_costs_its_rows_and_no_others(tmp_path):
    path = write(tmp_path / "a.parquet")
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    found = find(source(path), tmp_path / "work")
    assert [file.reason for file in found] == ["", "", "unreadable", "unreadable", "", ""]
    assert len({file.origin for file in found}) == 6


def test_a_second_run_reads_nothing_and_a_wider_one_only_what_is_new(tmp_path):
    path = write(tmp_path / "a.parquet", score=list(range(6)))
    find(source(path, where="score < 3"), tmp_path / "work")
    wider = find(source(path), tmp_path / "work")
    assert [file.reason for file in wider] == [""] * 6
    assert len((tmp_path / "work/journal.jsonl").read_bytes().splitlines()) == 6
    again = find(source(path), tmp_path / "work")
    assert again == wider
    assert len((tmp_path / "work/journal.jsonl").read_bytes().splitlines()) == 6


def test_the_column_must_be_there_and_hold_pictures(tmp_path):
    path = write(tmp_path / "a.parquet", score=list(range(6)))
    with pytest.raises(ValueError, match=r"no column 'jpg' for the image: it has image, score"):
        find(source(path, columns={"image": "jpg"}), tmp_path / "work")
    with pytest.raises(ValueError, match=r"its column 'score' is int64"):
        find(source(path, columns={"image": "score"}), tmp_path / "work")


def test_the_hub_wants_a_commit_and_gets_it(tmp_path):
    url = "hf://datasets/flwrlabs/celeba/data/*.parquet"
    with pytest.raises(ValidationError, match="names no commit, so that tomorrow"):
        source(url)
    with pytest.raises(ValidationError, match="names no commit"):
        source("hf://datasets/flwrlabs/celeba@main/data/*.parquet", revision=COMMIT)
    with pytest.raises(ValidationError, match="names no commit"):
        source("https://huggingface.co/datasets/flwrlabs/celeba/resolve/main/data/0.parquet", revision=COMMIT)
    source(f"https://huggingface.co/datasets/flwrlabs/celeba/resolve/{COMMIT}/data/0.parquet")
    assert source(url, revision=COMMIT).pinned(url) == f"hf://datasets/flwrlabs/celeba@{COMMIT}/data/*.parquet"
    already = f"hf://datasets/flwrlabs/celeba@{COMMIT}/data/*.parquet"
    assert source(already).pinned(already) == already


def test_a_missing_file_and_an_unknown_address_are_said_before(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        check_parquet(source(tmp_path / "nothing.parquet"))
    with pytest.raises(ValueError, match="fits no file"):
        check_parquet(source(tmp_path / "*.parquet"))
    with pytest.raises(ValueError, match="known are"):
        check_parquet(source("nowhere://a.parquet"))


def test_a_plan_knows_the_rows_and_bytes_of_files_here(tmp_path):
    path = write(tmp_path / "a.parquet")
    assert (expected_rows(source(path)), source_bytes(source(path))) == (6, path.stat().st_size)
    assert expected_rows(source("memory://a.parquet")) is None


def test_the_fingerprint_knows_a_file_that_changed(tmp_path):
    path = write(tmp_path / "a.parquet")
    before = parquet_fingerprint(source(path))
    write(path, score=list(range(6)))
    assert parquet_fingerprint(source(path)) != before
