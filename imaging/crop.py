"""One decode does all: what a picture is, where its faces are, how they measure, and what they look like in 64 bits."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from imaging.align import Quad, cut_quad, face_quad, quad_bounds, share_outside
from imaging.cut import CutConfig, cut, face_square
from imaging.decode import DecodeConfig, Image8, Undecodable, decode
from imaging.dedup import thumbnail
from imaging.detect import Box, DetectConfig, Detection, detect_faces
from imaging.hash import HashKind, long_hash, perceptual_hash
from imaging.measure import MeasureConfig, Measures, face_reason, measures, picture_reason
from imaging.pose import Pose, PoseConfig, pose_of, pose_reason


class CropConfig(DecodeConfig, DetectConfig, MeasureConfig, PoseConfig, CutConfig):
    """All that is asked while a picture is open."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Look(NamedTuple):
    """What a picture or a face looks like, in numbers."""

    measures: Measures
    hash: int
    hash256: int
    thumb: NDArray[np.uint8]


class Face(NamedTuple):
    """A detected face; reason "" = kept."""

    detection: Detection
    square: Box | None
    quad: Quad | None
    pose: Pose | None
    look: Look
    reason: str


class Picture(NamedTuple):
    """What one picture file turned out to be; size is (height, width) upright, (0, 0) when it did not decode."""

    reason: str
    format: str
    notes: tuple[str, ...]
    size: tuple[int, int]
    look: Look | None
    faces: list[Face]


def find_faces(
    data: bytes, name: str, config: CropConfig, kind: HashKind = "phash", cascade: Path | None = None
) -> Picture:
    """The picture in these bytes with its faces in reading order, each with its reason to leave or none.

    A file that does not decode is a Picture with the reason undecodable and the sentence in its notes.
    """
    try:
        image, found_format, notes, size, _ = decode(data, config, name)
    except Undecodable as error:
        return Picture("undecodable", "", (str(error),), (0, 0), None, [])
    look = _look(image, kind)
    reason = picture_reason(look.measures, config)
    if not reason and min(size) < config.min_face:
        reason = "picture_too_small"
    found = [] if reason else detect_faces(image, config, cascade)
    if not reason and not found:
        reason = "no_face"
    return Picture(reason, found_format, notes, size, look, [_face(image, one, config, kind) for one in found])


def _face(image: Image8, detection: Detection, config: CropConfig, kind: HashKind) -> Face:
    square, quad = _place(detection, (image.shape[0], image.shape[1]), config)
    pose = pose_of(detection.landmarks) if detection.landmarks else None
    look = _look(_pixels(image, square or detection.box, quad), kind)
    side = min(detection.box.x1 - detection.box.x0, detection.box.y1 - detection.box.y0)
    reason = face_reason(look.measures, side, config) or pose_reason(pose, config) or ("" if square else "cut_off")
    return Face(detection, square, quad, pose, look, reason)


def _place(detection: Detection, size: tuple[int, int], config: CropConfig) -> tuple[Box | None, Quad | None]:
    """The square that is cut, None when it does not fit; and the turned one inside it, if cuts are aligned."""
    if config.align == "none" or detection.landmarks is None:
        return face_square(detection.box, size, config), None
    quad = face_quad(detection.landmarks)
    return (quad_bounds(quad, size), quad) if share_outside(quad, size) <= config.max_border else (None, None)


def _pixels(image: Image8, square: Box, quad: Quad | None) -> Image8:
    return cut(image, square) if quad is None else cut_quad(image, quad, max(1, round(quad.side)))


def _look(image: Image8, kind: HashKind) -> Look:
    return Look(measures(image), perceptual_hash(image, kind), long_hash(image, kind), thumbnail(image))
