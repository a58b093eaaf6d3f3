"""What every architecture keeps, whoever writes it: the contract of stylegan/architectures/networks.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from stylegan.architectures import ARCHITECTURES, Networks, build_networks
from stylegan.config import AnyNetworkConfig, NetworkConfig, TrainConfig
from stylegan.losses import gradient_at, path_lengths, r1_penalty

SIZE = 16
_STYLED = {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}

# A new architecture adds its small self here.
TINY: dict[str, dict[str, Any]] = {
    "stylegan1": _STYLED,
    "stylegan2": _STYLED,
    "stylegan3-t": _STYLED | {"channel_max": 8},
    "stylegan3-r": _STYLED | {"channel_max": 8},
    "r3gan": {"z_dim": 16, "channel_base": 256, "channel_max": 32, "blocks": 1, "group_width": 8},
    "dcgan": {"z_dim": 16, "channels": 8},
}

_every_architecture = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


def config_of(name: str, **values: object) -> NetworkConfig:
    adapter: TypeAdapter[NetworkConfig] = TypeAdapter(AnyNetworkConfig)
    return adapter.validate_python({"architecture": name, **TINY[name], **values})


def build(name: str, seed: int = 0, **values: object) -> Networks:
    return build_networks(config_of(name, **values), SIZE, seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@_every_architecture
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_number_of_channels_is_made_and_judged(name: str, channels: int) -> None:
    with torch.no_grad():
        G, D = build(name, image_channels=channels)
        images = G(draw(4, G.z_dim))
        assert images.shape == (4, channels, SIZE, SIZE)
        assert images.dtype == torch.float32
        assert D(images).shape == (4,)
    assert (G.resolution, G.num_labels, G.image_channels) == (SIZE, 0, channels)


@_every_architecture
@torch.no_grad()
def test_a_generator_is_its_mapping_then_its_synthesis(name: str) -> None:
    G = build(name).G
    z = draw(4, G.z_dim)
    ws = G.mapping.truncate(G.mapping(z), 1.0)
    assert ws.shape[:2] == (4, G.num_ws)
    torch.testing.assert_close(G.synthesis(ws), G(z))


@_every_architecture
@torch.no_grad()
def test_images_depend_on_their_latent_alone(name: str) -> None:
    G = build(name).G
    z = draw(4, G.z_dim)
    torch.testing.assert_close(G(z)[1:2], G(z[1:2]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(G(z)[0], G(z)[1], rtol=1e-3, atol=1e-3)


@_every_architecture
@torch.no_grad()
def test_noise_is_a_map_for_every_layer_that_takes_one(name: str) -> None:
    G = build(name).G
    maps = [draw(2, 1, size, size, seed=size) for size in G.noise_sizes]
    z = draw(2, G.z_dim)
    images = [G(z, noise=noise) for noise in ("const", "none", maps)]
    assert all(i.shape == images[0].shape for i in images)


@_every_architecture
@torch.no_grad()
def test_features_of_an_image_depend_on_that_image_alone(name: str) -> None:
    D = build(name).D
    images = draw(4, 3, SIZE, SIZE)
    torch.testing.assert_close(D.features(images)[2:3], D.features(images[2:3]), rtol=1e-4, atol=1e-5)


@_every_architecture
@torch.no_grad()
def test_logits_are_the_epilogue_of_the_features(name: str) -> None:
    D = build(name).D
    images = draw(4, 3, SIZE, SIZE)
    torch.testing.assert_close(D.epilogue(D.features(images)), D(images))
    assert not torch.equal(D(images), D(images.flip(3)))


@_every_architecture
@torch.no_grad()
def test_labels_change_what_is_made_and_how_it_is_judged(name: str) -> None:
    G, D = build(name, num_labels=3)
    z, images = draw(4, G.z_dim), draw(4, 3, SIZE, SIZE)
    first, second = (torch.eye(3)[[i] * 4] for i in (0, 1))
    assert G.num_labels == 3
    assert G(z, first).shape == (4, 3, SIZE, SIZE)
    assert not torch.allclose(G(z, first), G(z, second))
    assert not torch.allclose(D(images, first), D(images, second))


@_every_architecture
@pytest.mark.parametrize(("num_labels", "labels", "message"), [(3, None, "none"), (0, torch.eye(3), "no ")])
def test_labels_that_are_missing_or_too_many_are_refused(
    name: str, num_labels: int, labels: Tensor | None, message: str
) -> None:
    G, D = build(name, num_labels=num_labels)
    with pytest.raises(ValueError, match=message):
        G(draw(3, G.z_dim), labels)
    with pytest.raises(ValueError, match=message):
        D(draw(3, 3, SIZE, SIZE), labels)


@_every_architecture
@pytest.mark.parametrize("num_labels", [0, 3])
def test_every_discriminator_can_end_in_a_unit_vector(name: str, num_labels: int) -> None:
    D = build(name, head="san", num_labels=num_labels).D
    labels = torch.eye(3)[[0, 1, 2, 0]] if num_labels else None
    judgement = D.judge(D.features(draw(4, 3, SIZE, SIZE)), labels)
    assert judgement.direction is not None
    torch.testing.assert_close(judgement.direction, judgement.logits)
    judgement.direction.sum().backward()
    learning = {name for name, p in D.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    D.zero_grad()
    judgement = D.judge(D.features(draw(4, 3, SIZE, SIZE)), labels)
    judgement.logits.sum().backward()
    features = {name for name, p in D.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert learning
    assert features
    assert not learning & features


@_every_architecture
def test_the_gradient_at_images_can_be_differentiated(name: str) -> None:
    D = build(name).D
    images = draw(4, 3, SIZE, SIZE)
    r1_penalty(gradient_at(D, images)).sum().backward()
    gradients = [p.grad for p in D.parameters() if p.grad is not None]
    assert len(gradients) > 3
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients)


@_every_architecture
def test_the_gradient_at_styles_can_be_differentiated(name: str) -> None:
    G = build(name).G
    ws, y = G.mapping.truncate(G.mapping(draw(2, G.z_dim)), 1.0).detach(), draw(2, 3, SIZE, SIZE)
    path_lengths(gradient_at(lambda ws: G.synthesis(ws) * y, ws)).sum().backward()
    gradients = [p.grad for p in G.parameters() if p.grad is not None]
    assert len(gradients) > 3
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients)


@_every_architecture
@torch.no_grad()
def test_weights_follow_from_the_seed(name: str) -> None:
    first, again, other = (build(name, seed).G.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


@_every_architecture
@torch.no_grad()
def test_a_copy_makes_the_same_pictures(name: str) -> None:
    G = build(name).G
    assert torch.equal(copy.deepcopy(G)(draw(2, G.z_dim)), G(draw(2, G.z_dim)))


@_every_architecture
@torch.no_grad()
def test_weights_in_another_network_of_the_same_config_make_the_same(name: str) -> None:
    (G, D), (G2, D2) = build(name, 0), build(name, 1)
    G2.load_state_dict(G.state_dict())
    D2.load_state_dict(D.state_dict())
    z, images = draw(4, G.z_dim), draw(4, 3, SIZE, SIZE)
    assert torch.equal(G2(z), G(z))
    assert torch.equal(D2(images), D(images))


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'stylegan9' found using .* expected tags: 'stylegan2'"):
        TrainConfig.model_validate({"network": {"architecture": "stylegan9"}})
