"""From an image to the bytes of a file, without metadata: the same image gives the same bytes."""

from __future__ import annotations

import io
from typing import Literal

import cv2
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8


class Codec(BaseModel):
    """How a face is written: the same image and codec give the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["png", "jpg", "webp"] = Field(default="png", description="png and webp are lossless")
    quality: int = Field(default=95, ge=1, le=100, description="of jpg only")
    chroma: Literal["444", "420"] = Field(
        default="444", description="of jpg only: 444 keeps the colours' full resolution, 420 half of it"
    )


_CHROMA = {"444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420}
# One filter and run lengths: as small as zlib's level 6 with every filter tried, in a seventh of its time.
_PNG = [
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
]


def encode(image: Image8, codec: Codec) -> bytes:
    """The image [H, W, 3] as a file without metadata.

    The bytes depend on pixels, codec and the versions of OpenCV (png, jpg) and Pillow (webp) only.
    """
    if codec.format == "png":
        return _by_opencv(".png", image, _PNG)
    if codec.format == "jpg":
        quality = [cv2.IMWRITE_JPEG_QUALITY, codec.quality]
        return _by_opencv(".jpg", image, [*quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _CHROMA[codec.chroma]])
    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", lossless=True, quality=0, method=1, exact=True)
    return out.getvalue()


def _by_opencv(suffix: str, image: Image8, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR), options)
    assert done, "an image of 8 bits and three channels has no reason to fail"
    return data.tobytes()
