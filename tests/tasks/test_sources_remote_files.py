from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from manifests.sources.remote import RemoteFilesSource
from tasks.errors import SourceUnavailable
from tasks.sources.found import Found
from tasks.sources.remote_files import check_remote, find_remote

FILES = {"a.jpg": b"1", "b/c.PNG": b"22", "b/.hidden.jpg": b"333", "b/notes.txt": b"4444", "empty.jpg": b""}


class Flaky(MemoryFileSystem):
    """A file system whose network fails as often as it is told, and that counts what is read."""

    protocol = "flaky"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    failures: dict[str, list[Exception]] = {}
    read: list[str] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("flaky://", "memory://")))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
        self.read.append(path)
        if waiting := self.failures.get(path):
            raise waiting.pop()
        data: bytes = super().cat_file(path, start=start, end=end, **more)
        return data


@pytest.fixture
def flaky() -> Iterator[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    files = fsspec.filesystem("flaky")
    for path, data in FILES.items():
        files.pipe(f"/set/{path}", data)
    yield files
    Flaky.store.clear(), Flaky.failures.clear(), Flaky.read.clear()


def source(url: str = "flaky://set", **more: Any) -> RemoteFilesSource:
    limits = {"tries": 2, "max_wait_seconds": 0.01, **more.pop("limits", {})}
    return RemoteFilesSource(kind="remote", url=url, limits=limits, **more)


def find(config: RemoteFilesSource, tmp_path: Path) -> list[Found]:
    return list(find_remote(config, tmp_path / "work", lambda done, total, unit: None))


def test_a_folder_is_read_nested_by_name(flaky, tmp_path):
    found = find(source(labels="folders"), tmp_path)
    assert [(file.origin, file.label, file.reason) for file in found] == [
        ("a.jpg", None, ""),
        ("b/c.PNG", "b", ""),
        ("b/notes.txt", "b", ""),
        ("empty.jpg", None, "empty"),
    ]
    assert found[1].path.read_bytes() == b"22"


@pytest.mark.parametrize(
    ("url", "more", "origins"),
    [
        ("flaky://set", {"include": ["*.png", "*.jpg"], "exclude": ["empty*"]}, ["a.jpg", "b/c.PNG"]),
        ("flaky://set/*.jpg", {}, ["a.jpg", "empty.jpg"]),
        ("flaky://set/b/*", {}, ["c.PNG", "notes.txt"]),
        ("flaky://set/**", {"include": ["*.txt"]}, ["b/notes.txt"]),
    ],
)
def test_patterns_choose_files(flaky, tmp_path, url, more, origins):
    assert [file.origin for file in find(source(url, **more), tmp_path)] == origins


def test_a_path_here_is_an_address_too(tmp_path):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/a.jpg").write_bytes(b"1")
    (file,) = find(source(f"file://{tmp_path}/pics"), tmp_path)
    assert (file.origin, file.path.read_bytes()) == ("a.jpg", b"1")


def test_a_second_run_reads_and_lists_nothing(flaky, tmp_path):
    first = find(source(), tmp_path)
    read = len(Flaky.read)
    flaky.rm("/set", recursive=True)
    assert find(source(), tmp_path) == first
    assert len(Flaky.read) == read == 3


def test_another_revision_lists_anew_and_reads_what_is_new(flaky, tmp_path):
    find(source(), tmp_path)
    flaky.pipe("/set/new.jpg", b"55555")
    found = find(source(revision="2026-11"), tmp_path)
    assert "new.jpg" in [file.origin for file in found]
    assert len(Flaky.read) == 4


def test_what_is_not_selected_or_too_large_is_not_read(flaky, tmp_path):
    found = find(source(where="origin != 'a.jpg'", limits={"max_picture_bytes": 2}), tmp_path)
    assert [file.reason for file in found] == ["not_selected", "", "too_large", "empty"]
    assert Flaky.read == ["/set/b/c.PNG"]


def test_a_network_that_breaks_is_tried_again(flaky, tmp_path):
    Flaky.failures["/set/a.jpg"] = [ConnectionResetError()]
    assert find(source(), tmp_path)[0].reason == ""


@pytest.mark.parametrize(
    ("error", "reason", "facts"),
    [
        (FileNotFoundError, "missing", {}),
        (PermissionError, "unavailable", {"error": "no permission"}),
        (TimeoutError, "unavailable", {"error": "TimeoutError"}),
    ],
)
def test_what_cannot_be_read_is_a_row(flaky, tmp_path, error, reason, facts):
    Flaky.failures["/set/a.jpg"] = [error(), error()]
    file = find(source(), tmp_path)[0]
    assert (file.reason, file.about.facts) == (reason, facts)


def test_when_nothing_can_be_read_that_is_said_and_tried_again(flaky, tmp_path):
    Flaky.failures.update({f"/set/{name}": [TimeoutError()] * 2 for name in FILES})
    with pytest.raises(SourceUnavailable, match="none of 3 pictures of remote came"):
        find(source(), tmp_path)
    assert find(source(), tmp_path)[0].reason == ""


def test_an_empty_folder_is_said(flaky, tmp_path):
    with pytest.raises(SourceUnavailable, match=r"flaky://nowhere holds no file that fits|is not given"):
        find(source("flaky://nowhere"), tmp_path)


def test_a_folder_without_versions_is_warned_of_once(flaky, tmp_path, caplog):
    find(source(), tmp_path)
    assert "has no versions" in caplog.text
    caplog.clear()
    find(source(revision="2026-11-20"), tmp_path)
    assert caplog.text == ""


def test_a_scheme_that_needs_a_package_says_which(tmp_path):
    with pytest.raises(ValueError, match=r"s3:// needs s3fs: pip install 'stylegan-flows\[remote\]'"):
        check_remote(source("s3://bucket/pics"))


def test_a_secret_in_an_address_is_not_written_down(flaky, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceUnavailable) as failure:
        find(source("flaky://me:hidden@nowhere/pics?token=hidden"), tmp_path)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("tasks")]
    assert "hidden" not in " ".join([str(failure.value), *ours])
