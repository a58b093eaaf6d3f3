"""Pictures that lie in Parquet files, as the datasets library writes them: {bytes, path} beside labels and texts."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.sources.remote import ParquetSource
from tasks.errors import IntegrityError
from tasks.sources.address import shown
from tasks.sources.answers import NotGiven
from tasks.sources.bring import bring
from tasks.sources.found import (
    About,
    Found,
    Origins,
    Progress,
    facts_digest,
    read_found,
    reason_before,
    write_found,
)
from tasks.sources.journal import Journal, key_of
from tasks.sources.outcomes import Entry, judge_bytes
from tasks.sources.places import Place, check_places, is_remote, local_state, places_of
from tasks.sources.polite import Bandwidth
from tasks.sources.rows import Row, about_of_row, holds_bytes, judge_columns, text_of
from tasks.sources.trouble import passing_errors

logger = logging.getLogger(__name__)

PICTURES_AT_ONCE = 64  # read of a file


class Reading(NamedTuple):
    """What reading a file needs to know."""

    config: ParquetSource
    work: Path
    journal: Journal
    origins: Origins
    bandwidth: Bandwidth


class Part(NamedTuple):
    """One row group of a file: the unit that is read."""

    place: Place
    table: pq.ParquetFile
    group: int
    first: int  # row of the file that it begins with
    keys: list[str]  # of its rows, in the journal

    def name_of(self, number: int) -> str:
        """What a row is called that has no name."""
        return f"{self.place.name.removesuffix('.parquet')}/{self.first + number:07d}"


def check_parquet(config: ParquetSource) -> None:
    """ValueError when a file here is missing, or the package for an address."""
    check_places([config.pinned(file) for file in config.files])


def local_size(config: ParquetSource) -> tuple[int, int] | None:
    """Rows and bytes of the files when all of them lie here and can be read; None when nobody knows yet."""
    if any(is_remote(file) for file in config.files):
        return None
    paths = [Path(place.path) for place in places_of(config.files)]
    try:
        rows = sum(int(pq.read_metadata(path).num_rows) for path in paths)
    except (pa.ArrowException, OSError):
        return None
    return rows, sum(path.stat().st_size for path in paths)


def parquet_home(config: ParquetSource) -> object:
    """What was read stays known when files are added or the selection changes."""
    return sorted(shown(config.pinned(file)) for file in config.files)


def parquet_fingerprint(config: ParquetSource) -> object:
    """Which files they are, in which version, and what is taken from them."""
    files = [local_state(config.pinned(file)) for file in config.files]
    return [files, config.revision, config.columns.model_dump(), config.limits.max_picture_bytes, config.retry]


def find_in_parquet(config: ParquetSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every row of the files, in their order; a file or a part of one that cannot be read is a row `unreadable`."""
    record = work / f"found-{facts_digest([parquet_fingerprint(config), config.where])}.jsonl"
    if (files := read_found(record)) is None:
        files = _read(config, work, progress)
        write_found(record, files)
    progress(len(files), len(files), "pictures")
    return iter(files)


def _read(config: ParquetSource, work: Path, progress: Progress) -> list[Found]:
    places = bring([config.pinned(file) for file in config.files], work, progress)
    found: list[Found] = []
    with Journal(work, facts_digest([config.retry, config.limits.max_picture_bytes])) as journal:
        reading = Reading(config, work, journal, Origins(), Bandwidth(config.limits.bytes_per_second))
        for place in places:
            for file in _rows_of(place, reading):
                found.append(file)
                progress(len(found), None, "pictures")
    if all(file.reason == "unreadable" for file in found):
        raise IntegrityError(f"none of {len(places)} files can be read: {found[0].about.facts}" if found else "no rows")
    return found


def _rows_of(place: Place, reading: Reading) -> Iterator[Found]:
    """The rows of one file; one row for all that it might have held when it is no Parquet file at all."""
    try:
        with place.open("rb") as data, pq.ParquetFile(data) as table:
            _judge_schema(place, table, reading.config)
            state = place.state
            first = 0
            for group in range(table.num_row_groups):
                after = first + table.metadata.row_group(group).num_rows
                keys = [key_of(state, number) for number in range(first, after)]
                yield from _rows_of_part(Part(place, table, group, first, keys), reading)
                first = after
    except (pa.ArrowException, *passing_errors()) as error:
        logger.warning("%s cannot be read: %s", place, error)
        facts = {"file": place.url, "error": type(error).__name__}
        yield Entry(reading.origins.give(place.name), About(facts=facts)).missing("unreadable", reading.work)


