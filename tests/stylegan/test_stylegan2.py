from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan.architectures import ARCHITECTURES, Networks, build_networks
from stylegan.config import StyleGAN2Config, TrainConfig
from stylegan.presets import resolve


@pytest.fixture(scope="module")
def reference(
    fixtures: Path, snapshot: Callable[[str], dict[str, dict[str, torch.Tensor]]]
) -> tuple[Networks, dict[str, torch.Tensor]]:
    """The reference's small network in our modules, and what it makes of given latents."""
    config = StyleGAN2Config(z_dim=128, w_dim=128, channel_base=2048, channel_max=64, conv_clamp=256)
    networks = build_networks(config, 32)
    weights = snapshot("nv_sg2_uncond_32.pkl")
    networks.G.load_state_dict(weights["G_ema"])
    networks.D.load_state_dict(weights["D"])
    data = np.load(fixtures / "nv_sg2_uncond_32_io.npz")
    return networks, {k: torch.from_numpy(data[k]) for k in data.files}


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b.to(a.dtype), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_generator_equals_the_reference_at_every_psi(reference: tuple[Networks, dict[str, torch.Tensor]]) -> None:
    (G, _), a = reference
    for psi in (1.0, 0.7, 0.0, -0.5):
        ws = G.mapping.truncate(G.mapping(a["z"]), psi)
        close(ws, a[f"ws_psi{psi}"])
        close(G.synthesis(ws), a[f"img_psi{psi}"])


@torch.no_grad()
def test_truncation_cutoff_equals_the_reference(reference: tuple[Networks, dict[str, torch.Tensor]]) -> None:
    (G, _), a = reference
    close(G(a["z"], psi=0.5, cutoff=3), a["img_psi0.5_cut3"])


@torch.no_grad()
def test_generator_without_noise_and_with_mixed_styles_equals_the_reference(
    reference: tuple[Networks, dict[str, torch.Tensor]],
) -> None:
    (G, _), a = reference
    close(G(a["z"], noise="none"), a["img_nonoise"])
    close(G.synthesis(a["ws_mix4"]), a["img_mix4"])


@torch.no_grad()
def test_psi_zero_gives_the_same_picture_for_every_latent(reference: tuple[Networks, dict[str, torch.Tensor]]) -> None:
    (G, _), a = reference
    images = G(a["z"], psi=0.0)
    assert torch.equal(images, images[:1].expand_as(images))


@torch.no_grad()
def test_discriminator_equals_the_reference(reference: tuple[Networks, dict[str, torch.Tensor]]) -> None:
    (_, D), a = reference
    close(D(a["img_psi1.0"]), a["D_on_fake"][:, 0])
    close(D(a["real"]), a["D_on_real"][:, 0])
    close(D(a["real"][:2]), a["D_on_real_b2"][:, 0])


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# MODEL-FACTS 3.2: the published networks' sizes.
@pytest.mark.parametrize(
    ("values", "resolution", "size_G", "size_D"),
    [
        ({}, 1024, 30_370_060, 29_012_513),
        ({}, 256, 30_034_338, 28_864_129),
        ({}, 128, 29_328_669, 28_389_121),
        ({"channel_base": 16384}, 256, 24_767_458, 24_001_089),
        ({"channel_base": 16384}, 1024, 24_900_764, 24_038_161),
        ({"channel_base": 16384, "mapping_layers": 2}, 256, 23_191_522, 24_001_089),
    ],
)
def test_parameter_counts_equal_the_published_networks(
    values: dict[str, int], resolution: int, size_G: int, size_D: int
) -> None:
    with torch.device("meta"):
        G, D = build_networks(StyleGAN2Config.model_validate(values), resolution)
    assert (count(G), count(D)) == (size_G, size_D)


def test_celeba_networks_have_twelve_style_layers() -> None:
    config = resolve("celeba128", {})
    with torch.device("meta"):
        G, _ = build_networks(config.network, config.resolution)
    assert (G.num_ws, config.batch, config.learning_rates, config.network.z_dim) == (12, 16, (0.001, 0.001), 512)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_makes_pictures_that_its_discriminator_judges(name: str) -> None:
    config = StyleGAN2Config(architecture=name, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16)
    torch.manual_seed(0)
    G, D = build_networks(config, 16)
    images = G(torch.randn(4, 16))
    assert images.shape == (4, 3, 16, 16)
    assert D(images).shape == (4,)
    assert torch.allclose(D.epilogue(D.features(images)), D(images))


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'stylegan9' found using .* expected tags: 'stylegan2'"):
        TrainConfig.model_validate({"network": {"architecture": "stylegan9"}})


def test_the_fixture_lists_every_weight_of_ours(fixtures: Path) -> None:
    names = json.loads((fixtures / "nv_sg2_uncond_32_names.json").read_text())
    config = StyleGAN2Config(z_dim=128, w_dim=128, channel_base=2048, channel_max=64)
    G, D = build_networks(config, 32)
    for ours, theirs in ((G, names["G"]), (D, names["D"])):
        shapes = {k: list(v.shape) for k, v in ours.state_dict().items()}
        assert shapes == {k: v for k, v in theirs.items() if not k.endswith("resample_filter")}
