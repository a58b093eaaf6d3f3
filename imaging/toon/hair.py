"""Hair, scarf and hat of a drawn head: one part behind the body, one over the forehead."""

from __future__ import annotations

import numpy as np

from imaging.toon.canvas import Canvas, Colour, Points, darker, ellipse, lighter, mix, ribbon, spline
from imaging.toon.hairlines import BACKS, CURLS, HAIRLINES, HOOD, QUIFF, SPIKES, TAIL
from imaging.toon.traits import Pose, Traits

VOLUME = {
    "quiff": 0.12,
    "curls": 0.10,
    "afro": 0.10,
    "bob": 0.12,
    "long": 0.08,
    "waves": 0.14,
    "pixie": 0.10,
    "fringe": 0.10,
}
FALLING = ("bob", "long", "waves", "fringe")


def draw_back_hair(canvas: Canvas, pose: Pose, traits: Traits, light: int) -> None:
    """What of the hair lies behind the neck and shoulders."""
    flip = -1 if traits.mirrored else 1
    style = traits.hair_style
    if style in BACKS:
        half = np.array(BACKS[style])
        outline = _grown(spline(np.concatenate([half, half[-2:0:-1] * (-1, 1)])), traits)
        outline = outline * (traits.build.width * traits.build.hair_bulk, 1)
        canvas.ramp(pose.flat(outline), darker(traits.hair, 0.12), darker(traits.hair, 0.42))
    elif style == "afro":
        for x, y, r in ((0, -0.75, 1.12), (-0.75, -0.45, 0.68), (0.75, -0.45, 0.68), (-0.8, 0.0, 0.5), (0.8, 0.0, 0.5)):
            canvas.fill(pose.flat(ellipse(x, y, r, r * 0.95)), darker(traits.hair, 0.1))
    elif style == "ponytail":
        tail = spline(TAIL)
        canvas.ramp(pose.flat(tail * (flip, 1)), darker(traits.hair, 0.06), darker(traits.hair, 0.4))
    elif style == "bun":
        for x in (0.0,) if traits.build.variant < 3 else (-0.72, 0.72):
            knot = pose.flat(ellipse(x, -1.58 if x == 0 else -1.36, 0.44, 0.36))
            canvas.fill(knot, darker(traits.hair, 0.12))
            canvas.glaze(
                pose.flat(ellipse(x - 0.1 * -light, -1.66 if x == 0 else -1.44, 0.2, 0.12)),
                lighter(traits.hair, 0.25),
                0.5,
                0.06 * pose.unit,
            )
    elif style == "scarf":
        hood = spline(HOOD)
        canvas.fill(pose.flat(hood), darker(traits.cloth_accent, 0.12))


def draw_front_hair(canvas: Canvas, pose: Pose, traits: Traits, light: int, face: Points) -> None:
    """What of the hair lies over the head, with its sheen and the shadow it casts on the forehead."""
    style = traits.hair_style
    if style == "bald":
        canvas.glaze(pose.flat(ellipse(0.35 * light, -0.98, 0.26, 0.13)), (255, 255, 255), 0.35, 0.09 * pose.unit, face)
        return
    if style == "scarf":
        _draw_scarf(canvas, pose, traits, light, face)
        return
    flip = np.array((-1 if traits.mirrored else 1, 1))
    line = _parted(np.array(HAIRLINES[style]), traits) * flip
    line = line if flip[0] > 0 else line[::-1]
    hairline = spline(_grown(line, traits) * (traits.build.width, 1), closed=False)
    height = 0.97 + VOLUME.get(style, 0.04) + 0.8 * (traits.build.hair_bulk - 1)
    crown = ellipse(0, -0.40, 0.99 * traits.build.width, height, 180, 360)
    crown = np.concatenate([crown, [(0.99 * traits.build.width, -0.40)]])
    low = float(hairline[0, 1])
    sides = [(1.06, 0.3 * low - 0.2), (1.05, 0.75 * low), (1.0, low)] if style in FALLING else [(0.92, -0.2)]
    right = np.array(sides) * (traits.build.width, 1)
    left = right[::-1] * (-1, 1)
    cast = np.concatenate([hairline + np.array((0, 0.08)), [(-0.9, -1.3), (0.9, -1.3)]])
    canvas.shade(pose.wrap(cast), 0.72, 0.7, 0.03 * pose.unit, face)
    outline = np.concatenate([pose.flat(left), pose.flat(crown), pose.flat(right), pose.wrap(hairline)])
    _draw_mass(canvas, pose, traits.hair, outline, light)
    TOPS.get(style, _no_top)(canvas, pose, traits, light, outline)


def _grown(points: Points, traits: Traits) -> Points:
    """Hair of this person's length: what falls below the eyes is stretched."""
    return np.where(points > 0, points * (1, traits.build.hair_length), points)


def _parted(line: Points, traits: Traits) -> Points:
    """A hairline with this person's parting and height of forehead; the temples stay."""
    middle = np.clip(1 - np.abs(line[:, 0]) / 0.65, 0, 1) * (line[:, 1] < -0.5)
    return line + np.stack([traits.build.parting * middle, -traits.build.hairline_rise * np.sqrt(middle)], axis=1)


def _draw_mass(canvas: Canvas, pose: Pose, colour: Colour, outline: Points, light: int) -> None:
    bright, dark = lighter(colour, 0.10), darker(colour, 0.22)
    canvas.ramp(outline, *((bright, dark) if light < 0 else (dark, bright)), 30 if light < 0 else 330)
    sheen = ribbon([(-0.78, -0.72), (-0.5, -1.06), (0, -1.20), (0.4, -1.12)], (0.02, 0.16, 0.15, 0.02))
    canvas.glaze(pose.flat(sheen * (-light, 1)), lighter(colour, 0.45), 0.42, 0.03 * pose.unit, outline)


