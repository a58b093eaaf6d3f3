"""Metadata of posts as Danbooru's dumps give it, one post at a time, however many million there are."""

from __future__ import annotations

import json
import logging
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import IntegrityError
from tasks.sources.facts import clean_date, clean_value, join_tags
from tasks.sources.unpack import DAMAGE, CarefulTarInfo, decompressed

logger = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]
Cares = Callable[[Ids], npt.NDArray[np.bool_]]  # which of these posts are worth a look

LONGEST_LINE = 16 << 20  # bytes; a post with a hundred thousand favourites has one
BATCH = 8192
NO_POST, BLANK = -1, -2  # in the place of ids
RATINGS = ("g", "s", "q", "e")
# The old dumps number the kinds of tags, the new ones have a column for each.
CATEGORIES = {"general": "0", "artist": "1", "copyright": "3", "character": "4", "meta": "5"}
NUMBERS = frozenset((
    "id", "score", "up_score", "down_score", "fav_count", "image_width", "image_height", "file_size", "tag_count",
    "parent_id", "pixiv_id", "uploader_id", "approver_id",
))  # fmt: skip
DATES = frozenset(("created_at", "updated_at", "last_commented_at", "last_comment_bumped_at", "last_noted_at"))
# What the dumps begin each line with; where they do not, the whole line is read.
_ID_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*"?([0-9]{1,18})"?\s*[,}]')


class Post(NamedTuple):
    """One post as its dump has it; what is asked for is made of it then."""

    id: int
    raw: dict[str, Any]

    def get(self, name: str) -> Any:
        """A fact by name, in one form for all dumps: whole numbers, UTC, g/s/q/e, tags sorted in one text."""
        if name == "rating":
            letter = str(self.raw.get("rating") or "")[:1].lower()  # "s", "safe", "Sensitive"
            return letter if letter in RATINGS else ""
        if name == "tags" or name in CATEGORIES:
            return join_tags(self._tags(name))
        if name == "fav_count" and "fav_count" not in self.raw:
            return len(self.raw["favs"]) if isinstance(self.raw.get("favs"), list) else None
        value = self.raw.get(name)
        if name in NUMBERS:
            return _number(value)
        if name in DATES:
            value = clean_value(value)
            return clean_date(value) if isinstance(value, str) else value
        return clean_value(value)

    def _tags(self, name: str) -> Iterable[str]:
        text = self.raw.get("tag_string" if name == "tags" else f"tag_string_{name}")
        if isinstance(text, str):
            return text.split()
        tags = self.raw.get("tags")
        if name != "tags":
            mine = (tag for tag in tags if isinstance(tag, dict)) if isinstance(tags, list) else ()
            return [str(tag.get("name", "")) for tag in mine if str(tag.get("category")) == CATEGORIES[name]]
        if isinstance(tags, str):
            return tags.split()
        each = tags if isinstance(tags, list) else ()
        return [str(tag.get("name", "")) if isinstance(tag, dict) else str(tag) for tag in each]


def read_posts(path: Path, names: Iterable[str], cares: Cares) -> Iterator[Post]:
    """The posts of one file that `cares` picks by their ids: JSON lines, also compressed or in a tar, or Parquet.

    Of Parquet only the columns behind these names are read. Lines that are no post are counted in a warning;
    IntegrityError when the file is damaged or holds no post at all.
    """
    with path.open("rb") as data:
        parquet = data.read(4) == b"PAR1"
    try:
        yield from _of_parquet(path, columns_of(names), cares) if parquet else _of_lines(path, cares)
    except (*DAMAGE, pa.ArrowException) as error:
        raise IntegrityError(f"{path} is damaged: {error or type(error).__name__}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise IntegrityError(f"{path} is damaged: {error}") from error  # pyarrow says so of a Parquet file's head


def columns_of(names: Iterable[str]) -> set[str]:
    """What a dump may call the columns that these facts are made of."""
    columns = {"id"}
    for name in names:
        if name == "tags" or name in CATEGORIES:
            columns |= {"tags", "tag_string", f"tag_string_{name}"}
        else:
            columns |= {"fav_count", "favs"} if name == "fav_count" else {name}
    return columns


def _number(value: Any) -> int | None:
    """A whole number; dumps write them as texts, and tables with gaps as fractions."""
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _of_parquet(path: Path, columns: set[str], cares: Cares) -> Iterator[Post]:
    with pq.ParquetFile(path) as table:
        present = [name for name in table.schema_arrow.names if name in columns]
        if "id" not in present:
            raise IntegrityError(f"{path} has no column 'id', only {', '.join(table.schema_arrow.names)}")
        for batch in table.iter_batches(BATCH, columns=present):
            ids = np.array([_id(row) for row in batch.column("id").to_pylist()], np.int64)
            picked = (ids >= 0) & cares(ids)
            rows = batch.filter(pa.array(picked)).to_pylist()
            yield from (Post(int(id), row) for id, row in zip(ids[picked], rows, strict=True))


def _of_lines(path: Path, cares: Cares) -> Iterator[Post]:
    good, bad = 0, Counter[str]()
    for first, batch in _batches(path):
        ids = np.array([_id_of(line) for line in batch], np.int64)
        good += int((ids >= 0).sum())
        bad.update(f"line {first + int(i)}" for i in np.flatnonzero(ids == NO_POST))
        for i in np.flatnonzero((ids >= 0) & cares(ids)):
            if (raw := _object(batch[i])) is not None:
                yield Post(int(ids[i]), raw)
            else:
                bad[f"line {first + int(i)}"] += 1
    if not good:
        raise IntegrityError(f"{path} holds no post: lines of JSON objects with an id were expected, or Parquet")
    if bad:
        logger.warning("%s: %d lines that are no post are left out, the first is %s", path, len(bad), next(iter(bad)))


def _batches(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Lines by the thousand, blank ones included, with the number of the first, counted through all members."""
    number, batch = 1, list[bytes]()
    for stream in _streams(path):
        while line := stream.readline(LONGEST_LINE):
            batch.append(line)
            if len(batch) == BATCH:
                yield number, batch
                number, batch = number + BATCH, []
    yield number, batch


def _streams(path: Path) -> Iterator[IO[bytes]]:
    """The file's text, or that of each member where it is a tar; either may be compressed."""
    with decompressed(path) as data:
        is_tar = data.read(512)[257:262] == b"ustar"
    with decompressed(path) as data:
        if not is_tar:
            yield data
            return
        with tarfile.open(fileobj=data, mode="r|", tarinfo=CarefulTarInfo) as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or it keeps every header it read
                if info.isreg():
                    yield cast("IO[bytes]", archive.extractfile(info))


def _id_of(line: bytes) -> int:
    """The post's id, BLANK for an empty line, NO_POST for one that holds no post."""
    if match := _ID_FIRST.match(line):
        return int(match[1])
    if not line.strip():
        return BLANK
    raw = _object(line)
    return _id(raw.get("id")) if raw else NO_POST


def _id(value: Any) -> int:
    id = _number(value)
    return NO_POST if id is None or id < 0 else id


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        raw = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None
