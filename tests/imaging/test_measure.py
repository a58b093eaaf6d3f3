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


def portrait(background: int) -> np.ndarray:
    """A noisy disc, the head, on a body, before one plain colour."""
    y, x = np.indices((200, 200))
    person = ((x - 100) ** 2 + (y - 80) ** 2 < 45**2) | ((abs(x - 100) < 70) & (y > 140))
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3))
    return np.where(person[..., None], noise, background).astype(np.uint8)


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_the_border_is_the_share_of_the_bars(colour: int) -> None:
    inner = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    assert measures(inner).border == 0
    for top, bottom, left, right in ((10, 10, 0, 0), (0, 0, 9, 24), (8, 8, 12, 12), (20, 0, 0, 0)):
        framed = np.pad(inner, ((top, bottom), (left, right), (0, 0)), constant_values=colour)
        share = 1 - 60 * 80 / ((60 + top + bottom) * (80 + left + right))
        assert measures(framed).border == pytest.approx(share, abs=1e-4)


def test_a_letterbox_is_seen_through_jpeg_and_shrinking(realdata: Path) -> None:
    found = []
    for image in photos(realdata, "scene", 4):
        wide = np.pad(cv2.resize(image, (800, 450)), ((75, 75), (0, 0), (0, 0)))
        _, data = cv2.imencode(".jpg", wide, [cv2.IMWRITE_JPEG_QUALITY, 70])
        found.append(measures(decode(data.tobytes()).image).border)
    assert np.median(found) == pytest.approx(0.25, abs=0.03)
    assert np.mean(np.abs(np.array(found) - 0.25) < 0.04) > 0.85  # a picture as dark as its bars is part of them


def test_few_real_pictures_have_a_border(realdata: Path) -> None:
    borders = [measures(image).border for image in photos(realdata, "aaf", 6)]
    assert np.mean(np.array(borders) > 0) < 0.06  # though half of them stand before a plain background


@pytest.mark.parametrize("background", [0, 90, 255])
def test_a_plain_background_is_no_border(background: int) -> None:
    assert measures(portrait(background)).border == 0


def test_a_picture_of_one_colour_is_all_border() -> None:
    assert measures(np.full((50, 70, 3), 77, np.uint8)).border == 1


def test_a_cut_with_wide_bars_is_bordered_only_where_it_is_asked(realdata: Path) -> None:
    image = photos(realdata, "lfw", 50)[0]
    framed = measures(np.pad(image, ((40, 40), (0, 0), (0, 0))))
    assert face_reason(framed, 999) == ""
    assert face_reason(framed, 999, MeasureConfig(max_flat_border=0.1)) == "bordered"
    assert face_reason(framed, 999, MeasureConfig(max_flat_border=0.5)) == ""


def test_a_jpeg_below_the_asked_quality_leaves_and_other_formats_stay(realdata: Path) -> None:
    measured = measures(photos(realdata, "lfw", 50)[0])
    config = MeasureConfig(min_jpeg_quality=75)
    assert picture_reason(measured, config, 74.9) == "low_quality"
    assert picture_reason(measured, config, 75.0) == ""
    assert picture_reason(measured, config, None) == ""
    assert picture_reason(measured, quality=1.0) == ""


def test_a_jpeg_decoded_at_a_part_of_its_size_measures_the_same(realdata: Path) -> None:
    for path in sorted((realdata / "anime_illustrations").glob("*.jpg"))[::6]:
        data = path.read_bytes()
        whole, half = decode(data), decode(data, reduced=2)
        if max(half.image.shape) >= 256:
            np.testing.assert_allclose(measures(half.image)[:4], measures(whole.image)[:4], rtol=0.05, atol=0.3)


def test_reasons_come_in_their_order_and_zero_switches_a_limit_off() -> None:
    flat = measures(np.full((50, 50, 3), 77, np.uint8))
    assert face_reason(flat, 255) == "face_too_small"
    assert face_reason(flat, 256) == "monochrome"
    assert face_reason(flat, 256, MeasureConfig(min_contrast=0)) == "grey"
    assert face_reason(flat, 256, MeasureConfig(min_contrast=0, min_saturation=0)) == "blurry"
    assert face_reason(flat, 0, MeasureConfig(min_contrast=0, min_saturation=0, min_sharpness=0, min_face=0)) == ""
