"""A drawn head without its hair: ears, skin, eyes, brows, nose, mouth, beard, glasses.

Head units: (0, 0) is the centre of the square from brow to chin that a frontal Haar cascade answers, 1 is half its
side, y points down. Eyes lie at y = -0.22, the mouth at 0.52, the chin at 0.98.
"""

from __future__ import annotations

from functools import lru_cache

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
from imaging.toon.traits import Pose, Traits

INK: Colour = (40, 26, 34)
EYE_Y = -0.21


@lru_cache(maxsize=64)
def head_outline(width: float, jaw: float) -> Points:
    """Outline of the bare head in head units."""
    half = [
        (0.0, -1.30),
        (0.48, -1.22),
        (0.80, -0.86),
        (0.89, -0.35),
        (0.87, 0.10),
        (0.79 * jaw, 0.48),
        (0.56 * jaw, 0.80),
        (0.24 * jaw, 0.97),
        (0.0, 1.0),
    ]
    return spline(mirrored(half)) * (width, 1.0)


def draw_ears(canvas: Canvas, pose: Pose, traits: Traits, light: int) -> None:
    """Both ears, behind the head; the far one hides when the head turns."""
    shadow = darker(traits.skin, 0.26)
    for side in (-1, 1):
        x = side * (0.90 * traits.width - 0.10 * side * np.sin(np.radians(pose.yaw)))
        skin = darker(traits.skin, 0.05 if side == light else 0.16)
        canvas.fill(pose.flat(ellipse(x, -0.04, 0.15, 0.25)), skin)
        canvas.fill(pose.flat(ellipse(x + 0.02 * side, -0.03, 0.075, 0.14)), shadow)
        if traits.earrings:
            canvas.fill(pose.flat(ellipse(x + 0.03 * side, 0.27, 0.065, 0.065)), (250, 206, 92))


def draw_skin(canvas: Canvas, pose: Pose, traits: Traits, light: int) -> Points:
    """The face itself with its light side, shadow side and cheeks; returns its outline in px."""
    outline = pose.flat(head_outline(traits.width, traits.jaw))
    bright, dark = lighter(traits.skin, 0.10), darker(traits.skin, 0.10)
    canvas.ramp(outline, *((bright, dark) if light < 0 else (dark, bright)), 25 if light < 0 else 335)
    edge = spline(
        [(0.62, -1.3), (0.72, -0.6), (0.73, 0.1), (0.52, 0.66), (0.12, 1.02), (0.9, 1.2), (1.3, 0), (1.1, -1.2)]
    )
    canvas.shade(pose.flat(edge * (-light, 1)), 0.84, 0.8, 0.02 * pose.unit, outline)
    blush = mix(traits.skin, (226, 74, 74), 0.55)
    for side in (-1, 1):
        canvas.glaze(pose.wrap(ellipse(0.50 * side, 0.20, 0.20, 0.13)), blush, traits.blush, 0.07 * pose.unit, outline)
        if traits.freckles:
            for x, y in ((0.38, 0.12), (0.48, 0.17), (0.57, 0.10), (0.45, 0.06)):
                canvas.fill(pose.wrap(ellipse(x * side, y, 0.017, 0.017)), darker(traits.skin, 0.34))
    return outline


def draw_eyes(canvas: Canvas, pose: Pose, traits: Traits, face: Points) -> None:
    """Both eyes with their sockets; the band of eyes is darker than brow and cheeks, as a cascade expects."""
    for side in (-1, 1):
        x = 0.385 * traits.eye_gap * side
        socket = ellipse(x, EYE_Y - 0.06, 0.27, 0.22)
        canvas.shade(pose.wrap(socket), 0.74, 0.75, 0.07 * pose.unit, face)
        if traits.blink:
            arc = ribbon([(x - 0.19, EYE_Y), (x, EYE_Y + 0.10), (x + 0.19, EYE_Y)], (0.03, 0.07, 0.03))
            canvas.fill(pose.wrap(arc), INK)
        elif traits.eye_style == "dots":
            _draw_dot_eye(canvas, pose, traits, x, side)
        else:
            _draw_open_eye(canvas, pose, traits, x, side)


