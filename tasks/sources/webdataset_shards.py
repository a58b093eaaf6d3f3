"""WebDataset shards: tars whose members share a key, a picture with its JSON, class and text; ours are such, too."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from braceexpand import braceexpand

from manifests.sources.asked import MirroredFile
from manifests.sources.sets import WebdatasetSource
from tasks.errors import IntegrityError, SourceUnavailable
from tasks.sources.archive import check_mirrors, identity, obtain_file
from tasks.sources.facts import clean_facts, clean_text, join_tags
from tasks.sources.found import (
    NOTHING,
    About,
    Found,
    Origins,
    Progress,
    absent,
    clean_origin,
    facts_digest,
    is_hidden,
    keep_bytes,
    read_found,
    reason_before,
    write_found,
)
from tasks.sources.listing import files_fitting
from tasks.sources.transfer import PATIENCE, Patience, is_url, side_by_side
from tasks.sources.unpack import Limits, Unpacking

logger = logging.getLogger(__name__)

PICTURES = frozenset(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "img", "image"))
MOST_JSON = 4 << 20  # bytes of a sample's JSON or text; more says nothing of one picture
# What tools call the things that the ledger has a column for.
LICENCES = ("licence", "license")
OURS = frozenset((*LICENCES, "rating", "tags", "label", "facts"))


class Member(NamedTuple):
    """A member of a tar by WebDataset's rule: KEY.SUFFIX, parted at the first dot of its last name."""

    key: str
    suffix: str  # in lower case, without the dot
    data: bytes


def check_webdataset(config: WebdatasetSource) -> None:
    """ValueError when no shard can be tried, Refused when the terms of a download are not accepted."""
    for shard in shards_of(config):
        check_mirrors(shard, config, config.name or config.kind, config.licence)


def webdataset_fingerprint(config: WebdatasetSource) -> object:
    """Which shards these are: their digests where known, else sizes and times of local ones, else URLs."""
    return [[shard.urls[0], identity(shard)] for shard in shards_of(config)]


def webdataset_home(config: WebdatasetSource) -> object:
    """What the source's own folder hangs on: shards that changed are unpacked anew, the others are not."""
    return config.shards


def find_in_webdataset(
    config: WebdatasetSource, work: Path, progress: Progress, patience: Patience = PATIENCE
) -> Iterator[Found]:
    """Every picture of every shard, SHARD/KEY.SUFFIX, in the shards' order.

    Its facts are what KEY.json says beside rating, tags, licence and label, and `caption`: KEY.txt. KEY.cls, else the
    JSON's label, is its class. A sample without a picture is `missing`; a shard that is damaged has a row of its own,
    `unreadable`, after the pictures that came before the damage. SourceUnavailable for shards that no try could bring,
    once all others are here; IntegrityError when there is no picture in any.
    """
    shards = _named(config)
    _bring(config, shards, work, progress, patience)
    rows = kept = 0
    for done, name in enumerate(shards, 1):
        for file in _read_shard(config, shards[name], name, work, progress, patience):
            rows += 1
            kept += bool(file.bytes) or file.reason == "not_selected"
            yield file
        progress(done, len(shards), "shards")
    if not kept:
        raise IntegrityError(f"{', '.join(config.shards)}: none of {len(shards)} shards holds a picture")
    progress(rows, rows, "files")


def shards_of(config: WebdatasetSource) -> list[MirroredFile]:
    """Each shard as one file, patterns spelt out and sorted by name in each; ValueError for one that fits nothing."""
    names: dict[str, None] = {}
    for pattern in config.shards:
        for name in braceexpand(pattern, escape=False):
            found = [name] if is_url(name) else [str(path) for path in files_fitting(name, Path.cwd())]
            if not found:
                raise ValueError(f"no shard fits {name} (looked from {Path.cwd()})")
            names |= dict.fromkeys(found)
    digests = config.sha256
    return [MirroredFile(urls=(name,), sha256=digests.get(name.rpartition("/")[2])) for name in names]


def local_bytes(config: WebdatasetSource) -> int:
    """Bytes of the shards that lie here."""
    paths = (Path(shard.urls[0]) for shard in shards_of(config) if not is_url(shard.urls[0]))
    return sum(path.stat().st_size for path in paths)


def _named(config: WebdatasetSource) -> dict[str, MirroredFile]:
    """The shards by the names that begin their pictures' origins."""
    names = Origins()
    return {names.give(Path(shard.urls[0]).name): shard for shard in shards_of(config)}


