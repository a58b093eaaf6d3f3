"""Where the faces of a picture are: one table of detectors, one function that asks them."""

from __future__ import annotations

from importlib.metadata import version

import cv2

from imaging.anime import LONGEST, anime
from imaging.cascades import ANIME_CASCADE, anime_lbp, haar
from imaging.decode import Image8
from imaging.detection import (
    Assets,
    Box,
    DetectConfig,
    Detection,
    Detector,
    Hit,
    Landmarks,
    Point,
    Sight,
    overlap,
    search_scale,
)
from imaging.yolo import yolo
from imaging.yunet import YUNET, yunet, yunet_points

__all__ = [
    "DETECTORS",
    "NEEDS",
    "Assets",
    "Box",
    "DetectConfig",
    "Detection",
    "Detector",
    "Landmarks",
    "Point",
    "asset_names",
    "detect_faces",
    "detector_version",
    "find_points",
    "finest_scale",
    "overlap",
]


def detect_faces(
    image: Image8,
    config: DetectConfig,
    assets: Assets | None = None,
    *,
    reduced: int = 1,
    size: tuple[int, int] | None = None,
) -> list[Detection]:
    """The faces of a picture in reading order (top, left), all inside it, in its own px.

    image [H, W, 3] shows it at 1/reduced of its size (height, width). assets are the files of `asset_names` by their
    name; each is loaded once in a process. Raises FileNotFoundError when there is no such file.
    """
    assets = assets or {}
    for name in asset_names(config):
        if name not in assets:
            raise FileNotFoundError(f"detector {config.detector} needs the asset {name}: pass its path in assets")
    sight = Sight(image, size or (image.shape[0], image.shape[1]), reduced)
    found = [_rounded(hit, sight.size) for hit in DETECTORS[config.detector](sight, config, assets)]
    inside = [one for one in found if one.box.x0 < one.box.x1 and one.box.y0 < one.box.y1]
    return sorted(inside, key=lambda detection: (detection.box.y0, detection.box.x0, detection.box))


def asset_names(config: DetectConfig) -> tuple[str, ...]:
    """The files that a detector needs besides OpenCV: names of manifests/assets.yaml, for onnx what `model` says."""
    return (config.model,) if config.detector == "onnx" else NEEDS.get(config.detector, ())


def find_points(image: Image8, config: DetectConfig, assets: Assets) -> Landmarks | None:
    """The points of the face in the middle of an image, by a detector that gives points; None where there is none."""
    return yunet_points(image, str(assets[YUNET])) if config.detector == "yunet" else None


def detector_version(config: DetectConfig) -> str:
    """What finds the faces: the detector and the library that runs it; the digests of its files are the caller's."""
    if config.detector in ("centre", "none"):
        return config.detector
    if config.detector == "onnx":
        return f"onnx {version('onnxruntime')}"
    return f"{config.detector} opencv {cv2.__version__}"


def finest_scale(size: tuple[int, int], config: DetectConfig) -> float:
    """Px that a detector looks at per px of a picture of (height, width), at its finest; 0 where it looks at none."""
    if config.detector in ("centre", "none"):
        return 0.0
    scale = search_scale(size, config, FINEST)
    return min(scale, LONGEST / max(size)) if config.detector == "anime" else scale


def _centre(sight: Sight, config: DetectConfig, assets: Assets) -> list[Hit]:
    side = config.centre_size or min(sight.size)
    if side > min(sight.size):
        return []
    height, width = sight.size
    return [Hit((width - side) // 2, (height - side) // 2, side, side, 1.0)]


def _whole(sight: Sight, config: DetectConfig, assets: Assets) -> list[Hit]:
    return _centre(sight, config.model_copy(update={"centre_size": 0}), assets)


DETECTORS: dict[str, Detector] = {
    "haar": haar,
    "anime-lbp": anime_lbp,
    "anime": anime,
    "yunet": yunet,
    "onnx": yolo,
    "centre": _centre,
    "none": _whole,
}
NEEDS = {"anime-lbp": (ANIME_CASCADE,), "anime": (ANIME_CASCADE, YUNET), "yunet": (YUNET,)}
FINEST = 30.0  # px of the smallest face in any detector's search


def _rounded(hit: Hit, size: tuple[int, int]) -> Detection:
    height, width = size
    box = Box(
        max(0, round(hit.x)),
        max(0, round(hit.y)),
        min(width, round(hit.x + hit.width)),
        min(height, round(hit.y + hit.height)),
    )
    return Detection(box, hit.score, hit.landmarks)
