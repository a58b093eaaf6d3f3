"""Members of tars that lie elsewhere, read one by one through an index of their offsets."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from manifests.sources.remote import Limits, TarIndexSource
from tasks.errors import IntegrityError
from tasks.sources.address import shown
from tasks.sources.answers import NotGiven
from tasks.sources.bring import bring
from tasks.sources.files import FileSystems, civil_limits
from tasks.sources.found import Found, Origins, Progress, facts_digest, is_hidden, matches, reason_before
from tasks.sources.gather import Giver, Handlers, gather
from tasks.sources.journal import Journal, key_of
from tasks.sources.metadata import Said, read_said
from tasks.sources.outcomes import Entry, judge_all, judge_bytes, title_of
from tasks.sources.places import check_places, expand, is_url, local_state, place_of
from tasks.sources.polite import Bandwidth, Wanted
from tasks.sources.web import Visitor, Web

# Members this near to each other are read with one request, up to so many bytes of them.
MOST_GAP = 64 << 10
MOST_SPAN = 8 << 20
HEADER = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A member as an index names it."""

    tar: str  # address
    entry: Entry
    offset: int  # of its bytes in the tar
    size: int
    sha256: str
    md5: str

    @property
    def key(self) -> str:
        """What the journal knows it by."""
        return key_of(self.tar, self.offset, self.size, self.sha256, self.md5)


def check_tar_index(config: TarIndexSource) -> None:
    """ValueError when a tar, an index or a table that should lie here does not."""
    check_places([address for address in (*_tars(config), *_indexes(config), *config.metadata) if not is_url(address)])


def tar_index_home(config: TarIndexSource) -> object:
    """What was read stays known when tars are added, or metadata or the selection change."""
    return [shown(config.pinned(tar)) for tar in config.tars[:1]]


def tar_index_fingerprint(config: TarIndexSource) -> object:
    """Which tars, indexes and tables they are, in which version, and what is taken from them."""
    files = [local_state(address) for address in (*_tars(config), *_indexes(config), *config.metadata)]
    asked = [config.members, config.columns.model_dump(), config.rows, config.revision]
    return [files, asked, config.limits.max_picture_bytes, config.retry]


def _tars(config: TarIndexSource) -> list[str]:
    return [config.pinned(tar) for tar in expand(config.tars)]


def _indexes(config: TarIndexSource) -> list[str]:
    """The index of each tar."""
    names = [re.sub(r"\.tar$", "", tar) for tar in _tars(config)]
    if not config.index:
        return [f"{name}.json" for name in names]
    return [config.pinned(config.index).replace("{name}", name.rpartition("/")[2]) for name in names]


