"""What lies behind drawn people: walls, skies, rooms and patterns, too faint to look like a face."""

from __future__ import annotations

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
    top: Colour = ((112, 180, 226), (146, 200, 232), (250, 190, 150), (96, 110, 176))[int(random.integers(4))]
    _cover(canvas, top, lighter(top, 0.6))
    x, y = random.uniform(0.08, 0.92) * width, random.uniform(0.06, 0.2) * height
    canvas.glaze(ellipse(x, y, 0.07 * width, 0.07 * width), (255, 244, 210), 0.9, 1.0)
    for _ in range(int(random.integers(2, 5))):
        _cloud(canvas, random.uniform(0, width), random.uniform(0.05, 0.45) * height, random.uniform(0.05, 0.1) * width)
    green = mix((132, 184, 120), b, 0.25)
    for i, base in enumerate((0.66, 0.76)):
        _hills(canvas, random, base, darker(green, 0.12 * i))


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
    y = random.uniform(0.05, 0.14) * height
    canvas.fill(_box(window - 8, y - 8, window + w + 8, y + h + 8), lighter(a, 0.7))
    canvas.ramp(_box(window, y, window + w, y + h), (190, 222, 240), (232, 240, 236))
    canvas.fill(_box(window + w / 2 - 4, y, window + w / 2 + 4, y + h), lighter(a, 0.7))
    _plant(canvas, random, random.choice((0.06, 0.94)) * width, floor, 0.16 * height)


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
    step = random.uniform(0.12, 0.18) * width
    for row, y in enumerate(np.arange(0, height + step, step * 0.8)):
        for x in np.arange(-step / 2 * (row % 2), width + step, step):
            canvas.fill(ellipse(x, y, 0.2 * step, 0.2 * step), mix(a, lighter(b, 0.3), 0.4))


def _bokeh(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    _cover(canvas, b, darker(b, 0.25))
    for _ in range(12):
        r = random.uniform(0.03, 0.11) * width
        spot = ellipse(random.uniform(0, width), random.uniform(0, height), r, r)
        canvas.glaze(spot, accent if random.random() < 0.5 else lighter(a, 0.3), random.uniform(0.12, 0.3), 2.0)


def _town(canvas: Canvas, random: Random, a: Colour, b: Colour, accent: Colour) -> None:
    height, width = canvas.image.shape[:2]
    _cover(canvas, mix(b, a, 0.4), lighter(accent, 0.35))
    for depth, base in ((0.25, 0.30), (0.5, 0.45)):
        x = -random.uniform(0, 0.1) * width
        while x < width:
            w, top = random.uniform(0.09, 0.2) * width, (base + random.uniform(-0.1, 0.14)) * height
            canvas.fill(_box(x, top, x + w, height), mix(lighter(accent, 0.2), b, depth + random.uniform(0, 0.12)))
            x += w


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
    "bokeh": _bokeh,
    "town": _town,
    "waves": _waves,
}
