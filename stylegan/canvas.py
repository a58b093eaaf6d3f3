"""Faces side by side on white with titles and labelled axes, for figures and films."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Drawing
from PIL import ImageDraw, ImageFont
from torch import Tensor

Image = npt.NDArray[np.uint8]

SMALLEST_TILE, LARGEST_TILE = 128, 256  # px
INK, FAINT, PAPER = (28, 28, 32), (110, 110, 118), (255, 255, 255)


def to_image(tensor: Tensor) -> Image:
    """A picture [3, H, W] (or grey [1, H, W]) with values in [-1, 1] as uint8 [H, W, 3]; beyond is clipped."""
    pixels = (tensor.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())


def tile_size(resolution: int) -> int:
    """Side at which a face of `resolution` px is shown: itself, or a whole multiple or part within 128 to 256 px."""
    if resolution < SMALLEST_TILE:
        return resolution * -(-SMALLEST_TILE // resolution)
    return resolution // -(-resolution // LARGEST_TILE)


def resize_tile(image: Image, side: int) -> Image:
    """A square face at `side` px: pixels repeated when it grows, area means when it shrinks; nothing is invented."""
    if image.shape[0] == side and image.shape[1] == side:
        return image
    how = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def join_tiles(grid: Sequence[Sequence[Image | None]], gap: int = 0) -> Image:
    """Rows of equal square tiles as one picture; None and missing places stay white."""
    side = next(tile.shape[0] for row in grid for tile in row if tile is not None)
    columns = max(len(row) for row in grid)
    canvas = np.full((len(grid) * (side + gap) - gap, columns * (side + gap) - gap, 3), PAPER, np.uint8)
    for y, row in enumerate(grid):
        for x, tile in enumerate(row):
            if tile is not None:
                canvas[y * (side + gap) : y * (side + gap) + side, x * (side + gap) : x * (side + gap) + side] = tile
    return canvas


def label_grid(
    grid: Sequence[Sequence[Image | None]], title: str, top: Sequence[str] = (), left: Sequence[str] = ()
) -> Image:
    """Tiles with a title, a label over each column and a label (or two lines of it) before each row."""
    faces = join_tiles(grid, gap=2)
    side = next(tile.shape[0] for row in grid for tile in row if tile is not None)
    pad, label_font = 10, _font_that_fits([*top], side, largest=max(10, side // 10))
    left_font = _font(max(11, min(15, side // 8)))
    margin = pad + max([_text_size(text, left_font)[0] + 8 for text in left if text], default=0)
    title_font = _font(max(13, min(22, faces.shape[1] // 45)))
    lines = _wrap(title, title_font, faces.shape[1] + margin - pad)
    line_height = _text_size("Ag", title_font)[1] + 6
    header = pad + line_height * len(lines) + (_text_size("Ag", label_font)[1] + 10 if top else 4)
    sheet = Drawing.new("RGB", (margin + faces.shape[1] + pad, header + faces.shape[0] + pad), PAPER)
    sheet.paste(Drawing.fromarray(faces), (margin, header))
    pen = ImageDraw.Draw(sheet)
    for i, line in enumerate(lines):
        pen.text((pad, pad + i * line_height), line, fill=INK, font=title_font)
    for x, text in enumerate(top):
        centre = margin + x * (side + 2) + side / 2
        pen.text((centre, header - 5), text, fill=FAINT, font=label_font, anchor="md")
    for y, text in enumerate(left):
        place = (margin - 8, header + y * (side + 2) + side / 2)
        pen.multiline_text(place, text, fill=FAINT, font=left_font, anchor="rm", align="right", spacing=2)
    return np.asarray(sheet)


def add_caption(image: Image, text: str) -> Image:
    """The picture with a line of light text on a dark strip below it; the strip's height follows the width only."""
    height = max(18, image.shape[1] // 18)
    strip = Drawing.new("RGB", (image.shape[1], height), (20, 20, 24))
    font = _font_that_fits([text], image.shape[1] - 8, largest=int(height * 0.62))
    ImageDraw.Draw(strip).text((height // 3, height / 2), text, fill=(235, 235, 238), font=font, anchor="lm")
    return np.concatenate([image, np.asarray(strip)])


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    # Pillow carries this font; without FreeType it would draw 11 px bitmaps whatever the size.
    assert isinstance(font, ImageFont.FreeTypeFont), "this Pillow was built without FreeType: install the wheel"
    return font


def _font_that_fits(texts: Sequence[str], width: float, largest: int) -> ImageFont.FreeTypeFont:
    """The largest font of at most `largest` px (at least 8) in which every text is at most `width` px long."""
    for size in range(largest, 8, -1):
        if all(_text_size(text, _font(size))[0] <= width for text in texts):
            return _font(size)
    return _font(8)


def _text_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    boxes = [font.getbbox(line) for line in text.split("\n")]
    return int(max(box[2] for box in boxes)), int(sum(box[3] for box in boxes))


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines of at most `width` px, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _text_size(longer, font)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