def _draw_dot_eye(canvas: Canvas, pose: Pose, traits: Traits, x: float, side: int) -> None:
    size = traits.eye_size
    canvas.fill(pose.wrap(ellipse(x, EYE_Y, 0.115 * size, 0.155 * size)), mix(INK, traits.iris, 0.2))
    canvas.fill(pose.wrap(ellipse(x - 0.035, EYE_Y - 0.055, 0.04, 0.045)), (255, 255, 255))
    if traits.lashes:
        lash = [(x + 0.02 * side, EYE_Y - 0.15), (x + 0.13 * side, EYE_Y - 0.12), (x + 0.21 * side, EYE_Y - 0.20)]
        canvas.fill(pose.wrap(ribbon(lash, (0.03, 0.05, 0.01))), INK)


def _draw_open_eye(canvas: Canvas, pose: Pose, traits: Traits, x: float, side: int) -> None:
    w, h = 0.225 * traits.eye_size, 0.155 * traits.eye_size
    place = np.array((x, EYE_Y))
    turn = np.array((side, 1.0))
    rim = [(-1, 0.22), (-0.55, -0.72), (0.1, -1), (0.72, -0.66), (1, 0.0), (0.55, 0.80), (-0.1, 0.98), (-0.66, 0.76)]
    eye = pose.wrap(spline(np.array(rim) * (w, h) * turn + place))
    white = mix((250, 248, 244), traits.skin, 0.16 if luminance(traits.skin) > 0.55 else 0.3)
    canvas.fill(eye, white)
    gaze_x, gaze_y = x + traits.gaze[0], EYE_Y + traits.gaze[1]
    radius = 0.150 * traits.eye_size
    canvas.glaze(pose.wrap(ellipse(gaze_x, gaze_y, radius, radius)), darker(traits.iris, 0.30), clip=eye)
    canvas.glaze(pose.wrap(ellipse(gaze_x, gaze_y + 0.03, radius * 0.78, radius * 0.72)), traits.iris, clip=eye)
    canvas.glaze(pose.wrap(ellipse(gaze_x, gaze_y, radius * 0.52, radius * 0.52)), INK, clip=eye)
    canvas.shade(pose.wrap(ellipse(x, EYE_Y - h * 1.05, w * 1.2, h * 0.75)), 0.55, 0.8, 0, eye)
    canvas.fill(pose.wrap(ellipse(gaze_x - 0.05, gaze_y - 0.05, 0.042, 0.042)), (255, 255, 255))
    upper = [(-1.08, 0.32), (-0.55, -0.74), (0.1, -1.04), (0.74, -0.70), (1.06, 0.04)]
    lid = np.array([*upper, (1.32, -0.42)] if traits.lashes else upper) * (w, h) * turn + place
    canvas.fill(
        pose.wrap(ribbon(lid, (0.03, 0.07, 0.085, 0.08, 0.015) if traits.lashes else (0.02, 0.06, 0.06, 0.02))), INK
    )
    lower = np.array([(-0.6, 0.82), (0.0, 1.04), (0.7, 0.74)]) * (w, h) * turn + place
    canvas.fill(pose.wrap(ribbon(lower, (0.01, 0.028, 0.02))), darker(traits.skin, 0.45))


