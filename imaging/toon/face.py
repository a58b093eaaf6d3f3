"""A drawn head without hair and eyes: ears, skin, nose, mouth, beard.

Head units: (0, 0) is the middle of the face, the chin lies at y = 1, the ears at x = -0.9 and 0.9; y points down.
"""

from __future__ import annotations

import numpy as np

from imaging.toon.canvas import (
    Canvas,
    Colour,
    Points,
    darker,
    ellipse,
    lighter,
    luminance,
    mirrored,
    mix,
    ribbon,
    spline,
)
from imaging.toon.eyes import INK
from imaging.toon.traits import Pose, Traits, in_shadow

# As in eyes.py: the light on forehead, cheeks, bridge and chin is what a cascade knows a face by.
MOUTH_Y = 0.48
GUM: Colour = (112, 30, 44)
TEETH: Colour = (244, 236, 228)
SIDE_SHADOW = (
    (0.62, -1.3), (0.72, -0.6), (0.73, 0.1), (0.52, 0.66), (0.12, 1.02), (0.9, 1.2), (1.3, 0.0), (1.1, -1.2),
)  # fmt: skip
FRECKLES = ((0.38, 0.12), (0.48, 0.17), (0.57, 0.10), (0.45, 0.06))
BEARD_COVER = (
    (-1.0, 0.02), (-0.84, 0.14), (-0.68, 0.46), (-0.40, 0.46), (0, 0.36), (0.40, 0.46), (0.68, 0.46), (0.84, 0.14),
    (1.0, 0.02), (1.0, 1.2), (-1.0, 1.2),
)  # fmt: skip
HEAD = (
    (0.0, -1.30), (0.48, -1.22), (0.80, -0.86), (0.89, -0.35), (0.87, 0.10), (0.79, 0.48), (0.56, 0.80), (0.24, 0.97),
    (0.0, 1.0),
)  # fmt: skip


def head_outline(width: float, jaw: float) -> Points:
    """Outline of the bare head in head units."""
    return spline(mirrored([(x * (jaw if y > 0.3 else 1.0), y) for x, y in HEAD])) * (width, 1.0)


def glow(skin: Colour) -> Colour:
    """The colour of a skin in full light: paler on light skins, warmer and stronger on dark ones."""
    return lighter(mix(skin, (240, 164, 108), min(1.0, 1.5 * (1 - luminance(skin)))), 0.42)


def draw_ears(canvas: Canvas, pose: Pose, traits: Traits, light: int) -> None:
    """Both ears, behind the head; the far one hides when the head turns."""
    for side in (-1, 1):
        x = side * (0.90 * traits.build.width - 0.10 * side * np.sin(np.radians(pose.yaw)))
        canvas.fill(pose.flat(ellipse(x, -0.02, 0.15, 0.25)), in_shadow(traits.skin, 0.05 if side == light else 0.16))
        canvas.fill(pose.flat(ellipse(x + 0.02 * side, -0.01, 0.075, 0.14)), in_shadow(traits.skin, 0.26))
        if traits.earrings:
            canvas.fill(pose.flat(ellipse(x + 0.03 * side, 0.29, 0.065, 0.065)), (250, 206, 92))


