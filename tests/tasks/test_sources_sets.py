"""CelebA and FFHQ on stand-ins of their layouts: what is said of each picture, and sources that lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flows.prepare import prepare_faces
from manifests.expression import is_wanted
from manifests.ledger import count_reasons, kept
from manifests.load import load_manifest
from manifests.sources import Source
from tasks.download import about_of, download_pictures
from tasks.errors import IntegrityError, Refused
from tasks.job import Job
from tasks.preflight import expected_rows, source_bytes
from tasks.sources import SOURCES, check_source, source_fingerprint, source_home
from tasks.sources.found import Found
from tests.tasks.stand_ins import celeba_tree, danbooru_tree, ffhq_tree, picture, webdataset_shards, write

OLD = 1_600_000_000


def source_of(asked: dict[str, Any], **more: Any) -> Any:
    return TypeAdapter(Source).validate_python({**asked, **more})


def find(config: Any, work: Path) -> list[Found]:
    return list(SOURCES[config.kind](config, work, lambda done, total, unit: None))


def by_name(config: Any, work: Path) -> dict[str, Found]:
    return {file.origin.rpartition("/")[2]: file for file in find(config, work)}


def reasons(config: Any, work: Path) -> dict[str, str]:
    return {name: file.reason for name, file in by_name(config, work).items()}


def unpacked(root: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The same CelebA with its pictures in a folder."""
    with zipfile.ZipFile(root / "img_align_celeba.zip") as archive:
        archive.extractall(root / "folder")
    return {**asked, "urls": [str(root / "folder")]}


def test_celeba_says_attributes_person_points_and_partition(tmp_path: Path) -> None:
    found = by_name(source_of(celeba_tree(tmp_path / "celeba")), tmp_path / "work")
    assert len(found) == 12
    assert found["000003.jpg"].about.facts == {
        "_5_o_Clock_Shadow": -1,
        "Eyeglasses": 1,
        "Male": -1,
        "Smiling": 1,
        "identity": 1,
        "landmarks": [69, 109, 106, 113, 77, 142, 73, 152, 108, 154],
        "partition": "train",
    }
    assert found["000004.jpg"].about.facts["Eyeglasses"] == -1


def test_celeba_is_the_same_from_a_folder_and_from_its_archive(tmp_path: Path) -> None:
    asked = celeba_tree(tmp_path / "celeba")
    archive = by_name(source_of(asked), tmp_path / "archive")
    folder = by_name(source_of(unpacked(tmp_path / "celeba", asked)), tmp_path / "folder")
    assert {name: (file.id, file.about) for name, file in archive.items()} == {
        name: (file.id, file.about) for name, file in folder.items()
    }


def test_an_expression_keeps_the_people_without_glasses_and_reads_no_other(tmp_path: Path) -> None:
    asked = celeba_tree(tmp_path / "celeba")
    for number, place in enumerate((asked, unpacked(tmp_path / "celeba", asked))):
        config = source_of(place, where="Eyeglasses == -1 and partition != 'test'")
        found = by_name(config, tmp_path / f"work{number}")
        assert [name for name, file in found.items() if not file.reason] == [f"{n:06d}.jpg" for n in (4, 6, 10, 12)]
        assert {file.reason for file in found.values()} == {"", "not_selected"}
        assert len(found) == 12
        assert {file.bytes for file in found.values() if file.reason} == {0}
        assert found["000001.jpg"].about.facts["Eyeglasses"] == 1


def test_what_is_not_selected_is_not_unpacked(tmp_path: Path) -> None:
    config = source_of(celeba_tree(tmp_path / "celeba"), where="Eyeglasses == -1")
    find(config, tmp_path / "work")
    assert len(list((tmp_path / "work/files").rglob("*/*"))) == 6


def test_an_expression_over_the_size_must_read_first(tmp_path: Path) -> None:
    config = source_of(celeba_tree(tmp_path / "celeba"), where="bytes > 100000")
    found = find(config, tmp_path / "work")
    assert all(file.bytes and not file.reason for file in found)
    assert not any(is_wanted(config.where, about_of(file, config)) for file in found)


