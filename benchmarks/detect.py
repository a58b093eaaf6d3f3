"""What every detector finds in the labelled pictures of the test pack, subset by subset.

    python -m benchmarks.detect PACK [--detectors haar,yunet] [--scale auto] [--min-size 20] [--every 1]

PACK holds real_photos/, anime_illustrations/ and assets/. A face counts as found where a box holds both eyes and the
mouth (subset aaf), or overlaps the annotated box with an IoU of 0.4 (scene, dlib; 0.5 for the checked boxes of ftla).
Right counts: pictures whose number of boxes lies within the stated bounds; missed and extra: faces below and boxes
above the bounds. The anime subsets come as two halves, too, by a hash of the file name: settings of the detector anime
were compared on these very pictures, so the halves say how far to trust the sum.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import operator
import time
from pathlib import Path
from typing import NamedTuple

import cv2

from imaging.decode import decode
from imaging.detect import Box, DetectConfig, Detection, detect_faces, overlap

PHOTO_DETECTORS, ANIME_DETECTORS = ("haar", "yunet", "anime-lbp", "anime"), ("anime-lbp", "anime", "yunet", "haar")
ASSETS = ("lbpcascade_animeface.xml", "face_detection_yunet_2023mar.onnx")
TINY = 20  # px: annotated faces with a shorter side are counted apart
Row = dict[str, str]


class Tally(NamedTuple):
    """What a detector did on one picture; faces that can be located and those found among them."""

    pictures: int = 0
    right: int = 0
    missed: int = 0
    extra: int = 0
    faces: int = 0
    found: int = 0
    tiny: int = 0
    found_tiny: int = 0
    milliseconds: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*map(operator.add, self, other))


def main(pack: Path, detectors: list[str], config: DetectConfig, every: int) -> None:
    """Print a table for the photographs and one for the drawings."""
    cv2.setNumThreads(1)
    for folder, usual in (("real_photos", PHOTO_DETECTORS), ("anime_illustrations", ANIME_DETECTORS)):
        print(f"\n{folder}\n")
        print("| detector | subset | pictures | right counts | missed | extra | faces found | < 20 px | ms a picture |")
        print("|---|---|---|---|---|---|---|---|---|")
        for detector in detectors or usual:
            asked = DetectConfig.model_validate({**config.model_dump(), "detector": detector})
            for subset, tally in tallies(pack, folder, asked, every).items():
                print(line(detector, subset, tally), flush=True)


def line(detector: str, subset: str, t: Tally) -> str:
    """A line of the table."""
    faces = f"{t.found} of {t.faces}" if t.faces else ""
    tiny = f"{t.found_tiny} of {t.tiny}" if t.tiny else ""
    cells = (detector, subset, t.pictures, t.right, t.missed, t.extra, faces, tiny)
    return "| " + " | ".join(map(str, cells)) + f" | {t.milliseconds / t.pictures:.1f} |"


def tallies(pack: Path, folder: str, config: DetectConfig, every: int = 1) -> dict[str, Tally]:
    """What a detector does in a folder of the pack, by subset; anime in halves and whole, too."""
    faces: dict[str, list[Row]] = {}
    for row in table(pack / folder / "faces.csv"):
        faces.setdefault(row["file"], []).append(row)
    result: dict[str, Tally] = {}
    assets = {name: pack / "assets" / name for name in ASSETS}
    for row in table(pack / folder / "images.csv")[::every]:
        image = decode((pack / folder / row["file"]).read_bytes()).image
        begun = time.process_time()
        found = detect_faces(image, config, assets)
        seconds = time.process_time() - begun
        tally = tally_of(row, faces.get(row["file"], []), found)._replace(milliseconds=1000 * seconds)
        subsets = [row["file"].split("_")[0]]
        if folder == "anime_illustrations":
            subsets += [f"all, half {int(hashlib.sha256(row['file'].encode()).hexdigest(), 16) % 2}", "all"]
        for subset in subsets:
            result[subset] = result.get(subset, Tally()).plus(tally)
    return dict(sorted(result.items()))


def tally_of(picture: Row, faces: list[Row], found: list[Detection]) -> Tally:
    """One picture's tally."""
    low, high, boxes = int(picture["n_faces_min"]), int(picture["n_faces_max"]), [one.box for one in found]
    placed = [face for face in faces if is_truth(face)]
    hit = [face for face in placed if any(shows(box, face) for box in boxes)]
    large, large_hit = (sum(not is_tiny(face) for face in some) for some in (placed, hit))
    return Tally(
        pictures=1,
        right=low <= len(boxes) <= high,
        missed=max(0, low - len(boxes)),
        extra=max(0, len(boxes) - high),
        faces=large,
        found=large_hit,
        tiny=len(placed) - large,
        found_tiny=len(hit) - large_hit,
    )


def is_truth(face: Row) -> bool:
    """Whether a labelled box is by a person's hand, and of a face (london's are of whole heads)."""
    return face["file"].startswith(("aaf_", "scene_", "dlib_")) or (
        face["file"].startswith("ftla_") and face["box_source"].startswith("upstream")
    )


def is_tiny(face: Row) -> bool:
    """Whether an annotated face is smaller than detectors are made for."""
    return min(float(face["w"]), float(face["h"])) < TINY


def shows(box: Box, face: Row) -> bool:
    """Whether a detected box is this labelled face."""
    if face["file"].startswith("aaf_"):
        points = [(float(face[f"{name}_x"]), float(face[f"{name}_y"])) for name in ("left_eye", "right_eye", "mouth")]
        return all(box.x0 <= x < box.x1 and box.y0 <= y < box.y1 for x, y in points)
    x, y, w, h = (round(float(face[key])) for key in "xywh")
    return overlap(box, Box(x, y, x + w, y + h)) >= (0.5 if face["file"].startswith("ftla_") else 0.4)


def table(path: Path) -> list[Row]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--detectors", default="", help="keys of DETECTORS, with commas between; none: all")
    parser.add_argument("--scale", default="auto", choices=("auto", "full"))
    parser.add_argument("--min-size", type=int, default=20, help="smallest face looked for, px")
    parser.add_argument("--max-side", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    given = parser.parse_args()
    main(
        given.pack,
        [name for name in given.detectors.split(",") if name],
        DetectConfig(scale=given.scale, min_size=given.min_size, max_side=given.max_side),
        given.every,
    )
