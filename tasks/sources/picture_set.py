"""Pictures of a known set: a folder here or one archive, read with what the set's own files say of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from manifests.sources.asked import MirroredFile
from manifests.sources.sets import SetSource
from tasks.sources.archive import check_archive, check_mirrors, identity, judge_count, obtain, unpack, wanted
from tasks.sources.found import (
    About,
    Found,
    Progress,
    Said,
    absent,
    clean_origin,
    facts_digest,
    read_found,
    reason_before,
    write_found,
)
from tasks.sources.hashing import find_listed
from tasks.sources.listing import Listed, listing_digest, walk_folder
from tasks.sources.transfer import Patience, is_url

logger = logging.getLogger(__name__)

SHOWN = 3  # names in a note


class Known(NamedTuple):
    """What a set's own files say of one picture."""

    name: str  # the name that they give it
    about: About
    md5: str = ""


class Words:
    """What a set says of its pictures by key, and who was asked for.

    `key_of` makes the key of a picture's clean name, None where it can have none.
    """

    def __init__(self, config: SetSource, known: Mapping[str, Known], key_of: Callable[[str], str | None]) -> None:
        self.config, self.known, self.key_of = config, known, key_of

    def say(self, origin: str) -> Said:
        """What is said of the picture of this name."""
        known = self.known.get(self.key_of(origin) or "")
        about = known.about if known else About()
        return Said(None, about, reason_before(self.config, origin, about), known.md5 if known else "")

    def missing(self, origins: Iterable[str], nowhere: Path) -> Iterator[Found]:
        """A row for each picture that is only spoken of, after the pictures that are there."""
        seen = {self.key_of(origin) for origin in origins}
        for key in self.known:
            if key not in seen:
                known = self.known[key]
                yield absent(known.name, nowhere, "missing", known.about)


def check_set(config: SetSource, texts: Iterable[MirroredFile | None]) -> None:
    """ValueError when the pictures or a file about them can be had nowhere, Refused for terms not accepted."""
    if set_folder(config) is None:
        check_archive(config)
    for text in texts:
        if text is not None:
            check_mirrors(text, config, config.name or config.kind, config.licence)


def set_identity(config: SetSource) -> object:
    """Which pictures these are: the listing of the folder, else which archive it is."""
    if (folder := set_folder(config)) is None:
        return identity(config)
    return [str(folder), listing_digest(list_set(config, folder))]


def set_home(config: SetSource) -> object:
    """What the source's own folder hangs on: not on what is only read here, so that nothing is fetched twice."""
    folder = set_folder(config)
    return str(folder) if folder else identity(config)


def find_pictures(
    config: SetSource, words: Words, version: object, work: Path, progress: Progress, patience: Patience
) -> Iterator[Found]:
    """Every picture of the set, then a `missing` row for each that its files name and that is not there.

    `version` tells one state of the set's files from another. Pictures of which nothing is said are counted in a note.
    """
    folder = set_folder(config)
    pictures = (
        _in_folder(config, folder, words, work, progress)
        if folder
        else _in_archive(config, words, version, work, progress, patience)
    )
    origins = []
    for picture in pictures:
        origins.append(picture.origin)
        yield picture
    missing = list(words.missing(origins, work / "absent"))
    yield from missing
    _note(config, words, origins, [row.origin for row in missing])
    progress(len(origins) + len(missing), len(origins) + len(missing), "files")


def set_folder(config: SetSource) -> Path | None:
    """The folder that holds the pictures, where the first of the paths that exist is one."""
    paths = (Path(url).expanduser().resolve() for url in config.urls if not is_url(url))
    first = next((path for path in paths if path.exists()), None)
    return first if first and first.is_dir() else None


def list_set(config: SetSource, folder: Path) -> list[Listed]:
    """The pictures in the folder, by name."""
    return sorted(file for file in walk_folder(folder) if wanted(clean_origin(file.name), config))


def _in_folder(config: SetSource, folder: Path, words: Words, work: Path, progress: Progress) -> Iterator[Found]:
    files = list_set(config, folder)
    judge_count(config, folder, len(files), "")
    return find_listed(files, words.say, work, progress)


def _in_archive(
    config: SetSource, words: Words, version: object, work: Path, progress: Progress, patience: Patience
) -> Iterator[Found]:
    asked = [identity(config), config.count, config.members, config.where and [config.where, config.licence], version]
    record = work / f"found-{facts_digest(asked)}.jsonl"
    if (files := read_found(record)) is None:
        files = unpack(config, obtain(config, work, progress, patience), work, progress, words.say)
        # What is said of them is not written down with each: it is read again from where it is said.
        write_found(record, (file._replace(about=About()) for file in files))
    for file in files:
        yield file._replace(about=words.say(file.origin).about)


def _note(config: SetSource, words: Words, origins: list[str], missing: list[str]) -> None:
    unknown = [origin for origin in origins if words.known and (words.key_of(origin) or "") not in words.known]
    title = config.name or config.kind
    if unknown:
        logger.warning("%s: nothing is said of %s", title, counted(unknown))
    if missing:
        logger.warning("%s: named and not there: %s", title, counted(missing))


def counted(names: Sequence[str], count: int | None = None) -> str:
    """How many there are, `count` where these names are only the first, and the first few by name."""
    count = len(names) if count is None else count
    more = ", ..." if count > SHOWN else ""
    return f"{count:,} pictures ({', '.join(names[:SHOWN])}{more})"