def _judge_schema(place: Place, table: pq.ParquetFile, config: ParquetSource) -> None:
    judge_columns(place, dict.fromkeys(table.schema_arrow.names), config.columns, "image")
    image = table.schema_arrow.field(config.columns.image)
    if not holds_bytes(image.type):
        raise ValueError(f"{place}: its column {image.name!r} is {image.type}: bytes, or a struct with bytes in it")


def class_names(table: pq.ParquetFile, column: str) -> list[str]:
    """The names of the classes that a label's numbers stand for, as the datasets library writes them; else nothing."""
    about = (table.schema_arrow.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(about)["info"]["features"] if about else {}
        names = features.get(column, {}).get("names") or []
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _rows_of_part(part: Part, reading: Reading) -> Iterator[Found]:
    """A group's rows: what they say first, and their pictures only where one of them is wanted and new."""
    config, journal = reading.config, reading.journal
    names = class_names(part.table, config.columns.label)
    try:
        rows = list(_said(part, config.columns.image))
    except (pa.ArrowException, OSError) as error:
        logger.warning("%s: group %d cannot be read: %s", part.place, part.group, error)
        rows = []
    for number in range(len(rows), len(part.keys)):
        origin = reading.origins.give(part.name_of(number))
        yield Entry(origin).missing("unreadable", reading.work)
    entries = [_entry(row, part.name_of(number), names, reading) for number, row in enumerate(rows)]
    reasons = [reason_before(config, entry.origin, entry.about, entry.label) for entry in entries]
    new = {n for n, reason in enumerate(reasons) if not reason and journal.get(part.keys[n]) is None}
    if new:
        _keep_pictures(part, new, reading)
    for entry, key, reason in zip(entries, part.keys, reasons, strict=False):
        outcome = journal.get(key)
        yield entry.missing(reason, reading.work) if reason or outcome is None else entry.found(outcome, reading.work)


def _said(part: Part, image: str) -> Iterator[Row]:
    """A group's rows without their pictures, but with the names inside these."""
    schema = part.table.schema_arrow
    columns = [field.name for field in schema if not holds_bytes(field.type)]
    kind = schema.field(image).type
    if pa.types.is_struct(kind):
        columns += [f"{image}.{field.name}" for field in kind if not holds_bytes(field.type)]
    if not columns:
        yield from ({} for _ in part.keys)
        return
    for batch in part.table.iter_batches(row_groups=[part.group], columns=columns):
        yield from batch.to_pylist()


def _entry(row: Row, place: str, names: list[str], reading: Reading) -> Entry:
    columns = reading.config.columns
    inside = row.pop(columns.image, None)
    path = text_of(inside, "path") if isinstance(inside, dict) else ""
    label = text_of(row, columns.label) if columns.label else ""
    if label.isdecimal() and int(label) < len(names):
        label = names[int(label)]
    return Entry(
        reading.origins.give(text_of(row, columns.id) or path or place), about_of_row(row, columns), label or None
    )


def _keep_pictures(part: Part, new: set[int], reading: Reading) -> None:
    """Read the group's pictures, and again where a network broke; what cannot be read at all is `unreadable`."""
    for tries in itertools.count(1):
        try:
            _read_pictures(part, {n for n in new if reading.journal.get(part.keys[n]) is None}, reading)
            return
        except (pa.ArrowException, *passing_errors()) as error:
            if isinstance(error, pa.ArrowException) or not part.place.remote or tries >= reading.config.limits.tries:
                logger.warning("%s: group %d cannot be read: %s", part.place, part.group, error)
                break
            time.sleep(min(2.0**tries, reading.config.limits.max_wait_seconds))
    for n in new:
        if reading.journal.get(part.keys[n]) is None:
            reading.journal.fail(part.keys[n], "unreadable")


def _read_pictures(part: Part, new: set[int], reading: Reading) -> None:
    number, image = 0, reading.config.columns.image
    for batch in part.table.iter_batches(batch_size=PICTURES_AT_ONCE, row_groups=[part.group], columns=[image]):
        for value in batch.column(0):
            if number in new:
                _keep(part.keys[number], _bytes_in(value.as_py()), reading)
            number += 1


def _bytes_in(value: Any) -> bytes | None:
    values = value.values() if isinstance(value, dict) else [value]
    return next((item for item in values if isinstance(item, bytes)), None)


def _keep(key: str, data: bytes | None, reading: Reading) -> None:
    limit = reading.config.limits.max_picture_bytes
    if data is None:
        reading.journal.fail(key, "missing")
        return
    reading.bandwidth.take(len(data))
    try:
        if len(data) > limit:
            raise NotGiven("too_large", limit=limit)
        judge_bytes(data)
        reading.journal.keep(key, data)
    except NotGiven as answer:
        reading.journal.fail(key, answer.reason, **answer.facts)
