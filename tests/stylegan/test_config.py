from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from stylegan.config import TrainConfig
from stylegan.presets import PRESETS, resolve
from stylegan.random import batch_indices, generator, key_hash


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_a_valid_recipe(preset: str) -> None:
    assert resolve(preset, {}).num_steps > 0


def test_overrides_replace_single_values_within_the_network_too() -> None:
    config = resolve("celeba128", {"kimg": 4, "network": {"z_dim": 64}})
    assert (config.kimg, config.batch) == (4, 16)
    assert (config.network.z_dim, config.network.w_dim, config.network.channel_base) == (64, 512, 16384)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no preset is called 'tooon': choose one of auto, celeba128"):
        resolve("tooon", {})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resolution": 48}, "resolution is 48 px, it must be a power of two"),
        ({"batch": 30}, "batch is 30: it must divide the batch of 30 and hold whole groups of 4"),
        ({"batch": 32, "micro_batch": 6}, "micro_batch is 6: it must divide the batch of 32"),
        ({"batch": 32, "micro_batch": 2}, "micro_batch is 2"),
        ({"kimgs": 3}, "Extra inputs are not permitted"),
        ({"device": "gpu"}, "should match pattern"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(values)


def test_auto_values_follow_the_reference() -> None:
    config = TrainConfig(resolution=256, batch=16)
    assert config.r1_gamma == pytest.approx(0.0002 * 256**2 / 16)
    assert config.learning_rates == (0.0025, 0.0025)
    assert TrainConfig(resolution=1024).learning_rates == (0.002, 0.002)
    assert config.ema_half_life == 5000
    assert config.rules == (
        "lr_G 0.0025 (auto: 0.002 from 1024 px up, 0.0025 below), lr_D 0.0025 (auto: 0.002 from 1024 px up, 0.0025 "
        "below), gamma 0.8192 (auto: 0.0002 px^2 / batch), ema_kimg 5 (auto: batch * 10 / 32)"
    )


def test_the_last_step_reaches_the_wanted_kimg() -> None:
    assert TrainConfig(kimg=1, batch=16).num_steps == 63
    assert TrainConfig(kimg=0.16, batch=8).num_steps == 20


def test_keys_give_streams_of_their_own_and_the_same_everywhere() -> None:
    keys = [(0, "mirror", 1), (0, "mirror", 2), (1, "mirror", 1), (0, "noise", 1)]
    assert len({key_hash(*key) for key in keys}) == 4
    # Pinned: a change here would change every training.
    assert key_hash(0, "mirror", 1) == 2188354567286711475
    assert torch.equal(torch.rand(3, generator=generator(0, "x", 5)), torch.rand(3, generator=generator(0, "x", 5)))
    assert key_hash(0, "x", 5, rank=1) != key_hash(0, "x", 5)


def test_batches_pass_over_the_end_of_an_epoch_without_a_gap() -> None:
    shown = torch.cat([batch_indices(7, first, 4, 10) for first in range(0, 40, 4)])
    assert [sorted(shown[i : i + 10].tolist()) for i in range(0, 40, 10)] == [list(range(10))] * 4
    assert torch.equal(batch_indices(7, 8, 4, 10), shown[8:12])
