"""One decode does all: what a picture is, where its faces are, how they measure, and what they look like in bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pydantic import ConfigDict

from imaging.align import Quad, cut_quad, face_quad, quad_bounds, share_outside, square_up
from imaging.cut import CutConfig, cut, face_square
from imaging.decode import REDUCTIONS, DecodeConfig, Decoded, Image8, Undecodable, decode, sniff
from imaging.detect import Assets, Box, DetectConfig, Detection, Landmarks, detect_faces, find_points, finest_scale
from imaging.hash import HashKind, exact_hashes, fingerprint, thumbnail
from imaging.jpeg import jpeg_quality
from imaging.measure import SIDE, MeasureConfig, Measures, face_reason, measures, picture_reason
from imaging.pose import Pose, PoseConfig, pose_of, pose_reason

HASHED = 256  # px of the shorter side that hashes and thumbnails are taken from, at least


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
    quality: float | None  # of a JPEG, 1..100
    look: Look | None
    faces: list[Face]


def find_faces(
    data: bytes, name: str, config: CropConfig, kind: HashKind = "phash", assets: Assets | None = None
) -> Picture:
    """The picture in these bytes with its faces in reading order, each with its reason to leave or none.

    A file that does not decode is a Picture with the reason undecodable and the sentence in its notes.
    """
    try:
        seen = decode(data, config, name, reduced_by(data, config))
    except Undecodable as error:
        return Picture("undecodable", "", (str(error),), (0, 0), None, None, [])
    look, quality = _look(seen.image, config, kind), jpeg_quality(data)
    reason = picture_reason(look.measures, config, quality)
    if not reason and min(seen.size) < config.min_face:
        reason = "picture_too_small"
    found = [] if reason else detect_faces(seen.image, config, assets, reduced=seen.reduced, size=seen.size)
    if not reason and not found:
        reason = "no_face"
    faces = [_face(seen, _upright(seen, one, config, assets or {}), config, kind) for one in found]
    return Picture(reason, seen.format, seen.notes, seen.size, quality, look, faces)


def reduced_by(data: bytes, config: CropConfig) -> int:
    """The part of its size, 1/1 to 1/8, at which a picture file is decoded: the smallest that serves everything.

    The detector finds the smallest face that it is to look for, the square around a face of min_face px keeps the px
    that measures are taken at, and hashes have theirs. Only JPEGs come reduced.
    """
    if config.scale == "full" or sniff(data) != "JPEG":
        return 1
    try:
        size = simplejpeg.decode_jpeg_header(data)[:2]
    except ValueError:  # whether it is damaged is for decoding to say
        return 1
    finest = max(
        finest_scale(size, config), SIDE / max(1.0, config.min_face * config.factor), HASHED / max(1, min(size))
    )
    return max((factor for factor in REDUCTIONS if finest * factor <= 1), default=1)


def _upright(seen: Decoded, found: Detection, config: CropConfig, assets: Assets) -> Detection:
    """The face with points that hold for a tilted one, too, where the cut or a limit depends on them."""
    if found.landmarks is None or not (config.align != "none" or config.max_yaw or config.max_roll):
        return found
    here = Landmarks(*((x / seen.reduced, y / seen.reduced) for x, y in found.landmarks))
    points = square_up(seen.image, here, lambda cut: find_points(cut, config, assets))
    return found._replace(landmarks=Landmarks(*((x * seen.reduced, y * seen.reduced) for x, y in points)))


def _face(seen: Decoded, detection: Detection, config: CropConfig, kind: HashKind) -> Face:
    square, quad = _place(detection, seen.size, config)
    pose = pose_of(detection.landmarks) if detection.landmarks else None
    look = _look(_pixels(seen, square or detection.box, quad), config, kind)
    side = min(detection.box.x1 - detection.box.x0, detection.box.y1 - detection.box.y0)
    reason = face_reason(look.measures, side, config) or pose_reason(pose, config) or ("" if square else "cut_off")
    return Face(detection, square, quad, pose, look, reason)


def _place(detection: Detection, size: tuple[int, int], config: CropConfig) -> tuple[Box | None, Quad | None]:
    """The square that is cut, None when it does not fit; and the turned one inside it, if cuts are aligned."""
    if config.align == "none" or detection.landmarks is None:
        return face_square(detection.box, size, config), None
    quad = face_quad(detection.landmarks)
    return (quad_bounds(quad, size), quad) if share_outside(quad, size) <= config.max_border else (None, None)


def _pixels(seen: Decoded, square: Box, quad: Quad | None) -> Image8:
    """What is cut, as it is seen: reduced where the picture is."""
    factor = seen.reduced
    if quad is not None:
        small = Quad(*((x / factor, y / factor) for x, y in quad))
        return cut_quad(seen.image, small, max(1, round(small.side)))
    x0, y0 = square.x0 // factor, square.y0 // factor
    return cut(seen.image, Box(x0, y0, max(x0 + 1, square.x1 // factor), max(y0 + 1, square.y1 // factor)))


def _look(image: Image8, config: CropConfig, kind: HashKind) -> Look:
    if config.scale == "full":
        return Look(measures(image), *exact_hashes(image, kind), thumbnail(image))
    return Look(measures(image), *fingerprint(image, kind))
