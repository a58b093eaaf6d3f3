"""Aligned cuts against the recipe's equations, exact cases and a slow reference on real faces."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from benchmarks.align import published_cut
from imaging.align import LOOK, Quad, cut_quad, face_quad, quad_bounds, quad_of, share_outside, square_up
from imaging.decode import Image8, decode
from imaging.detect import Landmarks

UPRIGHT = Landmarks((80, 100), (120, 100), (100, 120), (85, 140), (115, 140))


def level(x0: float, y0: float, side: float) -> Quad:
    return Quad((x0, y0), (x0, y0 + side), (x0 + side, y0 + side), (x0 + side, y0))


def turned(points: Landmarks, degrees: float) -> Landmarks:
    """Clockwise about (100, 100), as y points down."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return Landmarks(*((100 + c * (x - 100) - s * (y - 100), 100 + s * (x - 100) + c * (y - 100)) for x, y in points))


def psnr(wanted: NDArray[np.float64], found: Image8) -> float:
    return 10 * math.log10(255**2 / float(((wanted - found) ** 2).mean()))


def real_faces(realdata: Path, prefix: str, step: int) -> list[tuple[Image8, Quad]]:
    """Faces whose eyes and mouth are listed beside the pictures, and their quads."""
    with (realdata / "real_photos" / "faces.csv").open(encoding="utf-8") as opened:
        rows = [row for row in csv.DictReader(opened) if row["file"].startswith(prefix)]
    found = []
    for row in rows[::step]:
        left, right, mouth = (
            (float(row[f"{name}_x"]), float(row[f"{name}_y"])) for name in ("left_eye", "right_eye", "mouth")
        )
        image = decode((realdata / "real_photos" / row["file"]).read_bytes()).image
        found.append((image, face_quad(Landmarks(left, right, mouth, mouth, mouth))))
    return found


def slow_cut(image: Image8, quad: Quad, size: int) -> NDArray[np.float64]:
    """The quad sampled linearly at many places a px, low-passed by Lanczos (a = 3) of the output's px, in float64."""
    fine = max(4, 2 * math.ceil(quad.side / size))
    step = (np.arange(size * fine) + 0.5) / (size * fine)
    origin, across, down = (np.array(corner) for corner in (quad.top_left, quad.top_right, quad.bottom_left))
    places = origin + step[None, :, None] * (across - origin) + step[:, None, None] * (down - origin) - 0.5
    where = [places[..., 1], places[..., 0]]
    sampled = np.stack([map_coordinates(image[..., c].astype(float), where, order=1) for c in range(3)], -1)
    distance = (np.arange(size)[:, None] + 0.5) - (np.arange(size * fine) + 0.5)[None] / fine
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.clip(np.einsum("ab,bcd,ec->aed", weights, sampled, weights, optimize=True), 0, 255))


def test_an_upright_face_has_the_square_of_the_published_equations() -> None:
    # e = (40, 0), m = (0, 40): the x axis is e - (-40, 0) = (80, 0), half a side max(2 * 40, 1.8 * 40) = 80.
    quad = face_quad(UPRIGHT)
    np.testing.assert_allclose(quad, [(20, 24), (20, 184), (180, 184), (180, 24)])
    assert quad.side == 160


def test_a_long_face_is_sized_by_its_mouth() -> None:
    long = UPRIGHT._replace(left_mouth=(90, 160), right_mouth=(110, 160))
    np.testing.assert_allclose(face_quad(long).side, 2 * 1.8 * 60)


@pytest.mark.parametrize("degrees", [-170, -90, -20, 7, 45, 120])
def test_the_square_turns_with_the_face(degrees: float) -> None:
    quad = face_quad(turned(UPRIGHT, degrees))
    corners = turned(Landmarks(*face_quad(UPRIGHT), (0.0, 0.0)), degrees)[:4]
    np.testing.assert_allclose(quad, corners, atol=1e-9)


def test_points_in_one_place_give_a_quad_that_is_outside() -> None:
    assert share_outside(face_quad(Landmarks(*[(50.0, 50.0)] * 5)), (100, 100)) == math.inf


def test_the_share_outside_is_the_worst_side_in_sides_of_the_quad() -> None:
    assert share_outside(level(0, 0, 100), (100, 100)) == 0
    assert share_outside(level(-10, 5, 100), (200, 200)) == pytest.approx(0.1)
    assert share_outside(level(-10, 150, 100), (200, 200)) == pytest.approx(0.5)


def test_bounds_hold_the_quad_and_stay_in_the_picture() -> None:
    quad = Quad((10.5, -3), (-2, 40), (41, 52.2), (53, 9))
    assert quad_bounds(quad, (50, 100)) == (0, 0, 53, 50)
    assert quad_of([number for corner in quad for number in corner]) == quad


def test_a_level_quad_on_whole_px_is_the_pictures_own_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 150, 3), np.uint8)
    np.testing.assert_array_equal(cut_quad(image, level(31, 17, 64), 64), image[17:81, 31:95])
    np.testing.assert_array_equal(cut_quad(image, level(0, 0, 120), 120), image[:, :120])


