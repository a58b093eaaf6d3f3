from __future__ import annotations

import csv
import gzip
import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from manifests.sources import ArchiveSource
from tasks.errors import IntegrityError, Refused
from tasks.sources.archive import find_in_archive
from tasks.sources.found import Found, clean_origin
from tasks.sources.unpack import Limits, Unpacking

LIMITS = Limits(member_bytes=1 << 20, total_bytes=1 << 30, ratio=200)


def find(path: Path, work: Path, **facts: object) -> list[Found]:
    config = ArchiveSource.model_validate({"kind": "archive", "urls": [str(path)], **facts})
    return list(find_in_archive(config, work, lambda done, total, unit: None))


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_every_hostile_archive_behaves_as_its_table_says(realdata, tmp_path):
    with (realdata / "hostile/hostile.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["file"].startswith("archives/")]
    assert len(rows) == 24
    wrong = []
    for number, row in enumerate(rows):
        work = tmp_path / "inside" / str(number)
        try:
            outcome = "accept" if find(realdata / "hostile" / row["file"], work) else "nothing"
        except (IntegrityError, Refused) as error:
            named = Path(row["file"]).name in str(error)
            outcome = "reject" if named else f"reject without its name: {error}"
        allowed = {row["expect"]} if row["expect"] in ("accept", "reject") else {"accept", "reject"}
        if outcome not in allowed:
            wrong.append((row["file"], row["expect"], outcome))
    assert wrong == []
    assert tree(tmp_path) - tree(tmp_path / "inside") == {tmp_path / "inside"}


@pytest.mark.parametrize("name", ["snyk__zip-slip.zip", "snyk__zip-slip.tar", "gogetter__outside_parent.tar.gz"])
def test_a_member_that_climbs_out_is_kept_under_its_content_with_a_harmless_name(realdata, tmp_path, name):
    for file in find(realdata / "hostile/archives" / name, tmp_path):
        assert file.path == tmp_path / "files" / file.id[:2] / file.id
        assert ".." not in file.origin.split("/")
        assert not file.origin.startswith("/")


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/abs//./x.jpg", "abs/x.jpg"),
        ("..\\win\\a.jpg", "win/a.jpg"),
        ("a\nb\x1b[31m.jpg", "a\ufffdb\ufffd[31m.jpg"),
        (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caf\ufffd.jpg"),
        ("Кот/猫 1.jpg", "Кот/猫 1.jpg"),
        ("../..", ""),
    ],
)
def test_names_are_clean_text_that_no_one_can_climb_on(name, clean):
    assert clean_origin(name) == clean


