"""pack: the faces of a job's shards in the layouts that other projects read, as one file or one folder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from imaging.cut import resize
from imaging.decode import decode
from imaging.encode import encode
from manifests.expression import is_wanted, parse_expression
from manifests.ledger import COLUMNS, kept, rows_of
from stylegan.faces import Faces
from tasks.job import Job
from tasks.shard import SHOWN, about_face, columns_of
from tasks.shards import open_shard
from tasks.store import Record, write_text

Layout = Literal["nvidia", "folder", "webdataset"]
Split = Literal["train", "held_out"]
FILTER = "Lanczos (a = 3), Pillow"
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of a zip, which must say some day

Add = Callable[[str, bytes], object]  # put a file of this name into what is packed


class Asked(NamedTuple):
    """Which faces are packed, how, and at which sizes in px (none: as they are)."""

    layout: Layout
    split: Split = "train"
    where: str = ""
    sizes: tuple[int, ...] = ()


class Chosen(NamedTuple):
    """A face that is meant: its place among the split's faces, its class, and what its source says (a JSON file)."""

    position: int
    label: str
    about: bytes


class Face(NamedTuple):
    """A face to be packed: its id, its class and that class's number (-1: none), its files."""

    id: str
    label: str
    number: int
    about: bytes
    data: bytes
    suffix: str


def asked_of(to: Path, layout: str, split: str, where: str, sizes: str) -> Asked:
    """The same from the words of a command; ValueError names the one that is wrong."""
    if split not in ("train", "held_out"):
        raise ValueError(f"--split {split}: there are train and held_out")
    if not re.fullmatch(r"([1-9][0-9]{0,4}(,[1-9][0-9]{0,4})*)?", sizes):
        raise ValueError(f"--sizes {sizes}: give whole numbers of px with commas between, 8,16,32")
    pixels = tuple(sorted({int(size) for size in sizes.split(",") if size}))
    return Asked(layout_of(to, layout), "train" if split == "train" else "held_out", where, pixels)


def layout_of(to: Path, asked: str = "") -> Layout:
    """The layout that is asked for, or the one usual for such a name; ValueError where it does not fit the name."""
    fitting: dict[str, tuple[Layout, ...]] = {".zip": ("nvidia", "folder"), ".tar": ("webdataset",)}
    layouts = fitting.get(to.suffix, ("folder", "nvidia"))
    for layout in layouts:
        if asked in ("", layout):
            return layout
    raise ValueError(f"--format {asked} does not go into {to.name}: it can hold the format {' or '.join(layouts)}")


def pack_faces(job: Job, shards: Record, to: Path, asked: Asked) -> list[Path]:
    """Write the faces that are asked for to `to`, or to one such target a size, and return what was written.

    The same shards and wishes give the same bytes. A target is there whole or not at all; beside it lies NAME.json
    with its digest and how it was made. ValueError when no face is meant, or a target is there already.
    """
    parse_expression(asked.where)
    targets = {size: to.with_name(f"{to.stem}-{size}{to.suffix}") for size in asked.sizes} or {0: to}
    for target in targets.values():
        if target.exists():
            raise ValueError(f"{target} is there already: delete it, or give another name with --to")
    faces = Faces(job.folder(shards), asked.split)
    chosen = _chosen(job, shards, faces, asked)
    written = []
    for size, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        with _container(target) as add:
            _LAYOUTS[asked.layout](_files(job, faces, chosen, size), add)
        about = {
            "manifest": job.manifest.name,
            "shards": shards.output,
            "format": asked.layout,
            "split": asked.split,
            "where": asked.where,
            "size": size or None,
            "filter": FILTER if size else None,
            "faces": len(chosen),
            "classes": shards.facts.get("classes", {}),
            "sha256": _digest(target),
        }
        write_text(target.with_name(target.name + ".json"), json.dumps(about, indent=1, ensure_ascii=False) + "\n")
        written.append(target)
    return written


def _chosen(job: Job, shards: Record, faces: Faces, asked: Asked) -> list[Chosen]:
    """The faces that are meant, by id."""
    chosen = []
    positions = {face: position for position, face in enumerate(faces.ids)}
    for name, bucket in sorted(shards.buckets.items()):  # a bucket is the leading bits of ids: this is their order
        rows = kept(columns_of(job, {name: bucket}, [name for name in COLUMNS if name != "thumb"]), *SHOWN).sort_values(
            "id"
        )
        for row in rows_of(rows[rows["split"] == asked.split]):
            if is_wanted(asked.where, facts_of(row)):
                about = about_face(row) if asked.layout == "webdataset" else b""
                chosen.append(Chosen(positions[row["id"]], row["label"], about))
    if not chosen:
        raise ValueError(
            f"no {asked.split} face is meant by {asked.where!r}: `stylegan ledger {job.path} --out x.csv` "
            "shows what can be asked for"
        )
    without = sum(faces.labels[one.position] < 0 for one in chosen)
    if asked.layout == "nvidia" and 0 < without < len(chosen):
        raise ValueError(
            f"{without:,} of {len(chosen):,} faces have no class, and NVIDIA's layout wants one for all or for "
            "none: choose them with --where \"label != ''\", or take --format folder"
        )
    return chosen


