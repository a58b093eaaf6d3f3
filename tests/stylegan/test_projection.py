from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.projection import exploring_noise, learning_rate, noise_penalty, normalise_noise, spread

SIZES = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def reference(fixtures: Path) -> Mapping[str, Any]:
    with np.load(fixtures / "projector_schedule.npz") as arrays:
        return dict(arrays)


def noise_maps(reference: Mapping[str, Any], suffix: str = "") -> list[Tensor]:
    return [torch.from_numpy(reference[f"noise{size}{suffix}"].copy()) for size in SIZES]


def test_the_learning_rate_equals_the_reference_at_every_step(reference: Mapping[str, Any]) -> None:
    rates = [learning_rate(step / 1000) for step in range(1000)]
    np.testing.assert_allclose(rates, reference["lr"], rtol=1e-9, atol=1e-15)


def test_the_noise_on_w_equals_the_reference_at_every_step(reference: Mapping[str, Any]) -> None:
    scales = [exploring_noise(step / 1000, float(reference["w_std_in"])) for step in range(1000)]
    np.testing.assert_allclose(scales, reference["w_noise_scale"], rtol=1e-9, atol=1e-15)


def test_the_spread_of_w_equals_the_reference(reference: Mapping[str, Any]) -> None:
    found = spread(torch.from_numpy(reference["w_samples"]))
    np.testing.assert_allclose(found.mean, reference["w_avg_200"], rtol=1e-4, atol=1e-6)
    assert found.deviation == pytest.approx(float(reference["w_std_200"]), rel=1e-6)


def test_the_penalty_on_noise_equals_the_reference(reference: Mapping[str, Any]) -> None:
    assert float(noise_penalty(noise_maps(reference))) == pytest.approx(float(reference["reg"]), rel=1e-5)
    batched = [noise[None, None] for noise in noise_maps(reference)]
    assert float(noise_penalty(batched)) == pytest.approx(float(reference["reg"]), rel=1e-5)


def test_the_penalty_pushes_a_picture_out_of_the_noise() -> None:
    ramp = torch.linspace(-2, 2, 32).expand(32, 32).clone().requires_grad_()
    before = noise_penalty([ramp])
    (gradient,) = torch.autograd.grad(before, ramp)
    assert noise_penalty([ramp - 10 * gradient]) < before


def test_normalised_noise_equals_the_reference(reference: Mapping[str, Any]) -> None:
    maps = noise_maps(reference)
    normalise_noise(maps)
    for noise, expected in zip(maps, noise_maps(reference, "_normalised"), strict=True):
        torch.testing.assert_close(noise, expected, rtol=1e-4, atol=1e-5)
