"""CelebA: aligned pictures, and text files with their attributes, identities, landmarks and partition."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from pathlib import PurePosixPath as Name
from typing import Any, NamedTuple

from manifests.sources.asked import MirroredFile
from manifests.sources.sets import CelebaSource
from tasks.errors import IntegrityError
from tasks.sources.archive import identity, obtain_file
from tasks.sources.found import About, Found, Progress
from tasks.sources.picture_set import Known, Words, check_set, find_pictures, set_home, set_identity
from tasks.sources.transfer import PATIENCE, Patience

PARTITIONS = ("train", "val", "test")
POINTS = (
    "lefteye_x", "lefteye_y", "righteye_x", "righteye_y", "nose_x", "nose_y",
    "leftmouth_x", "leftmouth_y", "rightmouth_x", "rightmouth_y",
)  # fmt: skip


Line = tuple[int, list[str]]  # its number and its cells


class Table(NamedTuple):
    """One text file: the names of its columns, and a row of whole numbers for each picture."""

    names: tuple[str, ...]
    rows: dict[str, array[int]]  # by the picture's name without folder and suffix


def check_celeba(config: CelebaSource) -> None:
    """ValueError or Refused before any work: what cannot be had, and terms that are not accepted."""
    check_set(config, texts_of(config).values())


def celeba_fingerprint(config: CelebaSource) -> object:
    """Which pictures and which text files these are."""
    return [set_identity(config), config.count, config.members, _texts_identity(config)]


def celeba_home(config: CelebaSource) -> object:
    """What the source's own folder hangs on: the archive, not the small files beside it."""
    return set_home(config)


def find_in_celeba(
    config: CelebaSource, work: Path, progress: Progress, patience: Patience = PATIENCE
) -> Iterator[Found]:
    """Every picture with what the text files say of it; one that only they name is `missing`.

    Facts: the attributes by name (_5_o_Clock_Shadow, so that an expression can ask for it), `identity`, `partition`
    and `landmarks`: x, y of the eyes, the nose and the corners of the mouth, left ones first as seen, in px.
    """
    tables = {}
    for kind, text in texts_of(config).items():
        tables[kind] = read_table(obtain_file(text, config, work / kind, progress, patience), kind)
    words = Words(config, CelebaRows(tables), key_of)
    return find_pictures(config, words, _texts_identity(config), work, progress, patience)


def texts_of(config: CelebaSource) -> dict[str, MirroredFile]:
    """The text files that the source names, by what they hold."""
    texts = {
        "attributes": config.attributes,
        "identity": config.identity,
        "landmarks": config.landmarks,
        "partition": config.partition,
    }
    return {kind: text for kind, text in texts.items() if text is not None}


def key_of(origin: str) -> str:
    """The picture's number, whatever folder it lies in and however it is encoded: 000001."""
    return Name(origin).stem


class CelebaRows(Mapping[str, Known]):
    """What the text files say of each picture, put together when it is asked for: 40 facts are much for a dict."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self.keys_in_order = list(dict.fromkeys(key for table in tables.values() for key in table.rows))
        self.known = set(self.keys_in_order)

    def __len__(self) -> int:
        return len(self.keys_in_order)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_in_order)

    def __contains__(self, key: object) -> bool:
        return key in self.known

    def __getitem__(self, key: str) -> Known:
        if key not in self.known:
            raise KeyError(key)
        facts: dict[str, Any] = {}
        for kind, (names, rows) in self.tables.items():
            if (row := rows.get(key)) is not None:
                facts |= _facts(kind, names, row)
        return Known(f"{key}.jpg", About(facts=facts))


def read_table(path: Path, kind: str) -> Table:
    """The rows of one text file: the authors' own, with or without a head, or a mirror's CSV of it.

    IntegrityError, with the number of the line, for a row of too few or too many columns, for what is no whole number
    or none that can be, for a picture named twice and for a first line that counts other rows than there are.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as text:
        lines = ((number, _cells(line)) for number, line in enumerate(text, 1) if line.strip())
        counted, names, first = _head(lines, kind)
        _judge_names(path, kind, names)
        rows: dict[str, array[int]] = {}
        for number, cells in chain(first, lines):
            key = key_of(cells[0])
            if key in rows:
                raise IntegrityError(f"{path}, line {number}: {cells[0]} has a row already")
            rows[key] = _row(path, number, cells, len(names), kind)
    if counted is not None and counted != len(rows):
        raise IntegrityError(f"{path}, line 1: {counted:,} rows are said, {len(rows):,} follow")
    return Table(names, rows)


def _head(lines: Iterator[Line], kind: str) -> tuple[int | None, tuple[str, ...], list[Line]]:
    """How many rows the file says that it has, the names of its columns, and its first row where it has no head."""
    counted, line = None, next(lines, None)
    if line and len(line[1]) == 1 and line[1][0].isdecimal():
        counted, line = int(line[1][0]), next(lines, None)
    if line and (names := _names(line[1], kind)):
        return counted, names, []
    return counted, {"landmarks": POINTS}.get(kind) or (kind,), [line] if line else []


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split(",")] if "," in line else line.split()


def _names(cells: list[str], kind: str) -> tuple[str, ...] | None:
    """The names of the columns, None where the file begins with a row; a CSV has one for the picture, too."""
    if len(cells) > 1 and _is_number(cells[1]):
        return None
    named = cells[1:] if cells[0] == "image_id" else cells
    if kind != "attributes":
        return tuple(named)
    return tuple(f"_{name}" if name[:1].isdigit() else name for name in named)


def _judge_names(path: Path, kind: str, names: tuple[str, ...]) -> None:
    expected = {"identity": 1, "partition": 1, "landmarks": len(POINTS)}.get(kind, len(names))
    if len(names) != expected:
        raise IntegrityError(f"{path}: its head names {len(names)} columns, {kind} has {expected}")
    if len(set(names)) != len(names) or not names:
        raise IntegrityError(f"{path}: its head names a column twice, or none")


def _row(path: Path, number: int, cells: list[str], columns: int, kind: str) -> array[int]:
    if len(cells) != columns + 1:
        raise IntegrityError(
            f"{path}, line {number}: {len(cells)} columns, {columns + 1} were expected (a picture and {kind})"
        )
    try:
        row = array("i", map(int, cells[1:]))
    except (ValueError, OverflowError) as error:
        odd = next((cell for cell in cells[1:] if not _is_number(cell)), cells[1])
        raise IntegrityError(f"{path}, line {number}: {odd[:40]!r} is no whole number of {kind}") from error
    allowed = {"attributes": {-1, 1}, "partition": {0, 1, 2}}.get(kind)
    if allowed and not allowed.issuperset(row):
        odd_number = next(value for value in row if value not in allowed)
        raise IntegrityError(f"{path}, line {number}: {kind} {odd_number}, one of {sorted(allowed)} was expected")
    return row


def _is_number(cell: str) -> bool:
    return cell.lstrip("-").isdecimal()


def _facts(kind: str, names: tuple[str, ...], row: array[int]) -> dict[str, Any]:
    if kind == "attributes":
        return dict(zip(names, row, strict=True))
    if kind == "landmarks":
        return {kind: list(row)}
    return {kind: PARTITIONS[row[0]] if kind == "partition" else row[0]}


def _texts_identity(config: CelebaSource) -> object:
    return {kind: identity(text) for kind, text in texts_of(config).items()}
