"""Pictures in an archive: brought here, checked, unpacked under the names of their contents."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from manifests.sources import ArchiveSource, PackedSource
from manifests.sources.asked import MirroredFile, Terms
from tasks.errors import IntegrityError, Refused
from tasks.sources.expected import Expected, check_file
from tasks.sources.found import (
    Found,
    Origins,
    Progress,
    Said,
    Say,
    absent,
    class_label,
    clean_origin,
    facts_digest,
    is_hidden,
    keep_bytes,
    matches,
    read_found,
    write_found,
)
from tasks.sources.polite import shared_bandwidth
from tasks.sources.transfer import PATIENCE, Patience, fetch, is_url
from tasks.sources.unpack import Limits, Unpacking

logger = logging.getLogger(__name__)


def check_archive(config: PackedSource) -> None:
    """ValueError when no mirror can be tried, Refused when the terms of a download are not accepted."""
    check_mirrors(config, config, config.name or config.urls[0], config.licence)


def check_mirrors(file: MirroredFile, terms: Terms, title: str, licence: str) -> None:
    """ValueError when no mirror of the file can be tried, Refused when the terms of its download are not accepted."""
    if _local(file) is not None:
        return
    if not any(is_url(url) for url in file.urls):
        raise ValueError(f"none of these files exists: {', '.join(file.urls)} (looked from {Path.cwd()})")
    judge_terms(terms, title, licence)


def judge_terms(terms: Terms, title: str, licence: str) -> None:
    """Refused when there are terms and nobody has accepted them."""
    if terms.terms and not terms.terms_ack:
        raise Refused(
            f"{title} may be downloaded only on these terms:\n{terms.terms.strip()}\n"
            f"licence: {licence or 'none stated'}\n"
            "Read them, then write `terms_ack: true` beside them in the manifest"
        )


def archive_fingerprint(config: ArchiveSource) -> object:
    """Which archive it is (its digest; else size and time of a local one, else the URLs) and what is taken from it."""
    return [identity(config), config.count, config.members, config.labels]


def find_in_archive(
    config: ArchiveSource, work: Path, progress: Progress, patience: Patience = PATIENCE
) -> Iterator[Found]:
    """Every wanted member of the archive, in its own order; the archive is brought here first if need be.

    Members lie as `files/ab/abcd...` in `work`, where a record says that all of them are there: with it neither
    transfer nor unpacking is done again. IntegrityError when the archive is damaged or not the one that was expected.
    """
    record = work / f"found-{facts_digest(archive_fingerprint(config))}.jsonl"
    if (files := read_found(record)) is None:
        archive = obtain(config, work, progress, patience)
        files = unpack(config, archive, work, progress, lambda name: Said(class_label(name, config.labels)))
        write_found(record, files)
    return iter(files)


def unpack(config: PackedSource, archive: Path, work: Path, progress: Progress, say: Say) -> list[Found]:
    """The wanted members of an archive that lies here, under the names of their contents in `work`.

    A member for which `say` has a reason is not unpacked; one whose md5 is not the one that was said is `wrong_bytes`.
    """
    origins, files = Origins(), list[Found]()

    def takes(name: str) -> bool:
        origin = clean_origin(name)
        if not wanted(origin, config):
            return False
        if reason := (said := say(origin)).reason:
            files.append(absent(origins.give(name), work / "absent", reason, said.about)._replace(label=said.label))
        return not reason

    unpacking = Unpacking(archive, limits_of(config), takes)
    for name, data in unpacking:
        files.append(_unpacked(name, data, say(clean_origin(name)), origins, work))
        if len(files) % 100 == 0:
            progress(len(files), config.count, "files")
    progress(len(files), len(files), "files")
    skipped = ", ".join(f"{number} {reason}" for reason, number in sorted(unpacking.skipped.items()))
    if skipped:
        logger.warning("%s: left out: %s", archive, skipped)
    judge_count(config, archive, len(files), skipped)
    return files


def _unpacked(name: str, data: bytes, said: Said, origins: Origins, work: Path) -> Found:
    digest, path = keep_bytes(data, work)
    wrong = bool(said.md5) and hashlib.md5(data, usedforsecurity=False).hexdigest() != said.md5
    reason = "wrong_bytes" if wrong else ""
    return Found(origins.give(name), path, digest, len(data), said.label, reason, said.about)


def limits_of(config: PackedSource) -> Limits:
    """What the archive may unpack to."""
    return Limits(config.max_member_bytes, config.max_total_bytes, config.max_ratio)


def judge_count(config: PackedSource, archive: Path, found: int, skipped: str) -> None:
    """IntegrityError unless the archive holds as many pictures as the source must, and any at all."""
    wanted = f"files that fit {', '.join(config.members)}" + (f" (left out: {skipped})" if skipped else "")
    if config.count is not None and found != config.count:
        part = "; if a part of it is meant, let count say so" if found < config.count else ""
        raise IntegrityError(f"{archive} holds {found:,} {wanted}, {config.count:,} were expected{part}")
    if not found:
        raise IntegrityError(f"{archive} holds no {wanted}")


def wanted(origin: str, config: PackedSource) -> bool:
    """Whether the file of this clean name is one of the source's pictures."""
    return not is_hidden(origin) and matches(origin, config.members) and not matches(origin, config.not_pictures)


def obtain(config: PackedSource, work: Path, progress: Progress, patience: Patience) -> Path:
    """The archive as a checked file; one that was brought here before is checked again and not brought again."""
    check_archive(config)
    return obtain_file(config, config, work / (config.name or "archive"), progress, patience)


def obtain_file(file: MirroredFile, terms: Terms, place: Path, progress: Progress, patience: Patience) -> Path:
    """One file, checked: where it lies here, else brought to `place`, which gets its identity behind the name."""
    expected = Expected(file.sha256, file.md5, file.bytes)
    target = place.with_name(f"{place.name}-{facts_digest(identity(file))}")
    if target.is_file():
        try:
            check_file(target, expected, target.name)
        except IntegrityError as failure:
            logger.warning("%s: brought again", failure)
        else:
            return target
    agreed = terms.terms_ack or not terms.terms
    if terms.bytes_per_second:
        patience = patience._replace(bandwidth=shared_bandwidth(terms.bytes_per_second))
    return fetch([url for url in file.urls if agreed or not is_url(url)], target, expected, progress, patience)


def identity(file: MirroredFile) -> object:
    """Which file it is: its digest, else size and time of a local one, else the URLs."""
    if file.sha256 or file.md5:
        return file.sha256 or file.md5
    if (path := _local(file)) is None:
        return file.urls
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _local(file: MirroredFile) -> Path | None:
    """The first of the mirrors that is a file here."""
    paths = (Path(url).expanduser() for url in file.urls if not is_url(url))
    return next((path for path in paths if path.is_file()), None)
