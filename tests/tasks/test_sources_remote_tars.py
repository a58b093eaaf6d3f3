from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from manifests.sources.remote import TarIndexSource
from tasks.errors import IntegrityError, SourceUnavailable
from tasks.sources.found import Found
from tasks.sources.outcomes import Entry
from tasks.sources.tar_index import MOST_SPAN, Member, check_tar_index, find_in_tars, spans_of
from tests.tasks.remote_examples import write_indexed_tar

MEMBERS = {f"{number}.jpg": b"picture %d " % number * 100 for number in (1000, 2000, 3000, 4000)}


class Ranges(BaseHTTPRequestHandler):
    """Files of a folder in parts, as hosts of tars give them."""

    folder: Path
    ranges = True
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        path, wanted = self.folder / self.path[1:], self.headers.get("Range", "")
        self.asked.append((self.path, wanted))
        data = path.read_bytes() if path.is_file() else None
        if data is None:
            self.send_error(404)
            return
        start, end = 0, len(data)
        if wanted and self.ranges:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups()
            start, end = int(first), min(len(data), int(last) + 1)
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        self.wfile.write(data[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "tars"
    folder.mkdir()
    handler = type("Handler", (Ranges,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()


def source(tar: object, **more: Any) -> TarIndexSource:
    limits = {"allow_private": True, "requests_per_second": 10_000, "tries": 2, "max_wait_seconds": 0.01}
    return TarIndexSource(kind="tar-index", tars=(str(tar),), limits={**limits, **more.pop("limits", {})}, **more)


def find(config: TarIndexSource, tmp_path: Path) -> dict[str, Found]:
    found = find_in_tars(config, tmp_path / "work", lambda done, total, unit: None)
    return {file.origin: file for file in found}


def reasons(found: dict[str, Found]) -> list[str]:
    return [file.reason for file in found.values()]


@pytest.mark.parametrize("where", ["here", "memory", "http"])
def test_members_come_from_wherever_the_tar_is(tars, tmp_path, where):
    path = tars.folder / "data-0000.tar"
    write_indexed_tar(path, MEMBERS)
    address = {
        "here": str(path),
        "memory": f"memory://{tmp_path.name}/data-0000.tar",
        "http": f"{tars.url}/data-0000.tar",
    }
    for ending in ("tar", "json"):
        fsspec.filesystem("memory").pipe(
            f"/{tmp_path.name}/data-0000.{ending}", path.with_suffix(f".{ending}").read_bytes()
        )
    found = find(source(address[where]), tmp_path)
    assert {origin: file.path.read_bytes() for origin, file in found.items()} == {
        f"data-0000/{name}": data for name, data in MEMBERS.items()
    }


def test_many_tars_have_their_indexes_elsewhere(tars, tmp_path):
    (tars.folder / "index").mkdir()
    for number in range(3):
        path = tars.folder / f"data-000{number}.tar"
        write_indexed_tar(path, {f"{number}.jpg": b"%d" % number})
        path.with_suffix(".json").rename(tars.folder / f"index/data-000{number}.json")
    config = source(f"{tars.url}/data-{{0000..0002}}.tar", index=f"{tars.url}/index/{{name}}.json")
    assert list(find(config, tmp_path)) == [f"data-000{number}/{number}.jpg" for number in range(3)]


def test_only_what_is_selected_is_read_and_neighbours_together(tars, tmp_path):
    members = {f"{number}.jpg": bytes([number]) * 100_000 for number in range(1, 10)}
    write_indexed_tar(tars.folder / "data.tar", members)
    rows = [{"id": number, "score": number, "rating": "g", "tag_string": "1girl smile"} for number in range(1, 10)]
    (tmp_path / "posts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = source(
        f"{tars.url}/data.tar",
        metadata=(str(tmp_path / "posts.jsonl"),),
        columns={"tags": "tag_string"},
        where="score in [2, 3, 8] and 'smile' in tags",
    )
    found = find(config, tmp_path)
    assert [file.about.facts["score"] for file in found.values() if not file.reason] == [2, 3, 8]
    assert reasons(found).count("not_selected") == 6
    assert found["data/8.jpg"].about[:2] == ("g", "1girl smile")
    spans = [wanted for path, wanted in tars.asked if path == "/data.tar"]
    assert len(spans) == 2
    assert all(int(last) - int(first) < 202_000 for first, last in (span[6:].split("-") for span in spans))


def test_metadata_without_pictures_and_pictures_without_metadata_are_rows(tars, tmp_path):
    write_indexed_tar(tars.folder / "data.tar", MEMBERS)
    (tmp_path / "posts.jsonl").write_text('{"id": 1000, "score": 1}\n{"id": 5000, "score": 2}\n')
    config = source(tars.folder / "data.tar", metadata=(str(tmp_path / "posts.jsonl"),))
    found = find(config, tmp_path)
    assert reasons(found) == ["", "", "", "", "missing"]
    assert found["metadata/5000"].about.facts == {"score": 2}
    assert found["data/2000.jpg"].about.facts == {}
    assert len(find(config.model_copy(update={"rows": "indexed"}), tmp_path)) == 4


@pytest.mark.parametrize("digests", [True, False])
def test_an_index_of_another_tar_is_noticed(tars, tmp_path, digests):
    index = write_indexed_tar(tars.folder / "data.tar", MEMBERS, digests)
    index["files"]["2000.jpg"]["offset"] += 512
    (tars.folder / "data.json").write_text(json.dumps(index))
    found = find(source(f"{tars.url}/data.tar"), tmp_path)
    assert reasons(found) == ["", "wrong_bytes", "", ""]
    assert len(found["data/2000.jpg"].about.facts["sha256"]) == 64


def test_a_tar_that_was_cut_off_lacks_its_last_members(tars, tmp_path):
    index = write_indexed_tar(tars.folder / "data.tar", MEMBERS)
    data = (tars.folder / "data.tar").read_bytes()
    (tars.folder / "data.tar").write_bytes(data[: index["files"]["3000.jpg"]["offset"] + 10])
    assert reasons(find(source(f"{tars.url}/data.tar"), tmp_path)) == ["", "", "missing", "missing"]


def test_a_member_beyond_the_end_of_the_tar_is_missing(tars, tmp_path):
    index = write_indexed_tar(tars.folder / "data.tar", MEMBERS)
    index["files"]["9000.jpg"] = {"offset": 10**9, "size": 5}
    (tars.folder / "data.json").write_text(json.dumps(index))
    assert reasons(find(source(f"{tars.url}/data.tar"), tmp_path)) == ["", "", "", "", "missing"]


def test_a_tar_that_is_not_there_costs_its_members_only(tars, tmp_path):
    for name in ("data-0", "data-1"):
        write_indexed_tar(tars.folder / f"{name}.tar", {f"{name}.jpg": name.encode()})
    (tars.folder / "data-0.tar").unlink()
    found = find(source(f"{tars.url}/data-{{0..1}}.tar"), tmp_path)
    assert reasons(found) == ["unavailable", ""]
    assert found["data-0/data-0.jpg"].about.facts == {"http": 404}


def test_a_server_that_sends_no_parts_is_named(tars, tmp_path):
    write_indexed_tar(tars.folder / "data.tar", MEMBERS)
    tars.ranges = False
    with pytest.raises(SourceUnavailable, match="the server sends no parts of files"):
        find(source(f"{tars.url}/data.tar"), tmp_path)


def test_a_second_run_asks_for_no_member(tars, tmp_path):
    write_indexed_tar(tars.folder / "data.tar", MEMBERS)
    first = find(source(f"{tars.url}/data.tar"), tmp_path)
    tars.asked.clear()
    assert find(source(f"{tars.url}/data.tar"), tmp_path) == first
    assert tars.asked == []


def test_a_member_is_bounded_and_chosen_by_name(tars, tmp_path):
    write_indexed_tar(tars.folder / "data.tar", {"a.jpg": b"1" * 50, "b.png": b"2", "c.jpg": b"", "d.jpg": b"4"})
    found = find(source(tars.folder / "data.tar", members=["*.jpg"], limits={"max_picture_bytes": 10}), tmp_path)
    assert {origin: file.reason for origin, file in found.items()} == {
        "data/a.jpg": "too_large", "data/c.jpg": "empty", "data/d.jpg": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"<html>", b"[]", b"{}", b'{"files": []}', b'{"files": {"a": {"offset": -1, "size": 2}}}',
        b'{"files": {"a": {"offset": "1", "size": 2}}}', b'{"files": {"a": {"offset": 1}}}', b"\xff",
    ],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_index_is_named(tars, tmp_path, data):
    write_indexed_tar(tars.folder / "data.tar", MEMBERS)
    (tars.folder / "data.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"data\.json is no index of a tar"):
        find(source(tars.folder / "data.tar"), tmp_path)


def test_a_tar_or_index_that_is_not_here_is_said_before(tmp_path):
    with pytest.raises(ValueError, match=r"data\.tar does not exist"):
        check_tar_index(source(tmp_path / "data.tar"))


def test_neighbours_share_a_request_up_to_a_size():
    members = [Member("a.tar", Entry(""), 512 + number * (1 << 20), 1 << 20, "", "") for number in range(20)]
    spans = spans_of(members)
    assert [len(span.what) for span in spans] == [7, 7, 6]
    assert all(span.span[1] - span.span[0] <= MOST_SPAN for span in spans)