def draw_skin(canvas: Canvas, pose: Pose, traits: Traits, light: int) -> Points:
    """The face itself with its light side, shadow side and cheeks; returns its outline in px."""
    outline = pose.flat(head_outline(traits.build.width, traits.build.jaw))
    bright, dark = lighter(traits.skin, 0.10), in_shadow(traits.skin, 0.09)
    canvas.ramp(outline, *((bright, dark) if light < 0 else (dark, bright)), 25 if light < 0 else 335)
    canvas.shade(pose.flat(spline(SIDE_SHADOW) * (-light, 1)), 0.87, 0.8, 0.02 * pose.unit, outline)
    lit, blush = glow(traits.skin), mix(traits.skin, (226, 74, 74), 0.55)
    soft = 0.08 * pose.unit
    canvas.glaze(pose.wrap(ellipse(0, -0.69, 0.6, 0.23)), lit, 0.9, soft, outline)
    canvas.glaze(pose.wrap(ellipse(0, 0.85, 0.28, 0.11)), lit, 0.4, soft, outline)
    for side in (-1, 1):
        canvas.glaze(pose.wrap(ellipse(0.48 * side, 0.22, 0.3, 0.2)), lit, 0.5, soft, outline)
        canvas.glaze(pose.wrap(ellipse(0.52 * side, 0.22, 0.19, 0.12)), blush, traits.blush, soft, outline)
        if traits.freckles:
            for x, y in FRECKLES:
                canvas.fill(pose.wrap(ellipse(x * side, y, 0.017, 0.017)), in_shadow(traits.skin, 0.34))
    return outline


def draw_nose(canvas: Canvas, pose: Pose, traits: Traits, light: int, face: Points) -> None:
    """The nose: a bright bridge between the eyes, and one of three tips."""
    dark, far = in_shadow(traits.skin, 0.30), -light
    canvas.glaze(pose.wrap(ellipse(0.012 * light, 0.03, 0.075, 0.29)), glow(traits.skin), 0.95, 0.035 * pose.unit, face)
    if traits.nose == "wedge":
        wedge = spline([(0.02 * far, -0.08), (0.09 * far, 0.10), (0.15 * far, 0.20), (0.0, 0.235), (0.03 * far, 0.10)])
        canvas.glaze(pose.wrap(wedge), dark, 0.55, 0, face)
    elif traits.nose == "hook":
        line = [(0.08 * far, 0.02), (0.12 * far, 0.15), (0.10 * far, 0.21), (0.0, 0.23), (-0.07 * far, 0.205)]
        canvas.fill(pose.wrap(ribbon(line, (0.01, 0.04, 0.05, 0.045, 0.015))), dark)
    else:
        tip = mix(traits.skin, (214, 88, 76), 0.35)
        canvas.glaze(pose.wrap(ellipse(0, 0.15, 0.13, 0.09)), tip, 0.6, 0.03 * pose.unit, face)
        canvas.fill(pose.wrap(ribbon([(-0.10, 0.17), (0, 0.225), (0.10, 0.17)], (0.02, 0.05, 0.02))), dark)


def draw_mouth(canvas: Canvas, pose: Pose, traits: Traits, face: Points) -> None:
    """The mouth, in one of seven expressions, with the shadow under the lip."""
    under = ellipse(0, MOUTH_Y + 0.20, 0.20, 0.05)
    canvas.shade(pose.wrap(under), 0.82, 0.8, 0.03 * pose.unit, face)
    if traits.mouth in ("grin", "teeth"):
        _draw_laugh(canvas, pose, traits)
    elif traits.mouth == "surprise":
        canvas.fill(pose.wrap(ellipse(0, MOUTH_Y + 0.04, 0.17, 0.13)), darker(traits.lips, 0.1))
        canvas.fill(pose.wrap(ellipse(0, MOUTH_Y + 0.04, 0.125, 0.09)), GUM)
    elif traits.mouth == "lips":
        _draw_lips(canvas, pose, traits)
    else:
        _draw_smile(canvas, pose, traits, face)


