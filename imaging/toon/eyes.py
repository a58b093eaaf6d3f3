"""Eyes, brows and glasses of a drawn head, in head units (see face.py)."""

from __future__ import annotations

import numpy as np

from imaging.toon.canvas import Canvas, Colour, Points, darker, ellipse, luminance, mix, ribbon, spline
from imaging.toon.traits import Pose, Traits, in_shadow

INK: Colour = (40, 26, 34)
WHITE: Colour = (255, 255, 255)
# The cascade looks for two dark patches with a bright bridge between and bright cheeks below. Where they lie, how close
# the brows are, how far the whites are toned down and how thin the frames must be: searched by its number of raw hits.
EYE_X, EYE_Y = 0.385, -0.17
BROW_RISE = 0.235
WHITE_TONE = 0.58
FRAME_WIDTH = 0.032

RIM = ((-1, 0.22), (-0.55, -0.72), (0.1, -1), (0.72, -0.66), (1, 0.0), (0.55, 0.80), (-0.1, 0.98), (-0.66, 0.76))
UPPER_LID = ((-1.08, 0.32), (-0.55, -0.74), (0.1, -1.04), (0.74, -0.70), (1.06, 0.04))
LOWER_LID = ((-0.6, 0.82), (0.0, 1.04), (0.7, 0.74))
LASHED_LID = (*UPPER_LID[:3], (0.72, -0.74), (1.10, -0.30), (1.38, -0.50))
SQUARE_LENS = (
    (-1.0, -0.75), (-0.8, -0.95), (0.8, -0.95), (1.0, -0.75), (0.92, 0.6), (0.6, 0.95), (-0.6, 0.95), (-0.92, 0.6),
)  # fmt: skip


def draw_eyes(canvas: Canvas, pose: Pose, traits: Traits, face: Points) -> None:
    """Both eyes in their sockets."""
    socket = in_shadow(traits.skin, 0.34 if luminance(traits.skin) > 0.6 else 0.42)
    for side in (-1, 1):
        x = EYE_X * traits.eye_gap * side
        canvas.glaze(pose.wrap(ellipse(x, EYE_Y - 0.07, 0.31, 0.195)), socket, 0.85, 0.055 * pose.unit, face)
        if traits.blink:
            arc = ribbon([(x - 0.19, EYE_Y), (x, EYE_Y + 0.10), (x + 0.19, EYE_Y)], (0.03, 0.07, 0.03))
            canvas.fill(pose.wrap(arc), INK)
        elif traits.eye_style == "dots":
            _draw_dot_eye(canvas, pose, traits, x, side)
        else:
            _draw_open_eye(canvas, pose, traits, x, side)


def _draw_dot_eye(canvas: Canvas, pose: Pose, traits: Traits, x: float, side: int) -> None:
    size = traits.eye_size
    canvas.fill(pose.wrap(ellipse(x, EYE_Y, 0.13 * size, 0.165 * size)), mix(INK, traits.iris, 0.2))
    canvas.fill(pose.wrap(ellipse(x - 0.035, EYE_Y - 0.055, 0.038, 0.042)), WHITE)
    if traits.lashes:
        lash = [(x + 0.02 * side, EYE_Y - 0.15), (x + 0.13 * side, EYE_Y - 0.12), (x + 0.21 * side, EYE_Y - 0.20)]
        canvas.fill(pose.wrap(ribbon(lash, (0.03, 0.05, 0.01))), INK)


