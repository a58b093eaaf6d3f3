"""What dedup found out before: candidate pairs and what a look at them said. Only saves time, changes no result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imaging.dedup import Candidates, Flags, Match, places_in
from imaging.hamming import Hashes, Rows

UNKNOWN = -1


class Memory(NamedTuple):
    """The rows of a dedup before, its candidate pairs in every turn, and its verdicts on pairs (-1: not looked at)."""

    ids: NDArray[np.bytes_]  # ascending
    hashes: Hashes
    candidates: Candidates
    pairs: Rows
    verdicts: NDArray[np.int8]

    def moved_to(self, ids: NDArray[np.bytes_], hashes: Hashes) -> tuple[Memory, Flags]:
        """The same for other rows, as far as both have them, and which of the others are new."""
        at = np.minimum(np.searchsorted(self.ids, ids), max(0, len(self.ids) - 1))
        known = (self.ids[at] == ids) & (self.hashes[at] == hashes) if len(self.ids) else np.zeros(len(ids), dtype=bool)
        place = np.full(len(self.ids), UNKNOWN)
        place[at[known]] = np.flatnonzero(known)
        candidates = {turn: _moved(pairs, place)[0] for turn, pairs in self.candidates.items()}
        pairs, kept = _moved(self.pairs, place)
        return Memory(ids, hashes, candidates, pairs, self.verdicts[kept]), ~known


def no_memory() -> Memory:
    """That of a first time."""
    none = np.empty((0, 2), dtype=np.int64)
    return Memory(np.empty(0, dtype="S1"), np.empty(0, dtype=np.uint64), {}, none, np.empty(0, dtype=np.int8))


def read_memory(path: Path) -> Memory:
    """The memory in a file; none where there is no file."""
    if not path.is_file():
        return no_memory()
    with np.load(path, allow_pickle=False) as stored:
        candidates = {name.removeprefix("turn "): stored[name] for name in stored.files if name.startswith("turn ")}
        return Memory(stored["ids"], stored["hashes"], candidates, stored["pairs"], stored["verdicts"])


def write_memory(memory: Memory, path: Path) -> None:
    """Write the memory under its name in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    arrays = {name: value for name, value in memory._asdict().items() if name != "candidates"}
    arrays |= {f"turn {turn}": pairs for turn, pairs in memory.candidates.items()}
    try:
        np.savez(partial, allow_pickle=False, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remembered(match: Match, memory: Memory) -> Match:
    """Match, asked only for pairs without a verdict; what it says is noted in the memory's verdicts."""

    def look_up(pairs: Rows) -> Flags:
        at = places_in(memory.pairs, np.sort(pairs, axis=1))
        open_ = memory.verdicts[at] == UNKNOWN
        memory.verdicts[at[open_]] = match(pairs[open_])
        return np.asarray(memory.verdicts[at] == 1)

    return look_up


def _moved(pairs: Rows, place: Rows) -> tuple[Rows, Flags]:
    """The pairs by their new places, ascending as before, and which of them are still there."""
    moved = place[pairs] if len(place) else pairs
    kept = (moved != UNKNOWN).all(axis=1)
    return moved[kept], kept
