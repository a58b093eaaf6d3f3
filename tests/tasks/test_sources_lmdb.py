from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imaging.decode import decode
from manifests.sources import LmdbSource
from tasks.errors import IntegrityError
from tasks.sources import check_source
from tasks.sources.found import Found
from tasks.sources.lmdb_values import find_in_lmdb


def source(path: Path, **more: Any) -> LmdbSource:
    return LmdbSource(kind="lmdb", path=str(path), **more)


def find(config: LmdbSource, work: Path) -> list[Found]:
    return list(find_in_lmdb(config, work, lambda done, total, unit: None))


def test_a_database_of_rosinality_gives_its_pictures_by_key(fixtures: Path, tmp_path: Path) -> None:
    found = find(source(fixtures / "ros_lmdb", keys=("32-*",)), tmp_path)
    assert [file.origin for file in found] == [f"32-{i:05d}" for i in range(12)]
    for file in found:
        picture = decode(file.path.read_bytes(), name=f"{file.origin}.jpg")
        assert (picture.format, picture.image.shape) == ("JPEG", (32, 32, 3))


def test_the_length_is_no_picture(fixtures: Path, tmp_path: Path) -> None:
    found = find(source(fixtures / "ros_lmdb"), tmp_path)
    assert len(found) == 24
    assert {file.origin.partition("-")[0] for file in found} == {"16", "32"}


def test_no_database_and_no_fitting_key_are_said(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no data\.mdb"):
        check_source(source(tmp_path))
    with pytest.raises(IntegrityError, match=r"holds no value whose key fits 64-\*"):
        find(source(fixtures / "ros_lmdb", keys=("64-*",)), tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 5000, 50_000])
def test_a_database_that_was_cut_off_is_refused(fixtures: Path, tmp_path: Path, keep: int) -> None:
    data = (fixtures / "ros_lmdb/data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(data[:keep])
    with pytest.raises(IntegrityError, match=r"data\.mdb"):
        find(source(tmp_path), tmp_path / "work")
