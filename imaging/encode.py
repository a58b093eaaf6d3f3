"""From an image to the bytes of a file, without metadata: the same image gives the same bytes."""

from __future__ import annotations

import io
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8


class Codec(BaseModel):
    """How a face is written: the same image and codec give the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["png", "jpg", "webp"] = Field(default="png", description="png and webp are lossless, jpg is 4:4:4")
    quality: int = Field(default=95, ge=1, le=100, description="of jpg only")


def encode(image: Image8, codec: Codec) -> bytes:
    """The image [H, W, 3] as a file without metadata; the bytes depend on pixels, codec and Pillow's version only."""
    picture, out = Image.fromarray(image), io.BytesIO()
    if codec.format == "png":
        picture.save(out, "PNG", compress_level=6)
    elif codec.format == "jpg":
        picture.save(out, "JPEG", quality=codec.quality, subsampling=0, optimize=True)
    else:
        picture.save(out, "WEBP", lossless=True, quality=50, method=2, exact=True)
    return out.getvalue()
