"""Measures against closed forms, and reasons against real pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.decode import decode
from imaging.measure import MeasureConfig, face_reason, measures, picture_reason


def photos(realdata: Path, prefix: str, step: int) -> list[np.ndarray]:
    paths = sorted((realdata / "real_photos").glob(f"{prefix}_*"))[::step]
    return [decode(path.read_bytes()).image for path in paths]


def tinted(image: np.ndarray, shadow: tuple[int, int, int], light: tuple[int, int, int]) -> np.ndarray:
    """A grey copy printed in one ink on coloured paper."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] / 255
    return (np.array(shadow) * (1 - grey) + np.array(light) * grey).astype(np.uint8)


def test_measures_equal_their_closed_forms_on_a_checkerboard() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 200
    found = measures(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    assert found.brightness == 100
    assert found.contrast == 100
    assert found.saturation < 0.05
    assert found.sharpness == pytest.approx((4 * 200) ** 2, rel=1e-3)  # the Laplacian is +-800 everywhere


def test_measures_do_not_depend_on_the_size_of_the_picture(realdata: Path) -> None:
    for image in photos(realdata, "aaf", 90):
        small = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(measures(image)[:3], measures(small)[:3], rtol=0.06)


def test_grey_photographs_are_grey_and_colour_photographs_are_not(realdata: Path) -> None:
    assert all(picture_reason(measures(image)) == "grey" for image in photos(realdata, "mux", 2))
    colour = [image for prefix in ("lfw", "london", "scene", "twfy") for image in photos(realdata, prefix, 2)]
    assert len(colour) == 127
    reasons = [picture_reason(measures(image)) for image in colour]
    assert sum(reason != "" for reason in reasons) <= 1  # a street at night, brightness 12 of 255


@pytest.mark.parametrize(
    "ink", [((40, 26, 13), (255, 240, 210)), ((0, 30, 60), (235, 240, 255)), ((20, 50, 40), (200, 230, 200))]
)
def test_sepia_and_other_tints_are_grey(realdata: Path, ink: tuple[tuple[int, int, int], ...]) -> None:
    for image in photos(realdata, "lfw", 6):
        assert picture_reason(measures(tinted(image, *ink))) == "grey"


def test_single_colours_are_monochrome_even_when_noisy() -> None:
    noise = np.random.default_rng(0).normal(0, 3, (100, 100, 3))
    for colour in ((255, 255, 255), (0, 0, 0), (200, 30, 60)):
        assert picture_reason(measures((np.array(colour) + noise).clip(0, 255).astype(np.uint8))) == "monochrome"


def test_faces_blurred_by_two_percent_are_blurry_and_sharp_ones_are_not(realdata: Path) -> None:
    config = MeasureConfig(min_face=0)
    images = photos(realdata, "aaf", 12) + photos(realdata, "lfw", 3)
    colour = [image for image in images if picture_reason(measures(image)) == ""]
    assert len(colour) > 40
    soft = [cv2.GaussianBlur(image, (0, 0), 0.02 * max(image.shape)) for image in colour]
    assert sum(face_reason(measures(image), 200, config) == "blurry" for image in colour) == 0
    assert sum(face_reason(measures(image), 200, config) == "blurry" for image in soft) >= 0.97 * len(soft)


def test_reasons_come_in_their_order_and_zero_switches_a_limit_off() -> None:
    flat = measures(np.full((50, 50, 3), 77, np.uint8))
    assert face_reason(flat, 255) == "face_too_small"
    assert face_reason(flat, 256) == "monochrome"
    assert face_reason(flat, 256, MeasureConfig(min_contrast=0)) == "grey"
    assert face_reason(flat, 256, MeasureConfig(min_contrast=0, min_saturation=0)) == "blurry"
    assert face_reason(flat, 0, MeasureConfig(min_contrast=0, min_saturation=0, min_sharpness=0, min_face=0)) == ""
