"""From the bytes of a picture file to an sRGB image, or to a sentence that says why not."""

from __future__ import annotations

import importlib.metadata
import io
import warnings
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydantic import BaseModel, ConfigDict, Field

from imaging.colour import flatten, to_8_bit, to_srgb, transform_of
from imaging.damage import DAMAGE, ends_in_fill, num_last_rows, png_damage
from imaging.jpeg import CodecWarning, Walk, is_damage, plain_jpeg, read_plain, walk_jpeg

REDUCTIONS = (1, 2, 4, 8)
MAX_SIDE = 65_535  # px, what JPEG can say; a picture of millions of rows costs 50 bytes a pixel
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
    walk = walk_jpeg(data) if kind == "JPEG" else None
    damage = walk.damage if walk else png_damage(data) if kind == "PNG" else ""
    if damage:
        raise Undecodable(damage)
    found = _read(data, kind, walk, config, reduced)
    suffix = PurePath(name).suffix.lower().lstrip(".") if name else ""
    if name and suffix not in SUFFIXES[kind]:
        return found._replace(notes=(*found.notes, "wrong_suffix"))
    return found


def decoder_version() -> str:
    """What decodes: this module and the libraries under it."""
    simplejpeg = importlib.metadata.version("simplejpeg")
    return f"decode 2, Pillow {PIL.__version__}, OpenCV {cv2.__version__}, simplejpeg {simplejpeg}"


def _checked_format(data: bytes, config: DecodeConfig) -> str:
    if not data:
        raise Undecodable("the file is empty")
    if len(data) > config.max_bytes:
        raise Undecodable(f"{len(data)} bytes are above the limit of {config.max_bytes}")
    kind = sniff(data)
    if kind is None:
        raise Undecodable("no picture format starts with these bytes")
    return kind


def _check_pixels(width: int, height: int, config: DecodeConfig) -> None:
    if width * height > config.max_pixels:
        raise Undecodable(f"{width} x {height} px are above the limit of {config.max_pixels} px")
    if max(width, height) > MAX_SIDE:
        raise Undecodable(f"{width} x {height} px: no side may be above {MAX_SIDE} px")


def _check_fill(data: bytes, walk: Walk, rows: Image8) -> None:
    if ends_in_fill(data, walk.scan_end, rows):
        raise Undecodable("the JPEG is cut off: its lower part is not in the file")


def _read(data: bytes, kind: str, walk: Walk | None, config: DecodeConfig, reduced: int) -> Decoded:
    """The picture by the short way or by Pillow; whatever they say against it as Undecodable."""
    try:
        if walk and (found := _read_plain(data, walk, config, reduced)):
            return found
        with warnings.catch_warnings(action="ignore"):
            return _read_any(data, kind, walk, config, reduced)
    except Undecodable:
        raise
    except Image.DecompressionBombError as error:  # by Pillow's own guard, while it reads the header
        raise Undecodable(f"the stated size is above the limit of {config.max_pixels} px") from error
    except DAMAGE as error:
        raise Undecodable(f"{kind} does not decode: {_short(error)}") from error


def _read_plain(data: bytes, walk: Walk, config: DecodeConfig, reduced: int) -> Decoded | None:
    """A plain JPEG by the codec alone, None where it is not plain; the pixels are those that Pillow gives."""
    plain = plain_jpeg(data, walk)
    if plain is None:
        return None
    _check_pixels(plain.width, plain.height, config)
    reduced = _factor((plain.width, plain.height), reduced)
    try:
        image = read_plain(data, plain, reduced)
    except CodecWarning as warning:
        if plain.channels == 3 and is_damage(warning):
            raise Undecodable(f"the JPEG is damaged: {warning.words}") from warning
        return None
    if plain.channels == 3 and (num_rows := num_last_rows(len(image), reduced)):
        _check_fill(data, walk, image[-num_rows:])
    notes = ["grey_channel"] if plain.channels == 1 else []
    if plain.profile and not _is_srgb(plain.profile):
        image = np.array(to_srgb(Image.fromarray(image), plain.profile, notes))
    return _upright(image, "JPEG", notes, plain.orientation, (plain.height, plain.width), reduced)


def _is_srgb(profile: bytes) -> bool:
    """Whether samples of this profile are sRGB as they stand; one that cannot be read is another's to note."""
    try:
        return transform_of(profile, "RGB") is None
    except (ImageCms.PyCMSError, *DAMAGE):
        return False


def _read_any(data: bytes, kind: str, walk: Walk | None, config: DecodeConfig, reduced: int) -> Decoded:
    """Whatever Pillow reads."""
    notes: list[str] = []
    with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
        width, height = picture.size
        _check_pixels(width, height, config)
        if getattr(picture, "is_animated", False):
            notes.append("multi_page" if kind in ("TIFF", "JPEG") else "animated")
            picture.seek(0)
        reduced = _reduce(picture, reduced) if kind == "JPEG" else 1
        picture.load()
        if walk and picture.mode == "RGB" and (num_rows := num_last_rows(picture.height, reduced)):
            lower = picture.crop((0, picture.height - num_rows, *picture.size))
            _check_fill(data, walk, np.asarray(lower))
        if picture.mode in ("F", "I"):
            raise Undecodable("32-bit samples have no stated range")
        srgb = to_srgb(to_8_bit(picture, data, notes), picture.info.get("icc_profile"), notes)
        image = np.array(flatten(srgb, config.background, notes))
        return _upright(image, kind, notes, _orientation(picture, notes), (height, width), reduced)


def _factor(size: tuple[int, int], wanted: int) -> int:
    """The largest factor up to the wanted one that leaves LEAST_SIDE."""
    while wanted > 1 and min(size) < LEAST_SIDE * wanted:
        wanted //= 2
    return wanted


def _reduce(picture: Image.Image, wanted: int) -> int:
    """Have a JPEG decoded at 1/wanted or larger; the factor that it is."""
    factor = _factor(picture.size, wanted)
    if factor > 1:  # Pillow takes the largest factor that leaves the size asked for
        picture.draft(None, (picture.width // factor, picture.height // factor))
    return factor


def _upright(
    image: Image8, kind: str, notes: list[str], orientation: int, size: tuple[int, int], reduced: int
) -> Decoded:
    """The picture turned as its EXIF says; size is (height, width) of the whole picture before that."""
    if orientation not in _TURNS:
        return Decoded(image, kind, tuple(notes), size, reduced)
    turned = _TURNS[orientation](image)
    return Decoded(turned, kind, (*notes, "exif_rotated"), size if orientation < 5 else size[::-1], reduced)


_TURNS: dict[int, Callable[[Image8], Any]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.flip(image, -1),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


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
