"""Antialiased fills, ribbons, glazes and ramps on an image, and the curves that they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]  # [N, 2] of x, y; y points down
Colour = tuple[int, int, int]

SUBPIXEL_BITS = 4
SEGMENT_SAMPLES = 8

_t = np.arange(SEGMENT_SAMPLES, dtype=np.float64)[:, None] / SEGMENT_SAMPLES
_CATMULL_ROM = 0.5 * np.hstack(
    [-_t + 2 * _t**2 - _t**3, 2 - 5 * _t**2 + 3 * _t**3, _t + 4 * _t**2 - 3 * _t**3, -(_t**2) + _t**3]
)


def spline(points: Sequence[Sequence[float]] | Points, closed: bool = True) -> Points:
    """Catmull-Rom curve through the points, eight samples a segment."""
    knots = np.asarray(points, np.float64)
    if closed:
        around = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        around = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    windows = np.stack([around[i : len(around) - 3 + i] for i in range(4)], axis=1)
    curve = np.einsum("sk,nkd->nsd", _CATMULL_ROM, windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Points:
    """Points on an axis-aligned ellipse between two angles in degrees (0 = right, 90 = down)."""
    num_points = max(8, int(abs(end - start) / 10))
    angles = np.radians(np.linspace(start, end, num_points, endpoint=abs(end - start) < 360))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def ribbon(points: Sequence[Sequence[float]] | Points, widths: Sequence[float]) -> Points:
    """Outline of a smooth stroke whose full width runs through `widths` from one end to the other."""
    line = spline(points, closed=False)
    along = np.gradient(line, axis=0)
    normal = (
        np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    )
    place = np.linspace(0, len(widths) - 1, len(line))
    half = np.interp(place, np.arange(len(widths)), widths)[:, None] / 2
    return np.concatenate([line + normal * half, (line - normal * half)[::-1]])


def mirrored(points: Sequence[Sequence[float]] | Points) -> Points:
    """The points and their mirror image about x = 0, as one closed outline that starts and ends on the axis."""
    half = np.asarray(points, np.float64)
    inner = half[(half[:, 0] != 0)]
    return np.concatenate([half, inner[::-1] * (-1, 1)])


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Colour that lies `share` of the way from a to b."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def darker(colour: Colour, amount: float) -> Colour:
    """Colour in shadow: darkened, and a little towards violet so that it does not look dirty."""
    return mix(colour, (46, 24, 58), amount)


def lighter(colour: Colour, amount: float) -> Colour:
    """Colour in light: lightened towards a warm white."""
    return mix(colour, (255, 248, 236), amount)


def luminance(colour: Colour) -> float:
    """Luma of a colour in 0..1 (ITU-R BT.601 weights)."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255


class _Patch(NamedTuple):
    """The part of an image that a shape touches, and how much it covers each pixel (uint8)."""

    pixels: Image
    mask: Image


class Canvas:
    """An RGB image to paint on; every shape is given in px of that image."""

    def __init__(self, image: Image) -> None:
        self.image = image

    def fill(self, points: Points, colour: Colour) -> None:
        """Paint the inside of a closed outline."""
        cv2.fillPoly(self.image, [_fixed(points)], colour, cv2.LINE_AA, SUBPIXEL_BITS)

    def stroke(self, points: Points, width: float, colour: Colour, closed: bool = False) -> None:
        """Paint a line of constant width (px, at least one)."""
        cv2.polylines(self.image, [_fixed(points)], closed, colour, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)

    def glaze(
        self, points: Points, colour: Colour, opacity: float = 1.0, blur: float = 0.0, clip: Points | None = None
    ) -> None:
        """Lay a colour over an outline: see-through, soft-edged by `blur` px, inside `clip` only."""
        patch = self._patch(points, blur, clip)
        if patch is not None:
            paint = np.empty_like(patch.pixels)
            paint[:] = colour
            _blend(patch, paint, opacity)

    def shade(
        self, points: Points, factor: float, opacity: float = 1.0, blur: float = 0.0, clip: Points | None = None
    ) -> None:
        """Multiply what lies inside an outline by a factor, a little warmer than grey: a cast shadow."""
        patch = self._patch(points, blur, clip)
        if patch is not None:
            tint = (factor, factor * 0.94, factor * 0.95, 0)
            _blend(patch, cv2.multiply(patch.pixels, tint), opacity)  # type: ignore[call-overload]

    def ramp(self, points: Points, start: Colour, end: Colour, degrees: float = 90.0) -> None:
        """Paint an outline with a linear gradient across its box (90 = downwards)."""
        patch = self._patch(points, 0.0, None)
        if patch is not None:
            _blend(patch, ramp_image(patch.pixels.shape[1], patch.pixels.shape[0], start, end, degrees), 1.0)

    def _patch(self, points: Points, blur: float, clip: Points | None) -> _Patch | None:
        margin = 2 + math.ceil(2.5 * blur)
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        if clip is not None:
            low, high = np.maximum(low, clip.min(axis=0) - 2), np.minimum(high, clip.max(axis=0) + 2)
        x0, y0 = (max(0, math.floor(value)) for value in low)
        x1, y1 = (min(side, math.ceil(v)) for side, v in zip(self.image.shape[1::-1], high, strict=True))
        if x0 >= x1 or y0 >= y1:
            return None
        mask = _mask(points - (x0, y0), x1 - x0, y1 - y0)
        if blur > 0.3:
            mask = _soften(mask, blur)
        if clip is not None:
            mask = cv2.multiply(mask, _mask(clip - (x0, y0), x1 - x0, y1 - y0), scale=1 / 255)  # type: ignore[assignment]
        return _Patch(self.image[y0:y1, x0:x1], mask)


def ramp_image(width: int, height: int, start: Colour, end: Colour, degrees: float = 90.0) -> Image:
    """Linear gradient [height, width, 3] from start to end across the box in a direction, in 256 steps."""
    dx, dy = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    place = np.add.outer(np.linspace(0, dy, height, dtype=np.float32), np.linspace(0, dx, width, dtype=np.float32))
    low, high = min(dx, 0) + min(dy, 0), max(dx, 0) + max(dy, 0)
    steps = np.linspace(start, end, 256).round().astype(np.uint8)[:, None]
    return cv2.applyColorMap(((place - low) * (255 / (high - low))).astype(np.uint8), steps)  # type: ignore[return-value]


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    return np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _mask(points: Points, width: int, height: int) -> Image:
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [_fixed(points)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return mask


def _soften(mask: Image, blur: float) -> Image:
    # A wide blur of a mask is smooth: done at a quarter of the size it costs a sixteenth.
    if blur < 6:
        return cv2.GaussianBlur(mask, (0, 0), blur)  # type: ignore[return-value]
    height, width = mask.shape
    small = cv2.resize(mask, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), blur / 4)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _blend(patch: _Patch, paint: Image, opacity: float) -> None:
    weight = patch.mask.astype(np.float32) * np.float32(opacity / 255)
    patch.pixels[:] = cv2.blendLinear(paint, patch.pixels, weight, 1 - weight)