def test_links_devices_and_encrypted_members_are_left_out_and_counted(tmp_path, caplog):
    with tarfile.open(tmp_path / "t", "w") as archive:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"odd{number}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("good"))
    assert [file.origin for file in find(tmp_path / "t", tmp_path / "work")] == ["good"]
    assert "left out: 2 device or other special file, 2 link" in caplog.text

    with zipfile.ZipFile(tmp_path / "z", "w") as zipped:
        link, secret = zipfile.ZipInfo("link"), zipfile.ZipInfo("secret")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        for info in (link, secret, zipfile.ZipInfo("good")):
            zipped.writestr(info, b"/etc/passwd")
    data = bytearray((tmp_path / "z").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = [at for at in range(len(data)) if data[at : at + 4] == signature][1]
        data[at + flags] |= 1
    (tmp_path / "z").write_bytes(data)
    assert [file.origin for file in find(tmp_path / "z", tmp_path / "work")] == ["good"]
    assert "left out: 1 encrypted, 1 link" in caplog.text


def bomb_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(str(number), bytes(4 << 20))


def bomb_tar_gz(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for number in range(20):
            info = tarfile.TarInfo(str(number))
            info.size = 4 << 20
            archive.addfile(info, io.BytesIO(bytes(4 << 20)))


def bomb_after_the_end(path: Path) -> None:
    with gzip.open(path, "wb") as out:
        out.write(bytes(80 << 20))


@pytest.mark.parametrize("make", [bomb_zip, bomb_tar_gz, bomb_after_the_end])
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path, make):
    make(tmp_path / "bomb")
    with pytest.raises(Refused, match=r"unpack to more than 67,108,864; raise max_total_bytes or max_ratio"):
        find(tmp_path / "bomb", tmp_path / "work")


def test_a_member_or_a_total_over_the_limit_is_refused_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("small.jpg", b"1" * 10)
        archive.writestr("large.jpg", b"2" * 1001)
    with pytest.raises(Refused, match=r"its member 'large.jpg' unpacks to 1,001 bytes, the limit is 1,000"):
        find(tmp_path / "z", tmp_path / "work", max_member_bytes=1000)
    assert len(find(tmp_path / "z", tmp_path / "work", max_member_bytes=1000, members=["small*"])) == 1
    with pytest.raises(Refused, match="unpack to more than 1,000"):
        find(tmp_path / "z", tmp_path / "other", max_total_bytes=1000)


def test_the_holes_of_a_sparse_member_count_as_data(realdata, tmp_path):
    with pytest.raises(Refused, match="unpack to more than"):
        find(realdata / "hostile/archives/tarrs__sparse-large.tar", tmp_path / "work", max_member_bytes=1 << 40)


def test_a_tar_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    (tmp_path / "t").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(IntegrityError, match="a header of 8,589,934,592 bytes"):
        find(tmp_path / "t", tmp_path / "work")


def some_tar(mode: str = "w:") -> bytes:
    out, draw = io.BytesIO(), random.Random(7)
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for number in range(6):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = 700
            archive.addfile(info, io.BytesIO(draw.randbytes(700)))
    return out.getvalue()


def some_zip() -> bytes:
    out, draw = io.BytesIO(), random.Random(7)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            archive.writestr(f"{number}.jpg", draw.randbytes(350) + bytes(350))
    return out.getvalue()


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (1536 * 3, "the tar ends without its end mark"),
        (1536 * 3 + 100, "bad header, truncated header"),
        (1536 * 3 + 600, "unexpected end of data"),
        (1536 * 6, "the tar ends without its end mark"),
    ],
)
def test_a_tar_cut_short_anywhere_is_damaged_and_not_merely_shorter(tmp_path, size, words):
    (tmp_path / "t").write_bytes(some_tar()[:size])
    with pytest.raises(IntegrityError, match=f"t is damaged: {words}"):
        find(tmp_path / "t", tmp_path / "work")


def test_a_damaged_tar_header_in_the_middle_is_not_taken_for_the_end(tmp_path):
    data = bytearray(some_tar())
    data[1536 * 3 + 150] ^= 0xFF
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(IntegrityError, match="t is damaged: bad header"):
        find(tmp_path / "t", tmp_path / "work")


def test_a_gzip_checksum_at_the_very_end_is_compared(tmp_path):
    data = bytearray(some_tar("w:gz"))
    data[-6] ^= 0xFF
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(IntegrityError, match="t is damaged: CRC check failed"):
        find(tmp_path / "t", tmp_path / "work")


def test_tars_glued_together_are_noticed(tmp_path, caplog):
    (tmp_path / "t").write_bytes(some_tar() + some_tar())
    assert len(find(tmp_path / "t", tmp_path / "work")) == 6
    assert "after the tar's end mark" in caplog.text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "it is a 7z archive"),
        (b"Rar!\x1a\x07\x00" + bytes(600), "it is a rar archive"),
        (b"\xff\xd8\xff\xe0" + bytes(600), "neither a zip, nor a tar, nor a tar.gz"),
        (b"", "neither a zip, nor a tar, nor a tar.gz"),
        (gzip.compress(b"no tar in here" * 100, mtime=0), "is damaged"),
    ],
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path, data, words):
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(IntegrityError, match=words):
        find(tmp_path / "x.zip", tmp_path / "work")


@pytest.mark.parametrize("kind", ["zip", "w:", "w:gz", "w:bz2", "w:xz"])
def test_no_damage_whatever_raises_anything_but_our_own_errors(tmp_path, kind):
    whole = some_zip() if kind == "zip" else some_tar(kind)
    draw = random.Random(11)
    outcomes = set()
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 3, 30))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        damaged = bytes(data[: draw.randrange(1, len(data))] if draw.random() < 0.3 else data)
        (tmp_path / "x").write_bytes(damaged)
        try:
            for _ in Unpacking(tmp_path / "x", LIMITS, lambda name: True):
                pass
            outcomes.add("read")
        except (IntegrityError, Refused):
            outcomes.add("refused")
    assert "refused" in outcomes
