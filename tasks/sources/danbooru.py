"""Danbooru20xx trees: {original,512px}/{bucket}/{id}.{ext} with bucket = id mod 1000, and metadata of the posts."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import statistics
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from pathlib import PurePosixPath as Name
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.expression import is_wanted, names_in
from manifests.sources.sets import DanbooruSource
from tasks.sources.facts import clean_facts
from tasks.sources.found import About, Found, Progress, Said, absent, clean_origin, reason_before
from tasks.sources.hashing import find_listed
from tasks.sources.listing import Listed, files_fitting, listing_digest, walk_folder
from tasks.sources.picture_set import SHOWN, counted
from tasks.sources.posts import BATCH, Ids, Post, read_posts

logger = logging.getLogger(__name__)

BUCKETS = 1000
SMALL_TREE, SMALL_SIDE = "512px", 512
IN_SMALL = "has_512px"  # the fact that a post has a picture in 512px/, which holds the safe ones only
OURS = frozenset({"id", "origin", "licence", "bytes", "label", IN_SMALL})  # known without metadata
NOT_PICTURES = frozenset((".mp4", ".webm", ".mkv", ".zip", ".swf", ".json", ".txt", ".html"))


def check_danbooru(config: DanbooruSource) -> None:
    """ValueError when there is no such tree, or no file behind one of the metadata's patterns."""
    _tree(config)
    metadata_files(config)


def danbooru_fingerprint(config: DanbooruSource) -> object:
    """The names, sizes and times of the tree's files and of the metadata's, and what is made of them."""
    metadata = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in metadata_files(config)]
    small = sorted(_small_ids(config)) if IN_SMALL in names_in(config.where) else []
    small_digest = hashlib.sha256(np.array(small, np.int64).tobytes()).hexdigest()
    asked = [config.tree, sorted(config.facts), config.verify]
    return [str(_tree(config)), listing_digest(list_tree(config)), metadata, small_digest, asked]


def danbooru_home(config: DanbooruSource) -> object:
    """What the source's own folder hangs on: where the tree is, so that digests stay known."""
    return str(_tree(config))


