"""FFHQ: one of its three trees, and the json that says whose each picture is, on what terms and with what md5."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from pathlib import PurePosixPath as Name
from typing import Any

from manifests.sources.sets import FfhqSource
from tasks.errors import IntegrityError
from tasks.sources.archive import identity, obtain_file
from tasks.sources.facts import clean_facts, clean_text
from tasks.sources.found import About, Found, Progress
from tasks.sources.picture_set import Known, Words, check_set, find_pictures, set_home, set_identity
from tasks.sources.transfer import PATIENCE, Patience

# Where the json speaks of the pictures of each tree.
SECTIONS = {"images1024x1024": "image", "thumbnails128x128": "thumbnail", "in-the-wild-images": "in_the_wild"}
_TREES = frozenset(SECTIONS.values())
# dlib's 68 points, of which ours are means: the eyes, the tip of the nose, the corners of the mouth.
FIVE = (range(36, 42), range(42, 48), range(30, 31), range(48, 49), range(54, 55))
DLIB = 68


def check_ffhq(config: FfhqSource) -> None:
    """ValueError or Refused before any work: what cannot be had, and terms that are not accepted."""
    check_set(_of_tree(config), (config.about,))


def ffhq_fingerprint(config: FfhqSource) -> object:
    """Which pictures and which json these are, and whether they are compared."""
    return [set_identity(_of_tree(config)), config.count, config.members, _version(config)]


def ffhq_home(config: FfhqSource) -> object:
    """What the source's own folder hangs on."""
    return set_home(config)


def find_in_ffhq(config: FfhqSource, work: Path, progress: Progress, patience: Patience = PATIENCE) -> Iterator[Found]:
    """Every picture of the tree with what the json says of it; one that only the json names is `missing`.

    The licence is the photograph's own. Facts: `category` (training, validation), `author`, `photo_url`, `photo_title`,
    `country`, `licence_url`, `date_uploaded`, `date_crawled`, and `landmarks`: x, y of the eyes, the nose and the
    corners of the mouth, left ones first as seen, px of the picture. Other bytes than the json's md5 are `wrong_bytes`.
    """
    known = {}
    if config.about is not None:
        path = obtain_file(config.about, config, work / "about", progress, patience)
        known = read_about(path, config.pictures, config.verify)
    words = Words(config, known, key_of)
    return find_pictures(_of_tree(config), words, _version(config), work, progress, patience)


def key_of(origin: str) -> str | None:
    """The picture's number as the json writes it: 00042.png and 00000/00042.png are 42; None for other names."""
    stem = Name(origin).stem
    return str(int(stem)) if re.fullmatch("[0-9]{1,9}", stem) else None


def read_about(path: Path, pictures: str, verify: bool) -> dict[str, Known]:
    """What the json says of each picture of a tree, by number; IntegrityError when it is no such json.

    Of 267 MB of text little is kept: landmarks become numbers as they are read, and sections of other trees are
    dropped.
    """
    section = SECTIONS[pictures]

    def shrink(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError(f"a name stands twice among {', '.join(name for name, _ in pairs[:5])}")
        found = {name: value for name, value in pairs if name not in _TREES or name in (section, "image")}
        if (points := found.get("face_landmarks")) is not None:
            found["face_landmarks"] = _flat(points)
        return found

    try:
        about = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=shrink)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is no JSON that can be used: {error}") from error
    if not isinstance(about, dict) or not about:
        raise IntegrityError(f'{path} is not of the form {{"0": {{"category": ..., "image": {{...}}}}, ...}}')
    known = {}
    for number, entry in about.items():
        if key_of(number) is None or not isinstance(entry, dict) or not isinstance(entry.get(section), dict):
            raise IntegrityError(f"{path}: its entry {number!r} says nothing of {section!r}")
        known[str(int(number))] = Known(
            f"{int(number):05d}.png", _about(entry, section), _md5(entry[section]) if verify else ""
        )
    return known


def _about(entry: dict[str, Any], section: str) -> About:
    said = entry.get("metadata")
    metadata = said if isinstance(said, dict) else {}
    facts = {"category": entry.get("category"), "licence_url": metadata.get("license_url")}
    facts |= {name: metadata.get(name) for name in ("author", "photo_url", "photo_title", "country")}
    facts |= {name: metadata.get(name) for name in ("date_uploaded", "date_crawled")}
    facts["landmarks"] = _five(entry, section)
    return About(licence=clean_text(metadata.get("license") or ""), facts=clean_facts(facts))


def _md5(picture: dict[str, Any]) -> str:
    return str(picture.get("file_md5") or "").lower()


def _flat(points: Any) -> array[float] | None:
    """68 pairs as 136 numbers; None for anything else."""
    try:
        flat = array("f", (number for x, y in points for number in (x, y)))
    except (TypeError, ValueError, OverflowError):
        return None
    return flat if len(flat) == 2 * DLIB else None


def _five(entry: dict[str, Any], section: str) -> list[float] | None:
    """Ten numbers in px of the picture; a thumbnail has the points of the large picture, made smaller."""
    own = entry[section].get("face_landmarks")
    large = entry.get("image") if own is None else entry[section]
    points = large.get("face_landmarks") if isinstance(large, dict) else None
    width, large_width = _width(entry[section]), _width(large)
    if not points or (own is None and not (width and large_width)):
        return None
    scale = width / large_width if own is None else 1.0
    means = (sum(points[2 * i + axis] for i in group) / len(group) for group in FIVE for axis in (0, 1))
    return [round(scale * mean, 2) for mean in means]


def _width(picture: Any) -> int:
    """Px, 0 where the json says nothing that could be one."""
    match picture.get("pixel_size") if isinstance(picture, dict) else None:
        case [int(width), int()] if width > 0:
            return width
    return 0


def _of_tree(config: FfhqSource) -> FfhqSource:
    """The source, its folder being the tree where the tree lies in it."""
    inside = [f"{url.rstrip('/')}/{config.pictures}" for url in config.urls]
    urls = [tree if Path(tree).expanduser().is_dir() else url for tree, url in zip(inside, config.urls, strict=True)]
    return config.model_copy(update={"urls": tuple(urls)})


def _version(config: FfhqSource) -> object:
    return [config.about and identity(config.about), config.pictures, config.verify]
