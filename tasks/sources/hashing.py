"""Files that lie here as rows: hashed once, remembered by name, size and time, never touched."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.sources.found import CHUNK, Found, Origins, Progress, Said, Say, absent, clean_origin, keep_bytes
from tasks.sources.listing import Key, Listed
from tasks.store import write_file

logger = logging.getLogger(__name__)

BATCH = 512
# A file changed within this time of being hashed may change again without a new mtime: its hash is not remembered.
FRESH_NS = 2_000_000_000
SAVE_EVERY = 50_000
_CACHE = pa.schema(
    [("name", pa.binary()), ("size", pa.int64()), ("mtime_ns", pa.int64()), ("id", pa.string()), ("md5", pa.string())]
)


class Digests(NamedTuple):
    """The digests of a file, hex; both empty when it cannot be read, md5 empty when nobody asked for it."""

    id: str = ""
    md5: str = ""


def find_listed(files: Sequence[Listed], say: Say, work: Path, progress: Progress) -> Iterator[Found]:
    """Each of these files as a row, in their order, with what `say` says of it.

    Digests are remembered in `work`: a file of the same name, size and time is not read again, and one for which `say`
    has a reason is never read. A file that may not be read or is gone meanwhile is `unreadable`, one whose md5 is not
    the one that was said `wrong_bytes`.
    """
    memory = _Memory(work)
    origins, fresh_from = Origins(), time.time_ns() - FRESH_NS
    try:
        with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1)), "hash") as pool:
            for start in range(0, len(files), BATCH):
                batch = [(file, say(clean_origin(file.name))) for file in files[start : start + BATCH]]
                for (file, said), digests in zip(batch, _all_digests(batch, memory, pool), strict=True):
                    if digests.id and file.mtime_ns < fresh_from:
                        memory.learn(file.key, digests)
                    yield _found(file, said, digests, origins.give(file.name), work)
                progress(start + len(batch), len(files), "files")
                memory.save(SAVE_EVERY)
    finally:
        memory.save(1)


def _all_digests(batch: list[tuple[Listed, Said]], memory: _Memory, pool: Executor) -> Iterator[Digests]:
    def one(pair: tuple[Listed, Said]) -> Digests:
        file, said = pair
        known = memory.known.get(file.key)
        if said.reason or (known and (known.md5 or not said.md5)):
            return known or Digests()
        return _digests(file.path, with_md5=bool(said.md5))

    return pool.map(one, batch)


def _digests(path: Path, with_md5: bool) -> Digests:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as data:
            while piece := data.read(CHUNK):
                sha256.update(piece)
                if with_md5:
                    md5.update(piece)
    except (PermissionError, FileNotFoundError) as error:
        logger.warning("%s cannot be read: %s", path, error.strerror)
        return Digests()
    return Digests(sha256.hexdigest(), md5.hexdigest() if with_md5 else "")


def _found(file: Listed, said: Said, digests: Digests, origin: str, work: Path) -> Found:
    if said.reason:
        return absent(origin, file.path, said.reason, said.about)._replace(label=said.label)
    if not digests.id:  # a row is kept for a file without bytes, too; its id is the digest of its name
        name = hashlib.sha256(b"unreadable:" + os.fsencode(file.name)).hexdigest()
        return Found(origin, file.path, name, file.size, said.label, "unreadable", said.about)
    path, id = file.path, digests.id
    if str(path).encode("utf-8", "replace").decode() != str(path):
        # A name that is not UTF-8 cannot be written into the ledger: a copy under its digest can.
        id, path = keep_bytes(path.read_bytes(), work)
    reason = "wrong_bytes" if said.md5 and digests.md5 != said.md5 else ""
    return Found(origin, path, id, file.size, said.label, reason, said.about)


class _Memory:
    """Digests of files, kept in a source's folder from one call to the next."""

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.path = work / "hashes.parquet"
        self.known = self._read()
        self.learnt: dict[Key, Digests] = {}
        self.unsaved = 0

    def learn(self, key: Key, digests: Digests) -> None:
        """Remember a file as it is now."""
        self.learnt[key] = digests
        self.unsaved += self.known.get(key) != digests

    def save(self, least: int) -> None:
        """Write everything down if at least so much of it is new."""
        if self.unsaved < least:
            return
        known = {**self.known, **self.learnt}
        names, sizes, times = zip(*known, strict=True)
        digests = known.values()
        columns = [list(names), list(sizes), list(times), [one.id for one in digests], [one.md5 for one in digests]]
        out = io.BytesIO()
        pq.write_table(pa.table(columns, schema=_CACHE), out, compression="zstd")
        write_file(self.path, out.getvalue())
        self.unsaved = 0

    def _read(self) -> dict[Key, Digests]:
        if not self.path.is_file():
            return {}
        table = pq.read_table(self.path, schema=_CACHE).to_pydict()
        keys = zip(table["name"], table["size"], table["mtime_ns"], strict=True)
        digests = (Digests(id, md5 or "") for id, md5 in zip(table["id"], table["md5"], strict=True))
        return dict(zip(keys, digests, strict=True))