def _draw_open_eye(canvas: Canvas, pose: Pose, traits: Traits, x: float, side: int) -> None:
    w, h = 0.225 * traits.eye_size, 0.155 * traits.eye_size
    eye = pose.wrap(_beside(RIM, x, side, w, h))
    tone = min(0.75, WHITE_TONE + 0.3 * (1 - luminance(traits.skin)))
    canvas.fill(eye, mix((252, 250, 246), mix(traits.skin, (214, 206, 214), 0.4), tone))
    gaze_x, gaze_y, radius = x + traits.gaze[0], EYE_Y + traits.gaze[1], 0.150 * traits.eye_size
    canvas.glaze(pose.wrap(ellipse(gaze_x, gaze_y, radius, radius)), darker(traits.iris, 0.30), clip=eye)
    canvas.glaze(pose.wrap(ellipse(gaze_x, gaze_y + 0.03, radius * 0.78, radius * 0.72)), traits.iris, clip=eye)
    canvas.glaze(pose.wrap(ellipse(gaze_x, gaze_y, radius * 0.52, radius * 0.52)), INK, clip=eye)
    canvas.shade(pose.wrap(ellipse(x, EYE_Y - h * 1.05, w * 1.2, h * 0.75)), 0.55, 0.8, 0, eye)
    canvas.fill(pose.wrap(ellipse(gaze_x - 0.05, gaze_y - 0.05, 0.042, 0.042)), WHITE)
    _draw_lids(canvas, pose, traits, x, side, w, h)


def _draw_lids(canvas: Canvas, pose: Pose, traits: Traits, x: float, side: int, w: float, h: float) -> None:
    if traits.lashes:
        upper = ribbon(_beside(LASHED_LID, x, side, w, h), (0.03, 0.07, 0.085, 0.08, 0.015))
    else:
        upper = ribbon(_beside(UPPER_LID, x, side, w, h), (0.02, 0.06, 0.06, 0.02))
    canvas.fill(pose.wrap(upper), INK)
    lower = ribbon(_beside(LOWER_LID, x, side, w, h), (0.01, 0.028, 0.02))
    canvas.fill(pose.wrap(lower), in_shadow(traits.skin, 0.45))


def _beside(knots: tuple[tuple[float, float], ...], x: float, side: int, w: float, h: float) -> Points:
    """Knots of a right eye of half size 1, brought to size and place, mirrored for the left one; closed if a rim."""
    placed = np.array(knots) * (w * side, h) + (x, EYE_Y)
    return spline(placed) if knots is RIM else placed


def draw_brows(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    """Both brows; their tilt carries half of the expression."""
    y, tilt = EYE_Y - BROW_RISE - traits.brow_raise, traits.brow_tilt
    for side in (-1, 1):
        line = [
            (0.16 * side, y + 0.035 + tilt),
            (0.38 * side, y - 0.04),
            (0.52 * side, y - 0.035 - 0.5 * tilt),
            (0.65 * side, y + 0.06 - tilt),
        ]
        widths = [traits.brow_weight * width for width in (0.02, 0.085, 0.1, 0.08, 0.015)]
        canvas.fill(pose.wrap(ribbon(line, widths)), traits.brow)


def draw_glasses(canvas: Canvas, pose: Pose, traits: Traits) -> None:
    """Thin frames around the eyes, small enough to leave the brows free."""
    if traits.glasses == "none":
        return
    frame = mix(traits.cloth_accent, INK, 0.6)
    width = FRAME_WIDTH * pose.unit
    for side in (-1, 1):
        x = 0.40 * side
        round_lens = ellipse(x, EYE_Y - 0.01, 0.275, 0.26)
        lens = round_lens if traits.glasses == "round" else spline(SQUARE_LENS) * (0.28, 0.245) + (x, EYE_Y - 0.01)
        canvas.glaze(pose.wrap(lens), (226, 240, 255), 0.10)
        canvas.stroke(pose.wrap(lens), width, frame, closed=True)
        hinge = pose.wrap(np.array([(0.67 * side, EYE_Y - 0.08)]))
        ear = pose.flat(np.array([(0.90 * side * traits.build.width, EYE_Y - 0.10)]))
        canvas.stroke(np.concatenate([hinge, ear]), width, frame)
    bridge = spline([(-0.13, EYE_Y - 0.03), (0, EYE_Y - 0.08), (0.13, EYE_Y - 0.03)], closed=False)
    canvas.stroke(pose.wrap(bridge), width, frame)
