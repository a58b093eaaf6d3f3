"""Tables that say something of pictures which lie elsewhere, by the pictures' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from manifests.sources.remote import Columns
from tasks.errors import IntegrityError
from tasks.sources.found import NOTHING, About, clean_origin
from tasks.sources.places import Place
from tasks.sources.rows import about_of_row, judge_columns, read_rows, text_of


class Said(NamedTuple):
    """What a table says of a picture."""

    about: About = NOTHING
    label: str | None = None
    sha256: str = ""
    md5: str = ""


def read_said(tables: Sequence[Place], columns: Columns) -> dict[str, Said]:
    """What the tables say, by id; a later row of the same id replaces an earlier one, as updates of metadata do.

    IntegrityError when a table has rows and not one of them an id.
    """
    said: dict[str, Said] = {}
    for table in tables:
        before = len(said)
        number = -1
        for number, row in enumerate(read_rows(table)):
            if number == 0:
                judge_columns(table, row, columns, "id")
            if id := clean_origin(text_of(row, columns.id)):
                label = text_of(row, columns.label) or None if columns.label else None
                digests = [text_of(row, name).lower() if name else "" for name in (columns.sha256, columns.md5)]
                said[id] = Said(about_of_row(row, columns), label, *digests)
        if number >= 0 and len(said) == before and not said:
            raise IntegrityError(f"{table} has {number + 1:,} rows and no value in its column {columns.id!r}")
    return said
