from __future__ import annotations

import re

import pytest
import torch

from stylegan.architectures import build_networks
from stylegan.architectures.networks import Growth
from stylegan.config import StyleGAN2Config, StyleGAN3Config
from stylegan.growth import batch_at, growth_at, lr_at
from stylegan.presets import PRESETS, Preset, describe, recipe, resolve

PROMISED = {
    "auto",
    "paper256",
    *(f"config-{letter}" for letter in "abcdef"),
    "celeba128",
    "gwern-512-2gpu",
    "small-gpu",
    *(f"transfer-n{faces}" for faces in (50, 500, 5000)),
    "stylegan3-t",
    "stylegan3-r",
    "r3gan",
    "dcgan",
    "toon",
    "photos",
    "illustrations",
}


def test_presets_are_those_that_are_promised() -> None:
    assert set(PRESETS) == PROMISED


@pytest.mark.parametrize("resolution", [64, 128, 256, 512, 1024])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_valid_at_every_size(name: str, resolution: int) -> None:
    assert resolve(name, {"resolution": resolution}).resolution == resolution


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_says_where_it_is_from_what_it_costs_and_what_came_out(name: str) -> None:
    preset = PRESETS[name]
    assert preset.about
    assert preset.source
    assert preset.cost
    # A figure stands beside the name of the run or the paper that it is from.
    assert preset.result == "not yet run" or re.search(r"\(docs/|not yet run", preset.result)
    assert describe(name).splitlines() == [
        f"{name}: {preset.about}",
        f"from    {preset.source}",
        f"cost    {preset.cost}",
        f"result  {preset.result}",
    ]


def test_an_unknown_preset_cannot_be_described() -> None:
    with pytest.raises(ValueError, match="no preset is called 'config-g': choose one of auto, celeba128"):
        describe("config-g")


# CelebA's tutorial.


def test_celeba_sizes_change_at_the_steps_that_the_tutorial_s_captions_agree_with() -> None:
    config = resolve("celeba128")
    assert config.growth is not None
    sizes = [growth_at(config.growth, config.resolution, step * config.batch).size for step in range(0, 400_001, 500)]
    changes = [500 * i for i in range(1, len(sizes)) if sizes[i] != sizes[i - 1]]
    assert changes == [37_500, 75_000, 112_500, 150_000]
    captions = {100: 8, 10_000: 8, 50_000: 16, 100_000: 32, 140_000: 64, 155_000: 128, 400_000: 128}
    for step, size in captions.items():
        assert growth_at(config.growth, config.resolution, step * config.batch).size == size


def test_celeba_trains_as_the_tutorial_does() -> None:
    config = resolve("celeba128")
    assert (config.batch, config.learning_rates, config.betas) == (16, (0.001, 0.001), (0.0, 0.99))
    assert (config.loss, config.penalty, config.r1_gamma, config.r1_interval, config.drift) == (
        "wgan",
        "gradient",
        10,
        1,
        0.001,
    )
    assert (config.generator_interval, config.path_interval, config.num_steps) == (1, 0, 400_000)
    assert (config.sample_columns, config.sample_rows, config.network.z_dim) == (10, 5, 512)
    # The averaged generator keeps 0.999 of itself a step.
    assert 0.5 ** (config.batch / config.ema_half_life) == pytest.approx(0.999, abs=1e-6)


def test_celeba_networks_have_twelve_style_layers() -> None:
    config = resolve("celeba128")
    with torch.device("meta"):
        G, _ = build_networks(config.network, config.resolution)
    assert (config.network.architecture, G.num_ws) == ("stylegan1", 12)


# Gwern's anime faces.