def test_quarter_turns_are_exact() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    corners = level(20, 30, 40)
    for turns in range(4):
        quad = Quad(*(corners[(index - turns) % 4] for index in range(4)))
        np.testing.assert_array_equal(cut_quad(image, quad, 40), np.rot90(image[30:70, 20:60], turns))


@pytest.mark.parametrize("size", [64, 128, 256])
def test_faces_inside_their_picture_equal_the_slow_reference(realdata: Path, size: int) -> None:
    faces = real_faces(realdata, "voteview", 18) + real_faces(realdata, "dlib", 8)
    inside = [(image, quad) for image, quad in faces if not share_outside(quad, (image.shape[0], image.shape[1]))]
    assert len(inside) >= 10
    ratios = [psnr(slow_cut(image, quad, size), cut_quad(image, quad, size)) for image, quad in inside]
    assert min(ratios) > (36 if size == 64 else 38)
    assert np.median(ratios) > 42


@pytest.mark.parametrize("size", [128, 512])
def test_faces_that_reach_over_the_edge_equal_the_published_recipe(realdata: Path, size: int) -> None:
    for image, quad in real_faces(realdata, "aaf", 143):
        assert share_outside(quad, (image.shape[0], image.shape[1])) > 0
        assert psnr(published_cut(image, quad, size).astype(float), cut_quad(image, quad, size)) > 38


def test_shrinking_does_not_alias() -> None:
    fine = (np.indices((600, 600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(fine[..., None], 3, axis=2)
    for side, size in ((500, 100), (333, 100), (400, 30), (420, 200)):
        x = 15 + side * 0.1
        quad = Quad((15, x), (x, 15 + side), (15 + side, side - x + 30), (side - x + 30, 15))
        assert np.abs(cut_quad(image, quad, size).astype(int) - 127.5).max() < 14


def test_a_flat_colour_stays_flat_inside_and_beyond_the_edge() -> None:
    flat = np.full((80, 100, 3), (10, 200, 90), np.uint8)
    for quad in (level(20, 20, 40), level(-12, -5, 60), Quad((-5, 30), (40, 85), (95, 40), (50, -15))):
        for size in (16, 50, 120):
            assert np.abs(cut_quad(flat, quad, size).astype(int) - (10, 200, 90)).max() <= 1


def test_beyond_the_edge_the_picture_is_mirrored_softly_and_well_inside_it_is_untouched() -> None:
    random = np.random.default_rng(0)
    image = np.asarray(random.integers(0, 256, (300, 300, 3)), np.uint8)
    found = cut_quad(image, level(-30, 50, 200), 200).astype(int)
    # The blur begins a third of the border (0.3 sides, 60 px) inside the edge.
    np.testing.assert_array_equal(found[:, 51:], image[50:250, 21:170])
    assert found[:, :28].std() < 0.25 * image.std()
    smooth = np.repeat(np.linspace(0, 255, 300)[None, :, None], 300, 0).repeat(3, 2).astype(np.uint8)
    beyond = cut_quad(smooth, level(-30, 50, 200), 200).astype(int)[100, :, 0]
    assert np.abs(np.diff(beyond)).max() <= 8  # no seam at the edge
    assert beyond[10] > beyond[30] + 10  # it mirrors (and fades to the median), it does not go on


def test_a_picture_wider_than_opencv_warps_is_cut() -> None:
    image = np.zeros((40, 40_000, 3), np.uint8)
    image[:, 39_960:] = 200
    assert (cut_quad(image, level(39_965, 5, 30), 30) == 200).all()


def test_points_found_in_the_aligned_cut_come_back_to_their_place() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    points = turned(UPRIGHT, 30)
    quad = face_quad(points)
    seen = Landmarks((LOOK * 0.4, LOOK * 0.5), (LOOK, 0.0), (0.0, 0.0), (0.0, LOOK), (LOOK, LOOK))
    found = square_up(image, points, lambda cut: seen, looks=1)
    np.testing.assert_allclose(found[1:], [quad.top_right, quad.top_left, quad.bottom_left, quad.bottom_right])
    across, down = np.subtract(quad.top_right, quad.top_left), np.subtract(quad.bottom_left, quad.top_left)
    np.testing.assert_allclose(found[0], np.array(quad.top_left) + 0.4 * across + 0.5 * down)


def test_each_look_sees_the_face_as_the_look_before_left_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    seen: list[Image8] = []

    def find(cut: Image8) -> Landmarks:
        seen.append(cut)
        return turned(Landmarks(*((x * 1.2 + 30, y * 1.2 + 30) for x, y in UPRIGHT)), 5)

    points = square_up(image, UPRIGHT, find)
    assert [cut.shape for cut in seen] == [(LOOK, LOOK, 3)] * 2
    once = square_up(image, UPRIGHT, find, looks=1)
    np.testing.assert_array_equal(seen[1], cut_quad(image, face_quad(once), LOOK))
    assert points == square_up(image, once, find, looks=1)


def test_a_face_that_is_not_found_again_or_lies_outside_keeps_its_points() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    assert square_up(image, UPRIGHT, lambda cut: None) == UPRIGHT
    same = Landmarks(*[(50.0, 50.0)] * 5)
    assert square_up(image, same, lambda cut: UPRIGHT) == same
