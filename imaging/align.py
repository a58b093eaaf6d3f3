"""The aligned square of a face, as FFHQ's: turned and sized by its eyes and its mouth."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from imaging.decode import Image8
from imaging.detect import Box, Landmarks, Point


class Quad(NamedTuple):
    """The corners of a turned square, x, y in px of the picture (edges, not centres of px), against the clock."""

    top_left: Point
    bottom_left: Point
    bottom_right: Point
    top_right: Point

    @property
    def side(self) -> float:
        """Length of a side, px."""
        return math.dist(self.top_left, self.top_right)


def face_quad(landmarks: Landmarks) -> Quad:
    """The square of FFHQ around a face (Karras et al. 2018, arXiv:1812.04948, appendix C).

    With e from the left to the right eye and m from the middle of the eyes to that of the mouth: its x axis is e less
    m turned by 90 degrees, half a side is the larger of 2 |e| and 1.8 |m|, and its centre lies 0.1 m below the eyes.
    """
    left, right = np.array(landmarks.left_eye), np.array(landmarks.right_eye)
    eyes, mouth = (left + right) / 2, (np.array(landmarks.left_mouth) + np.array(landmarks.right_mouth)) / 2
    across, down = right - left, mouth - eyes
    axis = across + np.array([down[1], -down[0]])
    length = float(np.hypot(*axis))
    if length < 1e-6:
        raise ValueError(f"no square fits these points: {landmarks}")
    x = axis / length * max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    corners = (centre - x - y, centre - x + y, centre + x + y, centre + x - y)
    top_left, bottom_left, bottom_right, top_right = ((float(px), float(py)) for px, py in corners)
    return Quad(top_left, bottom_left, bottom_right, top_right)


def quad_of(numbers: list[float]) -> Quad:
    """The quad that the ledger's eight numbers stand for."""
    x0, y0, x1, y1, x2, y2, x3, y3 = (float(number) for number in numbers)
    return Quad((x0, y0), (x1, y1), (x2, y2), (x3, y3))


def quad_bounds(quad: Quad, image_size: tuple[int, int]) -> Box:
    """What surrounds a quad inside a picture of (height, width)."""
    height, width = image_size
    xs, ys = [x for x, _ in quad], [y for _, y in quad]
    x0, y0 = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    return Box(x0, y0, min(width, math.ceil(max(xs))), min(height, math.ceil(max(ys))))


def share_outside(quad: Quad, image_size: tuple[int, int]) -> float:
    """How far a quad reaches over the picture's edge at its worst, in sides of the quad; 0 = inside."""
    height, width = image_size
    over = [max(-x, x - width, -y, y - height, 0.0) for x, y in quad]
    return max(over) / quad.side


def cut_quad(image: Image8, quad: Quad, size: int) -> Image8:
    """The pixels of a quad at size x size px; beyond the edge the picture is mirrored."""
    source = np.array([quad.top_left, quad.bottom_left, quad.top_right], dtype=np.float32) - 0.5
    target = np.array([[0, 0], [0, size], [size, 0]], dtype=np.float32) - 0.5
    transform = cv2.getAffineTransform(target, source)
    turned = cv2.warpAffine(
        image,
        transform,
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(turned, dtype=np.uint8)
