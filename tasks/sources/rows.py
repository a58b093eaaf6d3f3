"""Tables of other people: CSV, TSV, JSON lines and Parquet, here or on any file system, row by row."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.sources.remote import Columns
from tasks.errors import IntegrityError
from tasks.sources.address import shown
from tasks.sources.facts import clean_facts, clean_text, join_tags
from tasks.sources.found import About, matches
from tasks.sources.places import Place, unavailable
from tasks.sources.trouble import passing_errors

Row = dict[str, Any]

RATINGS = {"general": "g", "safe": "s", "sensitive": "s", "questionable": "q", "explicit": "e"}
_TEXT_KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_PACKED = (".gz", ".bz2", ".xz")
# What the readers of these kinds, and of what they may be packed with, raise when there is something else.
DAMAGE = (ValueError, EOFError, csv.Error, pa.ArrowException, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
MOST_LINE = 64 << 20  # letters of a line of JSON


def read_rows(place: Place) -> Iterator[Row]:
    """The rows of a table, in its order. IntegrityError when it is damaged, SourceUnavailable when it is not given."""
    name = place.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    try:
        if name.endswith(".parquet"):
            yield from _parquet_rows(place)
        else:
            with place.open("rt") as text:
                yield from _text_rows(cast("IO[str]", text), name)
    except DAMAGE as error:
        raise IntegrityError(f"{place} is not the table that its name says: {error}") from error
    except passing_errors() as error:
        raise unavailable(place, error) from error


def is_table(name: str) -> bool:
    """Whether a file of this name is read as a table."""
    name = name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return name.endswith((".parquet", *_TEXT_KINDS))


def _parquet_rows(place: Place) -> Iterator[Row]:
    with place.open("rb") as data:
        table = pq.ParquetFile(data)
        plain = [field.name for field in table.schema_arrow if not holds_bytes(field.type)]
        for batch in table.iter_batches(batch_size=4096, columns=plain):
            yield from batch.to_pylist()


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are bytes, or have bytes in them."""
    if pa.types.is_struct(kind):
        return any(holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _text_rows(text: IO[str], name: str) -> Iterator[Row]:
    if name.endswith((".csv", ".tsv")):
        yield from csv.DictReader(text, delimiter="\t" if name.endswith(".tsv") else ",", strict=True)
        return
    number = 0
    while line := text.readline(MOST_LINE):
        number += 1
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object")
        yield row


def judge_columns(place: Place, row: Row, columns: Columns, needed: str) -> None:
    """ValueError when a column that the manifest names is not in the table."""
    standard = Columns()
    for role in ("url", "image", "id", "label", "rating", "tags", "licence", "sha256", "md5"):
        name = getattr(columns, role)
        asked = role == needed or (name and name != getattr(standard, role) and name != "label")
        if asked and name not in row:
            raise ValueError(f"{place} has no column {name!r} for the {role}: it has {', '.join(map(str, row))}")


def about_of_row(row: Row, columns: Columns) -> About:
    """What a row says of its picture; addresses among the facts are written without their secrets."""
    taken = {columns.url, columns.image, columns.id, columns.label, columns.rating, columns.tags, columns.licence}
    taken |= {columns.sha256, columns.md5}
    licence = row.get(columns.licence) if columns.licence else row.get("license") or row.get("licence")
    taken |= {"license", "licence"} if not columns.licence else set()
    facts = {name: value for name, value in row.items() if name not in taken and matches(str(name), columns.facts)}
    return About(
        rating=rating_of(row.get(columns.rating)),
        tags=tags_of(row.get(columns.tags)),
        licence=clean_text(licence or ""),
        facts={name: _without_secrets(value) for name, value in clean_facts(facts).items()},
    )


def rating_of(value: Any) -> str:
    """g, s, q or e where the word is known, else the word."""
    word = clean_text(value if value is not None else "").strip().lower()
    return RATINGS.get(word, word)


def tags_of(value: Any) -> str:
    """Tags sorted, with a space between them, from a list or from a text with commas or spaces."""
    if isinstance(value, list | tuple):
        return join_tags(str(tag) for tag in value if tag is not None)
    text = str(value) if value is not None else ""
    return join_tags(text.split(",") if "," in text else text.split())


def text_of(row: Row, column: str) -> str:
    """A cell as text; empty when there is none. Whole numbers have no point: pandas writes 12.0 for 12."""
    value = row.get(column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else clean_text(value).strip()


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str) and "://" in value[:10]:
        return shown(value)
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value
