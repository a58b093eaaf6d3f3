"""Where the faces of a picture are: OpenCV cascades, the centre crop, or the whole picture."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8


class Box(NamedTuple):
    """A rectangle in px, half-open: x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int


Point = tuple[float, float]


class Landmarks(NamedTuple):
    """Five points of a face, each x, y in px of the picture; left and right as seen in it."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


class Detection(NamedTuple):
    """One face: its box in the picture's own px, how sure the detector is by its own number, and the face's points."""

    box: Box
    confidence: float
    landmarks: Landmarks | None = None


class DetectConfig(BaseModel):
    """Which detector, and the cascade's settings; the defaults are those of nagadomi's and Gwern's anime recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: Literal["haar", "anime-lbp", "centre", "none"] = Field(default="haar", description="a key of DETECTORS")
    scale_factor: float = Field(
        default=1.1, gt=1.0, le=2.0, description="step between the sizes that a cascade looks for"
    )
    min_neighbours: int = Field(default=5, ge=0, description="overlapping hits that make a face")
    min_size: int = Field(default=50, ge=1, description="smallest face looked for, px of the picture")
    max_side: int = Field(
        default=0,
        ge=0,
        description="pictures longer than this are searched at this size, px; 0: full size. Faces that get smaller "
        "than the cascade's window (20 to 24 px) are lost. Of real photographs 320 found as many, 3 times as fast; of "
        "anime pictures 400 had the right count in 64 of 95 instead of 50, 4 times as fast",
    )
    max_overlap: float = Field(
        default=0.3, gt=0, le=1, description="of two boxes with a larger IoU only the surer stays"
    )
    centre_size: int = Field(
        default=0, ge=0, description="side of the centred square, px; 0: the largest (detector centre)"
    )


Detector = Callable[[Image8, DetectConfig, Path | None], list[Detection]]


def detect_faces(image: Image8, config: DetectConfig, cascade: Path | None = None) -> list[Detection]:
    """The faces of an image [H, W, 3] in reading order (top, left), all inside it.

    cascade is the XML file of anime-lbp (an asset, given by the caller); haar takes the file inside opencv-python
    unless one is given. A cascade is loaded once in a process. Raises FileNotFoundError when there is no such file.
    """
    found = DETECTORS[config.detector](image, config, cascade)
    return sorted(found, key=lambda detection: (detection.box.y0, detection.box.x0, detection.box))


def _haar(image: Image8, config: DetectConfig, cascade: Path | None) -> list[Detection]:
    shipped = Path(str(cv2.__file__)).parent / "data" / "haarcascade_frontalface_default.xml"
    return _cascade_faces(image, config, cascade or shipped)


def _anime_lbp(image: Image8, config: DetectConfig, cascade: Path | None) -> list[Detection]:
    if cascade is None:
        raise FileNotFoundError("detector anime-lbp needs the asset lbpcascade_animeface.xml: pass its path as cascade")
    return _cascade_faces(image, config, cascade)


def _centre(image: Image8, config: DetectConfig, cascade: Path | None) -> list[Detection]:
    height, width = image.shape[:2]
    side = config.centre_size or min(height, width)
    if side > min(height, width):
        return []
    x0, y0 = (width - side) // 2, (height - side) // 2
    return [Detection(Box(x0, y0, x0 + side, y0 + side), 1.0)]


def _whole(image: Image8, config: DetectConfig, cascade: Path | None) -> list[Detection]:
    return _centre(image, config.model_copy(update={"centre_size": 0}), cascade)


DETECTORS: dict[str, Detector] = {"haar": _haar, "anime-lbp": _anime_lbp, "centre": _centre, "none": _whole}


@functools.cache
def _classifier(path: str) -> cv2.CascadeClassifier:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no cascade at {path}")
    classifier = cv2.CascadeClassifier()
    try:
        loaded = classifier.load(path)
    except cv2.error as error:  # no XML, or another one
        raise ValueError(f"{path} is no OpenCV cascade") from error
    if not loaded:
        raise ValueError(f"{path} is no OpenCV cascade")
    return classifier


def _cascade_faces(image: Image8, config: DetectConfig, cascade: Path) -> list[Detection]:
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, config.max_side / max(height, width)) if config.max_side else 1.0
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    smallest = max(1, round(config.min_size * scale))
    boxes, _, weights = _classifier(str(cascade)).detectMultiScale3(
        cv2.equalizeHist(grey),
        scaleFactor=config.scale_factor,
        minNeighbors=config.min_neighbours,
        minSize=(smallest, smallest),
        outputRejectLevels=True,
    )
    found = [
        Detection(_scaled(box, 1 / scale, width, height), round(float(weight), 4))
        for box, weight in zip(np.reshape(boxes, (-1, 4)), np.ravel(weights), strict=True)
    ]
    return _without_overlaps(found, config.max_overlap)


def _scaled(box: np.ndarray[tuple[int], np.dtype[np.int32]], factor: float, width: int, height: int) -> Box:
    x, y, w, h = (float(value) * factor for value in box)
    return Box(max(0, round(x)), max(0, round(y)), min(width, round(x + w)), min(height, round(y + h)))


def _without_overlaps(found: list[Detection], max_overlap: float) -> list[Detection]:
    kept: list[Detection] = []
    for candidate in sorted(found, key=lambda detection: (-detection.confidence, detection.box)):
        if all(overlap(candidate.box, other.box) <= max_overlap for other in kept):
            kept.append(candidate)
    return kept


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    shared = max(0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0, min(a.y1, b.y1) - max(a.y0, b.y0))
    union = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - shared
    return shared / union
