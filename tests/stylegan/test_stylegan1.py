from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import Growth, build_networks
from stylegan.architectures.stylegan1 import adain, averaging_conv2d, nearest_upsampling_conv2d
from stylegan.config import StyleGAN1Config
from stylegan.losses import gradient_at, path_lengths, r1_penalty

TINY = StyleGAN1Config(z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8)


def test_parameter_counts_are_the_published_ones() -> None:
    with torch.device("meta"):
        G, D = build_networks(StyleGAN1Config(), 1024)
    assert sum(p.numel() for p in G.parameters()) == 26_219_115
    assert sum(p.numel() for p in D.parameters()) == 25_444_737


def test_adain_gives_every_channel_the_styles_spread_and_mean() -> None:
    random = torch.Generator().manual_seed(0)
    x, style = torch.randn(3, 5, 8, 8, generator=random) + 2, torch.randn(3, 10, generator=random)
    y = adain(x, style)
    torch.testing.assert_close(y.mean(dim=(2, 3)), style[:, 5:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(y.std(dim=(2, 3), correction=0), style[:, :5].abs(), rtol=1e-4, atol=1e-5)


def test_upsampling_convolution_is_repeated_pixels_convolved() -> None:
    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 3, 6, 6, generator=random), torch.randn(4, 3, 3, 3, generator=random)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)
    torch.testing.assert_close(nearest_upsampling_conv2d(x, weight), expected)


def test_averaging_convolution_is_a_convolution_averaged() -> None:
    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 3, 8, 8, generator=random), torch.randn(4, 3, 3, 3, generator=random)
    torch.testing.assert_close(averaging_conv2d(x, weight), F.avg_pool2d(F.conv2d(x, weight, padding=1), 2))


@pytest.mark.parametrize("resample", [nearest_upsampling_conv2d, averaging_conv2d])
def test_resampling_convolutions_are_differentiable_twice(resample: Callable[[Tensor, Tensor], Tensor]) -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 4, 4, generator=random, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(resample, (x, weight))
    assert torch.autograd.gradgradcheck(resample, (x, weight))


def test_r1_and_path_length_reach_the_weights() -> None:
    G, D = build_networks(TINY, 16)
    ws = G.mapping.truncate(G.mapping(torch.randn(4, 8)), 1.0)
    y = torch.randn(4, 3, 16, 16)
    path_lengths(gradient_at(lambda ws: G.synthesis(ws) * y, ws)).sum().backward()
    reals = torch.randn(4, 3, 16, 16)
    r1_penalty(gradient_at(D, reals)).sum().backward()
    for weight in (G.mapping.fc0.weight, G.synthesis.b8.conv0.weight, D.b16.conv1.weight, D.b4.fc.weight):
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad.any()


def test_features_of_an_image_depend_on_that_image_alone() -> None:
    D = build_networks(TINY, 16).D
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(D.features(images)[1:2], D.features(images[1:2]), rtol=1e-5, atol=1e-6)


def test_networks_start_at_their_whole_resolution() -> None:
    G, D = build_networks(TINY, 16)
    images = G(torch.randn(4, 8))
    assert images.shape == (4, 3, 16, 16)
    assert D(images).shape == (4,)
    assert (G.num_ws, G.noise_sizes) == (6, [4, 4, 8, 8, 16, 16])


def test_styles_and_noise_maps_follow_the_size() -> None:
    G, _ = build_networks(TINY, 32)
    G.grow(Growth(8, 0.5))
    assert (G.num_ws, G.noise_sizes) == (4, [4, 4, 8, 8])
    assert G.mapping.truncate(torch.zeros(2, 8), 1.0).shape == (2, 4, 8)


def test_a_size_that_begins_to_fade_in_looks_like_the_one_before() -> None:
    G, D = build_networks(TINY, 16)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    G.grow(Growth(8, 1.0))
    D.grow(Growth(8, 1.0))
    before = G(z)
    logits = D(before)
    G.grow(Growth(16, 0.0))
    D.grow(Growth(16, 0.0))
    torch.testing.assert_close(G(z), F.interpolate(before, scale_factor=2, mode="nearest"), rtol=0, atol=0)
    torch.testing.assert_close(D(G(z)), logits)


def test_sizes_that_are_not_at_work_have_no_gradient() -> None:
    G, D = build_networks(TINY, 16)
    G.grow(Growth(8, 1.0))
    D.grow(Growth(8, 1.0))
    D(G(torch.randn(4, 8))).sum().backward()
    for network in (G, D):
        learned = {name for name, p in network.named_parameters() if p.grad is not None}
        assert learned
        assert not any("b16" in name for name in learned)


def test_growing_beyond_the_resolution_is_refused() -> None:
    G, D = build_networks(TINY, 16)
    for network in (G, D):
        with pytest.raises(ValueError, match="networks of 16 px cannot grow to 32 px"):
            network.grow(Growth(32, 1.0))


def test_images_of_another_size_are_refused() -> None:
    D = build_networks(TINY, 16).D
    D.grow(Growth(8, 1.0))
    with pytest.raises(ValueError, match="works at 8 px now, it was given images of 16 px"):
        D(torch.zeros(4, 3, 16, 16))


def test_labels_choose_the_logit_of_their_class() -> None:
    config = TINY.model_copy(update={"num_labels": 3, "minibatch_group": 1})
    G, D = build_networks(config, 8)
    labels = F.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
    images = G(torch.randn(4, 8), labels)
    each = torch.stack([D(images, F.one_hot(torch.full((4,), i), 3).float()) for i in range(3)], dim=1)
    torch.testing.assert_close(D(images, labels), (each * labels).sum(dim=1))
    with pytest.raises(ValueError, match="3 classes"):
        D(images)


def test_a_generator_without_noise_draws_the_same_picture_whatever_noise_is_asked_for() -> None:
    G, _ = build_networks(TINY.model_copy(update={"noise": False}), 8)
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(G(z, noise="const"), G(z, noise="none"), rtol=0, atol=0)
    assert G.noise_sizes == []
