from __future__ import annotations

import hashlib
import io
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from manifests.sources import ArchiveSource, Source
from tasks.errors import IntegrityError, Refused, SourceUnavailable
from tasks.sources import check_source, source_fingerprint
from tasks.sources.archive import find_in_archive
from tasks.sources.found import Found
from tasks.sources.transfer import Patience

WAITS = Patience(timeout_seconds=5, sleep=lambda seconds: None)
FILES = {"a/1.jpg": b"one", "a/2.JPG": b"two" * 1000, "b/1.jpg": b"three", "b/notes.txt": b"four"}


def silent(done: int, total: int | None, unit: str) -> None:
    pass


def archive_source(*urls: object, **facts: Any) -> ArchiveSource:
    return ArchiveSource(kind="archive", urls=tuple(str(url) for url in urls), **facts)


def find(config: ArchiveSource, work: Path) -> list[Found]:
    return list(find_in_archive(config, work, silent, WAITS))


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def tar_of(files: dict[str, bytes], mode: str = "w:") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def celeba_like(num_pictures: int = 12) -> bytes:
    """A zip of the real one's layout: img_align_celeba/000001.jpg of 178 x 218 px and so on, folder entry first."""
    draw = np.random.default_rng(5)
    files = {"img_align_celeba/": b""}
    for number in range(1, num_pictures + 1):
        picture = cv2.resize(draw.integers(0, 256, (8, 8, 3), np.uint8), (178, 218))
        files[f"img_align_celeba/{number:06d}.jpg"] = cv2.imencode(".jpg", picture)[1].tobytes()
    return zip_of(files)


def test_a_celeba_like_zip_comes_over_http_with_cuts_and_a_full_quota_and_passes_every_check(web, tmp_path):
    data = celeba_like()
    quota = web.serve("quota", b"<!DOCTYPE html><title>Quota exceeded</title>" + b" " * 3000)
    served = web.serve("download", data, cut_after=[10_000], status=[503, 503])
    config = archive_source(
        tmp_path / "by-hand.zip",
        f"{web.url}/quota?id=1&confirm=t",
        f"{web.url}/download?id=2&confirm=t",
        name="celeba",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        md5=hashlib.md5(data).hexdigest(),
        count=12,
        members=("img_align_celeba/*.jpg",),
        terms="Research only.",
        terms_ack=True,
    )
    found = find(config, tmp_path / "work")
    assert [file.origin for file in found] == [f"img_align_celeba/{number:06d}.jpg" for number in range(1, 13)]
    for file in found:
        content = file.path.read_bytes()
        assert (file.id, file.bytes, file.label) == (hashlib.sha256(content).hexdigest(), len(content), None)
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (218, 178, 3)
    assert served.sent == len(data)
    assert len(quota.requests) == 1


