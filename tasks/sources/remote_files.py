"""Pictures in a folder of any file system that fsspec knows: listed once, read by many connections, kept here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from manifests.sources.remote import RemoteFilesSource
from tasks.errors import SourceUnavailable
from tasks.sources.address import shown
from tasks.sources.answers import NotGiven
from tasks.sources.files import FileSystems, civil_limits
from tasks.sources.found import (
    Found,
    Origins,
    Progress,
    class_label,
    clean_origin,
    facts_digest,
    is_hidden,
    matches,
    read_found,
    reason_before,
    write_found,
)
from tasks.sources.gather import Handlers, gather
from tasks.sources.journal import Journal, key_of
from tasks.sources.outcomes import Entry, judge_all, judge_bytes, title_of
from tasks.sources.places import Place, check_scheme, file_system, unavailable
from tasks.sources.polite import Bandwidth, Wanted
from tasks.sources.trouble import passing_errors

logger = logging.getLogger(__name__)

_VERSIONS = ("ETag", "etag", "md5Hash", "sha256", "blob_id", "mtime", "created", "LastModified")


class Listed(NamedTuple):
    """A file of the folder."""

    entry: Entry
    place: Place
    size: int | None
    key: str


def check_remote(config: RemoteFilesSource) -> None:
    """ValueError when the package for this kind of address is missing; no network is asked."""
    check_scheme(config.url)


def remote_home(config: RemoteFilesSource) -> object:
    """What was read stays known when the folder grows or the selection changes."""
    return shown(config.url)


def remote_fingerprint(config: RemoteFilesSource) -> object:
    """Which folder it is, in which version, and what is taken from it."""
    where = [shown(config.pinned(config.url)), config.revision, config.include, config.exclude, config.labels]
    return [where, config.retry, config.limits.max_picture_bytes]


def find_remote(config: RemoteFilesSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every file of the folder, by name.

    A folder that was read whole is not even listed again until the source says something else.
    """
    record = work / f"found-{facts_digest([remote_fingerprint(config), config.where])}.jsonl"
    if (files := read_found(record)) is None:
        files = _read(config, work, progress)
        write_found(record, files)
    progress(len(files), len(files), "files")
    return iter(files)


def _read(config: RemoteFilesSource, work: Path, progress: Progress) -> list[Found]:
    listed = list_remote(config)
    reasons = {file.entry.origin: _reason_before(config, file) for file in listed}
    chosen = [file for file in listed if not reasons[file.entry.origin]]
    with Journal(work, facts_digest(config.retry)) as journal:
        wanted = [Wanted(str(file.place), file) for file in chosen if journal.get(file.key) is None]
        giver = FileSystems(lambda item: item.what.place, Bandwidth(config.limits.bytes_per_second))
        gather(wanted, giver, civil_limits(config.limits), _handlers(journal), progress)
        judge_all(title_of(config), [file.key for file in chosen], journal)
        return [_found(file, reasons[file.entry.origin], journal, work) for file in listed]


def _handlers(journal: Journal) -> Handlers:
    def keep(item: Wanted, data: bytes) -> None:
        judge_bytes(data)
        journal.keep(item.what.key, data)

    def fail(item: Wanted, answer: NotGiven) -> None:
        journal.fail(item.what.key, answer.reason, **answer.facts)

    return Handlers(keep, fail)


def _reason_before(config: RemoteFilesSource, file: Listed) -> str:
    if file.size == 0:
        return "empty"
    if file.size is not None and file.size > config.limits.max_picture_bytes:
        return "too_large"
    return reason_before(config, file.entry.origin, file.entry.about, file.entry.label)


def _found(file: Listed, reason: str, journal: Journal, work: Path) -> Found:
    if reason:
        return file.entry.missing(reason, work)
    outcome = journal.get(file.key)
    assert outcome is not None, "everything chosen was asked for"
    return file.entry.found(outcome, work)


def list_remote(config: RemoteFilesSource) -> list[Listed]:
    """What is asked for in the folder, by name; SourceUnavailable when it cannot be listed or holds nothing."""
    address = config.pinned(config.url)
    files, path = file_system(address)
    try:
        found = files.glob(path, detail=True) if _is_pattern(path) else files.find(path, detail=True)
    except passing_errors() as error:
        raise unavailable(address, error) from error
    root = _root(path)
    names = sorted(str(name) for name, info in found.items() if info.get("type") == "file")
    origins = Origins()
    listed = [_listed(config, Place(files, name, ""), found[name], root, origins) for name in names]
    listed = [file for file in listed if file is not None]
    if not listed:
        raise SourceUnavailable(
            f"{shown(address)} holds no file that fits include {list(config.include)} and exclude "
            f"{list(config.exclude)}: {len(names)} files in it"
        )
    if not config.revision and not address.startswith("hf://"):
        logger.warning("%s has no versions: what lies there now is taken, change revision to list anew", shown(address))
    return [file for file in listed if file is not None]


def _listed(
    config: RemoteFilesSource, place: Place, info: dict[str, Any], root: str, origins: Origins
) -> Listed | None:
    inside = clean_origin(place.path.removeprefix(root))
    if is_hidden(inside) or not matches(inside, config.include) or matches(inside, config.exclude):
        return None
    url = shown(place.files.unstrip_protocol(place.path))
    versions = [str(info[name]) for name in _VERSIONS if info.get(name) is not None]
    entry = Entry(origins.give(inside), label=class_label(inside, config.labels))
    return Listed(entry, place._replace(url=url), info.get("size"), key_of(url, info.get("size"), versions))


def _is_pattern(path: str) -> bool:
    return any(letter in path for letter in "*?[")


def _root(path: str) -> str:
    """The folder that names are told from: of a pattern, the part before its first letter that stands for others."""
    if not _is_pattern(path):
        return path.rstrip("/") + "/"
    fixed = path[: min(path.index(letter) for letter in "*?[" if letter in path)]
    return fixed.rpartition("/")[0] + "/"
