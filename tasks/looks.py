"""What dedup knows of every row: few columns of all ledgers, and thumbnails of those rows only that it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from imaging.dedup import Looks
from imaging.hamming import Hashes, Rows
from imaging.hash import SIDE
from manifests.ledger import SCHEMA

READ = (
    *("id", "kind", "picture", "reason", "width", "height", "cut_x0", "cut_y0", "cut_x1", "cut_y1"),
    *("sharpness", "jpeg_quality", "hash", "hash256"),
)


@dataclass
class Sheet:
    """All rows of some ledgers, file after file: their facts, and their hashes (zeros where a row has none)."""

    paths: list[Path]
    ends: Rows  # of each file's rows
    rows: pd.DataFrame
    looks: Looks

    def of_file(self, number: int) -> slice:
        """The rows of one file."""
        return slice(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))


def read_sheet(paths: Sequence[Path]) -> Sheet:
    """The ledgers in these files, without thumbnails."""
    frames, hashes, longer = [SCHEMA.empty_table().select(READ[:-2]).to_pandas()], [], []
    for path in paths:
        table = pq.read_table(path, columns=list(READ))
        hashes.append(_unhexed(table["hash"].to_pylist(), 1))
        longer.append(_unhexed(table["hash256"].to_pylist(), 4))
        frames.append(table.drop_columns(["hash", "hash256"]).to_pandas())
    rows = pd.concat(frames[1:] or frames, ignore_index=True).assign(group="", keeper="")
    # Ledgers are sorted by id, and buckets are its leading bits: who comes first has the smaller id.
    assert rows["id"].is_monotonic_increasing
    ends = np.cumsum([len(frame) for frame in frames[1:]], dtype=np.int64)
    none = np.empty((0, 4), dtype=np.uint64)
    looks = Looks(np.concatenate([none[:, :1], *hashes]).ravel(), np.concatenate([none, *longer]))
    return Sheet(list(paths), ends, rows, looks)


def each_thumb(sheet: Sheet, rows: Rows) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """The thumbnails uint8 [n, 48, 48] of these rows (ascending), file by file, with where they stand among them."""
    for number, path in enumerate(sheet.paths):
        of_file = sheet.of_file(number)
        first, last = np.searchsorted(rows, [of_file.start, of_file.stop])
        if first < last:
            column = pq.read_table(path, columns=["thumb"])["thumb"].take(rows[first:last] - of_file.start)
            pixels = np.frombuffer(b"".join(column.to_pylist()), dtype=np.uint8)
            yield slice(int(first), int(last)), pixels.reshape(-1, SIDE, SIDE)


def _unhexed(texts: list[str], num_words: int) -> Hashes:
    digits = 16 * num_words
    data = bytes.fromhex("".join(text or "0" * digits for text in texts))
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(-1, num_words)