def test_the_second_call_transfers_nothing_and_writes_nothing(web, tmp_path):
    served = web.serve("z", zip_of(FILES))
    config = archive_source(f"{web.url}/z")
    first = find(config, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert find(config, tmp_path) == first
    assert len(served.requests) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


@pytest.mark.parametrize("suffix", [".zip", ".jpg", ""])
@pytest.mark.parametrize(
    "data",
    [zip_of(FILES), tar_of(FILES), tar_of(FILES, "w:gz"), tar_of(FILES, "w:bz2"), tar_of(FILES, "w:xz")],
    ids=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"],
)
def test_the_kind_of_an_archive_is_told_by_content_and_all_kinds_give_the_same(tmp_path, data, suffix):
    path = tmp_path / f"pictures{suffix}"
    path.write_bytes(data)
    found = find(archive_source(path, labels="folders"), tmp_path / "work")
    assert {file.origin: file.path.read_bytes() for file in found} == FILES
    assert [file.label for file in found] == ["a", "a", "b", "b"]
    assert path.read_bytes() == data


def test_members_are_chosen_by_pattern_in_any_case(tmp_path):
    (tmp_path / "z").write_bytes(zip_of(FILES))
    config = archive_source(tmp_path / "z", members=("*.jpg",))
    assert [file.origin for file in find(config, tmp_path / "work")] == ["a/1.jpg", "a/2.JPG", "b/1.jpg"]


def test_a_wrong_count_is_an_error_that_says_both(tmp_path):
    (tmp_path / "z").write_bytes(celeba_like(7))
    config = archive_source(tmp_path / "z", members=("img_align_celeba/*.jpg",), count=202_599)
    with pytest.raises(IntegrityError, match=r"holds 7 files that fit .*, 202,599 were expected"):
        find(config, tmp_path / "work")


def test_a_wrong_checksum_of_a_local_archive_is_refused_and_the_file_stays(tmp_path):
    (tmp_path / "z").write_bytes(zip_of(FILES))
    with pytest.raises(IntegrityError, match=rf"z has sha256 [0-9a-f]{{64}}, {'1' * 64} was expected"):
        find(archive_source(tmp_path / "z", sha256="1" * 64), tmp_path / "work")
    assert (tmp_path / "z").is_file()


def test_a_web_page_that_a_browser_saved_as_zip_is_named_as_such(tmp_path):
    (tmp_path / "img.zip").write_bytes(b"<html><head><title>Google Drive - Virus scan warning</title>")
    with pytest.raises(SourceUnavailable, match=r"img\.zip: the file is a web page titled 'Google Drive - Virus scan"):
        find(archive_source(tmp_path / "img.zip"), tmp_path / "work")


def test_files_of_one_name_and_files_of_one_content_all_stay(tmp_path):
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("a.jpg", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.jpg", b"2")
        archive.writestr("./a.jpg", b"3")
        archive.writestr("b.jpg", b"1")
    found = find(archive_source(tmp_path / "z"), tmp_path / "work")
    assert [file.origin for file in found] == ["a.jpg", "a.jpg#2", "a.jpg#3", "b.jpg"]
    assert [file.path.read_bytes() for file in found] == [b"1", b"2", b"3", b"1"]
    assert found[0].path == found[3].path


def test_what_the_system_adds_to_archives_is_left_out(tmp_path):
    (tmp_path / "z").write_bytes(zip_of({"a.jpg": b"1", "__MACOSX/._a.jpg": b"2", ".DS_Store": b"3", "d/.x/b": b"4"}))
    assert [file.origin for file in find(archive_source(tmp_path / "z"), tmp_path / "work")] == ["a.jpg"]


def test_an_interrupted_unpacking_goes_on_and_does_not_write_a_member_again(tmp_path):
    draw = random.Random(3)
    files = {f"{number:02}.jpg": draw.randbytes(20_000) for number in range(20)}
    whole = zip_of(files)
    at = whole.index(files["10.jpg"])
    (tmp_path / "z").write_bytes(whole[:at] + b"damaged!" + whole[at + 8 :])
    with pytest.raises(IntegrityError, match="is damaged: Bad CRC-32"):
        find(archive_source(tmp_path / "z"), tmp_path / "work")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work/files").rglob("*/*")}
    assert len(before) == 10
    truncated = next(iter(before))
    truncated.write_bytes(b"\0" * truncated.stat().st_size)  # what a power cut leaves of a file that has its name
    (tmp_path / "z").write_bytes(whole)
    found = find(archive_source(tmp_path / "z"), tmp_path / "work")
    assert {file.origin: file.path.read_bytes() for file in found} == files
    unchanged = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert unchanged == [path for path in before if path != truncated]


def test_a_file_lost_after_unpacking_is_unpacked_again(tmp_path):
    (tmp_path / "z").write_bytes(zip_of(FILES))
    found = find(archive_source(tmp_path / "z"), tmp_path / "work")
    found[2].path.unlink()
    assert [file.path.read_bytes() for file in find(archive_source(tmp_path / "z"), tmp_path / "work")] == [
        *FILES.values()
    ]


def test_nothing_is_downloaded_before_the_terms_are_accepted(web, tmp_path):
    served = web.serve("z", zip_of(FILES))
    config = archive_source(f"{web.url}/z", terms="Non-commercial research only.", licence="CelebA agreement")
    for ask in (lambda: check_source(config), lambda: find(config, tmp_path)):
        with pytest.raises(Refused, match=r"Non-commercial research only\.\nlicence: CelebA.*\n.*`terms_ack: true`"):
            ask()
    assert served.requests == []
    assert Refused.exit_code == 3
    (tmp_path / "mine.zip").write_bytes(b"not the archive")
    both = config.model_copy(update={"urls": (str(tmp_path / "mine.zip"), *config.urls), "sha256": "1" * 64})
    with pytest.raises(IntegrityError):
        find(both, tmp_path / "work")
    assert served.requests == []


def test_a_local_archive_that_is_not_there_is_said_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"none of these files exists: .*gone\.zip"):
        check_source(archive_source(tmp_path / "gone.zip"))


def test_the_fingerprint_follows_the_archive_and_not_the_papers_around_it(tmp_path):
    path = tmp_path / "z"
    path.write_bytes(zip_of(FILES))
    first = source_fingerprint(archive_source(path))
    assert source_fingerprint(archive_source(path, licence="CC0", terms="x", terms_ack=True)) == first
    assert source_fingerprint(archive_source(path, members=("*.jpg",))) != first
    path.write_bytes(zip_of({"a": b"1"}))
    assert source_fingerprint(archive_source(path)) != first
    stated = source_fingerprint(archive_source("http://a/z", sha256="1" * 64))
    assert source_fingerprint(archive_source("http://b/z", sha256="1" * 64)) == stated
    assert source_fingerprint(archive_source("http://b/z")) != source_fingerprint(archive_source("http://a/z"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"urls": ["ftp://host/file.zip"]},
        {"urls": []},
        {"urls": ["a.zip"], "sha256": "XYZ"},
        {"urls": ["a.zip"], "count": 0},
        {"urls": ["a.zip"], "cuont": 3},
    ],
)
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(Source).validate_python({"kind": "archive", **wrong})