def _no_top(canvas: Canvas, pose: Pose, traits: Traits, light: int, outline: Points) -> None:
    flip = -1 if traits.mirrored else 1
    for bend in (0.25, 0.6):
        lock = [(-0.35 * flip, -1.28), (bend * flip * 0.8, -1.10), ((bend + 0.22) * flip, -0.72)]
        canvas.glaze(pose.flat(ribbon(lock, (0.01, 0.045, 0.01))), darker(traits.hair, 0.35), 0.7, 0, outline)


def _draw_quiff(canvas: Canvas, pose: Pose, traits: Traits, light: int, outline: Points) -> None:
    flip = -1 if traits.mirrored else 1
    top = spline(QUIFF)
    px = pose.flat(top * (flip, 1))
    _draw_mass(canvas, pose, traits.hair, px, light)
    lock = [(-0.62, -0.92), (-0.2, -1.25), (0.4, -1.38)]
    canvas.glaze(
        pose.flat(ribbon(np.array(lock) * (flip, 1), (0.01, 0.06, 0.01))), darker(traits.hair, 0.35), 0.7, 0, px
    )


def _draw_curls(canvas: Canvas, pose: Pose, traits: Traits, light: int, outline: Points) -> None:
    for x, y in CURLS:
        lit = (x * light - y) / 2
        tone = mix(darker(traits.hair, 0.22), lighter(traits.hair, 0.16), min(1.0, max(0.0, lit)))
        canvas.fill(pose.flat(ellipse(x, y, 0.27, 0.25)), tone)


def _draw_spikes(canvas: Canvas, pose: Pose, traits: Traits, light: int, outline: Points) -> None:
    _draw_mass(canvas, pose, traits.hair, pose.flat(np.array(SPIKES)), light)


def _draw_afro(canvas: Canvas, pose: Pose, traits: Traits, light: int, outline: Points) -> None:
    canvas.glaze(pose.flat(ellipse(0.4 * light, -1.25, 0.5, 0.3)), lighter(traits.hair, 0.3), 0.35, 0.16 * pose.unit)


def _draw_beanie(canvas: Canvas, pose: Pose, traits: Traits, light: int, outline: Points) -> None:
    dome = np.concatenate([ellipse(0, -0.92, 1.01, 0.80, 180, 360), [(1.01, -0.90), (-1.01, -0.90)]])
    cloth = traits.cloth_accent
    canvas.ramp(pose.flat(dome), lighter(cloth, 0.08), darker(cloth, 0.12))
    upper = [(-1.05, -1.04), (-0.5, -1.14), (0, -1.17), (0.5, -1.14), (1.05, -1.04)]
    lower = [(1.03, -0.76), (0.5, -0.84), (0, -0.86), (-0.5, -0.84), (-1.03, -0.76)]
    brim = spline(upper + lower)
    canvas.fill(pose.flat(brim), darker(cloth, 0.22))
    if traits.mirrored:
        canvas.fill(pose.flat(ellipse(0, -1.76, 0.22, 0.2)), lighter(cloth, 0.3))


def _draw_braids(canvas: Canvas, pose: Pose, traits: Traits, light: int, outline: Points) -> None:
    for side in (-1, 1):
        for i in range(6):
            y = 0.45 + 0.27 * i
            tone = mix(traits.hair, darker(traits.hair, 0.3), (i % 2) * 0.5 + (0.3 if side != light else 0))
            canvas.fill(pose.upright(ellipse((1.02 - 0.02 * i) * side, y, 0.19 - 0.012 * i, 0.2)), tone)
        canvas.fill(pose.upright(ellipse(0.92 * side, 2.02, 0.12, 0.1)), traits.cloth_accent)


def _draw_scarf(canvas: Canvas, pose: Pose, traits: Traits, light: int, face: Points) -> None:
    cloth = traits.cloth_accent
    ring = [(0.0, -0.86), (0.46, -0.80), (0.74, -0.50), (0.82, 0.0), (0.74, 0.50), (0.46, 0.88), (0.0, 1.0)]
    inner = spline(np.array(ring + [(-x, y) for x, y in ring[-2:0:-1]]) * (traits.build.width, 1))
    outer = [(0.0, -1.52), (0.62, -1.38), (1.02, -0.85), (1.12, -0.1), (1.02, 0.62), (0.72, 1.14), (0.0, 1.34)]
    hood = spline(np.array(outer + [(-x, y) for x, y in outer[-2:0:-1]]))
    start, end = pose.flat(hood), pose.wrap(inner)
    # A ring: the hood forwards, the opening backwards, joined by a seam of no width.
    outline = np.concatenate([start, start[:1], end[:1], end[::-1]])
    _draw_mass(canvas, pose, cloth, outline, light)
    fold = [(0.55 * light, 1.05), (0.2 * light, 1.22), (-0.5 * light, 1.08)]
    canvas.fill(pose.flat(ribbon(fold, (0.02, 0.07, 0.01))), darker(cloth, 0.3))


TOPS = {
    "quiff": _draw_quiff, "curls": _draw_curls, "spikes": _draw_spikes, "afro": _draw_afro,
    "beanie": _draw_beanie, "braids": _draw_braids,
}  # fmt: skip
