"""From the bytes of a picture file to an sRGB image, or to a sentence that says why not."""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib
from pathlib import PurePath
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydantic import BaseModel, ConfigDict, Field

from imaging.damage import ends_in_fill, jpeg_damage, png_damage

REDUCTIONS = (1, 2, 4, 8)
LEAST_SIDE = 32  # px: no picture is reduced below it

Image8 = NDArray[np.uint8]

SUFFIXES = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "PNG": ("png", "apng"),
    "GIF": ("gif",),
    "WEBP": ("webp",),
    "BMP": ("bmp", "dib"),
    "TIFF": ("tif", "tiff"),
    "AVIF": ("avif",),
}

# What Pillow's readers raised on the hostile set and on 640,000 mutated files: mostly OSError ("cannot identify",
# "image file is truncated", "broken data stream"); from tags and chunks SyntaxError, ValueError, TypeError, IndexError
# and struct.error; from AVIF RuntimeError. The other four stand in Pillow's source.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)


class Undecodable(ValueError):  # noqa: N818
    """The bytes are no whole picture of a known format within the limits; the text says why."""


class Decoded(NamedTuple):
    """An sRGB image with the format it came in and what had to be done to it."""

    image: Image8
    format: str
    notes: tuple[str, ...]
    size: tuple[int, int]  # height, width of the whole picture, upright
    reduced: int = 1  # the image is 1/reduced of that, each side rounded up


class DecodeConfig(BaseModel):
    """Limits that are checked before any pixel is decoded, and the colour behind transparent pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Above 178,956,970 px Pillow's own guard against bombs would answer first.
    max_pixels: int = Field(
        default=64_000_000, ge=1, le=178_956_970, description="width x height above which a picture is refused"
    )
    max_bytes: int = Field(default=256_000_000, ge=1, description="file size above which a picture is refused, bytes")
    background: tuple[int, int, int] = Field(
        default=(255, 255, 255), description="RGB 0..255 that transparency is flattened on"
    )


DEFAULTS = DecodeConfig()


def sniff(data: bytes) -> str | None:
    """Format by the magic bytes (a key of SUFFIXES), None when no known one."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return None


def decode(data: bytes, config: DecodeConfig = DEFAULTS, name: str = "", reduced: int = 1) -> Decoded:
    """The first frame of a picture file as sRGB, upright, 8 bit, three channels.

    Raises Undecodable for anything else: empty, unknown, damaged, truncated, over the limits.
    reduced 2, 4 or 8 asks for a JPEG at that part of its size, by fewer coefficients of each block: the shorter side
    stays at least LEAST_SIDE, other formats come at full size, and the result says which it is. What is refused at
    full size is refused reduced.
    Notes say what was done: exif_rotated, icc_converted, icc_broken, cmyk, lab, palette, alpha_flattened, grey_channel,
    16_bit, animated (first frame), multi_page (first page), wrong_suffix (only when the file's name is given).
    """
    if reduced not in REDUCTIONS:
        raise ValueError(f"reduced={reduced}: codecs reduce by one of {REDUCTIONS}")
    kind = _checked_format(data, config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _read(data, kind, config, reduced)
    except Undecodable:
        raise
    except Image.DecompressionBombError as error:  # by Pillow's own guard, while it reads the header
        raise Undecodable(f"the stated size is above the limit of {config.max_pixels} px") from error
    except DAMAGE as error:
        raise Undecodable(f"{kind} does not decode: {_short(error)}") from error
    suffix = PurePath(name).suffix.lower().lstrip(".")
    if name and suffix not in SUFFIXES[kind]:
        return found._replace(notes=(*found.notes, "wrong_suffix"))
    return found


def _checked_format(data: bytes, config: DecodeConfig) -> str:
    if not data:
        raise Undecodable("the file is empty")
    if len(data) > config.max_bytes:
        raise Undecodable(f"{len(data)} bytes are above the limit of {config.max_bytes}")
    kind = sniff(data)
    if kind is None:
        raise Undecodable("no picture format starts with these bytes")
    reason = png_damage(data) if kind == "PNG" else jpeg_damage(data)[0] if kind == "JPEG" else ""
    if reason:
        raise Undecodable(reason)
    return kind


def _read(data: bytes, kind: str, config: DecodeConfig, reduced: int) -> Decoded:
    notes: list[str] = []
    with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
        width, height = picture.size
        if width * height > config.max_pixels:
            raise Undecodable(f"{width} x {height} px are above the limit of {config.max_pixels} px")
        if getattr(picture, "is_animated", False):
            notes.append("multi_page" if kind in ("TIFF", "JPEG") else "animated")
            picture.seek(0)
        reduced = _reduce(picture, reduced) if kind == "JPEG" else 1
        picture.load()
        if kind == "JPEG" and ends_in_fill(data, jpeg_damage(data)[1], picture, reduced):
            raise Undecodable("the JPEG is cut off: its lower part is not in the file")
        flat = _flatten(
            _to_srgb(_to_8_bit(picture, data, notes), picture.info.get("icc_profile"), notes), config, notes
        )
        turn = _TURNS.get(_orientation(picture, notes))
        if turn is None:
            return Decoded(np.array(flat), kind, tuple(notes), (height, width), reduced)
        notes.append("exif_rotated")
        size = (width, height) if turn in _SIDEWAYS else (height, width)
        return Decoded(np.array(flat.transpose(turn)), kind, tuple(notes), size, reduced)


def _reduce(picture: Image.Image, wanted: int) -> int:
    """Have a JPEG decoded at 1/wanted, or at the next larger size that leaves LEAST_SIDE; the factor that it is."""
    side = min(picture.size)
    while wanted > 1 and side < LEAST_SIDE * wanted:
        wanted //= 2
    if wanted > 1:  # Pillow takes the largest factor that leaves the size asked for
        picture.draft(None, (picture.width // wanted, picture.height // wanted))
    return wanted


def _to_8_bit(picture: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    """The picture with 8 bits a channel: 16-bit values v become round(v / 257)."""
    if picture.mode in ("F", "I"):
        raise Undecodable("32-bit samples have no stated range")
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
    return Image.fromarray(_eight_bits(cv2.cvtColor(deep, order)))


def _eight_bits(values: NDArray[Any]) -> Image8:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_srgb(picture: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
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
    return picture.convert("RGBA" if alpha else "RGB")


def _converted(picture: Image.Image, profile: bytes | None) -> Image.Image:
    transform = _transform(profile, picture.mode)
    if transform is None:
        return picture
    result = ImageCms.applyTransform(picture, transform)
    assert result is not None
    return result


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile to sRGB, None when it is sRGB already; profile None stands for Lab."""
    srgb = ImageCms.createProfile("sRGB")
    if profile is None:
        return ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, mode, "RGB")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "sRGB" in (source.profile.profile_description or ""):
        return None
    return ImageCms.buildTransform(source, srgb, mode, "RGBA" if mode == "RGBA" else "RGB")


def _flatten(picture: Image.Image, config: DecodeConfig, notes: list[str]) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    alpha = picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return picture.convert("RGB")
    notes.append("alpha_flattened")
    ground = Image.new("RGB", picture.size, config.background)
    ground.paste(picture.convert("RGB"), mask=alpha)
    return ground


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


def _orientation(source: Image.Image, notes: list[str]) -> int:
    try:
        orientation: int = source.getexif().get(0x0112, 1)
    except DAMAGE:
        notes.append("exif_broken")
        return 1
    return orientation


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return "unknown content" if "cannot identify" in text or not text else text[:120]
