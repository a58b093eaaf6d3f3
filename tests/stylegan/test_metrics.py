from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance
from torch import Tensor

from stylegan.metrics import (
    SlicedWassersteinConfig,
    _distances,
    _double,
    _halve,
    _laplacian,
    colour_layout,
    nearest_neighbours,
    sliced_wasserstein,
)

SMALL = SlicedWassersteinConfig(num_patches=32, num_directions=64, num_bootstraps=20)


def scenes(num: int, seed: int, blur: int = 1, resolution: int = 64) -> Tensor:
    """Soft colour fields with grain, uint8 [num, 3, resolution, resolution]; `blur` averages the grain away."""
    rng = torch.Generator().manual_seed(seed)
    field = F.interpolate(torch.rand(num, 3, 8, 8, generator=rng), size=resolution, mode="bilinear")
    images = 0.7 * field + 0.3 * torch.rand(num, 3, resolution, resolution, generator=rng)
    return (F.avg_pool2d(images, blur, 1, blur // 2) * 255).to(torch.uint8)


def test_a_set_is_at_distance_0_from_itself() -> None:
    found = sliced_wasserstein(scenes(20, 1), scenes(20, 1), 0, SMALL)
    assert found.mean.value == pytest.approx(0, abs=1e-9)


def test_levels_halve_down_to_16_and_the_mean_is_theirs() -> None:
    found = sliced_wasserstein(scenes(12, 1), scenes(12, 2), 0, SMALL)
    assert list(found.levels) == [64, 32, 16]
    assert found.mean.value == pytest.approx(np.mean([level.value for level in found.levels.values()]))
    assert all(level.low <= level.value <= level.high for level in [found.mean, *found.levels.values()])


def test_lost_detail_is_seen_at_the_finest_level_first() -> None:
    real, same, soft = scenes(60, 1), scenes(60, 2), scenes(60, 3, blur=3)
    near, far = (sliced_wasserstein(real, x, 0, SMALL).levels for x in (same, soft))
    assert far[64].low > 1.5 * near[64].high
    assert far[16].value < 2 * near[16].value


def test_the_same_seed_gives_the_same_number_and_another_one_about_the_same() -> None:
    real, fake = scenes(60, 1), scenes(60, 2, blur=3)
    first, again, other = (sliced_wasserstein(real, fake, seed, SMALL) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert other.mean.value == pytest.approx(first.mean.value, rel=0.1)


def test_more_pictures_of_one_kind_lie_closer() -> None:
    few, many = (sliced_wasserstein(scenes(n, 1), scenes(n, 2), 0, SMALL).mean for n in (10, 90))
    assert many.value < 0.6 * few.value
    assert many.high - many.low < few.high - few.low


def test_interval_is_not_narrower_than_the_spread_between_fresh_samples() -> None:
    one = sliced_wasserstein(scenes(50, 1), scenes(50, 2, blur=3), 0, SMALL).mean
    fresh = [sliced_wasserstein(scenes(50, 10 + i), scenes(50, 30 + i, blur=3), 0, SMALL).mean.value for i in range(8)]
    assert 1 < (one.high - one.low) / (2 * 1.96 * np.std(fresh, ddof=1)) < 5


def test_sets_of_unequal_size_are_compared_by_distribution() -> None:
    real, fake = scenes(24, 1), scenes(24, 2)
    config = SMALL.model_copy(update={"patch_size": 16, "num_patches": 1})  # whole pictures at level 16: no draw
    once = sliced_wasserstein(real, fake, 0, config).levels[16].value
    assert sliced_wasserstein(real.repeat(2, 1, 1, 1), fake, 0, config).levels[16].value == pytest.approx(
        once, rel=1e-4
    )


def test_one_direction_is_scipys_wasserstein_distance() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(30, 1, generator=rng), torch.randn(50, 1, generator=rng) + 0.5
    weights = [torch.full((2, n), 1 / n, dtype=torch.float64) for n in (30, 50)]
    found = _distances(a, b, torch.ones(1, 1), weights[0], weights[1])
    assert float(found[0]) == pytest.approx(wasserstein_distance(a[:, 0], b[:, 0]), rel=1e-5)


def test_pyramid_levels_add_up_to_the_picture() -> None:
    images = scenes(3, 1, resolution=32)
    fine, coarse = _laplacian(images, 32, coarsest=False), _laplacian(images, 16, coarsest=True)
    torch.testing.assert_close(fine + _double(coarse), images.float() / 127.5 - 1)


def test_halving_and_doubling_keep_a_flat_picture() -> None:
    flat = torch.full((1, 3, 32, 32), 0.25)
    torch.testing.assert_close(_halve(flat), flat[:, :, ::2, ::2])
    torch.testing.assert_close(_double(flat), torch.full((1, 3, 64, 64), 0.25))


def test_one_coloured_pictures_give_a_number() -> None:
    flat = torch.full((4, 3, 32, 32), 7, dtype=torch.uint8)
    assert np.isfinite(sliced_wasserstein(flat, scenes(4, 1, resolution=32), 0, SMALL).mean.value)


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32), "real is torch.float32"),
        (scenes(2, 1)[:0], scenes(2, 1), "expected uint8"),
        (scenes(2, 1), scenes(2, 1, resolution=32), "bring both to one square size"),
        (scenes(2, 1)[:, :, :6, :6], scenes(2, 1)[:, :, :6, :6], "patches of 7 px do not fit"),
    ],
)
def test_what_cannot_be_compared_is_refused(real: Tensor, fake: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sliced_wasserstein(real, fake, 0, SMALL)


def test_nearest_neighbour_of_a_copy_is_its_original_at_distance_0() -> None:
    real = scenes(40, 1)
    found = nearest_neighbours(real, real[[7, 30, 2]], k=3)
    np.testing.assert_array_equal(found.indices[:, 0], [7, 30, 2])
    np.testing.assert_array_equal(found.distances[:, 0], 0)
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_slightly_changed_copy_is_still_nearest_to_its_original() -> None:
    real = scenes(40, 1)
    changed = (real[:10].float() * 0.9 + 10).clamp(0, 255).roll(1, dims=3).to(torch.uint8)
    np.testing.assert_array_equal(nearest_neighbours(real, changed, k=1).indices[:, 0], np.arange(10))


def test_neighbours_equal_a_full_search() -> None:
    real, fake = scenes(30, 1), scenes(5, 2)
    a, b = colour_layout(real).astype(np.float64), colour_layout(fake).astype(np.float64)
    slow = np.sqrt(((b[:, None] - a[None]) ** 2).sum(2))
    found = nearest_neighbours(real, fake, k=4)
    np.testing.assert_array_equal(found.indices, np.argsort(slow, axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(slow, axis=1)[:, :4], rtol=1e-5)


def test_colour_layout_is_lab_on_8_by_8_areas() -> None:
    white = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    layout = colour_layout(white).reshape(8, 8, 3)
    np.testing.assert_allclose(layout, np.broadcast_to([100, 0, 0], (8, 8, 3)), atol=0.02)


def test_more_neighbours_than_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 3, there are 2 real pictures"):
        nearest_neighbours(scenes(2, 1), scenes(1, 2), k=3)