@pytest.mark.parametrize(
    ("size", "batch", "lr"),
    [(8, 256, 0.001), (16, 128, 0.001), (32, 64, 0.001), (64, 32, 0.001), (256, 8, 0.001), (512, 8, 0.0015)],
)
def test_gwern_s_batches_and_learning_rates_follow_the_size(size: int, batch: int, lr: float) -> None:
    config = resolve("gwern-512-2gpu")
    seen = 1_200_000 * (size // 8).bit_length() - 1  # just before the size after it
    assert config.growth is not None
    assert growth_at(config.growth, 512, seen).size == size
    assert (batch_at(config, seen), lr_at(config, seen)) == (batch, (lr, lr))


# StyleGAN2's ablation.


def differences(name: str, other: str) -> dict[str, object]:
    a, b = resolve(name).model_dump(), resolve(other).model_dump()
    network = {f"network.{k}": v for k, v in b["network"].items() if a["network"].get(k) != v}
    return {k: v for k, v in b.items() if a[k] != v and k != "network"} | network


def test_the_ablation_goes_on_by_one_thing_at_a_time() -> None:
    assert {k for k in differences("config-a", "config-b") if not k.startswith("network.")} == set()
    assert differences("config-b", "config-c") == {"r1_interval": 16}
    assert differences("config-c", "config-d") == {"path_interval": 4}
    assert differences("config-d", "config-e") == {
        "growth": None,
        "gamma": 100.0,
        "lr_G": 0.002,
        "lr_D": 0.002,
        "network.generator": "skip",
        "network.discriminator": "resnet",
    }
    assert differences("config-e", "config-f") == {"gamma": 10.0, "network.channel_base": 32768}


@pytest.mark.parametrize(
    ("name", "size_G", "size_D"),
    [("config-e", 24_900_764, 24_038_161), ("config-f", 30_370_060, 29_012_513), ("paper256", 24_767_458, 24_001_089)],
)
def test_networks_are_as_large_as_published(name: str, size_G: int, size_D: int) -> None:
    config = resolve(name)
    with torch.device("meta"):
        networks = build_networks(config.network, config.resolution)
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [size_G, size_D]


@torch.no_grad()
@pytest.mark.parametrize("name", ["config-a", "config-b", "config-c", "config-d"])
def test_the_first_configurations_grow(name: str) -> None:
    config = resolve(name)
    assert config.growth is not None
    with torch.device("meta"):
        G, D = build_networks(config.network, config.resolution)
        for network in (G, D):
            network.grow(Growth(16, 0.5))
        images = G(torch.empty(4, 512))
        assert images.shape == (4, 3, 16, 16)
        assert D(images).shape == (4,)


# What follows from the resolution.


@pytest.mark.parametrize(
    ("resolution", "batch", "channel_base"),
    [(64, 32, 16384), (128, 32, 16384), (256, 16, 16384), (512, 8, 32768), (1024, 4, 32768)],
)
def test_auto_is_the_reference_s_for_one_gpu(resolution: int, batch: int, channel_base: int) -> None:
    config = resolve("auto", {"resolution": resolution})
    assert isinstance(config.network, StyleGAN2Config)
    assert (config.batch, config.network.channel_base, config.network.mapping_layers) == (batch, channel_base, 2)
    assert config.r1_gamma == pytest.approx(0.0002 * resolution**2 / batch)
    assert config.augment.mode == "adaptive"


@pytest.mark.parametrize("architecture", ["stylegan3-t", "stylegan3-r"])
@pytest.mark.parametrize(("resolution", "gamma"), [(128, 0.5), (256, 2), (512, 8), (1024, 32)])
def test_stylegan3_s_gamma_follows_the_resolution(architecture: str, resolution: int, gamma: float) -> None:
    config = resolve(architecture, {"resolution": resolution})
    assert isinstance(config.network, StyleGAN3Config)
    assert (config.network.architecture, config.r1_gamma) == (architecture, gamma)
    assert (config.learning_rates, config.path_interval, config.style_mixing) == ((0.0025, 0.002), 0, 0)


def test_what_is_asked_for_goes_over_what_follows_from_the_resolution() -> None:
    config = resolve("auto", {"resolution": 1024, "batch": 32, "network": {"channel_base": 8192}})
    assert isinstance(config.network, StyleGAN2Config)
    assert (config.batch, config.network.mapping_layers, config.network.channel_base) == (32, 2, 8192)


def test_another_architecture_takes_nothing_of_the_preset_s_network() -> None:
    assert recipe("config-b", {"network": {"architecture": "dcgan"}})["network"] == {"architecture": "dcgan"}
    assert resolve("config-b", {"path_interval": 0, "growth": None, "network": {"architecture": "dcgan"}}).batch == 32


def test_parts_of_a_recipe_are_replaced_one_by_one() -> None:
    config = resolve("celeba128", {"growth": {"start": 16}, "augment": {"mode": "adaptive"}})
    assert config.growth is not None
    assert (config.growth.start, config.growth.fade_kimg, config.augment.mode) == (16, 300, "adaptive")
    assert resolve("celeba128", {"growth": None}).growth is None


def test_a_preset_s_values_are_not_changed_by_use() -> None:
    before = repr(PRESETS)
    resolve("auto", {"resolution": 1024, "network": {"z_dim": 8}, "augment": {"mode": "none"}})
    assert repr(PRESETS) == before


def test_values_from_a_size_up_come_in_the_order_of_sizes() -> None:
    preset = Preset("", "", "", "", {"resolution": 256, "batch": 1}, {512: {"batch": 4}, 128: {"batch": 2, "kimg": 3}})
    assert [preset.at(size)["batch"] for size in (64, 128, 256, 512, None)] == [1, 2, 2, 4, 2]
    assert preset.at(512)["kimg"] == 3


# A transfer takes smaller steps, and less of D with it, the fewer faces there are.
def test_fewer_faces_are_learned_more_carefully() -> None:
    few, some, many = (resolve(f"transfer-n{faces}") for faces in (50, 500, 5000))
    assert few.freeze_D > some.freeze_D > many.freeze_D == 0
    assert few.kimg < some.kimg < many.kimg
    assert few.learning_rates < some.learning_rates <= many.learning_rates
    assert all(c.augment.mode == "adaptive" and c.augment.kimg == 100 and c.ema_rampup is None for c in (few, some))


def test_a_small_gpu_works_in_parts() -> None:
    config = resolve("small-gpu", {"resolution": 512})
    assert (config.batch, config.micro_batch, config.precision) == (32, 4, "bfloat16")
