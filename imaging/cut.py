"""The square around a face, and its pixels at the wanted size."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8
from imaging.detect import Box


class CutConfig(BaseModel):
    """How much of the picture around a face is taken along."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: float = Field(default=1.5, ge=1.0, le=4.0, description="side of the square over the longer side of the box")
    min_factor: float = Field(
        default=1.0, ge=1.0, le=4.0, description="smallest factor taken where the picture is too tight"
    )
    align: Literal["none", "ffhq"] = Field(
        default="none",
        description="ffhq: the cut is turned and sized by eyes and mouth, for detectors with landmarks; factor and "
        "rise do not count then",
    )
    max_border: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="how far an aligned cut may reach over the picture's edge, in its sides; mirrored there",
    )
    rise: float = Field(
        default=0.0, ge=-0.5, le=0.5, description="how far the square moves up, in sides of the box (hair)"
    )


DEFAULTS = CutConfig()


def face_square(box: Box, image_size: tuple[int, int], config: CutConfig = DEFAULTS) -> Box | None:
    """The square around a box, shifted (and shrunk down to min_factor) to lie inside a picture of (height, width).

    Never padded; None when not even min_factor fits.
    """
    height, width = image_size
    longer = max(box.x1 - box.x0, box.y1 - box.y0)
    side = min(round(longer * config.factor), height, width)
    if side < round(longer * min(config.min_factor, config.factor)) or side < 1:
        return None
    x0 = _inside((box.x0 + box.x1 - side) // 2, side, width)
    y0 = _inside((box.y0 + box.y1 - side) // 2 - round(longer * config.rise), side, height)
    return Box(x0, y0, x0 + side, y0 + side)


def cut(image: Image8, square: Box, size: int | None = None) -> Image8:
    """The pixels of a square, resampled to size x size px by Lanczos (antialiased: its support grows downwards)."""
    part = image[square.y0 : square.y1, square.x0 : square.x1]
    return np.ascontiguousarray(part) if size is None else resize(part, size)


def resize(image: Image8, size: int) -> Image8:
    """A square image at size x size px by Pillow's Lanczos (a = 3), which low-passes when it shrinks."""
    assert image.shape[0] == image.shape[1], image.shape
    if image.shape[0] == size:
        return np.ascontiguousarray(image)
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((size, size), Image.Resampling.LANCZOS))


def _inside(start: int, length: int, limit: int) -> int:
    return max(0, min(start, limit - length))
