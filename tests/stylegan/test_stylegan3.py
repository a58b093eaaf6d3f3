from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.architectures import Networks, build_networks
from stylegan.architectures.stylegan3 import Synthesis, SynthesisLayer
from stylegan.config import StyleGAN3Config
from stylegan.precision import set_precision

VARIANTS = ["stylegan3-t", "stylegan3-r"]
Reference = tuple[Networks, dict[str, Tensor], Path]


def tiny(name: str, **values: int) -> StyleGAN3Config:
    """A config of narrow layers."""
    narrow = {"z_dim": 16, "w_dim": 16, "channel_base": 1024, "channel_max": 8}
    return StyleGAN3Config.model_validate({"architecture": name, **narrow, **values})


@pytest.fixture(scope="module", params=VARIANTS)
def reference(
    request: pytest.FixtureRequest, fixtures: Path, snapshot: Callable[[str], dict[str, dict[str, Tensor]]]
) -> Reference:
    """The reference's small networks in our modules, what they make of given latents, and the list of their names."""
    stem = f"nv_sg3{request.param[-1]}_32"
    config = StyleGAN3Config(architecture=request.param, z_dim=64, w_dim=64, channel_base=1024, channel_max=32)
    networks = build_networks(config, 32)
    weights = snapshot(f"{stem}.pkl")
    networks.G.load_state_dict(weights["G_ema"])
    networks.D.load_state_dict(weights["D"])
    data = np.load(fixtures / f"{stem}_io.npz")
    return networks, {k: torch.from_numpy(data[k]) for k in data.files}, fixtures / f"{stem}_names.json"


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_generator_equals_the_reference_at_every_psi(reference: Reference) -> None:
    (G, _), a, _ = reference
    for psi in (1.0, 0.7, 0.0, -0.5):
        ws = G.mapping.truncate(G.mapping(a["z"]), psi)
        close(ws, a[f"ws_psi{psi}"])
        close(G.synthesis(ws), a[f"img_psi{psi}"])


@torch.no_grad()
def test_truncation_cutoff_and_mixed_styles_equal_the_reference(reference: Reference) -> None:
    (G, _), a, _ = reference
    close(G.mapping.truncate(G.mapping(a["z"]), 0.5, 3), a["ws_psi0.5_cut3"])
    close(G(a["z"], psi=0.5, cutoff=3), a["img_psi0.5_cut3"])
    close(G.synthesis(a["ws_mix4"]), a["img_mix4"])
    close(G(a["z"], noise="none"), a["img_nonoise"])


@torch.no_grad()
def test_discriminator_equals_the_reference(reference: Reference) -> None:
    (_, D), a, _ = reference
    close(D(a["img_psi1.0"]), a["D_on_fake"][:, 0])
    close(D(a["real"]), a["D_on_real"][:, 0])
    close(D(a["real"][:2]), a["D_on_real_b2"][:, 0])


def test_the_reference_lists_every_weight_of_ours(reference: Reference) -> None:
    (G, D), a, names = reference
    listed = json.loads(names.read_text())
    assert {k: list(v.shape) for k, v in G.state_dict().items()} == listed["G"]
    theirs = {k: v for k, v in listed["D"].items() if not k.endswith("resample_filter")}
    assert {k: list(v.shape) for k, v in D.state_dict().items()} == theirs
    assert (count(G), count(D)) == (a["params_G"], a["params_D"])


@pytest.mark.parametrize("name", VARIANTS)
def test_our_filters_equal_the_reference(snapshot: Callable[[str], dict[str, dict[str, Tensor]]], name: str) -> None:
    config = StyleGAN3Config(architecture=name, z_dim=64, w_dim=64, channel_base=1024, channel_max=32)
    ours = build_networks(config, 32).G.state_dict()
    filters = {k: v for k, v in snapshot(f"nv_sg3{name[-1]}_32.pkl")["G_ema"].items() if k.endswith("_filter")}
    assert len(filters) == 28
    for key, taps in filters.items():
        torch.testing.assert_close(ours[key], taps, rtol=1e-6, atol=1e-8)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# MODEL-FACTS 3.2: the published networks' sizes.
@pytest.mark.parametrize(
    ("name", "resolution", "size"),
    [
        ("stylegan3-t", 1024, 22_313_167),
        ("stylegan3-t", 512, 24_873_519),
        ("stylegan3-t", 256, 28_472_133),
        ("stylegan3-r", 1024, 15_093_151),
        ("stylegan3-r", 512, 16_665_594),
        ("stylegan3-r", 256, 18_816_387),
    ],
)
def test_parameter_counts_equal_the_published_networks(name: str, resolution: int, size: int) -> None:
    with torch.device("meta"):
        G, _ = build_networks(StyleGAN3Config.model_validate({"architecture": name}), resolution)
    assert count(G) == size


@pytest.mark.parametrize("resolution", [8, 16, 64])
@pytest.mark.parametrize("name", VARIANTS)
def test_fresh_networks_make_pictures_of_any_resolution(name: str, resolution: int) -> None:
    G, D = build_networks(tiny(name), resolution)
    images = G(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)))
    assert images.shape == (4, 3, resolution, resolution)
    assert 0.02 < images.std() < 2
    assert D(images).shape == (4,)
    assert (G.num_ws, G.noise_sizes) == (16, [])


