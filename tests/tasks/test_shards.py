from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import webdataset

from tasks.shards import open_shard, read_span

FACES = {"ab_000.png": b"first", "ab_001.png": b"x" * 1000, "cd_000.png": b""}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    with open_shard(tmp_path / "s.tar") as writer:
        for name, data in FACES.items():
            writer.add(name, data)
    return tmp_path / "s.tar"


def test_a_shard_is_the_same_bytes_each_time(shard: Path, tmp_path: Path) -> None:
    with open_shard(tmp_path / "again.tar") as writer:
        for name, data in FACES.items():
            writer.add(name, data)
    assert (tmp_path / "again.tar").read_bytes() == shard.read_bytes()


def test_spans_lead_to_the_members_bytes(tmp_path: Path) -> None:
    with open_shard(tmp_path / "s.tar") as writer:
        spans = {name: writer.add(name, data) for name, data in FACES.items()}
    with (tmp_path / "s.tar").open("rb") as opened:
        assert {name: read_span(opened, span) for name, span in spans.items()} == FACES


def test_tar_itself_opens_a_shard(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} == FACES  # type: ignore[union-attr]
        assert {member.mtime for member in tar} == {0}


def test_webdataset_opens_a_shard(shard: Path) -> None:
    found = {sample["__key__"]: sample["png"] for sample in webdataset.WebDataset(str(shard), shardshuffle=False)}
    assert found == {name.removesuffix(".png"): data for name, data in FACES.items()}
