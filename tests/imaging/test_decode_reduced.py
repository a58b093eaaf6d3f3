"""JPEGs at a half, a quarter and an eighth: the same picture, smaller, and refused for the same reasons."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from imaging.decode import LEAST_SIDE, REDUCTIONS, DecodeConfig, Undecodable, decode
from tests.imaging.test_decode import distance, hostile_rows, saved, scene


def answer(data: bytes, reduced: int) -> tuple[str, tuple[str, ...], tuple[int, int]]:
    try:
        found = decode(data, reduced=reduced)
    except Undecodable as error:
        return str(error), (), (0, 0)
    return "", found.notes, found.size


@pytest.mark.parametrize("reduced", REDUCTIONS)
@pytest.mark.parametrize("size", [(301, 457), (256, 333), (287, 288)])
def test_a_reduced_jpeg_has_its_sides_divided_and_rounded_up(reduced: int, size: tuple[int, int]) -> None:
    found = decode(saved(Image.fromarray(scene(*size)), "JPEG"), reduced=reduced)
    assert found.image.shape == (-(-size[0] // reduced), -(-size[1] // reduced), 3)
    assert (found.reduced, found.size) == (reduced, size)


@pytest.mark.parametrize("reduced", [2, 4, 8])
def test_a_reduced_jpeg_looks_like_the_whole_one_made_smaller(reduced: int) -> None:
    data = saved(Image.fromarray(scene(320, 480)), "JPEG", quality=95)
    small = cv2.resize(decode(data).image, (480 // reduced, 320 // reduced), interpolation=cv2.INTER_AREA)
    assert distance(decode(data, reduced=reduced).image, small) < 1


def test_no_picture_is_reduced_below_the_least_side() -> None:
    data = saved(Image.fromarray(scene(LEAST_SIDE * 4 - 1, 400)), "JPEG")
    assert [decode(data, reduced=reduced).reduced for reduced in REDUCTIONS] == [1, 2, 2, 2]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_come_at_full_size(form: str) -> None:
    found = decode(saved(Image.fromarray(scene(300, 300)), form), reduced=8)
    assert (found.reduced, found.size, found.image.shape) == (1, (300, 300), (300, 300, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_whole_upright_picture(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(scene(287, 288)), "JPEG", exif=exif)  # both sides are 36 at an eighth
    assert decode(data, reduced=8).size == decode(data).size == decode(data).image.shape[:2]


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_cmyk_and_grey_jpegs_are_reduced_with_their_notes(mode: str) -> None:
    data = saved(Image.fromarray(scene(320, 480)).convert(mode), "JPEG", quality=95)
    found, whole = decode(data, reduced=4), decode(data)
    assert found.notes == whole.notes
    assert distance(found.image, cv2.resize(whole.image, (120, 80), interpolation=cv2.INTER_AREA)) < 2


def test_the_limit_is_on_the_whole_picture() -> None:
    data = saved(Image.fromarray(scene(300, 300)), "JPEG")
    with pytest.raises(Undecodable, match="300 x 300 px are above"):
        decode(data, DecodeConfig(max_pixels=89_999), reduced=8)


def test_another_factor_is_no_picture_s_fault() -> None:
    with pytest.raises(ValueError, match="one of"):
        decode(saved(Image.fromarray(scene()), "JPEG"), reduced=3)


def test_every_hostile_picture_gets_the_same_answer_reduced(realdata: Path) -> None:
    for row in hostile_rows(realdata / "hostile"):
        data = (realdata / "hostile" / row["file"]).read_bytes()
        assert {reduced: answer(data, reduced) for reduced in REDUCTIONS} == dict.fromkeys(REDUCTIONS, answer(data, 1))


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 98}])
def test_a_cut_jpeg_is_refused_reduced_as_it_is_whole(end: bytes, options: dict[str, object]) -> None:
    for height in (130, 250, 383):
        data = saved(Image.fromarray(scene(height, 300)), "JPEG", **options)
        for share in (0.3, 0.5, 0.7, 0.85, 0.95):
            cut = data[: int(len(data) * share)] + end
            assert {answer(cut, reduced)[0] for reduced in REDUCTIONS} == {answer(cut, 1)[0]}


def test_a_grey_border_is_no_cut_at_any_size() -> None:
    picture = scene(300, 300)
    picture[150:] = 128
    data = saved(Image.fromarray(picture), "JPEG", quality=90)
    assert [decode(data, reduced=reduced).reduced for reduced in REDUCTIONS] == list(REDUCTIONS)


def test_a_picture_of_several_is_reduced_too() -> None:
    frames = [Image.fromarray(scene(320, 480, seed)) for seed in range(2)]
    out = io.BytesIO()
    frames[0].save(out, "MPO", save_all=True, append_images=frames[1:])
    found = decode(out.getvalue(), reduced=4)
    assert (found.notes, found.image.shape, found.size) == (("multi_page",), (80, 120, 3), (320, 480))
    assert np.abs(found.image.astype(int) - decode(out.getvalue()).image[::4, ::4]).mean() < 10
