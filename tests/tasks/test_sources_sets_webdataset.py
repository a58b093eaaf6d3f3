"""WebDataset shards: whole and damaged, from here and over http, other people's and our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from flows.prepare import prepare_faces
from manifests.ledger import kept
from manifests.load import load_manifest
from manifests.sources import Source
from tasks.errors import IntegrityError, Refused, SourceUnavailable
from tasks.job import Job
from tasks.sources import check_source, source_fingerprint
from tasks.sources.found import Found
from tasks.sources.transfer import Patience
from tasks.sources.webdataset_shards import find_in_webdataset
from tests.tasks.stand_ins import ffhq_tree, picture, tar_of, webdataset_members, webdataset_shards, write

HASTY = Patience(tries=2, sleep=lambda seconds: None)


def source_of(asked: dict[str, Any], **more: Any) -> Any:
    return TypeAdapter(Source).validate_python({**asked, **more})


def find(config: Any, work: Path) -> list[Found]:
    return list(find_in_webdataset(config, work, lambda done, total, unit: None, HASTY))


def of_members(root: Path, members: dict[str, bytes], **more: Any) -> Any:
    write(root / "a.tar", tar_of(members))
    return source_of({"kind": "webdataset", "shards": [str(root / "a.tar")]}, **more)


def test_a_sample_is_a_picture_with_its_facts_class_and_caption(tmp_path: Path) -> None:
    found = find(source_of(webdataset_shards(tmp_path / "shards")), tmp_path / "work")
    assert [file.origin for file in found] == [f"shard-{n // 4:03d}.tar/{n:06d}.jpg" for n in range(12)]
    seven = found[7]
    assert (seven.label, seven.about.rating, seven.about.tags, seven.about.licence) == ("1", "g", "a b", "CC0-1.0")
    assert seven.about.facts == {"score": 7, "caption": "picture 7"}
    assert seven.path.read_bytes() == picture(5007)


def test_shards_are_named_by_numbers_patterns_or_one_by_one(tmp_path: Path) -> None:
    asked = webdataset_shards(tmp_path / "s")
    names = [[f"{tmp_path}/s/*.tar"], [f"{tmp_path}/s/shard-00{n}.tar" for n in range(3)], asked["shards"]]
    found = [[file.id for file in find(source_of(asked, shards=one), tmp_path / "work")] for one in names]
    assert found[0] == found[1] == found[2]


def test_an_expression_selects_before_anything_is_kept(tmp_path: Path) -> None:
    config = source_of(webdataset_shards(tmp_path / "shards"), where="score >= 6 and label == '0'")
    found = find(config, tmp_path / "work")
    assert [file.origin for file in found if not file.reason] == [
        "shard-001.tar/000006.jpg",
        "shard-002.tar/000009.jpg",
    ]
    assert {file.reason for file in found} == {"", "not_selected"}
    assert len(found) == 12
    assert len(list((tmp_path / "work/files").rglob("*/*"))) == 2


def test_the_first_dot_parts_key_and_suffix(tmp_path: Path) -> None:
    members = {"a.b/1.left.jpg": picture(1), "a.b/1.right.PNG": picture(2, format="PNG"), "a.b/1.json": b'{"x": 1}'}
    found = find(of_members(tmp_path, members), tmp_path / "work")
    assert [(file.origin, file.about.facts) for file in found] == [
        ("a.tar/a.b/1.left.jpg", {"x": 1}),
        ("a.tar/a.b/1.right.png", {"x": 1}),
    ]


def test_facts_without_a_picture_are_missing_and_a_picture_without_facts_goes_on(tmp_path: Path) -> None:
    members = {"1.json": b'{"score": 5}', "2.jpg": picture(2), "README": b"no dot"}
    found = {file.origin: file for file in find(of_members(tmp_path, members), tmp_path / "work")}
    assert {origin: file.reason for origin, file in found.items()} == {"a.tar/1": "missing", "a.tar/2.jpg": ""}
    assert found["a.tar/1"].about.facts == {"score": 5}


def test_two_samples_of_one_key_have_names_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "1/a.tar", tar_of({"1.jpg": picture(1)}))
    write(tmp_path / "2/a.tar", tar_of({"1.jpg": picture(2), "2.jpg": picture(3), "1.png": picture(4)}))
    found = find(source_of({"kind": "webdataset", "shards": [f"{tmp_path}/*/a.tar"]}), tmp_path / "work")
    assert [file.origin for file in found] == [
        "a.tar/1.jpg",
        "a.tar#2/1.jpg",
        "a.tar#2/2.jpg",
        "a.tar#2/1.png",
    ]


@pytest.mark.parametrize(
    "json_", [b"{no", b"[" * 100_000, b'{"a": NaN, "b": "\\ud800", "c": 1e999, "d": 2}', b"[1, 2]"]
)
def test_json_that_lies_costs_no_picture(tmp_path: Path, json_: bytes) -> None:
    found = find(of_members(tmp_path, {"1.jpg": picture(1), "1.json": json_}), tmp_path / "work")
    assert [file.reason for file in found] == [""]
    json.dumps(found[0].about.facts, allow_nan=False).encode("utf-8")


def test_a_damaged_shard_has_a_row_and_the_others_go_on(tmp_path: Path, caplog: Any) -> None:
    asked = webdataset_shards(tmp_path / "shards")
    path = tmp_path / "shards/shard-001.tar"
    path.write_bytes(path.read_bytes()[:10_000])
    config = source_of(asked)
    found = find(config, tmp_path / "work")
    rows = [(file.origin, file.reason) for file in found if file.reason]
    assert rows == [("shard-001.tar", "unreadable")]
    assert "damaged" in found[[file.origin for file in found].index("shard-001.tar")].about.facts["damage"]
    assert len(found) > 9
    assert "shard-001.tar is damaged" in caplog.text
    assert find(config, tmp_path / "work") == found


def test_a_source_of_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", b"<html>no tar</html>" * 100)
    with pytest.raises(SourceUnavailable, match="web page"):
        find(source_of({"kind": "webdataset", "shards": [f"{tmp_path}/a.tar"]}), tmp_path / "work")
    write(tmp_path / "a.tar", b"no tar at all" * 100)
    with pytest.raises(IntegrityError, match="none of 1 shards holds a picture"):
        find(source_of({"kind": "webdataset", "shards": [f"{tmp_path}/a.tar"]}), tmp_path / "work")


def test_shards_come_over_http_each_once_and_resume(web: Any, tmp_path: Path) -> None:
    served = []
    for number in range(3):
        data = tar_of(webdataset_members(4 * number))
        served.append(web.serve(f"s-{number}.tar", data, cut_after=[len(data) // 2]))
    config = source_of({"kind": "webdataset", "shards": [web.url + "/s-{0..2}.tar"]})
    found = find(config, tmp_path / "work")
    assert len(found) == 12
    assert [one.sent for one in served] == [len(one.data) for one in served]
    assert find(config, tmp_path / "work") == found
    assert [len(one.requests) for one in served] == [2, 2, 2]


def test_a_shard_that_cannot_be_had_is_named_once_all_others_are_here(web: Any, tmp_path: Path) -> None:
    served = web.serve("s-1.tar", tar_of(webdataset_members(4)))
    config = source_of({"kind": "webdataset", "shards": [web.url + "/s-{0..1}.tar"]})
    with pytest.raises(SourceUnavailable, match=r"1 of 2 shards are not here:\ns-0\.tar"):
        find(config, tmp_path / "work")
    web.serve("s-0.tar", tar_of(webdataset_members(0)))
    assert len(find(config, tmp_path / "work")) == 8
    assert len(served.requests) == 1


def test_a_shard_with_other_bytes_than_its_digest_is_an_error(web: Any, tmp_path: Path) -> None:
    web.serve("s-0.tar", tar_of(webdataset_members(0)))
    asked = {"kind": "webdataset", "shards": [f"{web.url}/s-0.tar"], "sha256": {"s-0.tar": "0" * 64}}
    with pytest.raises(IntegrityError, match="sha256"):
        find(source_of(asked), tmp_path / "work")


def test_terms_and_missing_shards_are_said_before_any_work(web: Any, tmp_path: Path) -> None:
    served = web.serve("s-0.tar", b"x")
    with pytest.raises(Refused, match="terms_ack"):
        check_source(source_of({"kind": "webdataset", "shards": [f"{web.url}/s-0.tar"], "terms": "Research."}))
    with pytest.raises(ValueError, match="no shard fits"):
        check_source(source_of({"kind": "webdataset", "shards": [f"{tmp_path}/s-{{0..3}}.tar"]}))
    with pytest.raises(ValidationError, match="brace without its partner"):
        source_of({"kind": "webdataset", "shards": ["s-{0..3.tar"]})
    assert not served.requests


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    config = of_members(tmp_path, {"1.jpg": b"x" * 10_000}, max_member_bytes=5000)
    with pytest.raises(Refused, match="max_member_bytes"):
        find(config, tmp_path / "work")


def test_only_what_changed_is_unpacked_again(tmp_path: Path) -> None:
    config = source_of(webdataset_shards(tmp_path / "shards"))
    before, first = source_fingerprint(config), find(config, tmp_path / "work")
    write(tmp_path / "shards/shard-001.tar", tar_of(webdataset_members(40)))
    (tmp_path / "shards/shard-002.tar").rename(tmp_path / "aside")
    (tmp_path / "aside").rename(tmp_path / "shards/shard-002.tar")
    assert source_fingerprint(config) != before
    again = find(config, tmp_path / "work")
    assert (again[:4], again[8:]) == (first[:4], first[8:])
    assert [file.origin for file in again[4:8]] == [f"shard-001.tar/{n:06d}.jpg" for n in range(40, 44)]


def test_our_own_shards_can_be_a_source(tmp_path: Path) -> None:
    crop = {"detector": "centre", "factor": 1.0, "min_face": 0, "min_contrast": 0, "min_saturation": 0}
    plain = {"resolution": 16, "buckets": 2, "train": {"preset": "toon"}, "crop": {**crop, "min_sharpness": 0}}
    asked = {"name": "first", "sources": [ffhq_tree(tmp_path / "ffhq")], "upscale": {"codec": {"format": "png"}}}
    manifest = write(tmp_path / "first.yaml", json.dumps({**asked, **plain}))
    job = Job(load_manifest(manifest), manifest, tmp_path / "data", workers=1)
    record = prepare_faces(job).shards
    faces = kept(job.ledger(record.buckets), "face").set_index("id")
    config = source_of({"kind": "webdataset", "shards": [f"{job.folder(record)}/*.tar"]})
    found = {file.origin.rpartition("/")[2]: file for file in find(config, tmp_path / "work")}
    assert sorted(found) == [f"{face}.png" for face in sorted(faces.index)]
    for face, row in faces.iterrows():
        about = found[f"{face}.png"].about
        assert about.licence == row["licence"]
        assert about.facts["category"] == json.loads(row["facts"])["category"]