def find_in_tars(config: TarIndexSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every member that an index holds, in the order of tars and names, then what only the metadata name: `missing`.

    A member is `wrong_bytes` when its digest, or without one its header in the tar, is not what the index says, and
    `missing` when the tar ends before it.
    """
    said = read_said(bring(config.metadata, work, progress), config.columns)
    members = list(_members(config, said, work, progress))
    reasons = [_reason_before(config, member) for member in members]
    chosen = [member for member, reason in zip(members, reasons, strict=True) if not reason]
    with Journal(work, facts_digest([config.retry, config.limits.allow_private])) as journal:
        _ask(config, [member for member in chosen if journal.get(member.key) is None], journal, progress)
        judge_all(title_of(config), [member.key for member in chosen], journal)
        found = [_found(member, reason, journal, work) for member, reason in zip(members, reasons, strict=True)]
    found += _without_picture(config, said, members, work)
    progress(len(found), len(found), "pictures")
    return iter(found)


def _members(config: TarIndexSource, said: dict[str, Said], work: Path, progress: Progress) -> Iterator[Member]:
    origins = Origins()
    indexes = bring(_indexes(config), work, progress)
    for tar, place in zip(_tars(config), indexes, strict=True):
        folder = re.sub(r"\.tar$", "", tar).rpartition("/")[2]
        entries = read_index(place.read(), str(place))
        for name, (offset, size, sha256) in sorted(entries.items()):
            if is_hidden(name) or not matches(name, config.members):
                continue
            about = said.get(stem_of(name), Said())
            entry = Entry(origins.give(f"{folder}/{name}"), about.about, about.label)
            yield Member(tar, entry, offset, size, sha256 or about.sha256, about.md5)


def stem_of(name: str) -> str:
    """The id in a member's name: `0012/100012.jpg` is `100012`."""
    return name.rpartition("/")[2].partition(".")[0]


def read_index(data: bytes, name: str) -> dict[str, tuple[int, int, str]]:
    """Offset, size and sha256 (empty where there is none) of each member; IntegrityError unless it is such an index."""
    try:
        files = json.loads(data)["files"]
        return {str(member): _location(about) for member, about in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f'{name} is no index of a tar: {{"files": {{NAME: {{"offset": ..., "size": ...}}}}}} was expected ({error})'
        ) from error


def _location(about: dict[str, Any]) -> tuple[int, int, str]:
    offset, size, sha256 = about["offset"], about["size"], about.get("sha256") or ""
    if not (type(offset) is int and type(size) is int and offset >= 0 and size >= 0 and isinstance(sha256, str)):
        raise ValueError(f"a member is said to lie at {offset!r}, {size!r} bytes long")
    return offset, size, sha256.lower()


def _reason_before(config: TarIndexSource, member: Member) -> str:
    if member.size == 0:
        return "empty"
    if member.size > config.limits.max_picture_bytes:
        return "too_large"
    return reason_before(config, member.entry.origin, member.entry.about, member.entry.label)


def _ask(config: TarIndexSource, members: Sequence[Member], journal: Journal, progress: Progress) -> None:
    bandwidth = Bandwidth(config.limits.bytes_per_second)
    here = [member for member in members if not is_url(member.tar)]
    places = {tar: place_of(tar) for tar in {member.tar for member in here}}
    files = FileSystems(lambda item: places[item.url], bandwidth)
    _gather(here, files, civil_limits(config.limits), journal, progress)
    with Web(config.limits, Visitor(), bandwidth) as web:
        _gather([member for member in members if is_url(member.tar)], web, config.limits, journal, progress)


def _gather(members: Iterable[Member], giver: Giver, limits: Limits, journal: Journal, progress: Progress) -> None:
    def keep(item: Wanted, data: bytes) -> None:
        assert item.span is not None
        for member in item.what:
            _keep(member, data, member.offset - item.span[0], journal)

    def fail(item: Wanted, answer: NotGiven) -> None:
        reason, facts = answer.reason, answer.facts
        if facts.get("http") == 416:  # the tar ends before
            reason, facts = "missing", {}
        elif facts.get("http") == 200:
            facts = {"error": "the server sends no parts of files"}
        for member in item.what:
            journal.fail(member.key, reason, **facts)

    gather(spans_of(members), giver, limits, Handlers(keep, fail), progress)


def spans_of(members: Iterable[Member]) -> list[Wanted]:
    """Requests for these members and the headers before them, neighbours in one request."""
    spans: list[Wanted] = []
    for member in sorted(members, key=lambda member: (member.tar, member.offset)):
        start, end = max(0, member.offset - HEADER), member.offset + member.size
        if spans and spans[-1].url == member.tar:
            before, what = spans[-1].span or (0, 0), spans[-1].what
            if start - before[1] <= MOST_GAP and end - before[0] <= MOST_SPAN:
                spans[-1] = Wanted(member.tar, [*what, member], (before[0], max(end, before[1])))
                continue
        spans.append(Wanted(member.tar, [member], (start, end)))
    return spans


def _keep(member: Member, data: bytes, start: int, journal: Journal) -> None:
    picture = data[start : start + member.size]
    try:
        if len(picture) < member.size:
            raise NotGiven("missing")
        judge_bytes(picture, member.md5, member.sha256)
        if not (member.sha256 or member.md5) and not _begins_there(data[max(0, start - HEADER) : start], member.size):
            raise NotGiven("wrong_bytes", sha256=hashlib.sha256(picture).hexdigest())
        journal.keep(member.key, picture)
    except NotGiven as answer:
        journal.fail(member.key, answer.reason, **answer.facts)


def _begins_there(header: bytes, size: int) -> bool:
    """Whether the block before a member's bytes is the header of a member of this size."""
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "replace").size == size
    except tarfile.HeaderError:
        return False


def _found(member: Member, reason: str, journal: Journal, work: Path) -> Found:
    if reason:
        return member.entry.missing(reason, work)
    outcome = journal.get(member.key)
    assert outcome is not None, "everything chosen was asked for"
    return member.entry.found(outcome, work)


def _without_picture(
    config: TarIndexSource, said: dict[str, Said], members: Sequence[Member], work: Path
) -> Iterator[Found]:
    """Rows for what the metadata name and no index holds."""
    if config.rows == "indexed":
        return
    held = {stem_of(member.entry.origin) for member in members}
    for id, about in said.items():
        if id not in held:
            entry = Entry(f"metadata/{id}", about.about, about.label)
            yield entry.missing(reason_before(config, entry.origin, entry.about, entry.label) or "missing", work)
