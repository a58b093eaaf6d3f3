"""What a JPEG's markers say of it, and the short way to its pixels."""

from __future__ import annotations

import functools
import re
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

NONE, EOI, SOS, DQT, APP1, APP2 = -1, 0xD9, 0xDA, 0xDB, 0xE1, 0xE2
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
BASELINE, PROGRESSIVE = (0xC0, 0xC1), 0xC2
INSIDE = {0xC4, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # segments that may follow a scan: tables, text
MAX_SCANS = 64  # encoders write about ten; each costs a pass over all pixels, even where it holds a few bytes
MAX_SEGMENTS = 4096  # the longest profile takes 255
MAX_JUNK = 1_000_000  # bytes that are no segment; Pillow takes half a second to pass them

_FILL = re.compile(rb"\xff+")
_MARKER = re.compile(rb"\xff([^\x00\xff])")  # in a scan FF 00 is a byte of it, FF FF is fill


Segment = tuple[int, int, int]  # marker, where the contents begin, where they end


class Walk(NamedTuple):
    """A JPEG from segment to segment: what is wrong with it, its header, and where its only scan ends."""

    damage: str  # "" = nothing
    header: list[Segment]  # those before the first scan
    scan_end: int = 0  # 0 where it is not baseline in one scan
    whole: bool = False  # from the first marker to the last nothing was odd


def walk_jpeg(data: bytes) -> Walk:
    """Walk from segment to segment; inside a scan no marker may stand but restarts in their order.

    A file whose header already confuses the walk is left to the decoder, which forgives more.
    """
    header: list[Segment] = []
    num_scans, position = 0, 2
    for _ in range(MAX_SEGMENTS):
        marker, start, end = found = _segment(data, position)
        if marker == NONE and num_scans:
            return Walk("the JPEG is cut off or damaged between its scans", header)
        if marker == NONE:  # decoders look for the next marker byte by byte
            near = data.find(b"\xff\xda", start, start + MAX_JUNK) >= 0
            return Walk("" if near else "the JPEG is cut off or damaged in its header: no scan follows", header)
        if marker == EOI:
            baseline = any(segment[0] in BASELINE for segment in header)
            return Walk("", header, start - 4 if baseline and num_scans == 1 else 0, num_scans > 0)
        position = end
        if not num_scans:
            header.append(found)
        if marker == SOS:
            num_scans += 1
            position, damage = _scan_end(data, end)
            if damage or num_scans > MAX_SCANS:
                return Walk(damage or f"the JPEG has more than {MAX_SCANS} scans", header)
    return Walk(f"the JPEG has more than {MAX_SEGMENTS} segments", header)


def header_of(data: bytes) -> list[Segment]:
    """The segments up to the first scan, as far as they can be followed."""
    header: list[Segment] = []
    position, marker = 2, 0
    while marker != SOS and len(header) < MAX_SEGMENTS:
        marker, _, position = found = _segment(data, position)
        if marker in (NONE, EOI):
            break
        header.append(found)
    return header


def _segment(data: bytes, position: int) -> Segment:
    """The segment that begins here, of the marker NONE where none stands; FF before a marker is fill."""
    head = data[position : position + 4]
    if head[:2] == b"\xff\xff" and (fill := _FILL.match(data, position, position + MAX_JUNK)):
        position = fill.end() - 1
        head = data[position : position + 4]
    if len(head) < 2 or head[0] != 0xFF:
        return NONE, position, position
    return head[1], position + 4, position + 2 + int.from_bytes(head[2:], "big")


def _scan_end(data: bytes, position: int) -> tuple[int, str]:
    """The position of the marker that ends a scan, and what is wrong with the scan."""
    num_restarts = 0
    for found in _MARKER.finditer(data, position):
        marker = data[found.end() - 1]
        if 0xD0 <= marker <= 0xD7:
            if marker - 0xD0 != num_restarts % 8:
                return 0, "the JPEG's restart markers are out of order"
            num_restarts += 1
        elif marker in INSIDE or marker in (SOS, EOI):
            return found.start(), ""
        else:
            return 0, f"the JPEG's scan is damaged: marker {marker:02X} inside"
    return 0, "the JPEG is cut off before its end"


class Plain(NamedTuple):
    """A JPEG that needs nothing but its codec: 8 bits, grey or three channels, one picture, no odd segment."""

    height: int
    width: int
    channels: int
    orientation: int
    profile: bytes | None


def plain_jpeg(data: bytes, walk: Walk) -> Plain | None:
    """What must be known of a plain JPEG before it is decoded; None where Pillow's reader is to look at it."""
    frames = [segment for segment in walk.header if segment[0] in FRAMES]
    if not walk.whole or len(frames) != 1 or not (frame := _frame(data, frames[0])):
        return None
    turns = [_turn(data[start:end]) for marker, start, end in walk.header if marker == APP1]
    stated = [turn for turn in turns if turn is not None]
    profiles = [
        (start, end)
        for marker, start, end in walk.header
        if marker == APP2 and data.startswith((b"ICC_PROFILE\0", b"MPF\0"), start)
    ]
    if len(stated) > 1 or 0 in stated or len(profiles) > 1:
        return None
    profile = None
    for start, end in profiles:
        if data[start : start + 14] != b"ICC_PROFILE\0\1\1" or start > frames[0][1]:
            return None
        profile = data[start + 14 : end]
    return Plain(*frame, stated[0] if stated else 1, profile)


def _frame(data: bytes, at: Segment) -> tuple[int, int, int] | None:
    """Height, width and channels by the frame header, None where it is no common one."""
    marker, start, end = at
    body = data[start:end]
    if marker not in (*BASELINE, PROGRESSIVE) or len(body) < 6 or body[0] != 8 or body[5] not in (1, 3):
        return None
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return (height, width, body[5]) if height and width and len(body) == 6 + 3 * body[5] else None


def _turn(body: bytes) -> int | None:
    """The orientation 1..8 that an APP1 segment states, 0 where it takes a longer look; None where it is silent."""
    if body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
        return 0 if b"tiff:Orientation" in body else None
    if not body.startswith(b"Exif\0\0"):
        return None
    if body[6:10] == b"II*\0":
        return _orientation(body[6:], "little")
    return _orientation(body[6:], "big") if body[6:10] == b"MM\0*" else 0


def _orientation(tiff: bytes, order: Literal["little", "big"]) -> int:
    """The orientation in the first directory of EXIF; 1 where it names none, 0 where anything is odd."""

    def number(start: int, length: int) -> int:
        return int.from_bytes(tiff[start : start + length], order)

    first = number(4, 4)
    num_entries = number(first, 2)
    if not 0 < num_entries <= (len(tiff) - first - 2) // 12:
        return 0
    stated = [at for at in range(first + 2, first + 2 + 12 * num_entries, 12) if number(at, 2) == 0x0112]
    if len(stated) != 1:
        return 1 if not stated else 0
    one_short = number(stated[0] + 2, 2) == 3 and number(stated[0] + 4, 4) == 1
    value = number(stated[0] + 8, 2)
    return value if one_short and 1 <= value <= 8 else 0


class CodecWarning(ValueError):  # noqa: N818  libjpeg goes on after it, and fills in what is missing
    """What libjpeg had to say against a file."""

    @property
    def words(self) -> str:
        """Its sentence."""
        return str(self).removeprefix("Corrupt JPEG data: ")[:120]


def read_plain(data: bytes, plain: Plain, reduced: int) -> NDArray[np.uint8]:
    """The pixels [H, W, 3] at 1/reduced, equal to Pillow's; CodecWarning where the codec has but a word against them.

    Both decode by libjpeg-turbo with the exact DCT and smooth chroma; here without a copy and a detour over four
    bytes a pixel.
    """
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-plain.height // reduced), min_width=-(-plain.width // reduced), strict=True
        )
    except ValueError as error:
        raise CodecWarning(str(error)) from error
    return image