def find_in_danbooru(config: DanbooruSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every file of the tree by name, then a `missing` row for each wanted post of its buckets without a file.

    Facts: `id`, those of the config, and those that `where` asks for. Files that are no pictures by their suffix are
    `not_a_picture`, other bytes than the post's md5 `wrong_bytes`. Neither these files nor those that `where` leaves
    out are read. A file without a post stays unless `where` asks for something that only its post could say.

    Of the metadata it keeps what the ledger will say of the tree's own files, as text: about 0.8 KB a picture. Beside
    it are 0.5 KB a file for the tree, whatever the metadata's size.
    """
    files = list_tree(config)
    selection = Selection(config, files)
    selection.read(progress)
    rows = 0
    for file in find_listed(files, selection.say, work, progress):
        rows += 1
        yield file
    for file in selection.missing(work / "absent"):
        rows += 1
        yield file
    selection.note()
    progress(rows, rows, "files")


def list_tree(config: DanbooruSource) -> list[Listed]:
    """The files of the tree, by name; ValueError where there are none."""
    files = sorted(walk_folder(_tree(config)))
    if not files:
        raise ValueError(f"{_tree(config)} holds no files: BUCKET/ID.EXT was expected")
    return files


def metadata_files(config: DanbooruSource) -> list[Path]:
    """The metadata's files, pattern by pattern and by name in each; ValueError for a pattern that fits none."""
    root = Path(config.path).expanduser().resolve()
    files: dict[Path, None] = {}
    for pattern in config.metadata:
        if not (fitting := files_fitting(pattern, root)):
            raise ValueError(f"no metadata fits {pattern} (looked from {root})")
        files |= dict.fromkeys(fitting)
    return list(files)


def id_of(name: str) -> int | None:
    """The post's id in a file's name, None where it is no number."""
    stem = Name(name).stem
    return int(stem) if re.fullmatch("[0-9]{1,18}", stem) else None


class Selection:
    """What the metadata says of the tree's files, and which of them are wanted."""

    def __init__(self, config: DanbooruSource, files: Iterable[Listed]) -> None:
        self.config = config
        self.asked = names_in(config.where)
        self.kept_facts = sorted((set(config.facts) | self.asked) - OURS - {"rating", "tags"})
        self.ids = {id for file in files if (id := id_of(file.name)) is not None}
        self.small = _small_ids(config) if IN_SMALL in self.asked else set[int]()
        self.said: dict[int, bytes] = {}  # JSON, a third of what Python's own objects take
        self.alike: dict[bytes, bytes] = {}
        self.factors = array("f")  # how much larger the originals of wanted pictures are
        self.here = np.zeros(BUCKETS, np.bool_)  # buckets of which a file is here
        self.here[[id % BUCKETS for id in self.ids]] = True
        self.num_outside = 0
        self.num_without, self.first_without = 0, list[str]()

    def read(self, progress: Progress) -> None:
        """Go through the metadata once; of two posts of an id the later one counts."""
        names = {*self.kept_facts, *self.asked, "rating", "tags", "md5", "file_ext", "image_width", "image_height"}
        seen = 0
        for path in metadata_files(self.config):
            for post in read_posts(path, names, self._cares):
                self._hear(post)
                seen += 1
                if seen % BATCH == 0:
                    progress(seen, None, "posts")

    def say(self, origin: str) -> Said:
        """What is said of the file of this name, and whether it is worth reading."""
        id = id_of(origin)
        known = self.said.get(id) if id is not None else None
        if id is None or known is None:
            self.num_without += 1
            self.first_without += [origin] if self.num_without <= SHOWN else []
            about, md5 = About(facts={} if id is None else self._ours(id)), ""
            wanted = self.asked <= OURS  # what asks for more could be answered by the post only
        else:
            wanted, rating, tags, facts, md5, _ = json.loads(known)
            about = About(rating, tags, "", {**facts, **self._ours(id)})
        reason = reason_before(self.config, origin, about) if wanted else "not_selected"
        if Name(origin).suffix.lower() in NOT_PICTURES:
            reason = "not_a_picture"
        return Said(None, about, reason, md5)

    def missing(self, nowhere: Path) -> Iterator[Found]:
        """A row for each wanted post whose bucket is here and whose file is not."""
        for id in sorted(self.said.keys() - self.ids):
            _, rating, tags, facts, _, suffix = json.loads(self.said[id])
            origin = clean_origin(f"{id % BUCKETS:04d}/{id}{suffix}")
            yield absent(origin, nowhere, "missing", About(rating, tags, "", {**facts, **self._ours(id)}))

    def note(self) -> None:
        """Say aloud what is not as it should be, and what a tree of small pictures costs."""
        if self.num_without and self.config.metadata:
            logger.warning("%s: no post tells of %s", self.config.path, counted(self.first_without, self.num_without))
        if self.num_outside:
            logger.info("%s: %d posts are of buckets that are not here", self.config.path, self.num_outside)
        if gone := len(self.said.keys() - self.ids):
            logger.warning("%s: %d wanted posts have no file in the buckets that are here", self.config.path, gone)
        if self.config.tree == SMALL_TREE:
            logger.warning("%s", loss_of(self.factors))

    def _cares(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Posts of buckets that are here. A file that lies in another bucket than its own counts for its own."""
        inside = self.here[ids % BUCKETS]
        self.num_outside += int((~inside & (ids >= 0)).sum())
        return inside

    def _hear(self, post: Post) -> None:
        later = self.asked & {"bytes", "origin"}  # what a post does not say: its file decides
        wanted = bool(later) or is_wanted(self.config.where, _Facts(self.config, post, self.small))
        if post.id not in self.ids and not wanted:
            self.said.pop(post.id, None)
            return
        names = self.kept_facts if wanted else [name for name in self.kept_facts if name in self.asked]
        facts = clean_facts({name: post.get(name) for name in names})
        about = [wanted, post.get("rating"), "", facts, "", ""]
        if wanted:  # of the others only what was asked is kept: many are alike in it, and lie here once
            verify = self.config.verify and self.config.tree == "original"
            about[2] = post.get("tags")
            about[4:] = [str(post.raw.get("md5") or "").lower() if verify else "", _suffix(post)]
        text = json.dumps(about, ensure_ascii=False).encode("utf-8", "replace")
        self.said[post.id] = text if wanted else self.alike.setdefault(text, text)
        if wanted and post.id in self.ids and self.config.tree == SMALL_TREE:
            longest = max(post.get("image_width") or 0, post.get("image_height") or 0)
            self.factors.append(max(1.0, longest / SMALL_SIDE))

    def _ours(self, id: int) -> dict[str, Any]:
        return {"id": id, IN_SMALL: id in self.small} if IN_SMALL in self.asked else {"id": id}


def _suffix(post: Post) -> str:
    return f".{post.raw['file_ext']}" if post.raw.get("file_ext") else ""


class _Facts(Mapping[str, Any]):
    """What an expression may ask of a post, made when it asks."""

    def __init__(self, config: DanbooruSource, post: Post, small: set[int]) -> None:
        self.post = post
        self.ours = {"licence": config.licence, "id": post.id, IN_SMALL: post.id in small}

    def __getitem__(self, name: str) -> Any:
        value = self.ours[name] if name in self.ours else self.post.get(name)
        return value if name in ("rating", "tags") or value not in (None, "", [], {}) else None

    def __iter__(self) -> Iterator[str]:
        return iter({**self.ours, **self.post.raw})

    def __len__(self) -> int:
        return len({**self.ours, **self.post.raw})


def loss_of(factors: Iterable[float]) -> str:
    """What a tree of small pictures costs in px of face, by how much larger the originals are."""
    sides = sorted(factors)
    advice = "tree: original has them as they were drawn"
    if not sides or sides[-1] == 1.0:
        return f"512px/ holds pictures of {SMALL_SIDE} px at most: a face a third of the picture has 170 px; {advice}"
    middle, most = statistics.median(sides), sides[-1]
    face = round(256 / middle)
    return (
        f"512px/ holds pictures of {SMALL_SIDE} px at most. Of the {len(sides):,} wanted here the originals are "
        f"{middle:.1f} times as large (median; at most {most:.1f}): a face of 256 px there has {face} px here; {advice}"
    )


def _small_ids(config: DanbooruSource) -> set[int]:
    folder = Path(config.path).expanduser().resolve() / SMALL_TREE
    return {id for file in walk_folder(folder) if (id := id_of(file.name)) is not None} if folder.is_dir() else set()


def _tree(config: DanbooruSource) -> Path:
    root = Path(config.path).expanduser().resolve()
    if (root / config.tree).is_dir():
        return root / config.tree
    if root.is_dir() and any(re.fullmatch("[0-9]{3,4}", folder.name) for folder in root.iterdir()):
        return root
    raise ValueError(f"{config.path} holds neither {config.tree}/ nor folders 0000 to 0999 (looked at {root})")
