"""Altered copies: each change against its closed form, and what a copy may depend on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from imaging.augment import KINDS, CopyConfig, alter, blur, change_contrast, sharpen, tint, zoom
from imaging.detect import Box


@pytest.fixture
def image() -> np.ndarray:
    small = np.random.default_rng(0).integers(20, 236, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC))


def test_a_tint_moves_every_value_its_share_of_the_way_to_the_colour(image: np.ndarray) -> None:
    found = tint(image, (255, 0, 100), 0.1)
    np.testing.assert_allclose(found, 0.9 * image + 0.1 * np.array([255, 0, 100]), atol=0.5)
    np.testing.assert_array_equal(tint(image, (1, 2, 3), 0), image)


@pytest.mark.parametrize("factor", [0.8, 1.1])
def test_contrast_scales_the_spread_and_keeps_the_mean(image: np.ndarray, factor: float) -> None:
    found = change_contrast(image, factor)
    assert abs(found.mean() - image.mean()) < 0.2
    assert found.std() / image.std() == pytest.approx(factor, rel=0.01)


def test_values_beyond_black_and_white_are_clipped_not_wrapped() -> None:
    halves = np.repeat(np.array([[0], [255]], np.uint8), 8, 1)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(change_contrast(halves, 1.3), halves)


def test_a_blur_is_a_gaussian(image: np.ndarray) -> None:
    sigma, reach = 1.2, 12
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(image.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    for axis in (0, 1):
        padded = np.apply_along_axis(np.convolve, axis, padded, taps / taps.sum(), "valid")
    np.testing.assert_allclose(blur(image, sigma), padded, atol=1.5)


def test_sharpening_adds_what_a_blur_takes(image: np.ndarray) -> None:
    taken = image.astype(float) - blur(image, 1.0)
    np.testing.assert_allclose(sharpen(image, 0.7, 1.0), np.clip(image + 0.7 * taken, 0, 255), atol=0.5)


def test_a_crop_is_the_square_at_the_images_size(image: np.ndarray) -> None:
    part = Image.fromarray(image[3:45, 5:47])
    np.testing.assert_array_equal(zoom(image, Box(5, 3, 47, 45)), part.resize((48, 48), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [8, 48])
def test_every_kind_changes_an_image_but_not_its_shape_and_says_what_it_did(
    image: np.ndarray, kind: str, side: int
) -> None:
    config = CopyConfig(copies=20, kinds=(kind,))
    for number in range(1, 21):
        found = alter(image[:side, :side], "ab_000", number, 0, config)
        assert found.image.shape == (side, side, 3)
        assert found.image.dtype == np.uint8
        assert (found.image != image[:side, :side]).any()
        assert found.what.startswith(kind)


def test_a_copy_depends_on_seed_face_and_number_and_on_nothing_else(image: np.ndarray) -> None:
    few, many = CopyConfig(copies=2), CopyConfig(copies=9)
    for number in (1, 2):
        np.testing.assert_array_equal(
            alter(image, "ab_000", number, 3, few).image, alter(image.copy(), "ab_000", number, 3, many).image
        )
    what = [alter(image, face, number, seed, few).what for face, number, seed in
            (("ab_000", 1, 3), ("ab_001", 1, 3), ("ab_000", 2, 3), ("ab_000", 1, 4))]  # fmt: skip
    assert len(set(what)) == 4


def test_kinds_are_dealt_in_turn_and_each_face_begins_elsewhere(image: np.ndarray) -> None:
    config = CopyConfig(copies=5)
    dealt = [[alter(image, f"{i}_000", n, 0, config).what.split()[0] for n in range(1, 6)] for i in range(60)]
    assert all(sorted(kinds) == sorted(KINDS) for kinds in dealt)
    first = [kinds[0] for kinds in dealt]
    assert all(4 <= first.count(kind) <= 24 for kind in KINDS)


@pytest.mark.parametrize("kind", ["flip", "hflip", "mirror", "horizontal-flip"])
def test_flips_are_refused_because_training_mirrors(kind: str) -> None:
    with pytest.raises(ValidationError, match=rf"{kind} is no kind of copy: training mirrors half of what it shows"):
        CopyConfig.model_validate({"copies": 1, "kinds": ["blur", kind]})


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"copies": 1, "kinds": []}, {"copies": 1, "kinds": ["rain"]}, {}])
def test_a_config_that_asks_for_nothing_or_the_unknown_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CopyConfig.model_validate(wrong)
    with pytest.raises(ValidationError, match="name each kind once"):
        CopyConfig.model_validate({"copies": 1, "kinds": ["blur", "blur"]})
