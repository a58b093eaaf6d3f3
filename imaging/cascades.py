"""OpenCV's cascades: Haar's for photographs, nagadomi's for drawn faces."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.decode import Image8
from imaging.detection import Assets, DetectConfig, Hit, Sight, hit_overlap, search_scale, shrink, without_overlaps

ANIME_CASCADE = "lbpcascade_animeface.xml"
HAAR_CASCADE = "haarcascade_frontalface_default.xml"
HAAR_WINDOW, ANIME_WINDOW = 30, 26  # px of the smallest face in the search: the cascades' own windows are of 24
FINE = 72  # px of a face when its box is refined
SURROUNDINGS = 1.8  # sides of the box that are looked at then


def haar(sight: Sight, config: DetectConfig, assets: Assets) -> list[Hit]:
    """Faces by the cascade that OpenCV ships, or by an asset of its name."""
    shipped = Path(str(cv2.__file__)).parent / "data" / HAAR_CASCADE
    return _faces(sight, config, assets.get(HAAR_CASCADE, shipped), HAAR_WINDOW)


def anime_lbp(sight: Sight, config: DetectConfig, assets: Assets) -> list[Hit]:
    """Drawn faces by nagadomi's cascade."""
    return _faces(sight, config, assets[ANIME_CASCADE], ANIME_WINDOW)


def raw_hits(image: Image8, config: DetectConfig, cascade: Path, smallest: float) -> NDArray[np.float64]:
    """Every window in an image [H, W, 3] that a cascade takes for a face, not grouped: x, y, side, float64 [N, 3]."""
    side = max(1, round(smallest))
    boxes = classifier(str(cascade)).detectMultiScale(
        _even_grey(image), scaleFactor=config.scale_factor, minNeighbors=0, minSize=(side, side)
    )
    return np.reshape(boxes, (-1, 4))[:, :3].astype(np.float64)


@functools.cache
def classifier(path: str) -> cv2.CascadeClassifier:
    """The cascade of an XML file, loaded once in a process."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no cascade at {path}")
    cascade = cv2.CascadeClassifier()
    try:
        loaded = cascade.load(path)
    except cv2.error as error:  # no XML, or another one
        raise ValueError(f"{path} is no OpenCV cascade") from error
    if not loaded:
        raise ValueError(f"{path} is no OpenCV cascade")
    return cascade


def _faces(sight: Sight, config: DetectConfig, cascade: Path, window: float) -> list[Hit]:
    small = shrink(sight, search_scale(sight.size, config, window))
    scale = small.scale
    found = [
        Hit(x / scale, y / scale, side / scale, side / scale, round(score, 4))
        for x, y, side, score in _grouped(small.image, config, cascade, config.min_size * scale)
    ]
    kept = without_overlaps(found, config.max_overlap)
    if config.scale == "full":
        return kept
    return without_overlaps([_refined(hit, sight, scale, config, cascade) for hit in kept], config.max_overlap)


def _grouped(
    image: Image8, config: DetectConfig, cascade: Path, smallest: float
) -> list[tuple[float, float, float, float]]:
    """x, y, side and the cascade's weight of each face in an image, in its px."""
    side = max(1, round(smallest))
    boxes, _, weights = classifier(str(cascade)).detectMultiScale3(
        _even_grey(image),
        scaleFactor=config.scale_factor,
        minNeighbors=config.min_neighbours,
        minSize=(side, side),
        outputRejectLevels=True,
    )
    found = zip(np.reshape(boxes, (-1, 4)).tolist(), np.ravel(weights).tolist(), strict=True)
    return [(float(x), float(y), float(side), float(weight)) for (x, y, side, _), weight in found]


def _refined(hit: Hit, sight: Sight, scale: float, config: DetectConfig, cascade: Path) -> Hit:
    """The same face with its box as a finer look finds it, where there is something finer to look at."""
    fine = min(sight.scale, FINE / hit.width)
    if fine < 1.5 * scale:
        return hit
    image, x0, y0 = surroundings(sight, hit, SURROUNDINGS, fine)
    again = [
        hit._replace(x=x0 + x / fine, y=y0 + y / fine, width=side / fine, height=side / fine)
        for x, y, side, _ in _grouped(image, config, cascade, 0.6 * hit.width * fine)
    ]
    return max((near for near in again if hit_overlap(near, hit) > 0.5), key=lambda h: hit_overlap(h, hit), default=hit)


def surroundings(sight: Sight, hit: Hit, factor: float, scale: float) -> tuple[Image8, float, float]:
    """A square of so many times a hit's longer side at `scale` px per px of the picture, and where it begins there."""
    reach, reduced = factor * max(hit.width, hit.height) / 2, sight.reduced
    cx, cy = hit.x + hit.width / 2, hit.y + hit.height / 2
    x0, y0 = (max(0, int((centre - reach) / reduced)) for centre in (cx, cy))
    x1, y1 = (int((centre + reach) / reduced) + 1 for centre in (cx, cy))
    part = sight.image[y0:y1, x0:x1]
    size = (max(1, round(part.shape[1] * reduced * scale)), max(1, round(part.shape[0] * reduced * scale)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), float(x0 * reduced), float(y0 * reduced)


def _even_grey(image: Image8) -> Image8:
    return np.asarray(cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)), np.uint8)
