from __future__ import annotations

import pytest
import torch

from stylegan.architectures import build_networks
from stylegan.config import TrainConfig
from stylegan.freezing import freeze_discriminator, image_blocks
from stylegan.growth import growth_at
from stylegan.state import lazy_adam, train_only
from stylegan.transfer import at_last_size, check_donor, check_same_grid

NETWORK = {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}
GROWTH = {"start": 8, "fade_kimg": 0.1, "stable_kimg": 0.1}


def config(resolution: int = 16, growth: dict[str, float] | None = None, **network: object) -> TrainConfig:
    values = {"resolution": resolution, "batch": 8, "path_interval": 0, "network": NETWORK | network, "growth": growth}
    return TrainConfig.model_validate(values)


def test_a_donor_of_the_same_network_is_taken() -> None:
    check_donor("ffhq.pkl", config(), 0, config())


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (config(32), "ffhq.pkl was trained at 16 px, this config asks for 32: choose a donor"),
        (
            config(z_dim=32),
            r"z_dim 16 there, 32 here; layers that differ: G.mapping.fc0.weight \[16, 16\] there, \[16, 32\]",
        ),
        (config(mapping_layers=3), r"layers that differ: G.mapping.fc2.weight missing there, \[16, 16\] here"),
        (config(num_labels=2), r"num_labels 0 there, 2 here; layers that differ: G.mapping.embed.weight missing there"),
        (config(image_channels=1), r"G.synthesis.b\d+.torgb.weight \[3, 16, 1, 1\] there, \[1, 16, 1, 1\] here"),
        (config(noise=False), "noise_const .* there, missing here"),
        (config(architecture="stylegan1"), "architecture stylegan2 there, stylegan1 here"),
        (config(channel_max=8), "and [0-9]+ more"),
        (config(minibatch_group=8), "minibatch_group 4 there, 8 here; layers that differ: none"),
    ],
)
def test_a_donor_of_another_network_is_refused_and_the_layers_are_named(ours: TrainConfig, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_donor("ffhq.pkl", config(), 0, ours)


def test_a_donor_that_has_not_grown_up_is_refused() -> None:
    growing = config(growth=GROWTH)
    with pytest.raises(ValueError, match=r"has grown to 8 px only \(alpha 1.00\), its networks are made for 16"):
        check_donor("d", growing, 150, growing)
    with pytest.raises(ValueError, match=r"has grown to 16 px only \(alpha 0.50\)"):
        check_donor("d", growing, 250, growing)
    check_donor("d", growing, 300, growing)


def test_growing_is_over_for_a_training_from_a_donor() -> None:
    growing = config(growth=GROWTH)
    assert growth_at(at_last_size(growing).growth, 16, 0) == (16, 1.0)  # type: ignore[arg-type]
    assert at_last_size(config()) == config()


def test_the_first_grid_must_be_the_donors() -> None:
    donor = torch.zeros(4, 3, 8, 8)
    check_same_grid("d", donor, donor + 0.9 / 255)
    other = donor.clone()
    other[3, 2, 7, 7] = 1.1 / 255
    with pytest.raises(ValueError, match=r"first samples differ from those of d by up to 0\.0043"):
        check_same_grid("d", donor, other)
    with pytest.raises(ValueError, match="differ from those of d by up to nan"):
        check_same_grid("d", donor, donor + torch.nan)
    with pytest.raises(ValueError, match=r"makes images of shape \[3, 8, 8\], the training begins with \[3, 4, 4\]"):
        check_same_grid("d", donor, donor[..., :4, :4])


def test_frozen_blocks_are_the_first_from_the_image_on() -> None:
    _, D = build_networks(config(32).network, 32)
    assert image_blocks(D) == ["b32", "b16", "b8"]
    names = freeze_discriminator(D, 2)
    assert {n.split(".")[0] for n in names} == {"b32", "b16"}
    assert {"b32.fromrgb.weight", "b16.conv1.bias"} <= set(names)
    assert {n for n, p in D.named_parameters() if not p.requires_grad} == set(names)


def test_nothing_is_frozen_when_nothing_is_asked_for() -> None:
    _, D = build_networks(config().network, 16)
    assert freeze_discriminator(D, 0) == []
    assert all(p.requires_grad for p in D.parameters())


def test_the_optimiser_neither_holds_nor_wakes_frozen_weights() -> None:
    _, D = build_networks(config().network, 16)
    frozen = {n: D.get_parameter(n).detach().clone() for n in freeze_discriminator(D, 1)}
    optimizer = lazy_adam(D, 0.1, (0.0, 0.99), 16)
    train_only(optimizer, on=False)
    train_only(optimizer, on=True)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    D(images).sum().backward()
    optimizer.step()
    assert all(torch.equal(D.get_parameter(n), was) and D.get_parameter(n).grad is None for n, was in frozen.items())
    assert D.get_parameter("b8.conv0.weight").grad is not None


@pytest.mark.parametrize(
    ("network", "most"),
    [
        ({}, 2),
        ({"discriminator": "skip"}, 2),
        ({"discriminator": "orig"}, 2),
        ({"architecture": "stylegan1"}, 2),
    ],
)
def test_more_blocks_than_there_are_cannot_be_frozen(network: dict[str, str], most: int) -> None:
    _, D = build_networks(config(**network).network, 16)
    assert len(freeze_discriminator(D, most)) > 0
    assert D.b4.out.weight.requires_grad  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=f"freeze_D is 3, but this discriminator has {most} blocks"):
        freeze_discriminator(D, 3)
