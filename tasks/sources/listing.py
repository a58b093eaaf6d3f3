"""What lies in a folder: every visible regular file once, by name, without reading any."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.sources.found import is_hidden

logger = logging.getLogger(__name__)

Key = tuple[bytes, int, int]


class Listed(NamedTuple):
    """A file before it is read."""

    name: str  # relative, posix, as the file system gives it
    root: Path
    size: int
    mtime_ns: int
    mode: int  # permissions: a file that may be read at last is another answer of the folder

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.root / self.name

    @property
    def key(self) -> Key:
        """What a remembered digest hangs on."""
        return os.fsencode(self.name), self.size, self.mtime_ns


def walk_folder(root: Path) -> Iterator[Listed]:
    """Every visible regular file below, in no order; each real folder once, by its own name rather than a link's.

    Symlinks are followed, loops and hidden files are not. What cannot be looked at is left out with a warning.
    """
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
            elif (listed := _listed(entry, name, root)) is not None:
                yield listed


def files_fitting(pattern: str, root: Path) -> list[Path]:
    """The files that a shell pattern fits, by name; ** crosses folders, and a relative one begins at `root`."""
    place = Path(pattern).expanduser()
    start, inside = (Path(place.anchor), place.relative_to(place.anchor)) if place.is_absolute() else (root, place)
    return sorted(path for path in start.glob(str(inside)) if path.is_file())


def listing_digest(files: Iterable[Listed]) -> str:
    """A digest (sha256, hex) of the names, sizes, times and permissions of these files, in their order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"%b\0%d %d %d\n" % (os.fsencode(file.name), file.size, file.mtime_ns, file.mode))
    return digest.hexdigest()


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


def _listed(entry: os.DirEntry[str], name: str, root: Path) -> Listed | None:
    try:
        state = entry.stat()
    except OSError as error:
        logger.warning("%s is left out: %s", entry.path, error.strerror)
        return None
    if not stat.S_ISREG(state.st_mode):
        logger.warning("%s is left out: neither a file nor a folder", entry.path)
        return None
    return Listed(name, root, state.st_size, state.st_mtime_ns, state.st_mode)
