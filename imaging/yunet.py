"""YuNet (Wu et al. 2023, doi 10.1007/s11633-023-1423-y): the faces of photographs, each with five points."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.cascades import surroundings
from imaging.decode import Image8
from imaging.detection import (
    Assets,
    DetectConfig,
    Hit,
    Landmarks,
    Sight,
    hit_overlap,
    search_scale,
    shrink,
    without_overlaps,
)

YUNET = "face_detection_yunet_2023mar.onnx"
MIN_SCORE = 0.7
WINDOW = 20  # px of the smallest face in the search: of smaller ones most are missed
LARGE = 640  # px: in larger pictures a face may be too large for the network, so they are looked at smaller, too
SECOND = 320  # px of the longer side of that second look
ENOUGH = 0.8  # of config.fine: faces of so many px in the search are not looked at again
SURROUNDINGS = 1.8  # sides of the box that are looked at then
UNSURE = 0.4  # a score from which on a second, finer look decides
KNOWN = 0.5  # IoU from which on the finer look found the same face


def yunet(sight: Sight, config: DetectConfig, assets: Assets) -> list[Hit]:
    """Faces of photographs with their points, the surest of those that overlap."""
    model, least = str(assets[YUNET]), MIN_SCORE if config.min_score is None else config.min_score
    scale = search_scale(sight.size, config, WINDOW)
    scales = [scale] + ([SECOND / max(sight.size)] if scale * max(sight.size) > LARGE else [])
    doubtful = least if config.scale == "full" else min(least, UNSURE)
    found = [hit for each in scales for hit in _seen_at(sight, each, model, doubtful)]
    if config.scale == "auto":
        found = [_refined(hit, sight, scale, config.fine, model) for hit in without_overlaps(found, config.max_overlap)]
    sure = [hit for hit in found if hit.score >= least and max(hit.width, hit.height) >= config.min_size]
    return without_overlaps(sure, config.max_overlap)


def yunet_rows(image: Image8, model: str, min_score: float) -> NDArray[np.float32]:
    """YuNet's faces in an image [H, W, 3]: x, y, width, height, five points x, y, score; float32 [N, 15].

    The points as the network names them: the person's right eye first, which is the left one as seen.
    """
    network = _network(model)
    network.setInputSize((image.shape[1], image.shape[0]))
    network.setScoreThreshold(min_score)
    _, rows = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    found = np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
    # Of pictures that are hardly larger than nothing it may tell of boxes without size.
    return found[(found[:, 2:4] >= 1).all(axis=1) & (found[:, 14] >= min_score)]


def yunet_points(image: Image8, model: str) -> Landmarks | None:
    """The points of the face nearest to the middle of an image [H, W, 3], None where there is none."""
    faces = [_hit(row, float(row[14])) for row in yunet_rows(image, model, UNSURE)]
    x, y = image.shape[1] / 2, image.shape[0] / 2
    nearest = min(faces, key=lambda hit: abs(hit.x + hit.width / 2 - x) + abs(hit.y + hit.height / 2 - y), default=None)
    return nearest and nearest.landmarks


@functools.cache
def _network(path: str) -> cv2.FaceDetectorYN:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no network at {path}")
    try:
        return cv2.FaceDetectorYN.create(path, "", (320, 320), MIN_SCORE, 0.3, 5000)
    except cv2.error as error:
        raise ValueError(f"{path} is no network that OpenCV reads") from error


def _seen_at(sight: Sight, scale: float, model: str, min_score: float) -> list[Hit]:
    small = shrink(sight, scale)
    return [_hit(row / small.scale, float(row[14])) for row in yunet_rows(small.image, model, min_score)]


def _hit(row: NDArray[np.float32], score: float, x0: float = 0.0, y0: float = 0.0) -> Hit:
    x, y, width, height = (float(number) for number in row[:4])
    # Its right eye and corner of the mouth are the person's, so they come first where left is as seen.
    points = [(float(px) + x0, float(py) + y0) for px, py in row[4:14].reshape(5, 2)]
    return Hit(x + x0, y + y0, width, height, round(score, 4), Landmarks(*points))


def _refined(hit: Hit, sight: Sight, scale: float, wanted: int, model: str) -> Hit:
    """The same face as a finer look finds it, where there is something finer to look at; the higher score counts."""
    side = max(hit.width, hit.height)
    fine = min(sight.scale, wanted / side)
    if side * scale >= ENOUGH * wanted or fine < 1.25 * scale:
        return hit
    image, x0, y0 = surroundings(sight, hit, SURROUNDINGS, fine)
    again = [_hit(row / fine, float(row[14]), x0, y0) for row in yunet_rows(image, model, UNSURE)]
    same = (one for one in again if hit_overlap(one, hit) > KNOWN)
    best = max(same, key=lambda one: hit_overlap(one, hit), default=hit)
    return best._replace(score=max(best.score, hit.score))
