"""Pictures in an LMDB: every value is one picture file, named by its key.

The database is mapped into memory and walked by LMDB's own C library: one whose file was cut off is refused, but take
databases only from where you would take a program.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmdb

from manifests.sources import LmdbSource
from tasks.errors import IntegrityError
from tasks.sources.found import Found, Origins, Progress, facts_digest, keep_bytes, matches, read_found, write_found

DATA = "data.mdb"
NOT_A_PICTURE = "length"  # where rosinality's databases say how many there are


def check_lmdb(config: LmdbSource) -> None:
    """ValueError when there is no database."""
    if not lmdb_file(config).is_file():
        raise ValueError(
            f"{config.path} holds no {DATA} (looked for {lmdb_file(config)}): give the folder of the database"
        )


def lmdb_fingerprint(config: LmdbSource) -> object:
    """Which database it is, by its size and time, and what is taken from it."""
    check_lmdb(config)
    state = lmdb_file(config).stat()
    return [str(lmdb_file(config)), state.st_size, state.st_mtime_ns, config.keys]


def find_in_lmdb(config: LmdbSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every wanted value, by key; none has a class. IntegrityError when the database is damaged or holds none."""
    record = work / f"found-{facts_digest(lmdb_fingerprint(config))}.jsonl"
    if (files := read_found(record)) is None:
        files = _unpack(config, work, progress)
        write_found(record, files)
    return iter(files)


def _unpack(config: LmdbSource, work: Path, progress: Progress) -> list[Found]:
    origins, files = Origins(), list[Found]()
    for key, value in _values(lmdb_file(config)):
        name = key.decode("utf-8", "surrogateescape")
        if name == NOT_A_PICTURE or not matches(name, config.keys):
            continue
        digest, path = keep_bytes(value, work)
        files.append(Found(origins.give(name), path, digest, len(value), None))
        if len(files) % 100 == 0:
            progress(len(files), None, "files")
    if not files:
        raise IntegrityError(f"{lmdb_file(config)} holds no value whose key fits {', '.join(config.keys)}")
    progress(len(files), len(files), "files")
    return files


def _values(file: Path) -> Iterator[tuple[bytes, bytes]]:
    try:
        # Read only and without a lock file: the folder may be write-protected.
        with lmdb.open(str(file.parent), readonly=True, lock=False, readahead=False) as database:
            pages, page = database.info()["last_pgno"] + 1, database.stat()["psize"]
            if file.stat().st_size < pages * page:  # a page that is not there would end the process
                raise IntegrityError(f"{file} has {file.stat().st_size:,} bytes, its pages need {pages * page:,}")
            with database.begin() as reading:
                yield from reading.cursor()
    except lmdb.Error as error:
        raise IntegrityError(f"{file} is damaged: {error}") from error


def lmdb_file(config: LmdbSource) -> Path:
    """The database's file."""
    return Path(config.path).expanduser().resolve() / DATA
