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


class Measures(NamedTuple):
    """What `measures` finds."""

    brightness: float
    contrast: float
    saturation: float
    sharpness: float
    border: float


class MeasureConfig(BaseModel):
    """The limits below which a picture or a face leaves; 0 switches a limit off."""

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
    tint, sepia or coloured paper is one colour for each lightness and counts as none.
    """
    small = _at_most(image, SIDE)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    return Measures(
        brightness=round(float(grey.mean()), 3),
        contrast=round(float(grey.std()), 3),
        saturation=round(_chroma_spread(_at_most(small, COLOUR_SIDE)), 3),
        sharpness=round(float(laplacian.var()), 3),
        border=round(_flat_border(np.asarray(grey, np.uint8)), 4),
    )


def _flat_border(grey: NDArray[np.uint8]) -> float:
    """The share of rows and columns, from the edges inwards, that are of one grey."""
    rows, columns = grey.std(axis=1) < FLAT, grey.std(axis=0) < FLAT
    height, width = grey.shape
    if rows.all() or columns.all():
        return 1.0
    inner = (height - _run(rows) - _run(rows[::-1])) * (width - _run(columns) - _run(columns[::-1]))
    return float(1 - inner / (height * width))


def _run(flat: NDArray[np.bool_]) -> int:
    """How many stand at the beginning."""
    return int(np.argmin(flat))


def picture_reason(measured: Measures, config: MeasureConfig = DEFAULTS) -> str:
    """Why a whole picture leaves: monochrome, grey, or "" when it stays."""
    if measured.contrast < config.min_contrast:
        return "monochrome"
    if measured.saturation < config.min_saturation:
        return "grey"
    return ""


def face_reason(measured: Measures, side: int, config: MeasureConfig = DEFAULTS) -> str:
    """Why a face leaves: face_too_small (side px of its box), monochrome, grey, blurry, or "" when it stays."""
    if side < config.min_face:
        return "face_too_small"
    reason = picture_reason(measured, config)
    if not reason and measured.sharpness < config.min_sharpness:
        return "blurry"
    return reason


def _at_most(image: Image8, side: int) -> Image8:
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
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
