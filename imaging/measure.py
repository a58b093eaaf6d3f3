"""Numbers that say whether a picture is worth keeping, and the reasons they give."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8

# Every measure is taken on a copy of fixed size, so that the picture's own size does not count.
SIDE = 128
COLOUR_SIDE = 64  # small enough that the chroma noise of JPEG averages out
LIGHTNESS_LEVELS = 16
FLAT = 2.0  # standard deviation of grey under which a row or column is of one colour
STEP = 8  # levels of grey by which the picture behind a border differs from it, along at least half of its edge


class Measures(NamedTuple):
    """What `measures` finds."""

    brightness: float
    contrast: float
    saturation: float
    sharpness: float
    border: float


class MeasureConfig(BaseModel):
    """The limits beyond which a picture or a face leaves; 0 switches a limit off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_contrast: float = Field(
        default=4.0,
        ge=0,
        description="standard deviation of grey under which a picture is monochrome; real ones: 20 and more",
    )
    min_saturation: float = Field(
        default=2.2,
        ge=0,
        description="spread of Lab chroma at equal lightness under which a picture is grey; grey photographs: 0.04 at "
        "most, tinted scans mostly under 2, colour portraits on white from 2.4, other colour pictures from 3.4",
    )
    min_sharpness: float = Field(
        default=15.0,
        ge=0,
        description="variance of the Laplacian at 128 px under which a face is blurry; sharp photographs: 40..2000, "
        "the same blurred by 2 % of the side: 3..12",
    )
    max_flat_border: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of a cut that bars of one colour along its edges may take, beyond which a face is bordered: "
        "letterboxes, frames, scans; a plain background is none",
    )
    min_jpeg_quality: int = Field(
        default=0,
        ge=0,
        le=100,
        description="quality by a JPEG's own tables under which a picture is of low_quality; other formats stay. What "
        "was saved again looks better than it is",
    )
    min_face: int = Field(
        default=256,
        ge=0,
        description="side of the detected box under which a face is too small, px of the source (Gwern: 256)",
    )


DEFAULTS = MeasureConfig()


def measures(image: Image8) -> Measures:
    """Five numbers of an image [H, W, 3], on copies shrunk by area.

    brightness: mean of grey, 0..255; contrast: its standard deviation, 0..127.5; sharpness: variance of its Laplacian
    (all at 128 px). saturation: how far Lab a and b stray (rms) from their means at the same lightness, at 64 px: a
    tint, sepia or coloured paper is one colour for each lightness and counts as none. border: share of the area in
    bars of one grey along the edges, 0..1 (`_bar`). A JPEG decoded at a part of its size measures the same within 3 %
    as long as its longer side is 256 px or more; below that its sharpness falls by a quarter and more.
    """
    grey = np.asarray(_at_most(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8), SIDE, 2), np.uint8)
    mean, deviation = cv2.meanStdDev(grey)
    _, roughness = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return Measures(
        brightness=round(float(mean[0, 0]), 3),
        contrast=round(float(deviation[0, 0]), 3),
        saturation=round(_chroma_spread(_at_most(image, COLOUR_SIDE, 1)), 3),
        sharpness=round(float(roughness[0, 0]) ** 2, 3),
        border=round(_border(grey), 4),
    )


def _border(grey: NDArray[np.uint8]) -> float:
    """The share of an image that bars along its four edges take; 1 where all is of one grey."""
    height, width = grey.shape
    rows, columns = _flat(grey, 1), _flat(grey, 0)
    if rows.all() or columns.all():
        return 1.0
    top, bottom = _bar(grey, rows), _bar(grey[::-1], rows[::-1])
    left, right = _bar(grey.T, columns), _bar(grey.T[::-1], columns[::-1])
    return float(1 - (height - top - bottom) * (width - left - right) / (height * width))


def _flat(grey: NDArray[np.uint8], axis: int) -> NDArray[np.bool_]:
    """Which rows (axis 1) or columns (axis 0) are of one grey, some noise aside."""
    mean = cv2.reduce(grey, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    square = cv2.reduce(grey, axis, cv2.REDUCE_SUM2, dtype=cv2.CV_32F).ravel() / grey.shape[axis]
    return np.asarray(square - mean**2 < FLAT**2)


def _bar(lines: NDArray[np.uint8], flat: NDArray[np.bool_]) -> int:
    """How many lines at the beginning are a bar: flat, and the picture begins behind it along half of its length.

    Behind a plain background nothing but the top of a head begins. The first line after a bar is a mixture, as the
    copy was shrunk: the second is looked at.
    """
    count = int(np.argmin(flat))
    if count == 0:
        return 0
    behind = lines[min(count + 1, len(lines) - 1)]
    differs = np.abs(behind - float(lines[:count].mean())) > STEP
    return count if differs.mean() >= 0.5 else 0


def picture_reason(measured: Measures, config: MeasureConfig = DEFAULTS, quality: float | None = None) -> str:
    """Why a whole picture leaves: monochrome, grey, low_quality (of its JPEG, where it is one), or "" when it stays."""
    if measured.contrast < config.min_contrast:
        return "monochrome"
    if measured.saturation < config.min_saturation:
        return "grey"
    return "low_quality" if quality is not None and quality < config.min_jpeg_quality else ""


def face_reason(measured: Measures, side: int, config: MeasureConfig = DEFAULTS) -> str:
    """Why a face leaves, side being px of its box, measured those of its cut; "" when it stays.

    In this order: face_too_small, monochrome, grey, bordered, blurry.
    """
    if side < config.min_face:
        return "face_too_small"
    if reason := picture_reason(measured, config):
        return reason
    if config.max_flat_border and measured.border > config.max_flat_border:
        return "bordered"
    return "blurry" if measured.sharpness < config.min_sharpness else ""


def _at_most(image: Image8, side: int, least: int) -> Image8:
    """The image shrunk by area to a longer side of `side` px; by halves, which are fast, down to `least` times that.

    Halving once more would soften it: the sharpness of 340 px would be measured 20 % lower at `least` 1.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer <= side:
        return image
    size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    while max(height, width) >= 2 * least * side and min(height, width) > 1:
        height, width = height // 2, width // 2
        image = np.asarray(cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _chroma_spread(image: Image8) -> float:
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    level = np.minimum(lab[..., 0] * (LIGHTNESS_LEVELS / 100), LIGHTNESS_LEVELS - 1).astype(np.int64).ravel()
    count = np.maximum(np.bincount(level, minlength=LIGHTNESS_LEVELS), 1)
    variance = 0.0
    for values in (lab[..., 1].ravel(), lab[..., 2].ravel()):
        means = np.bincount(level, values, LIGHTNESS_LEVELS) / count
        variance += float(((values - means[level]) ** 2).mean())
    return float(variance**0.5)
