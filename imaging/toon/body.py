"""A drawn person from the neck down, and the whole person put together."""

from __future__ import annotations

import numpy as np

from imaging.toon.canvas import Canvas, Colour, Points, darker, ellipse, lighter, mirrored, mix, ribbon, spline
from imaging.toon.eyes import draw_brows, draw_eyes, draw_glasses
from imaging.toon.face import draw_beard, draw_ears, draw_mouth, draw_nose, draw_skin
from imaging.toon.hair import draw_back_hair, draw_front_hair
from imaging.toon.traits import Pose, Traits, in_shadow

INK: Colour = (44, 40, 58)
SHOULDERS = [
    (0.0, 1.22), (0.40, 1.24), (0.78, 1.38), (1.32, 1.56), (1.66, 1.85), (1.78, 2.5), (1.66, 3.6), (1.50, 5.0),
    (0.0, 5.1),
]  # fmt: skip


def draw_person(canvas: Canvas, pose: Pose, traits: Traits, light: int) -> None:
    """One person standing, from the back hair forwards; light = -1 comes from the left, 1 from the right."""
    if pose.upright(np.array([[0.0, 5.0]]))[0, 1] < canvas.image.shape[0]:
        _draw_legs(canvas, pose, traits)
    draw_back_hair(canvas, pose, traits, light)
    _draw_body(canvas, pose, traits, light)
    draw_ears(canvas, pose, traits, light)
    face = draw_skin(canvas, pose, traits, light)
    draw_eyes(canvas, pose, traits, face)
    draw_nose(canvas, pose, traits, light, face)
    draw_beard(canvas, pose, traits, face)
    draw_mouth(canvas, pose, traits, face)
    draw_brows(canvas, pose, traits)
    draw_front_hair(canvas, pose, traits, light, face)
    draw_glasses(canvas, pose, traits)


