"""Faces with planted defects, for the question which scores find them.

Clean faces come from drawn scenes (toon) or from the aligned photographs of the test pack (photos); a defect is made of
another face, of another part of a scene, or of the other domain. What is what is known of every face.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from imaging.cut import cut, resize
from imaging.decode import Image8, decode
from imaging.detect import Box
from imaging.encode import Codec, encode
from imaging.toon import ToonConfig, draw_picture
from tasks.shards import open_shard

SIDE = 64
MARGIN = 1.5  # side of a face's square over that of its box, as the pipeline cuts

Random = np.random.Generator


class Scene(NamedTuple):
    """A picture and the boxes of all its faces."""

    image: Image8
    boxes: list[Box]


class Planted(NamedTuple):
    """Faces uint8 [N, SIDE, SIDE, 3] and what each is: "" = clean, else its defect."""

    faces: npt.NDArray[np.uint8]
    kinds: list[str]


def toon_scenes(count: int, seed: int = 0) -> Iterator[Scene]:
    """Drawn scenes without faults."""
    config = ToonConfig(pictures=count, fault_rate=0.0)
    for number in range(count):
        picture = draw_picture(seed, number, config)
        boxes = [Box(*(round(v) for v in face.box)) for face in picture.truth.faces]
        yield Scene(decode(picture.data).image, boxes)


def photo_scenes(realdata: Path) -> Iterator[Scene]:
    """Photographs of the test pack whose faces are annotated."""
    faces = pd.read_csv(realdata / "real_photos" / "faces.csv")
    for name, rows in faces.groupby("file"):
        corners = rows[["x", "y", "w", "h"]].to_numpy(float)
        boxes = [Box(round(x), round(y), round(x + w), round(y + h)) for x, y, w, h in corners]
        yield Scene(decode((realdata / "real_photos" / str(name)).read_bytes()).image, boxes)


def faces_of(scenes: list[Scene]) -> list[Image8]:
    """The faces of scenes, each in its square."""
    squares = ((scene, square_around(scene, box)) for scene in scenes for box in scene.boxes)
    return [resize(cut(scene.image, square), SIDE) for scene, square in squares if square]


def aligned_faces(realdata: Path, count: int) -> list[Image8]:
    """The first so many aligned faces of the test pack at SIDE px."""
    faces: list[Image8] = []
    for part in sorted((realdata / "aligned_human_128").glob("part-*.zip")):
        with zipfile.ZipFile(part) as archive:
            for name in archive.namelist()[: count - len(faces)]:
                faces.append(resize(decode(archive.read(name)).image, SIDE))
    return faces


def square_around(scene: Scene, box: Box, aside: float = 0.0, turn: float = 0.0, factor: float = MARGIN) -> Box | None:
    """A square around a box, moved by a share of its side into a direction; None where it leaves the picture."""
    height, width = scene.image.shape[:2]
    side = round(max(box.x1 - box.x0, box.y1 - box.y0) * factor)
    x = (box.x0 + box.x1 - side) // 2 + round(aside * side * np.cos(turn))
    y = (box.y0 + box.y1 - side) // 2 + round(aside * side * np.sin(turn))
    inside = x >= 0 and y >= 0 and x + side <= width and y + side <= height and side >= 16
    return Box(x, y, x + side, y + side) if inside else None


def plant(clean: list[Image8], scenes: list[Scene], others: list[Image8], share: float, seed: int) -> Planted:
    """The clean faces with a share of defects among them, all kinds alike."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(clean))
    num_each = max(1, round(share * len(clean) / len(DEFECTS)))
    victims = iter(order[: num_each * len(DEFECTS)].tolist())
    faces, kinds = np.stack(clean), [""] * len(clean)
    for kind, defect in DEFECTS.items():
        for _ in range(num_each):
            at = next(victims)
            faces[at], kinds[at] = defect(Hurt(clean[at], scenes, others, random)), kind
    return Planted(faces, kinds)