def facts_of(row: dict[str, Any]) -> dict[str, Any]:
    """What an expression may ask of a row: every column, and the source's facts by their own names."""
    columns = {name: None if pd.api.types.is_scalar(value) and pd.isna(value) else value for name, value in row.items()}
    return {**(json.loads(row["facts"]) if row["facts"] else {}), **columns}


def _files(job: Job, faces: Faces, chosen: list[Chosen], size: int) -> Iterator[Face]:
    """The faces as files: the shards' own bytes, or, at another size, encoded anew as the manifest says."""
    codec = job.manifest.upscale.codec
    for position, label, about in chosen:
        id, data = faces.ids[position], faces.encoded(position)
        if size:
            image = decode(data).image
            if image.shape[0] < size:
                raise ValueError(f"--sizes {size}: face {id} has {image.shape[0]} px, and packing only shrinks")
            if image.shape[0] > size:
                data = encode(resize(image, size), codec)
        yield Face(id, label, faces.labels[position], about, data, codec.format)


def _add_nvidia(files: Iterator[Face], add: Add) -> None:
    """00000/img00000000.png and so on with dataset.json, as dataset_tool.py of StyleGAN2-ADA and 3 writes them.

    NVIDIA's trainer reads PNG, JPEG and WebP alike, so that no face is encoded again.
    """
    labels: list[tuple[str, int]] = []
    for number, face in enumerate(files):
        name = f"{number // 1000:05d}/img{number:08d}.{face.suffix}"
        add(name, face.data)
        labels.append((name, face.number))
    classes = labels if labels[0][1] >= 0 else None
    add("dataset.json", json.dumps({"labels": classes}).encode())


def _add_folder(files: Iterator[Face], add: Add) -> None:
    """ID.png, in a folder of its class where it has one."""
    for face in files:
        add("/".join([*_class_folder(face.label), f"{face.id}.{face.suffix}"]), face.data)


def _class_folder(label: str) -> list[str]:
    if label in (".", "..") or not label.isprintable() or "/" in label or "\\" in label:
        raise ValueError(f"the class {label!r} cannot be the name of a folder: take --format nvidia")
    return [label] if label else []


def _add_webdataset(files: Iterator[Face], add: Add) -> None:
    """KEY.png, KEY.cls with the class number where there is one, KEY.json with what the source says."""
    for face in files:
        add(f"{face.id}.{face.suffix}", face.data)
        if face.number >= 0:
            add(f"{face.id}.cls", str(face.number).encode())
        add(f"{face.id}.json", face.about)


_LAYOUTS: dict[Layout, Callable[[Iterator[Face], Add], None]] = {
    "nvidia": _add_nvidia,
    "folder": _add_folder,
    "webdataset": _add_webdataset,
}


def _container(target: Path) -> AbstractContextManager[Add]:
    return {".zip": _zip, ".tar": _tar}.get(target.suffix, _folder)(target)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Another name to work under: what lies there becomes the target at the end, or goes."""
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        yield partial
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if partial.is_file():
            partial.unlink()


@contextmanager
def _zip(target: Path) -> Iterator[Add]:
    """A zip without compression, of no day and no machine."""

    def add(name: str, data: bytes) -> None:
        member = zipfile.ZipInfo(name, _FIRST_DAY)
        member.external_attr = 0o644 << 16
        member.create_system = 3  # one system's bytes everywhere
        archive.writestr(member, data)

    with _whole(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        yield add


@contextmanager
def _tar(target: Path) -> Iterator[Add]:
    with _whole(target) as partial, open_shard(partial) as shard:
        yield shard.add


@contextmanager
def _folder(target: Path) -> Iterator[Add]:
    def add(name: str, data: bytes) -> None:
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    with _whole(target) as partial:
        partial.mkdir()
        yield add


def _digest(target: Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and digests."""
    if target.is_file():
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(path for path in target.rglob("*") if path.is_file())
    lines = "".join(f"{_digest(path)}  {path.relative_to(target).as_posix()}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
