from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest
from pydantic import TypeAdapter, ValidationError

from manifests.sources import FolderSource, Source, ToonSource
from tasks.sources import SOURCES, check_source, source_fingerprint
from tasks.sources.folder import find_in_folder
from tasks.sources.found import Found
from tasks.sources.toon import draw_toon
from tests.tasks.remote_examples import a_list_of_urls, a_remote_folder, a_table_of_pictures, an_indexed_tar
from tests.tasks.stand_ins import celeba_tree, danbooru_tree, ffhq_tree, webdataset_shards

OLD = 1_600_000_000 * 10**9


def silent(done: int, total: int | None, unit: str) -> None:
    pass


def write(path: Path, data: bytes = b"picture", mtime_ns: int = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def folder_source(path: object, **more: Any) -> FolderSource:
    return FolderSource(kind="folder", path=str(path), **more)


def find(config: FolderSource, work: Path) -> list[Found]:
    return list(find_in_folder(config, work, silent))


def origins(config: FolderSource, work: Path) -> list[str]:
    return [file.origin for file in find(config, work)]


def a_folder(tmp_path: Path) -> dict[str, Any]:
    write(tmp_path / "pics/a.jpg", b"1"), write(tmp_path / "pics/b/c.png", b"2")
    return {"kind": "folder", "path": str(tmp_path / "pics")}


def an_archive(tmp_path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(tmp_path / "pics.zip", "w") as archive:
        archive.writestr("a.jpg", b"1")
        archive.writestr("b/c.png", b"2")
    return {"kind": "archive", "urls": [str(tmp_path / "pics.zip")]}


def an_nvidia_zip(tmp_path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("00000/img00000000.png", b"1")
        archive.writestr("dataset.json", json.dumps({"labels": [["00000/img00000000.png", 2]]}))
    return {"kind": "nvidia-zip", "urls": [str(tmp_path / "set.zip")]}


def an_lmdb(tmp_path: Path) -> dict[str, Any]:
    with lmdb.open(str(tmp_path / "pics")) as database, database.begin(write=True) as pictures:
        pictures.put(b"32-00000", b"1"), pictures.put(b"32-00001", b"2"), pictures.put(b"length", b"2")
    return {"kind": "lmdb", "path": str(tmp_path / "pics")}


def a_few_toons(tmp_path: Path) -> dict[str, Any]:
    return {"kind": "toon", "pictures": 3, "workers": 1, "min_side": 300, "max_side": 320}


def a_celeba(tmp_path: Path) -> dict[str, Any]:
    return celeba_tree(tmp_path / "celeba", 4)


def an_ffhq(tmp_path: Path) -> dict[str, Any]:
    return ffhq_tree(tmp_path / "ffhq", 4)


def a_danbooru(tmp_path: Path) -> dict[str, Any]:
    return danbooru_tree(tmp_path / "danbooru", 4)


def a_webdataset(tmp_path: Path) -> dict[str, Any]:
    return webdataset_shards(tmp_path / "shards", 2)


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "folder": a_folder,
    "archive": an_archive,
    "celeba": a_celeba,
    "danbooru": a_danbooru,
    "webdataset": a_webdataset,
    "ffhq": an_ffhq,
    "lmdb": an_lmdb,
    "nvidia-zip": an_nvidia_zip,
    "toon": a_few_toons,
    "urls": a_list_of_urls,
    "remote": a_remote_folder,
    "parquet": a_table_of_pictures,
    "tar-index": an_indexed_tar,
}


def test_every_source_has_an_example_here():
    assert EXAMPLES.keys() == SOURCES.keys()


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_keeps_the_contract(kind, tmp_path):
    config = TypeAdapter(Source).validate_python(EXAMPLES[kind](tmp_path))
    told: list[tuple[int, int | None, str]] = []
    check_source(config)
    before = source_fingerprint(config)
    found = list(SOURCES[kind](config, tmp_path / "work", lambda *seen: told.append(seen)))
    assert found
    assert len({file.origin for file in found}) == len(found)
    for file in found:
        data = file.path.read_bytes()
        assert (file.id, file.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        file.origin.encode("utf-8")
        assert not file.origin.startswith("/")
    assert list(SOURCES[kind](config, tmp_path / "work", silent)) == found
    assert source_fingerprint(config) == before
    assert told[-1][:2] == (len(found), len(found))


def test_a_folder_is_read_nested_by_name_and_left_alone(tmp_path):
    for name in ("z.jpg", "B/x.PNG", "a/deep/er/y.webp", "a/notes.txt", "empty.jpg"):
        write(tmp_path / "pics" / name, b"" if name == "empty.jpg" else name.encode())
    found = find(folder_source(tmp_path / "pics", labels="folders"), tmp_path / "work")
    assert [file.origin for file in found] == ["B/x.PNG", "a/deep/er/y.webp", "a/notes.txt", "empty.jpg", "z.jpg"]
    assert [file.label for file in found] == ["B", "er", "a", None, None]
    assert [file.path for file in found] == [tmp_path / "pics" / file.origin for file in found]
    assert found[0].id == hashlib.sha256(b"B/x.PNG").hexdigest()
    assert found[3].bytes == 0
    assert {file.label for file in find(folder_source(tmp_path / "pics"), tmp_path / "work")} == {None}


def test_a_path_is_taken_from_the_current_directory(tmp_path, monkeypatch):
    write(tmp_path / "pics/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert find(folder_source("pics"), tmp_path / "work")[0].path == tmp_path / "pics/a.jpg"


def test_hidden_files_and_folders_are_skipped(tmp_path):
    for name in ("a.jpg", ".hidden.jpg", ".git/b.jpg", "c/.thumbs/d.jpg", "__MACOSX/e.jpg"):
        write(tmp_path / "pics" / name)
    assert origins(folder_source(tmp_path / "pics"), tmp_path / "work") == ["a.jpg"]


def test_include_and_exclude_are_shell_patterns_in_any_case(tmp_path):
    for name in ("a.jpg", "b.JPEG", "c.txt", "old/d.jpg"):
        write(tmp_path / "pics" / name)
    config = folder_source(tmp_path / "pics", include=("*.jpg", "*.jpeg"), exclude=("old/*",))
    assert origins(config, tmp_path / "work") == ["a.jpg", "b.JPEG"]


def test_links_are_followed_once_and_loops_end(tmp_path, caplog):
    pics = tmp_path / "pics"
    write(pics / "m/a.jpg"), write(tmp_path / "outside/b.jpg"), write(tmp_path / "single.jpg")
    (pics / "m/up").symlink_to(pics)
    (pics / "z-link-to-m").symlink_to(pics / "m")
    (pics / "out").symlink_to(tmp_path / "outside")
    (pics / "one.jpg").symlink_to(tmp_path / "single.jpg")
    (pics / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (pics / "self").symlink_to(pics / "self")
    os.mkfifo(pics / "pipe.jpg")
    assert origins(folder_source(pics), tmp_path / "work") == ["m/a.jpg", "one.jpg", "out/b.jpg"]
    for name in ("broken.jpg", "self", "pipe.jpg"):
        assert f"{name} is left out" in caplog.text


def test_a_name_that_is_not_utf8_gives_a_row_that_can_be_written_down(tmp_path):
    (tmp_path / "pics").mkdir()
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        with open(os.path.join(os.fsencode(tmp_path / "pics"), name), "wb") as out:  # noqa: PTH118, PTH123 - a name of bytes
            out.write(name)
    found = find(folder_source(tmp_path / "pics"), tmp_path / "work")
    assert [file.origin for file in found] == ["caf\ufffd.jpg", "caf\ufffd.jpg#2"]
    assert [file.path.read_bytes() for file in found] == [b"caf\xe8.jpg", b"caf\xe9.jpg"]
    for file in found:
        str(file.path).encode("utf-8")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: write(path)])
def test_a_folder_that_is_missing_or_empty_or_a_file_is_said_before_any_work(tmp_path, make):
    make(tmp_path / "pics")
    for ask in (check_source, source_fingerprint, lambda config: find_in_folder(config, tmp_path / "work", silent)):
        with pytest.raises(ValueError, match=r"pics (does not exist|holds no pictures|is a file)"):
            ask(folder_source(tmp_path / "pics"))
    assert not (tmp_path / "work").exists()


def test_a_file_is_not_hashed_again_until_its_size_or_time_changes(tmp_path):
    path = write(tmp_path / "pics/a.jpg", b"old")
    config = folder_source(tmp_path / "pics")
    first = find(config, tmp_path / "work")
    write(path, b"new")  # same size, same time: only a second reading could tell, and there is none
    assert find(config, tmp_path / "work") == first
    write(path, b"new", mtime_ns=OLD + 1)
    assert find(config, tmp_path / "work")[0].id == hashlib.sha256(b"new").hexdigest()


def test_the_hash_of_a_file_that_changed_just_now_is_not_remembered(tmp_path):
    path = tmp_path / "pics/a.jpg"
    write(path, b"old", mtime_ns=2 * OLD)
    find(folder_source(tmp_path / "pics"), tmp_path / "work")
    write(path, b"new", mtime_ns=2 * OLD)
    assert find(folder_source(tmp_path / "pics"), tmp_path / "work")[0].id == hashlib.sha256(b"new").hexdigest()


def test_hashes_of_an_interrupted_call_are_remembered(tmp_path):
    for number in range(600):
        write(tmp_path / f"pics/{number:03}.jpg", b"%d" % number)
    config = folder_source(tmp_path / "pics")

    def stop(done: int, total: int | None, unit: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(find_in_folder(config, tmp_path / "work", stop))
    write(tmp_path / "pics/000.jpg", b"X")  # same size and time as before, and in the first batch
    assert find(config, tmp_path / "work")[0].id == hashlib.sha256(b"0").hexdigest()


def test_the_fingerprint_of_a_folder_follows_names_sizes_and_times(tmp_path):
    write(tmp_path / "pics/a.jpg"), write(tmp_path / "pics/b.txt")
    config = folder_source(tmp_path / "pics")
    seen = [source_fingerprint(config)]
    for change in (
        lambda: write(tmp_path / "pics/a.jpg", mtime_ns=OLD + 1),
        lambda: write(tmp_path / "pics/a.jpg", b"longer", mtime_ns=OLD + 1),
        lambda: (tmp_path / "pics/a.jpg").rename(tmp_path / "pics/c.jpg"),
        lambda: write(tmp_path / "pics/d.jpg"),
    ):
        change()
        seen.append(source_fingerprint(config))
    assert len(set(seen)) == 5
    assert source_fingerprint(folder_source(tmp_path / "pics", licence="CC0")) == seen[-1]
    without = folder_source(tmp_path / "pics", exclude=("*.txt",))
    before = source_fingerprint(without)
    write(tmp_path / "pics/b.txt", b"changed")
    assert source_fingerprint(without) == before


def toons(**more: Any) -> ToonSource:
    return ToonSource(kind="toon", min_side=300, max_side=320, **more)


def test_toons_are_the_same_from_any_number_of_processes(tmp_path):
    one = list(draw_toon(toons(pictures=20, workers=1), tmp_path / "one", silent))
    two = list(draw_toon(toons(pictures=20, workers=2), tmp_path / "two", silent))
    assert [file.id for file in one] == [file.id for file in two]
    assert (tmp_path / "one/truth.jsonl").read_bytes() == (tmp_path / "two/truth.jsonl").read_bytes()
    assert source_fingerprint(toons(pictures=20, workers=1)) == source_fingerprint(toons(pictures=20, workers=2))
    assert source_fingerprint(toons(seed=1)) != source_fingerprint(toons(seed=2))


def test_the_truth_lies_beside_the_toons_a_line_each(tmp_path):
    found = list(draw_toon(toons(pictures=12, workers=1), tmp_path, silent))
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [(line["name"], line["id"]) for line in truth] == [(file.origin, file.id) for file in found]
    assert {"faces", "fault", "duplicate_of", "reasons"} <= truth[0].keys()
    boxes = [face["box"] for line in truth for face in line["faces"]]
    assert boxes
    assert all(len(box) == 4 for box in boxes)


def test_an_interrupted_drawing_goes_on_where_it_was(tmp_path):
    config = toons(pictures=36, workers=1)
    whole = list(draw_toon(config, tmp_path / "whole", silent))

    def stop(done: int, total: int | None, unit: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(draw_toon(config, tmp_path / "work", stop))
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "work/files").rglob("*/*")}
    (notes,) = (tmp_path / "work").glob("drawn-*.jsonl")
    notes.write_text(notes.read_text() + '[16, "half a li')
    lost = next(iter(drawn))
    lost.unlink()
    told: list[int] = []
    again = list(draw_toon(config, tmp_path / "work", lambda done, total, unit: told.append(done)))
    assert [file.id for file in again] == [file.id for file in whole]
    assert told == [31, 36]
    assert all(file.path.is_file() for file in again)
    assert {path for path in drawn if path.stat().st_mtime_ns != drawn[path]} == {lost}


def test_an_unknown_kind_or_key_of_a_source_is_refused():
    for wrong in ({"kind": "s3", "path": "x"}, {"kind": "folder", "path": "x", "lables": "folders"}, {"path": "x"}):
        with pytest.raises(ValidationError):
            TypeAdapter(Source).validate_python(wrong)


def test_a_file_that_cannot_be_read_keeps_a_row(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "pics" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "pics" / name).write_bytes(name.encode())
    config = FolderSource(kind="folder", path=str(tmp_path / "pics"))
    found = find_in_folder(config, tmp_path / "work", lambda done, total, unit: None)
    (tmp_path / "pics" / "b.jpg").unlink()  # listed, and gone before it is hashed
    rows = {file.origin: file for file in found}
    assert (rows["a.jpg"].reason, rows["b.jpg"].reason) == ("", "unreadable")
    assert rows["b.jpg"].id != rows["a.jpg"].id
    assert len(rows["b.jpg"].id) == 64


def test_permissions_are_part_of_a_folders_answer(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    config = FolderSource(kind="folder", path=str(tmp_path))
    before = source_fingerprint(config)
    (tmp_path / "a.jpg").chmod(0o400)
    assert source_fingerprint(config) != before