def test_a_row_without_a_picture_is_missing_and_a_picture_without_a_row_goes_on(tmp_path: Path, caplog: Any) -> None:
    asked = unpacked(tmp_path / "celeba", celeba_tree(tmp_path / "celeba"))
    pictures = tmp_path / "celeba/folder/img_align_celeba"
    (pictures / "000002.jpg").rename(pictures / "000099.jpg")
    found = by_name(source_of(asked), tmp_path / "work")
    assert (found["000002.jpg"].reason, found["000002.jpg"].about.facts["identity"]) == ("missing", 1)
    assert (found["000099.jpg"].reason, found["000099.jpg"].about.facts) == ("", {})
    assert "nothing is said of 1 pictures (img_align_celeba/000099.jpg)" in caplog.text
    assert "named and not there: 1 pictures (000002.jpg)" in caplog.text


def test_a_picture_of_which_the_expression_knows_nothing_is_not_selected(tmp_path: Path) -> None:
    asked = unpacked(tmp_path / "celeba", celeba_tree(tmp_path / "celeba"))
    pictures = tmp_path / "celeba/folder/img_align_celeba"
    (pictures / "000002.jpg").rename(pictures / "000099.jpg")
    assert reasons(source_of(asked, where="Eyeglasses == -1"), tmp_path)["000099.jpg"] == "not_selected"


@pytest.mark.parametrize("folder", [False, True])
def test_another_number_of_pictures_than_celeba_has_is_an_error(tmp_path: Path, folder: bool) -> None:
    asked = celeba_tree(tmp_path / "celeba")
    asked = unpacked(tmp_path / "celeba", asked) if folder else asked
    del asked["count"]
    with pytest.raises(IntegrityError, match=r"holds 12 files .*, 202,599 were expected; if a part of it is meant"):
        find(source_of(asked), tmp_path / "work")


