"""A folder of pictures: listed, hashed once, never touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manifests.sources import FolderSource
from tasks.sources.found import Found, Progress, Said, class_label, matches
from tasks.sources.hashing import find_listed
from tasks.sources.listing import Listed, listing_digest, walk_folder


def check_folder(config: FolderSource) -> None:
    """ValueError when the folder is missing, is no folder, or holds nothing that is asked for."""
    list_folder(config)


def folder_fingerprint(config: FolderSource) -> object:
    """Where the folder is and the names, sizes and times of what is asked for in it."""
    return [str(_root(config)), config.labels, listing_digest(list_folder(config))]


def find_in_folder(config: FolderSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every file of the folder, by name; symlinks are followed, loops and hidden files are not.

    Hashes are remembered in `work`: a file of the same name, size and time is not read again.
    A file that may not be read or is gone meanwhile has the reason `unreadable`.
    """

    def say(origin: str) -> Said:
        return Said(class_label(origin, config.labels))

    return find_listed(list_folder(config), say, work, progress)


def list_folder(config: FolderSource) -> list[Listed]:
    """What is asked for in the folder, sorted by name; ValueError when there is nothing."""
    root = _root(config)
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise ValueError(f"{config.path} {state} (looked at {root}): give the folder that holds the pictures")
    everything = sorted(walk_folder(root))
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
