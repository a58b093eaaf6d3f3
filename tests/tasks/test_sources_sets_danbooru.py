"""Danbooru trees on stand-ins of their layout: both dumps, every packing, selection, and what is not there."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from manifests.expression import is_wanted
from manifests.sources import Source
from tasks.download import about_of
from tasks.errors import IntegrityError
from tasks.sources import SOURCES, check_source, source_fingerprint, source_home
from tasks.sources.found import Found
from tasks.sources.posts import Post, read_posts
from tests.tasks.stand_ins import danbooru_ids, danbooru_tree, new_post, old_post, picture, write

SAFE = [id for number, id in enumerate(danbooru_ids()) if number % 4 < 2]


def source_of(asked: dict[str, Any], **more: Any) -> Any:
    return TypeAdapter(Source).validate_python({**asked, **more})


def find(config: Any, work: Path) -> list[Found]:
    return list(SOURCES[config.kind](config, work, lambda done, total, unit: None))


def reasons(config: Any, work: Path) -> dict[int, str]:
    return {int(Path(file.origin).stem): file.reason for file in find(config, work)}


def kept_ids(config: Any, work: Path) -> list[int]:
    return sorted(id for id, reason in reasons(config, work).items() if not reason)


def posts_of(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "metadata/2021.json").read_text().splitlines()]


def put_posts(root: Path, posts: list[dict[str, Any]]) -> None:
    write(root / "metadata/2021.json", "".join(json.dumps(post) + "\n" for post in posts))


def test_a_post_says_rating_tags_and_facts_in_one_form(tmp_path: Path) -> None:
    found = {file.origin: file for file in find(source_of(danbooru_tree(tmp_path / "d")), tmp_path / "work")}
    assert sorted(found) == [
        f"{id % 1000:04d}/{id}.{'png' if n % 2 else 'jpg'}"
        for id, n in sorted(zip(danbooru_ids(), range(12), strict=True), key=lambda pair: (pair[0] % 1000, pair[0]))
    ]
    about = found["0001/2001.png"].about
    assert (about.rating, about.tags) == ("e", "1girl artist_x hatsune_miku highres solo vocaloid")
    assert about.facts == {
        "id": 2001,
        "score": 3,
        "fav_count": 3,
        "created_at": "2018-01-04T23:21:23Z",
        "image_width": 2048,
        "image_height": 1024,
        "source": "https://example.org/2001",
        "artist": "artist_x",
        "character": "hatsune_miku",
        "copyright": "vocaloid",
    }


def test_the_old_and_the_new_dumps_say_the_same(tmp_path: Path) -> None:
    names = ("id", "rating", "tags", "score", "fav_count", "created_at", "image_width", "source", "character", "artist")
    for number in range(6):
        old = Post(7, old_post(7, number, "0" * 32, "jpg"))
        new = Post(7, new_post(7, number, "0" * 32, "jpg"))
        assert {name: old.get(name) for name in names} == {name: new.get(name) for name in names}


def packed(path: Path, posts: list[dict[str, Any]], packing: str) -> Path:
    lines = "".join(json.dumps(post) + "\n" for post in posts).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if packing == "parquet":
        pd.DataFrame(posts).to_parquet(path)
    elif packing == "tar.xz":
        with tarfile.open(path, "w:xz") as archive:
            for number, part in enumerate((lines[: lines.index(b"\n") + 1], lines[lines.index(b"\n") + 1 :])):
                info = tarfile.TarInfo(f"2021/{number:012d}")
                info.size = len(part)
                archive.addfile(info, io.BytesIO(part))
    else:
        path.write_bytes({"plain": lambda data: data, "gz": gzip.compress, "xz": lzma.compress}[packing](lines))
    return path


@pytest.mark.parametrize("packing", ["plain", "gz", "xz", "tar.xz", "parquet"])
@pytest.mark.parametrize("form", [old_post, new_post], ids=["old", "new"])
def test_every_packing_of_both_dumps_selects_the_same(tmp_path: Path, packing: str, form: Any) -> None:
    asked = danbooru_tree(tmp_path / "d")
    md5 = {int(post["id"]): post["md5"] for post in posts_of(tmp_path / "d")}
    posts = [form(id, n, md5[id], "png" if n % 2 else "jpg") for n, id in enumerate(danbooru_ids())]
    packed(tmp_path / "posts", posts, packing)
    where = "rating in ['g', 's'] and score >= 4 and created_at < '2018-01-10' and '1girl' in tags and fav_count > 4"
    config = source_of(asked, metadata=[str(tmp_path / "posts")], where=where)
    assert kept_ids(config, tmp_path / "work") == [id for n, id in enumerate(danbooru_ids()) if n in (5, 8)]


def test_safe_ids_are_the_same_from_the_small_tree_and_from_the_metadata(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    by_names = kept_ids(source_of(asked, metadata=[], where="has_512px"), tmp_path / "one")
    by_metadata = kept_ids(source_of(asked, where="rating == 's'"), tmp_path / "two")
    by_tree = kept_ids(source_of(asked, tree="512px", where="rating == 's'"), tmp_path / "three")
    assert by_names == by_metadata == by_tree == sorted(SAFE)


def test_a_character_is_chosen_without_any_other_tool(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    posts = posts_of(tmp_path / "d")
    posts[5]["tags"][2]["name"] = "megurine_luka"
    put_posts(tmp_path / "d", posts)
    config = source_of(asked, where="'megurine_luka' in character")
    assert kept_ids(config, tmp_path / "work") == [danbooru_ids()[5]]


def test_what_is_not_selected_is_not_read_and_says_why(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    for path in (tmp_path / "d/original").rglob("*.*"):
        if int(path.stem) not in SAFE:
            path.chmod(0)
    config = source_of(asked, where="rating == 's'")
    found = {int(Path(file.origin).stem): file for file in find(config, tmp_path / "work")}
    gone = found[danbooru_ids()[2]]
    assert (gone.reason, gone.bytes, gone.about.rating) == ("not_selected", 0, "q")
    assert sum(file.reason == "not_selected" for file in found.values()) == 6


def test_the_512px_tree_says_what_faces_lose(tmp_path: Path, caplog: Any) -> None:
    config = source_of(danbooru_tree(tmp_path / "d"), tree="512px", where="rating == 's'")
    find(config, tmp_path / "work")
    assert "the originals are 4.0 times as large" in caplog.text
    assert "a face of 256 px there has 64 px here" in caplog.text
    caplog.clear()
    find(source_of(danbooru_tree(tmp_path / "d"), where="rating == 's'"), tmp_path / "work")
    assert "512px" not in caplog.text


def test_a_post_without_a_file_is_missing_where_its_bucket_is_here_and_it_is_wanted(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    more = [{**posts_of(tmp_path / "d")[0], "id": id} for id in ("9001", "9500")]
    unwanted = {**more[0], "id": "8001", "rating": "e"}
    put_posts(tmp_path / "d", [*posts_of(tmp_path / "d"), *more, unwanted])
    found = reasons(source_of(asked, where="rating == 's'"), tmp_path / "work")
    assert (found[9001], 9500 in found, 8001 in found) == ("missing", False, False)


def test_a_file_without_a_post_stays_until_the_expression_asks_its_post(tmp_path: Path, caplog: Any) -> None:
    asked = danbooru_tree(tmp_path / "d")
    write(tmp_path / "d/original/0001/77001.jpg", picture(1))
    assert reasons(source_of(asked), tmp_path / "work")[77001] == ""
    assert "no post tells of 1 pictures (0001/77001.jpg)" in caplog.text
    assert reasons(source_of(asked, where="rating != 'e'"), tmp_path / "work")[77001] == "not_selected"
    assert reasons(source_of(asked, where="id > 5"), tmp_path / "work")[77001] == ""


def test_other_bytes_than_the_posts_and_other_things_than_pictures_are_reasons(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    wrong = next((tmp_path / "d/original").rglob("1001.jpg"))
    wrong.write_bytes(picture(99))
    write(tmp_path / "d/original/0001/5001.webm", b"film")
    found = reasons(source_of(asked), tmp_path / "work")
    assert (found[1001], found[5001], found[1002]) == ("wrong_bytes", "not_a_picture", "")
    assert reasons(source_of(asked, verify=False), tmp_path / "work")[1001] == ""


def test_buckets_may_have_three_digits_and_the_tree_may_be_named_itself(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    for bucket in list((tmp_path / "d/original").iterdir()):
        bucket.rename(bucket.with_name(bucket.name[1:]))
    whole = kept_ids(source_of(asked), tmp_path / "work")
    metadata = [str(tmp_path / "d/metadata/*.json")]
    tree = kept_ids(source_of(asked, path=str(tmp_path / "d/original"), metadata=metadata), tmp_path / "work2")
    assert whole == tree == danbooru_ids()


def test_a_file_in_another_bucket_and_two_files_of_one_id_are_kept_apart(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    (tmp_path / "d/original/0001/1001.jpg").rename(tmp_path / "d/original/0002/1001.jpg")
    write(tmp_path / "d/original/0001/2001.jpg", picture(98))
    found = {file.origin: file for file in find(source_of(asked, where="score <= 3"), tmp_path / "work")}
    assert found["0002/1001.jpg"].reason == ""
    assert (found["0001/2001.jpg"].reason, found["0001/2001.png"].reason) == ("wrong_bytes", "")
    assert found["0001/2001.jpg"].about == found["0001/2001.png"].about


def test_of_two_posts_of_one_id_the_later_counts(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    update = {**posts_of(tmp_path / "d")[0], "rating": "e"}
    write(tmp_path / "d/metadata/2022.json", json.dumps(update) + "\n")
    config = source_of(asked, metadata=["metadata/*.json"], where="rating == 's'")
    assert reasons(config, tmp_path / "work")[1001] == "not_selected"


def test_lines_that_are_no_post_are_counted_and_survived(tmp_path: Path, caplog: Any) -> None:
    asked = danbooru_tree(tmp_path / "d")
    lines = (tmp_path / "d/metadata/2021.json").read_text().splitlines()
    lines[3:3] = ["not json", '{"id": "x"}', "", "[" * 5000, '{"id": "12", "rating": ']
    write(tmp_path / "d/metadata/2021.json", "\ufeff" + "\n".join(lines))
    assert kept_ids(source_of(asked, where="rating == 's'"), tmp_path / "work") == sorted(SAFE)
    assert "3 lines that are no post are left out, the first is line 4" in caplog.text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html><title>404</title></html>", "holds no post"),
        (b"", "holds no post"),
        (gzip.compress(b'{"id": 1001}\n' * 99)[:40], "is damaged"),
        (b"PAR1 and no more", "is damaged"),
        (b'[{"id": 1001}]', "holds no post"),
    ],
    ids=["page", "empty", "cut", "parquet", "list"],
)
def test_metadata_that_is_none_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    asked = danbooru_tree(tmp_path / "d")
    write(tmp_path / "d/metadata/2021.json", data)
    with pytest.raises(IntegrityError, match=rf"2021\.json {words}"):
        find(source_of(asked, where="rating == 's'"), tmp_path / "work")


def test_a_cut_tar_of_metadata_is_not_taken_for_a_short_one(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    whole = packed(tmp_path / "m.tar.xz", posts_of(tmp_path / "d"), "tar.xz").read_bytes()
    plain = lzma.decompress(whole)
    (tmp_path / "m.tar").write_bytes(plain[:1024])  # the first member's header, and its data not to the end
    with pytest.raises(IntegrityError, match="damaged"):
        find(source_of(asked, metadata=[str(tmp_path / "m.tar")]), tmp_path / "work")


def test_what_is_not_there_is_said_before_any_work(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    with pytest.raises(ValueError, match="no metadata fits posts/"):
        check_source(source_of(asked, metadata=["posts/*.json"]))
    with pytest.raises(ValueError, match="holds neither original/ nor folders 0000"):
        check_source(source_of(asked, path=str(tmp_path)))


def test_the_fingerprint_follows_tree_and_metadata_and_the_home_stays(tmp_path: Path) -> None:
    asked = danbooru_tree(tmp_path / "d")
    config = source_of(asked)
    seen, home = [source_fingerprint(config)], source_home(config)
    write(tmp_path / "d/original/0001/9001.jpg", picture(1))
    seen.append(source_fingerprint(config))
    put_posts(tmp_path / "d", posts_of(tmp_path / "d")[1:])
    seen.append(source_fingerprint(config))
    assert len(set(seen)) == 3
    assert source_home(config) == home
    assert source_fingerprint(source_of(asked, where="score > 1")) == seen[-1]
    small = source_of(asked, where="has_512px")
    before = source_fingerprint(small)
    write(tmp_path / "d/512px/0001/9001.jpg", picture(2))
    assert source_fingerprint(small) != before


EXPRESSIONS = [
    "", "rating == 's'", "score >= 3 and score < 9", "'solo' in tags", "not 'solo' in tags or rating == 'q'",
    "created_at >= '2018-01-05'", "image_width > image_height", "bytes > 600",
    "parent_id == 0", "is_deleted == 0", "origin == '0001/1001.jpg'", "nothing == None", "'highres' in meta",
]  # fmt: skip


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_what_was_decided_before_reading_is_what_all_facts_say_after(tmp_path: Path, where: str) -> None:
    asked = danbooru_tree(tmp_path / "d")
    everything = {file.origin: file for file in find(source_of(asked, facts=FACTS), tmp_path / "work")}
    config = source_of(asked, where=where)
    for file in find(config, tmp_path / "work"):
        before = not file.reason and is_wanted(where, about_of(file, config))
        assert before == is_wanted(where, about_of(everything[file.origin], config)), file.origin


FACTS = ["score", "created_at", "image_width", "image_height", "parent_id", "is_deleted", "meta"]


def test_posts_of_parquet_and_lines_are_the_same_at_any_size(tmp_path: Path) -> None:
    posts = [new_post(id, id, "0" * 32, "jpg") for id in range(1, 20_001)]
    rows = {}
    for packing in ("plain", "parquet"):
        path = packed(tmp_path / packing, posts, packing)
        picked = read_posts(path, ["score", "tags"], lambda ids: ids % 1000 == 7)
        rows[packing] = [(post.id, post.get("score"), post.get("tags")) for post in picked]
    assert rows["plain"] == rows["parquet"]
    assert [row[0] for row in rows["plain"]] == list(np.arange(7, 20_001, 1000))