def _draw_laugh(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    w, y = 0.33 * traits.mouth_width, MOUTH_Y
    depth = 0.25 if traits.mouth == "grin" else 0.19
    low = 0.6 * depth
    shape = spline(
        np.array(
            [(-1, -0.06), (-0.5, -0.015), (0, 0), (0.5, -0.015), (1, -0.06), (0.72, low), (0, depth), (-0.72, low)]
        )
        * (w, 1)
        + (0, y)
    )
    inside = pose.wrap(shape)
    canvas.fill(pose.wrap((shape - (0, y + 0.05)) * (1.10, 1.24) + (0, y + 0.05)), darker(traits.lips, 0.12))
    canvas.fill(inside, GUM)
    # Pure white teeth would be the brightest spot of a dark face, where a cascade expects a shadow.
    teeth = mix(TEETH, traits.skin, 0.15 + 0.4 * (1 - luminance(traits.skin)))
    row = ellipse(0, y - 0.05, w * 0.92, 0.105 if traits.mouth == "grin" else 0.125)
    canvas.glaze(pose.wrap(row), teeth, clip=inside)
    if traits.mouth == "grin":
        canvas.glaze(pose.wrap(ellipse(0, y + 0.25, w * 0.5, 0.10)), (222, 96, 100), clip=inside)


def _draw_lips(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    w, y = 0.30 * traits.mouth_width, MOUTH_Y
    lip = traits.lips
    upper = [(-w, y - 0.02), (-0.1, y - 0.075), (0, y - 0.05), (0.1, y - 0.075), (w, y - 0.02), (0, y + 0.03)]
    lower = [(-w * 0.95, y - 0.01), (0, y + 0.03), (w * 0.95, y - 0.01), (0.12, y + 0.125), (-0.12, y + 0.125)]
    canvas.fill(pose.wrap(spline(upper)), darker(lip, 0.16))
    canvas.fill(pose.wrap(spline(lower)), lip)
    parting = ribbon([(-w * 1.1, y - 0.04), (0, y + 0.035), (w * 1.1, y - 0.04)], (0.02, 0.04, 0.02))
    canvas.fill(pose.wrap(parting), mix(darker(lip, 0.45), INK, 0.2))


def _draw_smile(canvas: Canvas, pose: Pose, traits: Traits, face: Points) -> None:
    w, y = 0.33 * traits.mouth_width, MOUTH_Y
    bend, slant = {"smile": (0.13, 0.0), "smirk": (0.08, 0.045), "calm": (0.055, 0.0)}[traits.mouth]
    slant *= -1 if traits.mirrored else 1
    across = np.array((-1.0, -0.5, 0.0, 0.5, 1.0))
    curve = np.stack([w * across, y + bend * (0.65 - across**2) - slant * across], axis=1)
    lower = ellipse(0, y + 0.085 + 0.65 * bend, 0.15, 0.035)
    canvas.glaze(pose.wrap(lower), traits.lips, 0.55, 0.015 * pose.unit, face)
    line = mix(darker(traits.lips, 0.45), INK, 0.25)
    canvas.fill(pose.wrap(ribbon(curve, (0.03, 0.065, 0.075, 0.065, 0.03))), line)


def draw_beard(canvas: Canvas, pose: Pose, traits: Traits, face: Points) -> None:
    """Beard, goatee, moustache or stubble, under the mouth."""
    if traits.beard == "none":
        return
    cover = pose.wrap(spline(BEARD_COVER))
    if traits.beard == "stubble":
        canvas.glaze(cover, traits.brow, 0.20, 0.04 * pose.unit, face)
        return
    hair = mix(traits.hair, traits.brow, 0.4)
    if traits.beard == "beard":
        chin = pose.flat((head_outline(traits.build.width, traits.build.jaw) - (0, 0.2)) * (1.03, 1.12) + (0, 0.2))
        canvas.glaze(cover, hair, 0.92, 0.012 * pose.unit, chin)
        canvas.glaze(pose.wrap(ellipse(0, MOUTH_Y + 0.04, 0.36, 0.16)), glow(traits.skin), 0.9, 0.012 * pose.unit, face)
    elif traits.beard == "goatee":
        tuft = spline([(-0.18, 0.74), (0, 0.71), (0.18, 0.74), (0.21, 0.9), (0.1, 1.04), (-0.1, 1.04), (-0.21, 0.9)])
        canvas.glaze(pose.wrap(tuft), hair, clip=face)
    line = [(-0.36, 0.45), (-0.2, 0.345), (0, 0.335), (0.2, 0.345), (0.36, 0.45)]
    canvas.fill(pose.wrap(ribbon(line, (0.02, 0.11, 0.08, 0.11, 0.02))), hair)