def draw_brows(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    """Both brows; their tilt carries half of the expression."""
    y, tilt = EYE_Y - 0.31 - traits.brow_raise, traits.brow_tilt
    for side in (-1, 1):
        line = [(0.17 * side, y + 0.04 + tilt), (0.38 * side, y - 0.04), (0.52 * side, y - 0.035 - 0.5 * tilt)]
        line.append((0.65 * side, y + 0.06 - tilt))
        widths = [traits.brow_weight * w for w in (0.055, 0.095, 0.085, 0.02)]
        canvas.fill(pose.wrap(ribbon(line, widths)), traits.brow)


def draw_nose(canvas: Canvas, pose: Pose, traits: Traits, light: int, face: Points) -> None:
    """The nose: a bright bridge between the eyes, and one of three tips."""
    bright, dark = lighter(traits.skin, 0.35), darker(traits.skin, 0.30)
    canvas.glaze(pose.wrap(ellipse(0.015 * light, -0.12, 0.065, 0.30)), bright, 0.75, 0.035 * pose.unit, face)
    far = -light
    if traits.nose == "wedge":
        side = spline([(0.02 * far, -0.12), (0.09 * far, 0.08), (0.15 * far, 0.20), (0.0, 0.235), (0.03 * far, 0.08)])
        canvas.glaze(pose.wrap(side), dark, 0.62, 0, face)
        return
    if traits.nose == "hook":
        bridge = [(0.07 * far, -0.14), (0.10 * far, 0.06), (0.13 * far, 0.18), (0.0, 0.225), (-0.06 * far, 0.205)]
        canvas.fill(pose.wrap(ribbon(bridge, (0.012, 0.03, 0.045, 0.045, 0.015))), dark)
        return
    canvas.glaze(
        pose.wrap(ellipse(0, 0.15, 0.13, 0.09)), mix(traits.skin, (214, 88, 76), 0.35), 0.6, 0.03 * pose.unit, face
    )
    canvas.fill(pose.wrap(ribbon([(-0.10, 0.17), (0, 0.225), (0.10, 0.17)], (0.02, 0.05, 0.02))), dark)


def draw_mouth(canvas: Canvas, pose: Pose, traits: Traits, face: Points) -> None:
    """The mouth, in one of seven expressions, with the shadow under the lip."""
    w, y = 0.33 * traits.mouth_width, 0.53
    canvas.shade(pose.wrap(ellipse(0, y + 0.20, 0.20, 0.05)), 0.80, 0.8, 0.03 * pose.unit, face)
    lip, gum = traits.lips, (112, 30, 44)
    line = mix(darker(lip, 0.45), INK, 0.2)
    if traits.mouth in ("grin", "teeth"):
        depth = 0.25 if traits.mouth == "grin" else 0.17
        shape = spline([(-w, y - 0.05), (-0.5 * w, y - 0.015), (0, y), (0.5 * w, y - 0.015), (w, y - 0.05),
                        (0.72 * w, y + 0.6 * depth), (0, y + depth), (-0.72 * w, y + 0.6 * depth)])  # fmt: skip
        inside = pose.wrap(shape)
        canvas.fill(pose.wrap((shape - (0, y + 0.05)) * (1.10, 1.22) + (0, y + 0.05)), lip)
        canvas.fill(inside, gum)
        canvas.glaze(
            pose.wrap(ellipse(0, y - 0.05, w * 0.95, 0.11 if traits.mouth == "grin" else 0.13)),
            (250, 246, 240),
            clip=inside,
        )
        if traits.mouth == "grin":
            canvas.glaze(pose.wrap(ellipse(0, y + 0.25, w * 0.5, 0.10)), (222, 96, 100), clip=inside)
    elif traits.mouth == "surprise":
        canvas.fill(pose.wrap(ellipse(0, y + 0.05, 0.16, 0.15)), lip)
        canvas.fill(pose.wrap(ellipse(0, y + 0.05, 0.12, 0.11)), gum)
    elif traits.mouth == "lips":
        upper = spline(
            [(-w * 0.85, y), (-0.1, y - 0.075), (0, y - 0.05), (0.1, y - 0.075), (w * 0.85, y), (0, y + 0.03)]
        )
        canvas.fill(pose.wrap(upper), darker(lip, 0.14))
        canvas.fill(
            pose.wrap(
                spline(
                    [(-w * 0.8, y + 0.005), (0, y + 0.03), (w * 0.8, y + 0.005), (0.12, y + 0.12), (-0.12, y + 0.12)]
                )
            ),
            lip,
        )
        canvas.fill(
            pose.wrap(ribbon([(-w * 0.95, y - 0.01), (0, y + 0.03), (w * 0.95, y - 0.01)], (0.02, 0.035, 0.02))), line
        )
    else:
        bend, slant = {"smile": (0.10, 0.0), "smirk": (0.05, 0.05), "calm": (0.02, 0.0)}[traits.mouth]
        slant *= -1 if traits.mirrored else 1
        curve = [
            (-w, y - 0.04 + slant),
            (-0.5 * w, y + 0.55 * bend),
            (0, y + 0.75 * bend),
            (0.5 * w, y + 0.55 * bend - slant),
            (w, y - 0.04 - slant),
        ]
        canvas.fill(pose.wrap(ribbon(curve, (0.025, 0.06, 0.07, 0.06, 0.025))), line)
        canvas.glaze(pose.wrap(ellipse(0, y + 0.10 + 0.5 * bend, 0.15, 0.035)), lip, 0.7, 0.015 * pose.unit, face)


def draw_beard(canvas: Canvas, pose: Pose, traits: Traits, face: Points) -> None:
    """Beard, goatee, moustache or stubble, under the mouth."""
    if traits.beard == "none":
        return
    cover = spline([(-1.0, -0.02), (-0.80, 0.06), (-0.62, 0.34), (-0.36, 0.40), (0, 0.35), (0.36, 0.40), (0.62, 0.34), (0.80, 0.06),
                    (1.0, -0.02), (1.0, 1.2), (-1.0, 1.2)])  # fmt: skip
    if traits.beard == "stubble":
        canvas.glaze(pose.wrap(cover), traits.brow, 0.20, 0.04 * pose.unit, face)
    elif traits.beard == "beard":
        chin = pose.flat((head_outline(traits.width, traits.jaw) - (0, 0.2)) * (1.03, 1.13) + (0, 0.2))
        canvas.glaze(pose.wrap(cover), mix(traits.hair, traits.brow, 0.3), clip=chin)
        canvas.glaze(pose.wrap(ellipse(0, 0.56, 0.34, 0.17)), traits.skin, 1.0, 0.01 * pose.unit, face)
    elif traits.beard == "goatee":
        canvas.glaze(
            pose.wrap(spline([(-0.28, 0.74), (0, 0.70), (0.28, 0.74), (0.22, 1.1), (-0.22, 1.1)])),
            traits.brow,
            clip=face,
        )
    if traits.beard in ("moustache", "goatee", "beard"):
        line = [(-0.36, 0.47), (-0.2, 0.37), (0, 0.36), (0.2, 0.37), (0.36, 0.47)]
        canvas.fill(pose.wrap(ribbon(line, (0.02, 0.12, 0.09, 0.12, 0.02))), mix(traits.hair, traits.brow, 0.4))


def draw_glasses(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    """Thin frames with a glint, over the brows and eyes."""
    if traits.glasses == "none":
        return
    frame = mix(traits.cloth_accent, INK, 0.72)
    width = 0.045 * pose.unit
    for side in (-1, 1):
        x = 0.40 * side
        lens = ellipse(x, EYE_Y + 0.02, 0.31, 0.29)
        if traits.glasses == "square":
            lens = spline(
                [
                    (x - 0.30, EYE_Y - 0.20),
                    (x, EYE_Y - 0.23),
                    (x + 0.30, EYE_Y - 0.20),
                    (x + 0.28, EYE_Y + 0.18),
                    (x, EYE_Y + 0.25),
                    (x - 0.28, EYE_Y + 0.18),
                ]
            )
        canvas.glaze(pose.wrap(lens), (226, 240, 255), 0.10)
        canvas.stroke(pose.wrap(lens), width, frame, closed=True)
        canvas.stroke(pose.flat(np.array([(0.86 * side * traits.width, EYE_Y - 0.06)])), 1, frame)
        canvas.stroke(
            np.concatenate(
                [
                    pose.wrap(np.array([(0.70 * side, EYE_Y - 0.06)])),
                    pose.flat(np.array([(0.90 * side * traits.width, EYE_Y - 0.08)])),
                ]
            ),
            width,
            frame,
        )
    canvas.stroke(pose.wrap(spline([(-0.10, EYE_Y), (0, EYE_Y - 0.05), (0.10, EYE_Y)], closed=False)), width, frame)