@pytest.mark.parametrize(("channels", "labels"), [(1, 0), (2, 3), (4, 3)])
def test_networks_take_labels_and_any_number_of_channels(channels: int, labels: int) -> None:
    G, D = build_networks(tiny("stylegan3-t", image_channels=channels, num_labels=labels), 16)
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(0)).expand(4, -1)
    one_hot = torch.eye(3)[[0, 1, 2, 0]] if labels else None
    images = G(z, one_hot)
    assert images.shape == (4, channels, 16, 16)
    assert D(images, one_hot).shape == (4,)
    close(images[0], images[3])
    assert torch.allclose(images[0], images[1]) == (not labels)


def test_convolving_what_is_dropped_later_changes_nothing() -> None:
    torch.manual_seed(0)
    synthesis = cast(Synthesis, build_networks(tiny("stylegan3-t"), 32).G.synthesis)
    narrowing = [layer for layer in synthesis.layers if layer.conv_padding < layer.weight.shape[-1] - 1]
    assert len(narrowing) == 2
    for layer in narrowing:
        x = torch.randn(2, layer.weight.shape[1], 36 if layer.up == 4 else 52, 36 if layer.up == 4 else 52)
        w = torch.randn(2, 16)
        ours = layer(x, w)
        unused = layer.weight.shape[-1] - 1 - layer.conv_padding
        layer.conv_padding += unused
        low, high = (p - unused * layer.up for p in layer.padding[:2])
        layer.padding = (low, high, low, high)
        close(ours, layer(x, w))


@torch.no_grad()
def test_a_moved_input_moves_the_picture() -> None:
    (G, _), ws = build_networks(tiny("stylegan3-t", channel_base=1024, channel_max=32), 32), torch.randn(2, 16, 16)
    still = G.synthesis(ws)
    G.synthesis.input.transform[0, 2] = -5 / 32  # what is seen at x comes from 5 px to its left
    moved = G.synthesis(ws)
    error = (moved[..., 8:-3] - still[..., 3:-8]).square().mean()
    assert 10 * math.log10(still.var() / error) > 30  # dB; not exact, for leaky ReLU makes ever higher frequencies


@torch.no_grad()
def test_configuration_r_turns_with_its_input() -> None:
    torch.manual_seed(0)
    G, ws = build_networks(tiny("stylegan3-r"), 32).G, torch.randn(2, 16, 16)
    still = G.synthesis(ws)
    G.synthesis.input.transform[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    close(G.synthesis(ws), still.rot90(1, (2, 3)))


@torch.no_grad()
def test_running_magnitudes_move_by_their_half_life() -> None:
    torch.manual_seed(0)
    G = build_networks(tiny("stylegan3-t"), 16).G
    synthesis = cast(Synthesis, G.synthesis)
    images, magnitudes = G.observe(ws := torch.randn(8, 16, 16))
    close(images, G.synthesis(ws))
    signals = torch.stack([x.square().mean() for x in synthesis.signals(ws)][:-1])
    close(magnitudes.mean(dim=0), signals)
    G.track(ws[:, 0], magnitudes)
    kept = 0.5 ** (8 / 20_000)
    running = torch.stack([layer.magnitude_ema for layer in synthesis.layers])
    torch.testing.assert_close(running, kept + (1 - kept) * signals, rtol=1e-6, atol=0)
    assert G.mapping.w_avg.abs().sum() > 0


@torch.no_grad()
def test_magnitudes_of_parts_are_those_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    G, ws = build_networks(tiny("stylegan3-r"), 16).G, torch.randn(8, 16, 16)
    parts = [G.observe(part)[1] for part in ws.split(2)]
    torch.testing.assert_close(torch.cat(parts), G.observe(ws)[1], rtol=1e-5, atol=0)


@torch.no_grad()
@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 0.03), ("float16", 0.004)])
@pytest.mark.parametrize("name", VARIANTS)
def test_pictures_in_16_bits_are_those_in_32_but_for_rounding(
    name: str, precision: Literal["bfloat16", "float16"], error: float
) -> None:
    torch.manual_seed(0)
    G, ws = build_networks(tiny(name), 32).G, torch.randn(2, 16, 16)
    fine = G.synthesis(ws)
    set_precision(G, precision, 1, 32)
    assert [layer.dtype != torch.float32 for layer in cast(Synthesis, G.synthesis).layers] == [False] * 5 + [True] * 10
    rough = G.synthesis(ws)
    assert rough.dtype == torch.float32
    assert 0 < (rough - fine).norm() < error * fine.norm()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_weight_of_the_generator_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    G, D = build_networks(tiny(name), 16)
    D(G(torch.randn(4, 16))).sum().backward()
    assert [k for k, p in G.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_only_critical_layers_and_configuration_t_have_separable_filters() -> None:
    for name, radial in (("stylegan3-t", 0), ("stylegan3-r", 12)):
        layers: list[SynthesisLayer] = cast(Synthesis, build_networks(tiny(name), 32).G.synthesis).layers
        assert sum(layer.down_filter is not None and layer.down_filter.ndim == 2 for layer in layers) == radial