class Hurt(NamedTuple):
    """What a defect is made of."""

    face: Image8
    scenes: list[Scene]
    others: list[Image8]  # of another domain
    random: Random


def _non_face(hurt: Hurt) -> Image8:
    """A square of a scene in which no face is."""
    while True:
        scene = hurt.scenes[hurt.random.integers(len(hurt.scenes))]
        height, width = scene.image.shape[:2]
        side = int(hurt.random.integers(min(height, width) // 5, min(height, width) // 2))
        if side < 24:
            continue
        x, y = int(hurt.random.integers(width - side)), int(hurt.random.integers(height - side))
        square = Box(x, y, x + side, y + side)
        if all(
            min(b.x1, square.x1) <= max(b.x0, square.x0) or min(b.y1, square.y1) <= max(b.y0, square.y0)
            for b in scene.boxes
        ):
            return resize(cut(scene.image, square), SIDE)


def _wrong_crop(hurt: Hurt) -> Image8:
    """A face's square moved by 0.4 to 0.6 of its side, or half or twice as wide."""
    while True:
        scene = hurt.scenes[hurt.random.integers(len(hurt.scenes))]
        if not scene.boxes:
            continue
        box = scene.boxes[hurt.random.integers(len(scene.boxes))]
        moved = square_around(scene, box, hurt.random.uniform(0.4, 0.6), hurt.random.uniform(0, 2 * np.pi))
        scaled = square_around(scene, box, factor=MARGIN * float(hurt.random.choice([0.45, 2.2])))
        if square := moved if hurt.random.random() < 0.6 else scaled:
            return resize(cut(scene.image, square), SIDE)


def _half_face(hurt: Hurt) -> Image8:
    """One half of the face covered by another part of a scene."""
    face, cover = hurt.face.copy(), _non_face(hurt)
    side = hurt.random.integers(4)
    half = (slice(None), slice(0, SIDE // 2)) if side < 2 else (slice(SIDE // 2, None), slice(None))
    face[half] = cover[half]
    return face


def _blur(hurt: Hurt) -> Image8:
    return np.asarray(cv2.GaussianBlur(hurt.face, (0, 0), float(hurt.random.uniform(2.0, 3.5))), np.uint8)


def _text(hurt: Hurt) -> Image8:
    """Two lines of letters over the face."""
    face = hurt.face.copy()
    for line in range(2):
        words = "".join(chr(65 + int(i)) for i in hurt.random.integers(0, 26, 6))
        colour = tuple(int(v) for v in hurt.random.integers(0, 256, 3))
        y = int(hurt.random.integers(14, 28)) + 28 * line
        cv2.putText(face, words, (1, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 2)
    return face


def _jpeg(hurt: Hurt) -> Image8:
    out = io.BytesIO()
    Image.fromarray(hurt.face).save(out, "JPEG", quality=int(hurt.random.integers(3, 9)))
    return decode(out.getvalue()).image


def _rotated(hurt: Hurt) -> Image8:
    return np.ascontiguousarray(np.rot90(hurt.face, int(hurt.random.integers(1, 4))))


def _other_domain(hurt: Hurt) -> Image8:
    return hurt.others[hurt.random.integers(len(hurt.others))]


DEFECTS: dict[str, Callable[[Hurt], Image8]] = {
    "non-face": _non_face,
    "wrong crop": _wrong_crop,
    "half face": _half_face,
    "blur": _blur,
    "text": _text,
    "heavy JPEG": _jpeg,
    "rotated": _rotated,
    "other domain": _other_domain,
}


def write_faces(planted: Planted, folder: Path) -> None:
    """The faces as a shard with its index, as training reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with open_shard(folder / "train-00.tar") as shard:
        for number, face in enumerate(planted.faces):
            id = f"{number:064x}_000"
            span = shard.add(f"{id}.png", encode(face, Codec()))
            rows.append({"id": id, "shard": "train-00.tar", "offset": span.offset, "length": span.length})
    index = pd.DataFrame(rows).assign(split="train", label=-1)
    index.to_parquet(folder / "index.parquet", index=False)