LIES = [
    ("list_attr_celeba.txt", "000003.jpg  -1", "000003.jpg  -1 1 -1", r"line 5: 7 columns, 5 were expected"),
    ("list_attr_celeba.txt", "12\n", "13\n", r"line 1: 13 rows are said, 12 follow"),
    ("list_attr_celeba.txt", "000003.jpg  -1", "000003.jpg   0", r"line 5: attributes 0, one of \[-1, 1\]"),
    ("list_attr_celeba.txt", "000003.jpg  -1", "000003.jpg  no", r"line 5: 'no' is no whole number"),
    ("list_attr_celeba.txt", "Male", "Smiling", r"names a column twice"),
    ("identity_CelebA.txt", "000003.jpg", "000002.jpg", r"line 3: 000002.jpg has a row already"),
    ("identity_CelebA.txt", "000003.jpg 1", "000003.jpg", r"line 3: 1 columns, 2 were expected"),
    ("list_landmarks_align_celeba.txt", "lefteye_y ", "", r"its head names 9 columns, landmarks has 10"),
    ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg 7", r"line 3: partition 7, one of"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "said", "lie", "words"), LIES, ids=[f"{lie[0]}-{n}" for n, lie in enumerate(LIES)])
def test_a_text_file_that_lies_is_refused_by_line(tmp_path: Path, name: str, said: str, lie: str, words: str) -> None:
    asked = celeba_tree(tmp_path / "celeba")
    text = (tmp_path / "celeba" / name).read_text()
    assert said in text
    (tmp_path / "celeba" / name).write_text(text.replace(said, lie, 1))
    with pytest.raises(IntegrityError, match=words):
        find(source_of(asked), tmp_path / "work")
    assert not (tmp_path / "work/files").exists()


def test_the_text_files_of_a_mirror_may_be_csv(tmp_path: Path) -> None:
    asked = celeba_tree(tmp_path / "celeba", 3)
    rows = ["image_id,5_o_Clock_Shadow,Eyeglasses", "000001.jpg,-1,1", "000002.jpg,1,-1", "000003.jpg,-1,-1"]
    attributes = write(tmp_path / "list_attr_celeba.csv", "\n".join(rows))
    partition = write(tmp_path / "list_eval_partition.csv", "image_id,partition\n000001.jpg,2\n")
    more = {"attributes": {"urls": [str(attributes)]}, "partition": {"urls": [str(partition)]}}
    facts = by_name(source_of({**asked, **more}), tmp_path / "work")["000001.jpg"].about.facts
    assert (facts["_5_o_Clock_Shadow"], facts["Eyeglasses"], facts["partition"]) == (-1, 1, "test")


def test_the_text_files_come_from_mirrors_and_are_checked(web: Any, tmp_path: Path) -> None:
    asked = celeba_tree(tmp_path / "celeba")
    data = (tmp_path / "celeba/list_attr_celeba.txt").read_bytes()
    web.serve("quota", b"<html><title>Google Drive - Quota exceeded</title></html>", kind="text/html")
    served = web.serve("attr", data)
    mirrors = {"urls": [f"{web.url}/quota", f"{web.url}/attr"], "md5": hashlib.md5(data).hexdigest()}
    config = source_of(asked, attributes=mirrors)
    assert by_name(config, tmp_path / "work")["000001.jpg"].about.facts["Eyeglasses"] == 1
    find(config, tmp_path / "work")
    assert len(served.requests) == 1
    with pytest.raises(IntegrityError, match="md5"):
        find(source_of(asked, attributes={**mirrors, "md5": "0" * 32}), tmp_path / "work")


def test_terms_hold_for_the_text_files_too(web: Any, tmp_path: Path) -> None:
    served = web.serve("attr", b"x")
    asked = celeba_tree(tmp_path / "celeba")
    config = source_of(asked, attributes={"urls": [f"{web.url}/attr"]}, terms="Research only.", terms_ack=False)
    with pytest.raises(Refused, match="terms_ack"):
        check_source(config)
    assert not served.requests


def test_a_missing_text_file_is_said_before_any_work(tmp_path: Path) -> None:
    asked = celeba_tree(tmp_path / "celeba")
    (tmp_path / "celeba/identity_CelebA.txt").unlink()
    with pytest.raises(ValueError, match=r"none of these files exists: .*identity_CelebA\.txt"):
        check_source(source_of(asked))


def test_fingerprints_follow_the_files_and_the_archive_keeps_its_home(tmp_path: Path) -> None:
    asked = celeba_tree(tmp_path / "celeba")
    config = source_of(asked)
    before, home = source_fingerprint(config), source_home(config)
    write(tmp_path / "celeba/identity_CelebA.txt", "000001.jpg 77\n")
    assert source_fingerprint(config) != before
    assert source_home(config) == home
    assert source_fingerprint(source_of(asked, where="Male == 1")) == source_fingerprint(config)


def test_ffhq_says_licence_author_category_and_points(tmp_path: Path) -> None:
    found = by_name(source_of(ffhq_tree(tmp_path / "ffhq")), tmp_path / "work")
    assert len(found) == 12
    about = found["00007.png"].about
    assert about.licence == "Attribution License"
    assert about.facts == {
        "author": "Jérémy 😀",
        "category": "training",
        "date_crawled": "2018-10-10",
        "date_uploaded": "2007-08-16",
        "landmarks": [38.5, 77.0, 44.5, 89.0, 30.0, 60.0, 48.0, 96.0, 54.0, 108.0],
        "licence_url": "https://creativecommons.org/licenses/by/2.0/",
        "photo_title": "DSCF0899.JPG",
        "photo_url": "https://example.org/photos/7",
    }


def test_the_points_of_a_thumbnail_are_those_of_the_picture_made_smaller(tmp_path: Path) -> None:
    config = source_of(ffhq_tree(tmp_path / "ffhq"), pictures="thumbnails128x128")
    found = by_name(config, tmp_path / "work")["00001.png"]
    assert found.about.facts["landmarks"][:2] == [round(38.5 / 8, 2), round(77 / 8, 2)]
    assert found.origin == "00000/00001.png"


@pytest.mark.parametrize("folders", [True, False])
def test_the_tree_may_be_flat_and_may_be_named_itself(tmp_path: Path, folders: bool) -> None:
    asked = ffhq_tree(tmp_path / "ffhq", folders=folders)
    whole = by_name(source_of(asked), tmp_path / "one")
    tree = by_name(source_of(asked, urls=[str(tmp_path / "ffhq/images1024x1024")]), tmp_path / "two")
    assert whole == tree
    assert {file.reason for file in whole.values()} == {""}


def test_other_bytes_than_the_json_says_are_a_reason(tmp_path: Path) -> None:
    asked = ffhq_tree(tmp_path / "ffhq")
    write(tmp_path / "ffhq/images1024x1024/00000/00003.png", picture(99, format="PNG"))
    found = reasons(source_of(asked), tmp_path / "work")
    assert {name for name, reason in found.items() if reason} == {"00003.png"}
    assert found["00003.png"] == "wrong_bytes"
    assert set(reasons(source_of(asked, verify=False), tmp_path / "work").values()) == {""}


def test_md5_is_compared_though_the_file_was_hashed_without_it_before(tmp_path: Path) -> None:
    asked = ffhq_tree(tmp_path / "ffhq")
    path = write(tmp_path / "ffhq/images1024x1024/00000/00003.png", picture(99, format="PNG"))
    for file in path.parent.iterdir():
        os.utime(file, (OLD, OLD))
    assert not reasons(source_of(asked, verify=False), tmp_path / "work")["00003.png"]
    assert reasons(source_of(asked), tmp_path / "work")["00003.png"] == "wrong_bytes"


def test_an_archive_of_thumbnails_is_compared_as_well(tmp_path: Path) -> None:
    asked = ffhq_tree(tmp_path / "ffhq")
    tree = tmp_path / "ffhq/thumbnails128x128"
    write(tree / "00000/00003.png", picture(99, format="PNG"))
    packed = shutil.make_archive(str(tmp_path / "thumbnails128x128"), "zip", tmp_path / "ffhq", "thumbnails128x128")
    config = source_of(asked, urls=[packed], pictures="thumbnails128x128")
    found = reasons(config, tmp_path / "work")
    assert [name for name, reason in found.items() if reason == "wrong_bytes"] == ["00003.png"]
    assert reasons(config, tmp_path / "work") == found


def test_a_json_without_pictures_and_pictures_without_a_json_entry(tmp_path: Path, caplog: Any) -> None:
    asked = ffhq_tree(tmp_path / "ffhq")
    tree = tmp_path / "ffhq/images1024x1024/00000"
    (tree / "00003.png").rename(tree / "70000.png")
    found = reasons(source_of(asked), tmp_path / "work")
    assert (found["00003.png"], found["70000.png"], len(found)) == ("missing", "", 13)
    assert "nothing is said of 1 pictures (00000/70000.png)" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "is not of the form"),
        ('{"0": {"category": "training"}}', "'0' says nothing of 'image'"),
        ('{"0": ', "is no JSON"),
        ('{"0": {"image": {}}, "0": {"image": {}}}', "stands twice"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_json_that_is_none_of_ffhq_is_refused(tmp_path: Path, text: str, words: str) -> None:
    asked = ffhq_tree(tmp_path / "ffhq", 2)
    write(tmp_path / "ffhq/ffhq-dataset-v2.json", text)
    with pytest.raises(IntegrityError, match=words):
        find(source_of(asked), tmp_path / "work")


def test_an_entry_without_points_or_metadata_is_no_error(tmp_path: Path) -> None:
    asked = ffhq_tree(tmp_path / "ffhq", 2)
    about = json.loads((tmp_path / "ffhq/ffhq-dataset-v2.json").read_text())
    about["0"]["metadata"] = None
    about["1"]["image"]["face_landmarks"] = [[1, 2]]
    about["1"]["thumbnail"]["pixel_size"] = None
    write(tmp_path / "ffhq/ffhq-dataset-v2.json", json.dumps(about))
    assert len(by_name(source_of(asked, pictures="thumbnails128x128"), tmp_path / "small")) == 2
    found = by_name(source_of(asked, licence="CC-BY-NC-SA-4.0"), tmp_path / "work")
    assert found["00000.png"].about.licence == ""
    assert "landmarks" not in found["00001.png"].about.facts


def test_two_sources_of_one_manifest_keep_their_names_terms_and_reasons(tmp_path: Path) -> None:
    celeba, ffhq = celeba_tree(tmp_path / "celeba"), ffhq_tree(tmp_path / "ffhq")
    sources = [{**celeba, "name": "celeba", "where": "Eyeglasses == -1", "weight": 0.25}, {**ffhq, "name": "ffhq"}]
    manifest = write(tmp_path / "both.yaml", json.dumps({
        "name": "both", "sources": sources, "resolution": 16, "buckets": 2, "train": {"preset": "toon"},
        "crop": {"detector": "centre", "factor": 1.0, "min_face": 0, "min_contrast": 0, "min_saturation": 0,
                 "min_sharpness": 0},
    }))  # fmt: skip
    job = Job(load_manifest(manifest), manifest, tmp_path / "data", workers=1)
    shards = prepare_faces(job).shards
    ledger = job.ledger(shards.buckets)
    pictures = ledger[ledger["kind"] == "picture"]
    assert pictures["source"].value_counts().to_dict() == {"celeba": 12, "ffhq": 12}
    assert count_reasons(pictures)["picture"] == {"kept": 18, "not_selected": 6}
    faces = kept(ledger, "face")
    assert set(faces[faces["source"] == "ffhq"]["licence"]) == {"Attribution License", "Public Domain Mark"}
    assert json.loads(pictures[pictures["origin"] == "img_align_celeba/000002.jpg"]["facts"].iloc[0])["identity"] == 1
    assert [source.weight for source in job.manifest.sources] == [0.25, 1.0]


def test_the_disk_to_expect_counts_what_is_copied_and_not_what_is_only_read(tmp_path: Path) -> None:
    celeba = celeba_tree(tmp_path / "celeba")
    packed, folder = source_of(celeba, bytes=5000), source_of(unpacked(tmp_path / "celeba", celeba), bytes=5000)
    assert (source_bytes(packed), source_bytes(folder)) == (10_000, 0)
    nobody_knows = source_of(unpacked(tmp_path / "celeba", celeba), count=None)
    assert (expected_rows(packed), expected_rows(folder), expected_rows(nobody_knows)) == (12, 12, 12)
    danbooru = source_of(danbooru_tree(tmp_path / "danbooru"))
    assert (source_bytes(danbooru), expected_rows(danbooru)) == (0, 12)
    shards = source_of(webdataset_shards(tmp_path / "shards"))
    assert source_bytes(shards) == sum(path.stat().st_size for path in (tmp_path / "shards").iterdir())


def test_two_members_of_one_name_are_two_rows(tmp_path: Path) -> None:
    asked = celeba_tree(tmp_path / "celeba", 3)
    with zipfile.ZipFile(tmp_path / "celeba/img_align_celeba.zip", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("img_align_celeba/000002.jpg", picture(77))
    found = by_name(source_of(asked, count=None), tmp_path / "work")
    assert sorted(found) == ["000001.jpg", "000002.jpg", "000002.jpg#2", "000003.jpg"]
    assert found["000002.jpg#2"].about == found["000002.jpg"].about
    with pytest.raises(IntegrityError, match="holds 4 files"):
        find(source_of(asked), tmp_path / "again")


def test_a_picture_is_no_copy_of_one_that_was_not_selected(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write(tmp_path / "pictures" / name, picture(1))
    source = {"kind": "folder", "path": str(tmp_path / "pictures"), "where": "origin != 'a.jpg'"}
    asked = {"name": "copies", "sources": [source], "resolution": 16, "buckets": 1, "train": {"preset": "toon"}}
    manifest = write(tmp_path / "copies.yaml", json.dumps(asked))
    job = Job(load_manifest(manifest), manifest, tmp_path / "data", workers=1)
    ledger = job.ledger(download_pictures(job).buckets).set_index("origin")
    assert ledger["reason"].to_dict() == {
        "a.jpg": "not_selected",
        "b.jpg": "",
        "c.jpg": f"duplicate_of:{ledger.loc['b.jpg', 'id']}",
    }
