"""Contact sheets: many images on one, each with a caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imaging.decode import Image8

GROUND = (255, 255, 255)
INK = (40, 40, 40)


def sheet(images: Sequence[Image8], columns: int, captions: Sequence[str] | None = None, tile: int = 128) -> Image8:
    """The images [H, W, 3] row by row, each fitted whole into a tile x tile square, captions under them.

    A caption wider than its tile is cut off. Raises ValueError when captions and images differ in number.
    """
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(images)} images but {len(captions)} captions")
    gap = max(2, tile // 32)
    text_height = max(9, tile // 10)
    font = ImageFont.load_default(size=text_height)
    line = 0 if captions is None else text_height + 2
    rows = -(-len(images) // columns)
    size = (columns * (tile + gap) + gap, max(1, rows) * (tile + line + gap) + gap)
    canvas = Image.new("RGB", size, GROUND)
    draw = ImageDraw.Draw(canvas)
    for index, image in enumerate(images):
        x, y = gap + index % columns * (tile + gap), gap + index // columns * (tile + line + gap)
        picture = _fitted(image, tile)
        canvas.paste(picture, (x + (tile - picture.width) // 2, y + (tile - picture.height) // 2))
        if captions is not None:
            text = _shortened(captions[index], font, tile)
            draw.text((x + tile / 2, y + tile), text, fill=INK, font=font, anchor="ma")
    return np.array(canvas)


def _fitted(image: Image8, tile: int) -> Image.Image:
    height, width = image.shape[:2]
    scale = tile / max(height, width)
    picture = Image.fromarray(image)
    return picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
