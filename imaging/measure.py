"""Numbers that say whether a picture is worth keeping, and the reasons they give."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8

SIDE = 256  # every measure is taken at this size, so that it does not depend on the picture's


class Measures(NamedTuple):
    """What `measures` finds; all on a copy whose longer side is at most SIDE px."""

    brightness: float  # mean of grey, 0..255
    contrast: float  # standard deviation of grey, 0..127.5
    saturation: float  # spread of Lab chroma around the tint, see `measures`
    sharpness: float  # variance of the Laplacian of grey


class MeasureConfig(BaseModel):
    """The limits below which a picture or a face leaves; 0 switches a limit off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_contrast: float = Field(
        default=4.0, ge=0, description="standard deviation of grey under which it is monochrome"
    )
    min_saturation: float = Field(default=2.0, ge=0, description="spread of Lab chroma under which it is grey")
    min_sharpness: float = Field(
        default=20.0, ge=0, description="variance of the Laplacian under which a face is blurry"
    )
    min_face: int = Field(default=256, ge=0, description="side of the detected box under which a face is too small, px")


DEFAULTS = MeasureConfig()


def measures(image: Image8) -> Measures:
    """Brightness, contrast, saturation and sharpness of an image [H, W, 3]."""
    small = _at_most(image, SIDE)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    return Measures(
        brightness=round(float(grey.mean()), 3),
        contrast=round(float(grey.std()), 3),
        saturation=round(_chroma_spread(small), 3),
        sharpness=round(float(laplacian.var()), 3),
    )


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
    return float(np.hypot(lab[..., 1].std(), lab[..., 2].std()))
