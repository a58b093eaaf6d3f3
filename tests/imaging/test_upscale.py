"""Lanczos and waifu2x: sizes, seams, alignment, and what the network is worth on real drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from imaging.cut import resize
from imaging.decode import decode
from imaging.upscale import UPSCALERS, UpscaleConfig, _network, double, upscale


@pytest.fixture
def weights(realdata: Path) -> Path:
    return realdata / "assets/waifu2x_upconv7_anime_scale2x.bin"


def drawing(realdata: Path, number: int, side: int) -> np.ndarray:
    path = sorted((realdata / "anime_illustrations").rglob("ftla_*"))[number]
    image = decode(path.read_bytes()).image
    square = min(image.shape[:2])
    return resize(image[:square, :square], side)


@pytest.mark.parametrize("upscaler", sorted(UPSCALERS))
@pytest.mark.parametrize(("side", "target"), [(40, 128), (100, 128), (64, 128), (128, 128), (200, 128)])
def test_every_upscaler_meets_the_target_exactly_and_repeats_itself(
    realdata: Path, weights: Path, upscaler: str, side: int, target: int
) -> None:
    image, config = drawing(realdata, 0, side), UpscaleConfig(upscaler=upscaler)
    found = upscale(image, target, config, weights)
    assert found.shape == (target, target, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, upscale(image, target, config, weights))
    if side >= target:  # never enlarged: the same as without a network
        np.testing.assert_array_equal(found, resize(image, target))


@pytest.mark.parametrize("tile", [16, 24, 50])
def test_tiles_leave_no_seam(realdata: Path, weights: Path, tile: int) -> None:
    image = np.ascontiguousarray(drawing(realdata, 3, 90)[:70])
    whole, tiled = double(image, weights, 1024), double(image, weights, tile)
    assert whole.shape == (140, 180, 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_the_network_is_aligned_with_its_input_to_the_pixel(realdata: Path, weights: Path) -> None:
    image = drawing(realdata, 5, 96)
    found = double(resize(image, 48), weights, 128).astype(float)
    error = {
        (dy, dx): np.square(np.roll(found, (dy, dx), (0, 1)) - image)[8:-8, 8:-8].mean()
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert min(error, key=lambda shift: error[shift]) == (0, 0)


def test_waifu2x_restores_real_drawings_better_than_lanczos(realdata: Path, weights: Path) -> None:
    def ratio(found: np.ndarray, image: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / np.square(found.astype(float) - image).mean()))

    gains = []
    for number in range(0, 30, 5):
        image = drawing(realdata, number, 256)
        small = resize(image, 128)
        better = upscale(small, 256, UpscaleConfig(upscaler="waifu2x"), weights)
        gains.append(ratio(better, image) - ratio(resize(small, 256), image))
    assert np.mean(gains) > 3  # dB; measured 4.5 over 16 pictures
    assert min(gains) > 0


def test_flat_colours_come_back_as_they_went_in(weights: Path) -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (200, 120, 40)):
        image = np.full((20, 20, 3), colour, np.uint8)
        assert np.abs(double(image, weights, 64).astype(int) - colour).max() <= 3


def test_the_layers_hold_every_number_of_the_file(weights: Path) -> None:
    with torch.inference_mode():
        assert _network(str(weights), torch.zeros(2, 3, 20, 17)).shape == (2, 3, 12, 6)


def test_missing_and_foreign_weights_are_named(tmp_path: Path) -> None:
    image, config = np.zeros((8, 8, 3), np.uint8), UpscaleConfig(upscaler="waifu2x")
    for absent in (None, tmp_path / "absent.bin"):
        with pytest.raises(FileNotFoundError, match=r"waifu2x_upconv7_anime_scale2x\.bin"):
            upscale(image, 16, config, absent)
    for content, words in (
        (b"PK\x03\x04" * 10, "byte 0"),
        (b"", "byte 0"),
        (b"\x47\x6b\x30\x01" + bytes(10), "cut off"),
    ):
        path = tmp_path / f"{len(content)}.bin"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            upscale(image, 16, config, path)