def _bring(
    config: WebdatasetSource, shards: dict[str, MirroredFile], work: Path, progress: Progress, patience: Patience
) -> None:
    """Let every shard be here before the first is read: one that cannot be had ends the source, last of all."""
    new = [name for name, shard in shards.items() if not _record(config, name, shard, work).is_file()]

    def call(name: str) -> Callable[[Progress], Path]:
        return lambda told: obtain_file(shards[name], config, work / "shard", told, patience)

    failures = []
    for name, coming in zip(new, side_by_side([call(name) for name in new], progress), strict=True):
        try:
            coming.result()
        except SourceUnavailable as failure:
            failures.append(f"{name}: {failure}")
    if failures:
        raise SourceUnavailable(f"{len(failures)} of {len(shards)} shards are not here:\n" + "\n".join(failures))


def _record(config: WebdatasetSource, name: str, shard: MirroredFile, work: Path) -> Path:
    asked = [name, identity(shard), config.where and [config.where, config.licence]]
    return work / f"found-{facts_digest(asked)}.jsonl"


def _read_shard(
    config: WebdatasetSource, shard: MirroredFile, name: str, work: Path, progress: Progress, patience: Patience
) -> list[Found]:
    record = _record(config, name, shard, work)
    if (files := read_found(record)) is None:
        files = _unpack(config, obtain_file(shard, config, work / "shard", progress, patience), name, work)
        write_found(record, files)
    return files


def _unpack(config: WebdatasetSource, path: Path, name: str, work: Path) -> list[Found]:
    files, origins = list[Found](), Origins()
    try:
        for key, members in groupby(_members(config, path), lambda member: member.key):
            files += _sample(config, f"{name}/{key}", list(members), origins, work)
    except IntegrityError as damage:
        logger.warning("%s", damage)
        words = clean_text(str(damage).replace(str(path), name))
        files.append(absent(origins.give(name), work / "absent", "unreadable", About(facts={"damage": words})))
    return files


def _members(config: WebdatasetSource, path: Path) -> Iterator[Member]:
    limits = Limits(config.max_member_bytes, config.max_total_bytes, config.max_ratio)
    unpacking = Unpacking(path, limits, lambda name: not is_hidden(clean_origin(name)) and "." in Path(name).name)
    for name, data in unpacking:
        folder, _, last = clean_origin(name).rpartition("/")
        key, _, suffix = last.partition(".")
        yield Member(f"{folder}/{key}" if folder else key, suffix.lower(), data)
    if unpacking.skipped:
        logger.warning("%s: left out: %s", path, dict(unpacking.skipped))


def _sample(config: WebdatasetSource, key: str, members: list[Member], origins: Origins, work: Path) -> Iterator[Found]:
    """A row for each picture of a sample; one row, `missing`, where it has none."""
    about, label = _about(key, members)
    pictures = [member for member in members if member.suffix.rpartition(".")[2] in PICTURES]
    if not pictures:
        yield absent(origins.give(key), work / "absent", "missing", about)
    for member in pictures:
        origin = origins.give(f"{key}.{member.suffix}")
        if reason := reason_before(config, origin, about, label):
            yield absent(origin, work / "absent", reason, about)._replace(label=label)
            continue
        digest, place = keep_bytes(member.data, work)
        yield Found(origin, place, digest, len(member.data), label, "", about)


def _about(key: str, members: list[Member]) -> tuple[About, str | None]:
    """What the sample's other members say, and its class."""
    texts = {member.suffix: member.data for member in members if len(member.data) <= MOST_JSON}
    said = _json(key, texts["json"]) if "json" in texts else {}
    more = said.get("facts")  # as our own shards have them
    more = more if isinstance(more, dict) else {}
    facts = clean_facts({name: value for name, value in {**said, **more}.items() if name not in OURS})
    if caption := texts.get("txt", b"").decode("utf-8", "replace").strip():
        facts["caption"] = clean_text(caption)
    label = texts["cls"].decode("utf-8", "replace").strip() if "cls" in texts else said.get("label")
    licence = next((clean_text(said[name]) for name in LICENCES if said.get(name)), "")
    tags = said.get("tags") or ""
    words = tags.split() if isinstance(tags, str) else map(str, tags) if isinstance(tags, list) else ()
    rating = clean_text(said.get("rating") or "")
    about = About(rating, join_tags(words), licence, facts)
    return about if any(about) else NOTHING, clean_text(label) if label not in (None, "") else None


def _json(key: str, data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        logger.warning("%s.json is no JSON: %s", key, error)
        return {}
    return said if isinstance(said, dict) else {"json": said}
