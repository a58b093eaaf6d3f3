"""A folder of pictures: listed, hashed once, never touched."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.sources import FolderSource
from tasks.sources.found import Found, Origins, Progress, class_label, is_hidden, keep_bytes, matches
from tasks.store import write_file

logger = logging.getLogger(__name__)

BATCH = 512
# A file changed within this time of being hashed may change again without a new mtime: its hash is not remembered.
FRESH_NS = 2_000_000_000
SAVE_EVERY = 50_000
_CACHE = pa.schema([("name", pa.binary()), ("size", pa.int64()), ("mtime_ns", pa.int64()), ("id", pa.string())])

Key = tuple[bytes, int, int]


class Listed(NamedTuple):
    """A file before it is read."""

    name: str  # relative, posix, as the file system gives it
    path: Path
    size: int
    mtime_ns: int
    mode: int  # permissions: a file that may be read at last is another answer of the folder

    @property
    def key(self) -> Key:
        """What a remembered hash hangs on."""
        return os.fsencode(self.name), self.size, self.mtime_ns


def check_folder(config: FolderSource) -> None:
    """ValueError when the folder is missing, is no folder, or holds nothing that is asked for."""
    list_folder(config)


def folder_fingerprint(config: FolderSource) -> object:
    """Where the folder is and the names, sizes and times of what is asked for in it."""
    files = [[os.fsencode(file.name).hex(), file.size, file.mtime_ns, file.mode] for file in list_folder(config)]
    return [str(_root(config)), config.labels, files]


def find_in_folder(config: FolderSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every file of the folder, by name; symlinks are followed, loops and hidden files are not.

    Hashes are remembered in `work`: a file of the same name, size and time is not read again.
    A file that may not be read or is gone meanwhile has the reason `unreadable`.
    """
    return _hash_files(config, list_folder(config), work, progress)


def list_folder(config: FolderSource) -> list[Listed]:
    """What is asked for in the folder, sorted by name; ValueError when there is nothing."""
    root = _root(config)
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise ValueError(f"{config.path} {state} (looked at {root}): give the folder that holds the pictures")
    everything = sorted(_walk(root))
    files = [file for file in everything if _wanted(file.name, config)]
    if not files:
        raise ValueError(
            f"{config.path} holds no pictures for this source: {len(everything)} files in it, none fits "
            f"include {list(config.include)} and exclude {list(config.exclude)}"
        )
    return files


def _root(config: FolderSource) -> Path:
    return Path(config.path).expanduser().resolve()


def _wanted(name: str, config: FolderSource) -> bool:
    return matches(name, config.include) and not matches(name, config.exclude)


def _walk(root: Path) -> Iterator[Listed]:
    """Every visible regular file below; each real folder once, by its own name rather than a link's."""
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        inside = folders.pop() if folders else links.pop(0)
        folder = root / inside
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        for entry in _entries(folder):
            name = f"{inside}/{entry.name}" if inside else entry.name
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(name)
            elif (listed := _listed(entry, name)) is not None:
                yield listed


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError as error:
        logger.warning("%s is left out: %s", folder, error.strerror)
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _listed(entry: os.DirEntry[str], name: str) -> Listed | None:
    try:
        state = entry.stat()
    except OSError as error:
        logger.warning("%s is left out: %s", entry.path, error.strerror)
        return None
    if not stat.S_ISREG(state.st_mode):
        logger.warning("%s is left out: neither a file nor a folder", entry.path)
        return None
    return Listed(name, Path(entry.path), state.st_size, state.st_mtime_ns, state.st_mode)


def _hash_files(config: FolderSource, files: list[Listed], work: Path, progress: Progress) -> Iterator[Found]:
    cache = work / "hashes.parquet"
    known, origins, fresh_from = _read_hashes(cache), Origins(), time.time_ns() - FRESH_NS
    hashes: dict[Key, str] = {}
    unsaved = 0
    work.mkdir(parents=True, exist_ok=True)
    try:
        with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1)), "hash") as pool:
            for start in range(0, len(files), BATCH):
                batch = files[start : start + BATCH]
                digests = pool.map(lambda file: known.get(file.key) or _digest(file), batch)
                for file, digest in zip(batch, digests, strict=True):
                    if not digest:
                        yield _unreadable(file, origins, config)
                        continue
                    if file.mtime_ns < fresh_from:
                        hashes[file.key] = digest
                        unsaved += file.key not in known
                    yield _found(file, digest, origins, config, work)
                progress(start + len(batch), len(files), "files")
                if unsaved >= SAVE_EVERY:
                    _write_hashes(cache, {**known, **hashes})
                    unsaved = 0
    finally:
        if unsaved:
            _write_hashes(cache, {**known, **hashes})


def _digest(file: Listed) -> str:
    """The sha256 of a file, empty when it may not be read or is gone."""
    try:
        with file.path.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except (PermissionError, FileNotFoundError) as error:
        logger.warning("%s cannot be read: %s", file.path, error.strerror)
        return ""


def _unreadable(file: Listed, origins: Origins, config: FolderSource) -> Found:
    """A row is kept for a file without bytes, too; its id is the digest of its name."""
    origin = origins.give(file.name)
    name = hashlib.sha256(b"unreadable:" + os.fsencode(file.name)).hexdigest()
    return Found(origin, file.path, name, file.size, class_label(origin, config.labels), "unreadable")


def _found(file: Listed, digest: str, origins: Origins, config: FolderSource, work: Path) -> Found:
    origin = origins.give(file.name)
    path = file.path
    if str(path).encode("utf-8", "replace").decode() != str(path):
        # A name that is not UTF-8 cannot be written into the ledger: a copy under its digest can.
        digest, path = keep_bytes(path.read_bytes(), work)
    return Found(origin, path, digest, file.size, class_label(origin, config.labels))


def _read_hashes(path: Path) -> dict[Key, str]:
    if not path.is_file():
        return {}
    table = pq.read_table(path, schema=_CACHE).to_pydict()
    return dict(zip(zip(table["name"], table["size"], table["mtime_ns"], strict=True), table["id"], strict=True))


def _write_hashes(path: Path, hashes: dict[Key, str]) -> None:
    names, sizes, times = zip(*hashes, strict=True)
    table = pa.table([list(names), list(sizes), list(times), list(hashes.values())], schema=_CACHE)
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    write_file(path, out.getvalue())