def _draw_legs(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    trousers = mix(INK, traits.cloth_accent, 0.25)
    for side in (-1, 1):
        leg = np.array([(0.05 * side, 4.6), (1.35 * side, 4.6), (1.15 * side, 8.6), (0.35 * side, 8.6)])
        canvas.fill(pose.upright(leg), trousers if side < 0 else darker(trousers, 0.15))
        canvas.fill(pose.upright(ellipse(0.85 * side, 8.7, 0.62, 0.26)), darker(INK, 0.3))


def _draw_body(canvas: Canvas, pose: Pose, traits: Traits, light: int) -> None:
    torso = pose.upright(_widened(spline(mirrored(SHOULDERS)), traits))
    cloth = lighter(traits.cloth_accent, 0.55) if traits.outfit == "dungarees" else traits.cloth
    if traits.outfit == "hoodie":
        canvas.fill(pose.upright(ellipse(0, 1.42, 1.12, 0.46)), darker(cloth, 0.25))
    bright, dark = lighter(cloth, 0.06), darker(cloth, 0.20)
    neck = pose.upright(np.array([(-0.44, 0.5), (0.44, 0.5), (0.50, 1.36), (0, 1.62), (-0.50, 1.36)]))
    canvas.ramp(torso, *((bright, dark) if light < 0 else (dark, bright)), 25 if light < 0 else 335)
    for side in (-1, 1):
        arm = ribbon([(1.28 * side, 2.5), (1.22 * side, 3.6), (1.20 * side, 5.0)], (0.02, 0.05, 0.05))
        canvas.fill(pose.upright(_widened(arm, traits)), darker(cloth, 0.32))
    OUTFIT[traits.outfit](canvas, pose, traits, torso)
    if traits.outfit != "turtleneck":
        canvas.fill(neck, in_shadow(traits.skin, 0.13))
        canvas.shade(pose.flat(ellipse(0, 0.84, 0.66, 0.52)), 0.76, 0.9, 0.02 * pose.unit, neck)
    COLLAR.get(traits.outfit, _no_collar)(canvas, pose, traits)


def _widened(points: Points, traits: Traits) -> Points:
    """A body of this person's breadth: from the neck outwards it is stretched."""
    out = np.clip((np.abs(points[:, 0]) - 0.5) / 0.6, 0, 1)
    return points * np.stack([1 + (traits.build.shoulders - 1) * out, np.ones(len(points))], axis=1)


def _skin_patch(canvas: Canvas, pose: Pose, traits: Traits, outline: Points, torso: Points) -> None:
    canvas.glaze(pose.upright(outline), in_shadow(traits.skin, 0.13), clip=torso)


def _crew(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    canvas.glaze(pose.upright(ellipse(0, 1.28, 0.66, 0.42)), darker(traits.cloth, 0.3), clip=torso)
    _skin_patch(canvas, pose, traits, ellipse(0, 1.24, 0.58, 0.38), torso)


def _vneck(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    edge = np.array([(-0.56, 1.2), (0.56, 1.2), (0.0, 1.95)])
    canvas.glaze(pose.upright(edge), darker(traits.cloth, 0.3), clip=torso)
    _skin_patch(canvas, pose, traits, np.array([(-0.47, 1.2), (0.47, 1.2), (0.0, 1.83)]), torso)


def _shirt(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    _skin_patch(canvas, pose, traits, np.array([(-0.5, 1.2), (0.5, 1.2), (0.0, 1.85)]), torso)
    canvas.fill(pose.upright(ribbon([(0, 1.8), (0, 3.0), (0, 5.0)], (0.03, 0.03, 0.03))), darker(traits.cloth, 0.3))


def _hoodie(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    canvas.glaze(pose.upright(ellipse(0, 1.34, 0.80, 0.50)), darker(traits.cloth, 0.35), clip=torso)
    _skin_patch(canvas, pose, traits, ellipse(0, 1.26, 0.60, 0.42), torso)
    for side in (-1, 1):
        cord = ribbon([(0.34 * side, 1.74), (0.36 * side, 2.1), (0.32 * side, 2.5)], (0.06, 0.06, 0.06))
        canvas.fill(pose.upright(cord), lighter(traits.cloth, 0.6))


def _turtleneck(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    collar = np.array([(-0.50, 1.06), (0.50, 1.06), (0.60, 1.42), (0, 1.56), (-0.60, 1.42)])
    canvas.fill(
        pose.upright(np.array([(-0.44, 0.5), (0.44, 0.5), (0.44, 1.1), (-0.44, 1.1)])), in_shadow(traits.skin, 0.25)
    )
    canvas.fill(pose.upright(collar), darker(traits.cloth, 0.10))
    canvas.fill(
        pose.upright(ribbon([(-0.60, 1.42), (0, 1.56), (0.60, 1.42)], (0.03, 0.06, 0.03))), darker(traits.cloth, 0.32)
    )


def _stripes(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    for i in range(6):
        y = 1.62 + 0.60 * i
        band = np.array([(-2, y), (2, y), (2, y + 0.26), (-2, y + 0.26)])
        canvas.glaze(pose.upright(band), traits.cloth_accent, 0.9, 0, torso)
    _crew(canvas, pose, traits, torso)


def _suit(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    canvas.glaze(
        pose.upright(np.array([(-0.62, 1.2), (0.62, 1.2), (0.05, 3.2), (-0.05, 3.2)])), (246, 244, 240), clip=torso
    )
    canvas.glaze(
        pose.upright(np.array([(-0.12, 1.66), (0.12, 1.66), (0.20, 3.0), (-0.20, 3.0)])),
        traits.cloth_accent,
        clip=torso,
    )
    for side in (-1, 1):
        lapel = np.array([(0.56 * side, 1.24), (0.92 * side, 1.44), (0.80 * side, 2.2), (0.02 * side, 3.3)])
        canvas.fill(pose.upright(lapel), darker(traits.cloth, 0.30))


def _dungarees(canvas: Canvas, pose: Pose, traits: Traits, torso: Points) -> None:
    bib = np.array([(-0.75, 2.3), (0.75, 2.3), (1.6, 5.2), (-1.6, 5.2)])
    canvas.fill(pose.upright(bib), traits.cloth)
    for side in (-1, 1):
        strap = ribbon([(0.70 * side, 1.30), (0.66 * side, 1.8), (0.62 * side, 2.4)], (0.24, 0.24, 0.24))
        canvas.glaze(pose.upright(strap), traits.cloth, clip=torso)
    _skin_patch(canvas, pose, traits, ellipse(0, 1.24, 0.50, 0.34), torso)


def _no_collar(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    return


def _shirt_collar(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    colour = lighter(traits.cloth, 0.35) if traits.outfit == "shirt" else (250, 250, 248)
    for side in (-1, 1):
        wing = np.array(
            [(0.50 * side, 1.10), (0.64 * side, 1.34), (0.34 * side, 1.86), (0.0, 1.58), (0.40 * side, 1.34)]
        )
        canvas.fill(pose.upright(wing), colour if side < 0 else darker(colour, 0.08))


OUTFIT = {
    "crew": _crew, "vneck": _vneck, "shirt": _shirt, "hoodie": _hoodie, "turtleneck": _turtleneck,
    "stripes": _stripes, "suit": _suit, "dungarees": _dungarees,
}  # fmt: skip
COLLAR = {"shirt": _shirt_collar, "suit": _shirt_collar}
