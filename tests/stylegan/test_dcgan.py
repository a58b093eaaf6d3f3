from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from stylegan.architectures import build_networks
from stylegan.config import DCGANConfig
from stylegan.losses import LOSSES, gradient_at, r1_penalty

TINY = DCGANConfig(z_dim=16, channels=8)


@pytest.mark.parametrize("resolution", [8, 16, 64])
def test_images_have_the_resolution_and_every_one_a_logit(resolution: int) -> None:
    G, D = build_networks(TINY, resolution)
    images = G(torch.randn(3, 16))
    assert images.shape == (3, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert D.features(images).shape[2:] == (4, 4)
    assert D(images).shape == (3,)


def test_channels_double_with_every_halving() -> None:
    _, D = build_networks(TINY, 64)
    assert [layer.out_channels for layer in D.layers if isinstance(layer, torch.nn.Conv2d)] == [8, 16, 32, 64]


def test_images_and_logits_do_not_depend_on_their_batch() -> None:
    G, D = build_networks(TINY, 16)
    z = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    images = G(z)
    torch.testing.assert_close(torch.cat([G(z[:1]), G(z[1:])]), images, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.cat([D(images[:1]), D(images[1:])]), D(images), rtol=1e-4, atol=1e-6)


def test_r1_reaches_all_weights_but_the_last_two_biases() -> None:
    _, D = build_networks(TINY, 16)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    r1_penalty(gradient_at(D, images)).sum().backward()
    missed = {name for name, p in D.named_parameters() if p.grad is None or not p.grad.any()}
    assert missed == {"head.bias", "layers.3.bias"}  # the slope of a logit does not depend on them


def test_it_learns_a_colour_in_seconds() -> None:
    torch.manual_seed(0)
    G, D = build_networks(TINY, 8, seed=1)
    reals = torch.tensor([0.8, -0.5, 0.1])[:, None, None].expand(16, 3, 8, 8)
    loss = LOSSES["logistic"]
    optimizers = [torch.optim.Adam(network.parameters(), lr=0.002, betas=(0.5, 0.99)) for network in (G, D)]
    for _ in range(120):
        for network, optimizer in zip((G, D), optimizers, strict=True):
            fake = D(G(torch.randn(16, 16)))
            value = loss.generator(fake, None) if network is G else loss.discriminator(D(reals), fake)
            optimizer.zero_grad()
            value.mean().backward()
            optimizer.step()
    error = (G(torch.randn(64, 16)).mean(dim=(0, 2, 3)) - reals[0, :, 0, 0]).abs().max()
    assert error < 0.25


def test_labels_change_image_and_logit() -> None:
    G, D = build_networks(TINY.model_copy(update={"num_labels": 2}), 8)
    z, labels = torch.randn(1, 16).expand(2, -1), F.one_hot(torch.tensor([0, 1]), 2).float()
    images = G(z, labels)
    assert not torch.allclose(images[0], images[1])
    logits = D(images[:1].expand(2, -1, -1, -1), labels)
    assert logits[0] != logits[1]
    with pytest.raises(ValueError, match="2 classes"):
        D(images)
