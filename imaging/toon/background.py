"""What lies behind drawn people: walls, skies, rooms and patterns, too faint to look like a face."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from imaging.toon.canvas import Canvas, Colour, darker, ellipse, lighter, mix, ramp_image, spline

Random = np.random.Generator

# Two tones and an accent each; chosen pale or deep enough to stand off skin and hair.
PALETTES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((255, 214, 186), (250, 170, 142), (240, 120, 110)),
    ((190, 226, 236), (132, 190, 214), (252, 226, 170)),
    ((206, 232, 206), (140, 194, 160), (248, 220, 150)),
    ((232, 214, 240), (180, 156, 210), (246, 190, 200)),
    ((255, 236, 190), (250, 204, 124), (236, 140, 96)),
    ((250, 214, 220), (232, 160, 176), (180, 130, 180)),
    ((222, 228, 236), (166, 178, 198), (240, 196, 150)),
    ((92, 112, 156), (52, 62, 108), (244, 200, 140)),
    ((70, 128, 130), (36, 82, 94), (244, 206, 150)),
    ((150, 96, 130), (92, 56, 96), (250, 180, 150)),
    ((240, 232, 216), (214, 198, 172), (150, 180, 160)),
    ((120, 180, 190), (70, 130, 156), (255, 220, 170)),
)

SKIES: tuple[Colour, ...] = ((112, 180, 226), (146, 200, 232), (250, 190, 150), (96, 110, 176))
# Upper sky, lower sky, houses.
TOWN_SKIES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((134, 190, 226), (226, 238, 242), (84, 112, 160)),
    ((104, 104, 170), (250, 190, 164), (88, 66, 116)),
    ((250, 206, 168), (255, 236, 208), (176, 110, 110)),
    ((48, 62, 112), (126, 140, 184), (30, 36, 80)),
)


def paint_background(canvas: Canvas, random: Random) -> str:
    """Cover the canvas with one random background and return its name."""
    name = str(random.choice(list(BACKGROUNDS)))
    palette = PALETTES[int(random.integers(len(PALETTES)))]
    BACKGROUNDS[name](canvas, random, *palette)
    return name


def _cover(canvas: Canvas, top: Colour, bottom: Colour, degrees: float = 90.0) -> None:
    height, width = canvas.image.shape[:2]
    canvas.image[:] = ramp_image(width, height, top, bottom, degrees)


def _gradient(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    _cover(canvas, a, b, float(random.choice((90, 60, 120, 45))))


def _halo(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    _cover(canvas, a, mix(a, b, 0.4))
    radius = 0.46 * min(width, height) * random.uniform(0.9, 1.2)
    for grow, share in ((1.25, 0.35), (1.0, 0.7)):
        canvas.fill(ellipse(width / 2, height * 0.48, radius * grow, radius * grow), mix(a, b, share))


def _sky(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    top = SKIES[int(random.integers(len(SKIES)))]
    _cover(canvas, top, lighter(top, 0.6))
    x, y = random.uniform(0.08, 0.92) * width, random.uniform(0.06, 0.2) * height
    canvas.glaze(ellipse(x, y, 0.07 * width, 0.07 * width), (255, 244, 210), 0.9, 1.0)
    for _ in range(int(random.integers(2, 5))):
        _cloud(canvas, random.uniform(0, width), random.uniform(0.05, 0.45) * height, random.uniform(0.05, 0.1) * width)
    green = mix((132, 184, 120), b, 0.25)
    for i, base in enumerate((0.66, 0.76)):
        _hills(canvas, random, base, darker(green, 0.12 * i))
        if i == 0:
            for x in random.uniform(0.0, 1.0, int(random.integers(2, 6))) * width:
                _tree(canvas, x, (base + 0.05) * height, random.uniform(0.05, 0.09) * height, darker(green, 0.22))


def _tree(canvas: Canvas, x: float, foot: float, size: float, colour: Colour) -> None:
    canvas.fill(_box(x - 0.08 * size, foot - size, x + 0.08 * size, foot), mix(colour, (110, 78, 60), 0.7))
    canvas.fill(ellipse(x, foot - 1.3 * size, 0.5 * size, 0.75 * size), colour)
    canvas.fill(ellipse(x - 0.12 * size, foot - 1.4 * size, 0.3 * size, 0.5 * size), lighter(colour, 0.08))


def _cloud(canvas: Canvas, x: float, y: float, size: float) -> None:
    for dx, dy, r in ((-0.9, 0.1, 0.6), (0, -0.15, 0.9), (0.9, 0.1, 0.65), (0.2, 0.25, 0.7)):
        canvas.glaze(ellipse(x + dx * size, y + dy * size, r * size * 1.3, r * size * 0.6), (255, 255, 255), 0.55, 1.0)


def _hills(canvas: Canvas, random: Random, base: float, colour: Colour) -> None:
    height, width = canvas.image.shape[:2]
    xs = np.linspace(-0.1, 1.1, 6) * width
    crest = np.stack([xs, (base + random.uniform(-0.07, 0.07, 6)) * height], axis=1)
    line = spline(crest, closed=False)
    canvas.fill(np.concatenate([line, [(width * 1.1, height), (-0.1 * width, height)]]), colour)


def _room(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    _cover(canvas, lighter(a, 0.15), mix(a, b, 0.35))
    floor = random.uniform(0.72, 0.82) * height
    canvas.fill(_box(0, floor, width, height), darker(mix(b, (170, 120, 90), 0.5), 0.1))
    canvas.fill(_box(0, floor - 0.02 * height, width, floor), lighter(a, 0.5))
    window = random.uniform(0.03, 0.62) * width
    w, h = random.uniform(0.24, 0.34) * width, random.uniform(0.30, 0.42) * height
    _window(canvas, window, random.uniform(0.05, 0.14) * height, w, h, lighter(a, 0.7))
    left = window > 0.33 * width
    _painting(canvas, random, (0.14 if left else 0.84) * width, 0.22 * height, 0.09 * width, accent)
    _plant(canvas, random, random.choice((0.06, 0.94)) * width, floor, 0.16 * height)


def _window(canvas: Canvas, x: float, y: float, w: float, h: float, frame: Colour) -> None:
    canvas.fill(_box(x - 8, y - 8, x + w + 8, y + h + 8), frame)
    canvas.ramp(_box(x, y, x + w, y + h), (178, 216, 240), (236, 242, 236))
    glint = np.array([(0.10, 1.0), (0.50, 0.0), (0.72, 0.0), (0.32, 1.0)]) * (w, h) + (x, y)
    canvas.glaze(glint, (255, 255, 255), 0.3)
    canvas.fill(_box(x + w / 2 - 4, y, x + w / 2 + 4, y + h), frame)
    canvas.fill(_box(x - 16, y + h + 6, x + w + 16, y + h + 16), frame)


def _painting(canvas: Canvas, random: Random, x: float, y: float, size: float, accent: Colour) -> None:
    canvas.fill(_box(x - size, y - 0.75 * size, x + size, y + 0.75 * size), darker(accent, 0.35))
    inside = _box(x - 0.85 * size, y - 0.6 * size, x + 0.85 * size, y + 0.6 * size)
    canvas.ramp(inside, lighter(accent, 0.55), lighter(accent, 0.3))
    peak = np.array([(-0.85, 0.6), (-0.3, random.uniform(-0.3, 0.0)), (0.1, 0.3), (0.45, 0.0), (0.85, 0.6)])
    canvas.fill(peak * size + (x, y), mix(accent, (90, 110, 150), 0.5))


def _plant(canvas: Canvas, random: Random, x: float, floor: float, size: float) -> None:
    for angle in np.linspace(-1.1, 1.1, 7):
        tip = (x + np.sin(angle) * size * 1.2, floor - size * 0.5 - np.cos(angle) * size * 1.3)
        mid = ((x + tip[0]) / 2 + 0.12 * size, (floor - 0.5 * size + tip[1]) / 2)
        back = ((x + tip[0]) / 2 - 0.12 * size, (floor - 0.5 * size + tip[1]) / 2)
        canvas.fill(
            spline([(x, floor - 0.4 * size), mid, tip, back]), mix((86, 150, 104), (52, 106, 88), random.random())
        )
    pot = np.array([(-0.32, -0.5), (0.32, -0.5), (0.24, 0.2), (-0.24, 0.2)]) * size + (x, floor)
    canvas.fill(pot, (206, 120, 88))


def _stripes(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    _cover(canvas, a, mix(a, b, 0.3))
    step, lean = random.uniform(0.10, 0.18) * width, random.choice((0.0, 0.6, -0.6)) * height
    for x in np.arange(-abs(lean), width + abs(lean), 2 * step):
        stripe = np.array([(x, 0), (x + step, 0), (x + step + lean, height), (x + lean, height)])
        canvas.fill(stripe, mix(a, b, 0.35))


def _spots(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    _cover(canvas, a, mix(a, b, 0.5))
    step = random.uniform(0.07, 0.10) * width
    for row, y in enumerate(np.arange(0, height + step, step * 0.8)):
        for x in np.arange(-step / 2 * (row % 2), width + step, step):
            canvas.fill(ellipse(x, y, 0.18 * step, 0.18 * step), mix(a, lighter(b, 0.3), 0.4))


def _petals(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    # Long shapes: a cascade takes round ones, however faint, for faces.
    height, width = canvas.image.shape[:2]
    _cover(canvas, b, darker(b, 0.25))
    for _ in range(14):
        size, angle = random.uniform(0.08, 0.2) * width, random.uniform(0.6, 1.1)
        x, y = random.uniform(0, width), random.uniform(0, height)
        along = np.array((math.cos(angle), -math.sin(angle))) * size
        across = np.array((math.sin(angle), math.cos(angle))) * size * 0.16
        petal = spline(np.array((along, across, -along, -across)) + np.array((x, y)))
        canvas.glaze(petal, accent if random.random() < 0.5 else lighter(a, 0.3), random.uniform(0.08, 0.2))


def _town(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    top, low, house = TOWN_SKIES[int(random.integers(len(TOWN_SKIES)))]
    _cover(canvas, top, low)
    for depth, base in ((0.28, 0.34), (0.52, 0.50)):
        x = -random.uniform(0, 0.1) * width
        while x < width:
            w, roof = random.uniform(0.08, 0.17) * width, (base + random.uniform(-0.12, 0.10)) * height
            tone = mix(low, house, depth + random.uniform(-0.03, 0.03))
            canvas.ramp(_box(x, roof, x + w, height), tone, mix(tone, low, 0.35))
            if depth > 0.4:
                _windows(canvas, random, x, roof, w, mix(tone, low, 0.38))
            x += w * random.uniform(1.0, 1.15)


def _windows(canvas: Canvas, random: Random, x: float, roof: float, w: float, colour: Colour) -> None:
    size = w / 7
    for row in range(5):
        for column in range(3):
            if random.random() < 0.7:
                left, top = x + size * (1 + 2 * column), roof + size * (1.5 + 2.4 * row)
                canvas.fill(_box(left, top, left + size, top + 1.4 * size), colour)


def _waves(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    _cover(canvas, a, a)
    for i in range(4):
        _hills(canvas, random, 0.22 + 0.2 * i, mix(a, b, 0.2 + 0.22 * i))


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


BACKGROUNDS: dict[str, Callable[[Canvas, Random, Colour, Colour, Colour], None]] = {
    "gradient": _gradient,
    "halo": _halo,
    "sky": _sky,
    "room": _room,
    "stripes": _stripes,
    "spots": _spots,
    "petals": _petals,
    "town": _town,
    "waves": _waves,
}
