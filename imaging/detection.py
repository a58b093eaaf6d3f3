"""What a detector is asked, what it sees, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class Hit(NamedTuple):
    """One face as a detector found it, in px of the whole picture, not yet rounded."""

    x: float
    y: float
    width: float
    height: float
    score: float
    landmarks: Landmarks | None = None


class DetectConfig(BaseModel):
    """Which detector, and its settings; the cascade's defaults are those of nagadomi's and Gwern's anime recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: Literal["haar", "anime-lbp", "anime", "yunet", "onnx", "centre", "none"] = Field(
        default="haar", description="a key of DETECTORS"
    )
    model: str = Field(
        default="",
        description="detector onnx: the network's file, by a path or by its name in manifests/assets.yaml",
    )
    min_score: float | None = Field(
        default=None,
        ge=0,
        description="how sure a detector must be, by its own number; null: its default (yunet 0.7, onnx 0.35 of 1; "
        "anime 2.8 votes). The cascades alone go by min_neighbours",
    )
    scale_factor: float = Field(
        default=1.1, gt=1.0, le=2.0, description="step between the sizes that a cascade looks for"
    )
    min_neighbours: int = Field(default=5, ge=0, description="overlapping hits that make a face of a cascade")
    min_size: int = Field(
        default=50,
        ge=1,
        description="smallest face looked for, px of the picture; the larger, the smaller and faster the search",
    )
    scale: Literal["auto", "full"] = Field(
        default="auto",
        description="auto: pictures are decoded and searched as small as min_size and min_face allow, boxes refined; "
        "full: at their full size, and hashes are bit for bit imagehash's",
    )
    max_side: int = Field(
        default=0,
        ge=0,
        description="pictures longer than this are searched at this size, px; 0: no limit. Faces that get smaller than "
        "a detector's window (20 to 24 px) are lost",
    )
    fine: int = Field(
        default=64,
        ge=16,
        description="px of a face when yunet looks at it again, where its search was coarser: 64 tells doubtful faces "
        "from none, 200 costs 4 ms a face and puts the points of aligned cuts better than a search at full size",
    )
    max_overlap: float = Field(
        default=0.3, gt=0, le=1, description="of two boxes with a larger IoU only the surer stays"
    )
    centre_size: int = Field(
        default=0, ge=0, description="side of the centred square, px; 0: the largest (detector centre)"
    )

    @model_validator(mode="after")
    def _network_is_named(self) -> Self:
        if (self.detector == "onnx") != bool(self.model):
            raise ValueError("detector onnx and model go together: model names the network's .onnx file")
        return self


class Sight(NamedTuple):
    """A picture as a detector sees it: an image [H, W, 3] at 1/reduced of the picture's (height, width)."""

    image: Image8
    size: tuple[int, int]
    reduced: float = 1.0

    @property
    def scale(self) -> float:
        """Px of the image per px of the picture."""
        return 1 / self.reduced


Assets = Mapping[str, Path]  # model files by name
Detector = Callable[[Sight, DetectConfig, Assets], list[Hit]]


def search_scale(size: tuple[int, int], config: DetectConfig, window: float) -> float:
    """Px searched per px of a picture of (height, width), at most 1: the smallest face becomes a window of so many px.

    1 where the config asks for the full size; max_side counts in any case.
    """
    scale = 1.0 if config.scale == "full" else min(1.0, window / config.min_size)
    return min(scale, config.max_side / max(size)) if config.max_side else scale


def shrink(sight: Sight, scale: float) -> Sight:
    """The sight at `scale` px per px of the picture, or as it is where it is no larger.

    Halved as often as that goes, then by area: area alone takes ten times as long, and the detectors do not mind.
    """
    if scale * sight.reduced >= 1:
        return sight
    image, reduced = sight.image, sight.reduced
    while 2 * reduced * scale <= 1 and min(image.shape[:2]) >= 2:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = np.asarray(cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
        reduced *= 2
    height, width = (max(1, round(length * reduced * scale)) for length in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return Sight(np.asarray(small, np.uint8), sight.size, 1 / scale)


def without_overlaps(found: list[Hit], max_overlap: float) -> list[Hit]:
    """The surest of all hits that overlap (IoU) more than this."""
    kept: list[Hit] = []
    for candidate in sorted(found, key=lambda hit: (-hit.score, hit[:4])):
        if all(_overlap(_corners(candidate), _corners(other)) <= max_overlap for other in kept):
            kept.append(candidate)
    return kept


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    return _overlap(a, b)


def hit_overlap(a: Hit, b: Hit) -> float:
    """Intersection over union of two hits, 0..1."""
    return _overlap(_corners(a), _corners(b))


def _corners(hit: Hit) -> tuple[float, float, float, float]:
    return hit.x, hit.y, hit.x + hit.width, hit.y + hit.height


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
