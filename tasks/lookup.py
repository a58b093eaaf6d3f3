"""Rows of a stage's ledger by id or by name without reading it: a bucket, a row group, a sorted index of names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.ledger import COLUMNS
from tasks.buckets import bucket_of
from tasks.sources.found import clean_origin
from tasks.store import Record

SHOWN = [name for name in COLUMNS if name != "thumb"]
MOST = 50  # pictures of one question
_MOST_OF_A_NAME = 10_000  # files of one base name that are looked at
_BASE, _QUERY, _SUFFIX = r"^.*[/\\]", r"[?#].*$", r"(.)\.[^.]*$"  # what a stem lacks

Row = dict[str, Any]
Index = npt.NDArray[np.uint64]  # [2, names]: sorted hashes of names; bucket << 32 | row of the picture


class Lookup:
    """The ledger that a stage left, asked for single pictures."""

    def __init__(self, root: Path, record: Record, num_buckets: int) -> None:
        self.files = {name: root / bucket.folder / "ledger.parquet" for name, bucket in record.buckets.items()}
        self.num_buckets = num_buckets
        self._names = list(self.files)
        self._index_path = root / record.folder / f"names-{record.output}.npy"

    def rows(self, prefix: str, limit: int = MOST * 100) -> list[Row]:
        """The rows whose id begins so, by id: of a picture all of its faces, too."""
        if not re.fullmatch("[0-9a-f]{1,64}(_.*)?", prefix):
            return []
        first, last = (bucket_of(prefix[:64].ljust(64, end), self.num_buckets) for end in "0f")
        found: list[Row] = []
        for name, path in self.files.items():
            if int(first, 16) <= int(name, 16) <= int(last, 16) and len(found) < limit:
                found += rows_in(path, prefix, limit - len(found))
        return found

    def pictures_called(self, what: str) -> list[str]:
        """Ids of the pictures whose origin, or the file name at its end, with or without suffix, is this."""
        for names in ({what, clean_origin(what)}, {_stem(what)}):
            places = np.concatenate([self._places(name) for name in sorted(names)])[:_MOST_OF_A_NAME]
            found = [picture for picture, origin in self._origins(places) if _is_called(origin, what)]
            if found:
                return list(dict.fromkeys(found))[:MOST]
        return []

    def pictures_with(self, part: str) -> list[str]:
        """Ids of the pictures that have this anywhere in their origin: a look at all of them."""
        found: list[str] = []
        for path in self.files.values():
            table = pq.read_table(path, columns=["picture", "kind", "origin"], memory_map=True)
            fits = pc.and_(pc.equal(table["kind"], "picture"), pc.match_substring(table["origin"], part))
            found += table.filter(fits)["picture"].to_pylist()
            if len(found) >= MOST:
                break
        return list(dict.fromkeys(found))[:MOST]

    def _places(self, name: str) -> Index:
        hashes, places = self._index()
        wanted = _hashes(pa.array([name]))[0]
        first, last = np.searchsorted(hashes, wanted), np.searchsorted(hashes, wanted, "right")
        return np.asarray(places[first:last])

    def _index(self) -> Index:
        if not self._index_path.is_file():
            self._build_index()
        return np.load(self._index_path, mmap_mode="r")  # type: ignore[no-any-return]

    def _build_index(self) -> None:
        """Write the index beside the stage's record, by rename: once for what the stage left."""
        hashes, places = [], []
        for number, name in enumerate(self._names):
            table = pq.read_table(self.files[name], columns=["kind", "origin"])
            rows = np.flatnonzero(pc.equal(table["kind"], "picture").to_numpy()).astype(np.uint64)
            origins = table["origin"].take(pa.array(rows)).combine_chunks()
            for names in (origins, _stems(origins)):
                hashes.append(_hashes(names))
                places.append(rows | np.uint64(number << 32))
        index = np.stack([np.concatenate(hashes), np.concatenate(places)])
        index = index[:, np.lexsort(index[::-1])]
        partial = self._index_path.with_suffix(".part.npy")
        np.save(partial, index)
        partial.replace(self._index_path)

    def _origins(self, places: Index) -> Iterable[tuple[str, str]]:
        """(Picture, origin) at these places; a row group is read once."""
        rows_of: dict[str, list[int]] = defaultdict(list)
        for place in places.tolist():
            rows_of[self._names[place >> 32]].append(place & 0xFFFFFFFF)
        for name, rows in rows_of.items():
            with pq.ParquetFile(self.files[name], memory_map=True) as file:
                ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)])
                groups = np.searchsorted(ends, rows, "right")
                for group in np.unique(groups).tolist():
                    start = int(ends[group - 1]) if group else 0
                    table = file.read_row_group(group, columns=["picture", "origin"])
                    for row in np.asarray(rows)[groups == group].tolist():
                        yield table["picture"][row - start].as_py(), table["origin"][row - start].as_py()


def rows_in(path: Path, prefix: str, limit: int) -> list[Row]:
    """The rows of a ledger's file whose id begins so: row groups by their statistics, then by their ids alone."""
    found: list[Row] = []
    with pq.ParquetFile(path, memory_map=True) as file:
        column = file.schema_arrow.get_field_index("id")
        for group in range(file.num_row_groups):
            between = file.metadata.row_group(group).column(column).statistics
            if not between.min[: len(prefix)] <= prefix <= between.max[: len(prefix)]:
                continue
            fits = pc.starts_with(file.read_row_group(group, columns=["id"])["id"], prefix).to_numpy()
            if (rows := np.flatnonzero(fits)).size:  # sorted by id: they follow one another
                some = file.read_row_group(group, columns=SHOWN).slice(int(rows[0]), min(len(rows), limit - len(found)))
                found += some.to_pylist()
            if len(found) >= limit:
                break
    return found


def _hashes(names: pa.Array) -> npt.NDArray[np.uint64]:
    """64-bit hashes, the same in every process."""
    return pd.util.hash_array(names.to_numpy(zero_copy_only=False).astype(object), categorize=False)


def _stems(origins: pa.Array) -> pa.Array:
    """File names without folders, a URL's query and suffixes."""
    for pattern, instead in ((_QUERY, ""), (_BASE, ""), (_SUFFIX, r"\1")):
        origins = pc.replace_substring_regex(origins, pattern, instead)
    return origins


def _stem(name: str) -> str:
    stem: str = _stems(pa.array([name]))[0].as_py()
    return stem


def _is_called(origin: str, what: str) -> bool:
    base = re.sub(_BASE, "", re.sub(_QUERY, "", origin))
    return what in (origin, base, _stem(origin)) or clean_origin(what) == origin or what.endswith("/" + origin)
