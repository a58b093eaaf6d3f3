from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.equivariance import Moved, band_limit, decibels, rotate, rotation_filter, shift, translate

Arrays = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def reference(fixtures: Path) -> Arrays:
    with np.load(fixtures / "metrics_equivariance_ops.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def compare(moved: Moved, reference: Arrays, name: str, scale: float = 1.0) -> None:
    torch.testing.assert_close(moved.images / scale, reference[name] / scale, rtol=1e-4, atol=1e-5)
    assert torch.equal(moved.known.expand(1, 3, -1, -1).float(), reference[f"{name}_mask"])


def in_px(reference: Arrays, i: int) -> list[float]:
    return [float(part) * reference["x"].shape[-1] for part in reference[f"txy{i}"]]


@pytest.mark.parametrize("i", range(3))
def test_whole_translations_equal_the_reference(reference: Arrays, i: int) -> None:
    right, down = (round(part) for part in in_px(reference, i))
    compare(shift(reference["x"], right, down), reference, f"int{i}")


@pytest.mark.parametrize("i", range(3))
def test_fractional_translations_equal_the_reference(reference: Arrays, i: int) -> None:
    compare(translate(reference["x"], *in_px(reference, i)), reference, f"frac{i}")


@pytest.mark.parametrize("i", range(2))
def test_rotations_equal_the_reference(reference: Arrays, i: int) -> None:
    # Both read a grid of some 200 samples by float32 coordinates, which are 1e-5 apart there: as much is noise.
    scale = float(reference["x"].abs().max())
    compare(rotate(reference["x"], float(reference[f"ang{i}"])), reference, f"rot{i}", scale)


@pytest.mark.parametrize("i", range(2))
def test_what_a_rotation_loses_equals_the_reference(reference: Arrays, i: int) -> None:
    compare(band_limit(reference["x"], float(reference[f"ang{i}"])), reference, f"prot{i}")


def test_a_smooth_wave_turned_is_the_wave_at_turned_places() -> None:
    size, angle = 48, 0.7
    y, x = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 2, indexing="ij")
    turned, known = rotate(torch.cos(0.4 * x + 0.3 * y)[None, None], angle)
    at_x, at_y = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
    difference = (turned[0, 0] - torch.cos(0.4 * at_x + 0.3 * at_y))[known]
    assert difference.abs().max() < 0.02
    assert decibels(float(difference.square().mean())) > 40


def test_a_quarter_turn_moves_pixels_and_loses_nothing() -> None:
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    turned, known = rotate(images, math.pi / 2)
    limited = band_limit(images, math.pi / 2).images
    difference = (turned - images.rot90(1, (2, 3)))[..., known]
    assert decibels(float(difference.square().mean())) > 45  # the sincs' tails are cut off
    assert (limited - images).abs().max() < 1e-4


def test_every_phase_of_the_filter_keeps_brightness() -> None:
    kernel = rotation_filter(0.4, 4)
    for i in range(4):
        for j in range(4):
            assert float(kernel[i::4, j::4].sum()) == pytest.approx(1)


def test_decibels_are_those_of_a_range_of_two() -> None:
    assert decibels(0.04) == pytest.approx(20)
