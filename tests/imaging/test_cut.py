"""The square around a face, and how it is resampled."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.cut import CutConfig, cut, face_square, resize
from imaging.detect import Box


def test_random_squares_lie_inside_hold_the_box_and_are_as_large_as_they_can() -> None:
    random = np.random.default_rng(0)
    config = CutConfig(factor=1.6, min_factor=1.1)
    num_none = 0
    for _ in range(2000):
        height, width = (int(side) for side in random.integers(20, 300, 2))
        side = int(random.integers(1, min(height, width) + 1))
        x0, y0 = int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1))
        square = face_square(Box(x0, y0, x0 + side, y0 + side), (height, width), config)
        if square is None:
            assert round(side * 1.1) > min(height, width)
            num_none += 1
            continue
        assert 0 <= square.x0 <= x0
        assert 0 <= square.y0 <= y0
        assert x0 + side <= square.x1 <= width
        assert y0 + side <= square.y1 <= height
        assert square.x1 - square.x0 == square.y1 - square.y0 == min(round(side * 1.6), height, width)
    assert 0 < num_none < 600


def test_a_square_in_open_space_is_centred_and_rises_as_asked() -> None:
    box = Box(100, 100, 140, 140)
    assert face_square(box, (500, 500), CutConfig(factor=2)) == (80, 80, 160, 160)
    assert face_square(box, (500, 500), CutConfig(factor=2, rise=0.25)) == (80, 70, 160, 150)
    assert face_square(Box(0, 460, 40, 500), (500, 500), CutConfig(factor=2)) == (0, 420, 80, 500)
    assert face_square(Box(0, 20, 178, 198), (218, 178), CutConfig(factor=1)) == (0, 20, 178, 198)


def test_a_box_longer_than_the_picture_is_wide_fits_nowhere() -> None:
    assert face_square(Box(0, 0, 10, 90), (100, 50)) is None


def test_the_cut_has_exactly_the_asked_size_and_its_own_pixels_without_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    square = Box(11, 7, 74, 70)
    np.testing.assert_array_equal(cut(image, square), image[7:70, 11:74])
    np.testing.assert_array_equal(cut(image, square, 63), image[7:70, 11:74])
    for size in (1, 16, 64, 200):
        found = cut(image, square, size)
        assert found.shape == (size, size, 3)
        assert found.dtype == np.uint8


def test_shrinking_is_antialiased() -> None:
    fine = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(np.repeat(fine[..., None], 3, axis=2), 60)
    assert np.abs(small.astype(int) - 127.5).max() < 3  # without a low-pass it would be black and white


@pytest.mark.parametrize("size", [32, 64, 300])
def test_resampling_keeps_a_flat_colour_and_does_not_shift(size: int) -> None:
    flat = np.full((100, 100, 3), (10, 200, 90), np.uint8)
    assert (resize(flat, size) == (10, 200, 90)).all()
    blob = np.exp(-((np.indices((100, 100)) - 49.5) ** 2).sum(axis=0) / 400)
    found = resize(np.repeat((blob * 255).astype(np.uint8)[..., None], 3, axis=2), size)[..., 0].astype(int)
    assert np.abs(found - found[::-1, ::-1]).max() <= 1