def is_damage(warning: CodecWarning) -> bool:
    """Whether pixels are missing or wrong; the other warnings are of bytes too many, and such files are in use."""
    return any(words in str(warning) for words in ("premature end of data segment", "bad Huffman code"))


# ITU-T T.81, tables K.1 and K.2, in the order of the file (zigzag): quality 50 of the Independent JPEG Group.
_LUMA = (
    "16 11 12 14 12 10 16 14 13 14 18 17 16 19 24 40 26 24 22 22 24 49 35 37 29 40 58 51 61 60 57 51 "
    "56 55 64 72 92 78 64 68 87 69 55 56 80 109 81 87 95 98 103 104 103 62 77 113 121 112 100 120 92 101 103 99"
)
_CHROMA = "17 18 18 24 21 24 47 26 26 47 99 66 56 66 " + "99 " * 50


def jpeg_quality(data: bytes) -> float | None:
    """The quality, 1..100, whose IJG tables are nearest to those of a JPEG; None where it states none.

    Nearest by the mean difference of the logarithms of the quantisation steps, luminance against table K.1 and, where
    the file has another table for chrominance, that against K.2. Exact for whatever libjpeg wrote by quality.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    header = header_of(data)
    tables = _tables(data, header)
    frame = next((data[start:end] for marker, start, end in header if marker in FRAMES), b"")
    used = list(dict.fromkeys(frame[8::3]))[:2]
    if not used or any(index not in tables for index in used):
        return None
    asked = np.log(np.array([tables[index] for index in used], np.float32))
    deep = max(max(tables[index]) for index in used) > 255
    return float(np.abs(_ijg_logs(32767 if deep else 255)[:, : len(used)] - asked).sum(axis=(1, 2)).argmin() + 1)


def _tables(data: bytes, header: list[Segment]) -> dict[int, list[int]]:
    """The quantisation tables by their number, in the order of the file."""
    found = {}
    for marker, start, end in header:
        while marker == DQT and start < min(end, len(data)):
            deep, index = divmod(data[start], 16)
            kind = np.dtype(">u2") if deep else np.dtype(np.uint8)
            body = data[start + 1 : min(end, start + 1 + 64 * kind.itemsize)]
            if len(body) == 64 * kind.itemsize and 0 not in (steps := np.frombuffer(body, kind)):
                found[index] = steps.tolist()
            start += 1 + 64 * kind.itemsize
    return found


@functools.cache
def _ijg_logs(largest: int) -> NDArray[np.float32]:
    """Logarithms of the IJG's steps [quality - 1, luminance or chrominance, 64]."""
    base = np.array([[int(step) for step in table.split()] for table in (_LUMA, _CHROMA)])
    scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in range(1, 101)]
    steps = (base[None] * np.array(scales)[:, None, None] + 50) // 100
    logs: NDArray[np.float32] = np.log(steps.clip(1, largest).astype(np.float32))
    return logs
