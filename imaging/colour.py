"""From whatever samples a picture file holds to 8-bit sRGB: depth, profiles, palettes, CMYK, Lab and transparency."""

from __future__ import annotations

import functools
import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from imaging.damage import DAMAGE

RGB = tuple[int, int, int]
STRIP = 64  # rows


def to_8_bit(picture: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    """The picture with 8 bits a channel: 16-bit values v become round(v / 257)."""
    if picture.mode.startswith("I;16"):
        notes.append("16_bit")
        return Image.fromarray(_eight_bits(np.asarray(picture)))
    if picture.format == "PNG" and data[24] == 16:
        notes.append("16_bit")
        return _deep_png(data) or picture
    return picture


def _deep_png(data: bytes) -> Image.Image | None:
    """A colour PNG of 16 bits by OpenCV: Pillow keeps only the high byte of each sample."""
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16 or deep.ndim != 3:
        return None
    order = cv2.COLOR_BGRA2RGBA if deep.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return Image.fromarray(cv2.cvtColor(_eight_bits(deep), order))


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """round(v / 257) of 16-bit values, strip by strip: what comes between needs no room for a whole picture."""
    result = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), STRIP):
        strip = np.minimum(values[first : first + STRIP], 65535 - 128).astype(np.uint16)
        result[first : first + STRIP] = (strip + np.uint16(128)) // np.uint16(257)
    return result


def to_srgb(picture: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """RGB or RGBA in the sRGB space; a profile that cannot be used is a note, and the samples are taken as they are."""
    if picture.mode == "LAB":
        notes.append("lab")
        return _converted(picture, None)
    if picture.mode == "CMYK":
        notes.append("cmyk")
    else:
        picture = _rgb_or_rgba(picture, notes)
    if profile:
        try:
            converted = _converted(picture, profile)
        except (ImageCms.PyCMSError, *DAMAGE):
            notes.append("icc_broken")
        else:
            if converted is not picture:
                notes.append("icc_converted")
            picture = converted
    return picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGB")


def _rgb_or_rgba(picture: Image.Image, notes: list[str]) -> Image.Image:
    if picture.mode in ("P", "PA"):
        notes.append("palette")
    if picture.mode in ("1", "L", "LA", "La"):
        notes.append("grey_channel")
    alpha = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    if picture.mode == "La":
        picture = picture.convert("LA")
    mode = "RGBA" if alpha else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _converted(picture: Image.Image, profile: bytes | None) -> Image.Image:
    transform = transform_of(profile, picture.mode)
    if transform is None:
        return picture
    result = ImageCms.applyTransform(picture, transform)
    assert result is not None
    return result


@functools.lru_cache(maxsize=16)
def transform_of(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile to sRGB, None when it is sRGB already; profile None stands for Lab."""
    srgb = ImageCms.createProfile("sRGB")
    if profile is None:
        return ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, mode, "RGB")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "sRGB" in (source.profile.profile_description or ""):
        return None
    return ImageCms.buildTransform(source, srgb, mode, "RGBA" if mode == "RGBA" else "RGB")


def flatten(picture: Image.Image, background: RGB, notes: list[str]) -> Image.Image:
    """RGB without transparency: what shows through is the background."""
    if picture.mode == "RGB":
        return picture
    alpha = picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return picture.convert("RGB")
    notes.append("alpha_flattened")
    ground = Image.new("RGB", picture.size, background)
    ground.paste(picture.convert("RGB"), mask=alpha)
    return ground
