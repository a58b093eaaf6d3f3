from __future__ import annotations

import pytest
import torch

from stylegan.architectures.networks import Growth
from stylegan.config import GrowthConfig, TrainConfig
from stylegan.growth import batch_at, growth_at, lr_at, shrink_reals


def test_sizes_of_the_celeba_recipe_change_every_37500_steps_of_16() -> None:
    growth = GrowthConfig(start=8, fade_kimg=300, stable_kimg=300)
    sizes = [growth_at(growth, 128, step * 16).size for step in range(0, 187_500, 100)]
    changes = [100 * i for i in range(1, len(sizes)) if sizes[i] != sizes[i - 1]]
    assert changes == [37_500, 75_000, 112_500, 150_000]
    assert growth_at(growth, 128, 37_499 * 16).size == 8
    assert growth_at(growth, 128, 37_500 * 16).size == 16


def test_first_size_is_there_at_once() -> None:
    growth = GrowthConfig(start=4, fade_kimg=1, stable_kimg=1)
    assert {growth_at(growth, 32, seen) for seen in range(2000)} == {Growth(4, 1.0)}


def test_later_sizes_fade_in_evenly_and_then_stay() -> None:
    growth = GrowthConfig(start=4, fade_kimg=1, stable_kimg=1)
    assert [growth_at(growth, 8, seen) for seen in (2000, 2250, 2999, 3000, 3999)] == [
        Growth(8, 0.0),
        Growth(8, 0.25),
        Growth(8, 0.999),
        Growth(8, 1.0),
        Growth(8, 1.0),
    ]


def test_last_size_stays_for_ever() -> None:
    growth = GrowthConfig(start=4, fade_kimg=1, stable_kimg=1)
    assert growth_at(growth, 16, 10**9) == Growth(16, 1.0)


def test_sizes_without_a_fade_are_there_at_once() -> None:
    assert growth_at(GrowthConfig(start=4, fade_kimg=0, stable_kimg=1), 8, 1000) == Growth(8, 1.0)


def test_sizes_of_no_length_are_passed_over() -> None:
    assert growth_at(GrowthConfig(start=4, fade_kimg=0, stable_kimg=0), 64, 0) == Growth(64, 1.0)


def test_start_above_the_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match=r"growth\.start is 32 px, the resolution is 16 px"):
        growth_at(GrowthConfig(start=32), 16, 0)


def test_reals_are_averages_of_their_pixels() -> None:
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    small = shrink_reals(images, Growth(4, 1.0))
    assert small.shape == (2, 3, 4, 4)
    torch.testing.assert_close(small[:, :, 1, 2], images[:, :, 4:8, 8:12].mean(dim=(2, 3)))


def test_reals_at_the_whole_size_are_untouched() -> None:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shrink_reals(images, Growth(8, 1.0)), images, rtol=0, atol=0)


def test_reals_of_a_fading_size_are_mixed_with_their_blunt_copy() -> None:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    blunt = images.reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(shrink_reals(images, Growth(8, 0.3)), 0.3 * images + 0.7 * blunt)


def test_batch_and_learning_rate_follow_the_size() -> None:
    growth = GrowthConfig(start=8, fade_kimg=1, stable_kimg=1, batch={8: 64}, lr={16: 0.0015})
    config = TrainConfig(resolution=16, batch=32, lr_G=0.001, lr_D=0.002, growth=growth)
    assert (batch_at(config, 0), lr_at(config, 0)) == (64, (0.001, 0.002))
    assert (batch_at(config, 2000), lr_at(config, 2000)) == (32, (0.0015, 0.0015))


def test_batch_and_learning_rate_are_the_config_s_without_growth() -> None:
    config = TrainConfig(batch=32, lr_G=0.001, lr_D=0.002)
    assert (batch_at(config, 10**6), lr_at(config, 10**6)) == (32, (0.001, 0.002))
