from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.architectures import Growth, Networks, build_networks
from stylegan.architectures.layers import LinearHead, SlicingHead, build_head, fade_in
from stylegan.config import StyleGAN2Config
from stylegan.losses import gradient_at, r1_penalty

Snapshot = Callable[[str], dict[str, dict[str, Tensor]]]

# The reference's small networks in the fixtures: their config and resolution.
REFERENCES = {
    "nv_sg2_uncond_32": (StyleGAN2Config(z_dim=128, w_dim=128, channel_base=2048, channel_max=64), 32),
    "nv_sg2_cond_64": (
        StyleGAN2Config(z_dim=64, w_dim=96, mapping_layers=2, channel_base=1024, channel_max=32, num_labels=3),
        64,
    ),
    "nv_sg2_resnet_16": (
        StyleGAN2Config(
            z_dim=32,
            w_dim=32,
            mapping_layers=2,
            channel_base=256,
            channel_max=16,
            generator="resnet",
            discriminator="skip",
        ),
        16,
    ),
}


class Reference(NamedTuple):
    """A network of the reference in our modules, and what it makes of given latents."""

    networks: Networks
    io: dict[str, Tensor]
    labels: Tensor | None


def load(config: StyleGAN2Config, resolution: int, weights: dict[str, dict[str, Tensor]], io: Path) -> Reference:
    networks = build_networks(config.model_copy(update={"conv_clamp": 256.0}), resolution)
    networks.G.load_state_dict(weights["G_ema"])
    networks.D.load_state_dict(weights["D"])
    arrays = np.load(io)
    data = {k: torch.from_numpy(arrays[k]) for k in arrays.files}
    return Reference(networks, data, data["c"] if config.num_labels else None)


@pytest.fixture(scope="module", params=sorted(REFERENCES))
def reference(request: pytest.FixtureRequest, fixtures: Path, snapshot: Snapshot) -> Reference:
    name = request.param
    return load(*REFERENCES[name], snapshot(f"{name}.pkl"), fixtures / f"{name}_io.npz")


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b.to(a.dtype), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("psi", [1.0, 0.7, 0.0, -0.5])
def test_generator_equals_the_reference_at_every_psi(reference: Reference, psi: float) -> None:
    (G, _), io, labels = reference
    ws = G.mapping.truncate(G.mapping(io["z"], labels), psi)
    close(ws, io[f"ws_psi{psi}"])
    close(G.synthesis(ws), io[f"img_psi{psi}"])


@torch.no_grad()
def test_truncation_cutoff_equals_the_reference(reference: Reference) -> None:
    (G, _), io, labels = reference
    close(G.mapping.truncate(G.mapping(io["z"], labels), 0.5, 3), io["ws_psi0.5_cut3"])
    close(G(io["z"], labels, psi=0.5, cutoff=3), io["img_psi0.5_cut3"])


@torch.no_grad()
def test_generator_without_noise_equals_the_reference(reference: Reference) -> None:
    (G, _), io, labels = reference
    close(G(io["z"], labels, noise="none"), io["img_nonoise"])


@torch.no_grad()
def test_generator_with_mixed_styles_equals_the_reference(reference: Reference) -> None:
    (G, _), io, _ = reference
    close(G.synthesis(io["ws_mix4"]), io["img_mix4"])


@torch.no_grad()
def test_discriminator_equals_the_reference_on_fakes_and_reals(reference: Reference) -> None:
    (_, D), io, labels = reference
    close(D(io["img_psi1.0"], labels), io["D_on_fake"][:, 0])
    close(D(io["real"], labels), io["D_on_real"][:, 0])


@torch.no_grad()
def test_discriminator_equals_the_reference_on_half_a_group(reference: Reference) -> None:
    (_, D), io, labels = reference
    close(D(io["real"][:2], None if labels is None else labels[:2]), io["D_on_real_b2"][:, 0])


# This one reference was computed in half precision from 8 px up (num_fp16_res 4), so the difference is its rounding:
# a few of the last places of its largest features, 2 ** -9 each. Our own half precision is 0.010 from our float32.
def close_to_half(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=6 * 2**-9)
    assert (a - b).std() < 2**-9


@torch.no_grad()
def test_older_networks_equal_the_reference(fixtures: Path, snapshot: Snapshot) -> None:
    config = StyleGAN2Config(z_dim=64, w_dim=64, mapping_layers=2, channel_base=1024, channel_max=32)
    (G, D), io, _ = load(config, 32, snapshot("ada_sg2_uncond_32.pkl"), fixtures / "ada_sg2_uncond_32_io.npz")
    close(G.mapping.truncate(G.mapping(io["z"]), 1.0), io["ws"])
    close_to_half(G(io["z"]), io["img_psi1"])
    close_to_half(G(io["z"], psi=0.7), io["img_psi0.7"])
    close_to_half(G(io["z"], psi=-0.5), io["img_psi-0.5"])
    close_to_half(D(io["img_psi1"]), io["D_on_fake"][:, 0])


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_the_fixture_lists_every_weight_of_ours(name: str, fixtures: Path) -> None:
    listed = json.loads((fixtures / f"{name}_names.json").read_text())
    for ours, theirs in zip(build_networks(*REFERENCES[name]), (listed["G"], listed["D"]), strict=True):
        shapes = {k: list(v.shape) for k, v in ours.state_dict().items()}
        assert shapes == {k: v for k, v in theirs.items() if not k.endswith("resample_filter")}


@torch.no_grad()
def test_psi_zero_gives_the_same_picture_for_every_latent(reference: Reference) -> None:
    (G, _), io, labels = reference
    images = G(io["z"], labels, psi=0.0)
    assert torch.equal(images, images[:1].expand_as(images))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


F, E, AUTO = {}, {"channel_base": 16384}, {"mapping_layers": 2}


# The published networks' sizes: config-f, config-e, and ADA's auto.
@pytest.mark.parametrize(
    ("values", "resolution", "size_G", "size_D"),
    [
        (F, 1024, 30_370_060, 29_012_513),
        (F, 512, 30_276_583, 28_982_849),
        (F, 256, 30_034_338, 28_864_129),
        (F, 128, 29_328_669, 28_389_121),
        (E, 256, 24_767_458, 24_001_089),
        (E, 1024, 24_900_764, 24_038_161),
        (E | AUTO, 256, 23_191_522, 24_001_089),
        (AUTO, 512, 28_700_647, 28_982_849),
        (AUTO, 1024, 28_794_124, 29_012_513),
    ],
)
def test_parameter_counts_equal_the_published_networks(
    values: dict[str, int], resolution: int, size_G: int, size_D: int
) -> None:
    with torch.device("meta"):
        G, D = build_networks(StyleGAN2Config.model_validate(values), resolution)
    assert (count(G), count(D)) == (size_G, size_D)
    assert count(G.mapping) == 2_101_248 or values.get("mapping_layers") == 2


def tiny(**values: object) -> StyleGAN2Config:
    small = {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}
    return StyleGAN2Config.model_validate(small | values)


@torch.no_grad()
@pytest.mark.parametrize("joined", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("resolution", [4, 8, 32])
def test_every_kind_works_at_every_size(joined: str, resolution: int) -> None:
    G, D = build_networks(tiny(generator=joined, discriminator=joined), resolution)
    images = G(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)))
    assert images.shape == (4, 3, resolution, resolution)
    assert torch.isfinite(D(images)).all()


@torch.no_grad()
def test_the_whole_range_of_sizes_can_be_built() -> None:
    with torch.device("meta"):
        G, D = build_networks(tiny(channel_base=4096), 1024)
        assert G(torch.empty(1, 16)).shape == (1, 3, 1024, 1024)
        assert D(torch.empty(1, 3, 1024, 1024)).shape == (1,)
    assert G.num_ws == 18


@torch.no_grad()
@pytest.mark.parametrize("channels", [0, 1, 2, 8])
def test_the_spread_of_the_group_has_as_many_channels_as_asked_for(channels: int) -> None:
    D = build_networks(tiny(minibatch_channels=channels), 8).D
    assert D.get_submodule("b4.conv").weight.shape[1] == 16 + channels
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(D(images)[:1], D(images[:1])) == (channels == 0)


def test_channels_of_the_spread_that_do_not_divide_the_features_are_refused() -> None:
    with pytest.raises(ValueError, match="minibatch_channels is 3: it must divide the 16 channels at 4 px"):
        build_networks(tiny(minibatch_channels=3), 8)


# Progressive growing.


def growing(size: int, alpha: float, *, resolution: int = 32) -> Networks:
    networks = build_networks(tiny(generator="orig", discriminator="orig"), resolution)
    for network in networks:
        network.grow(Growth(size, alpha))
    return networks


def z(count: int = 4) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_grown_networks_work_at_the_present_size(size: int) -> None:
    G, D = growing(size, 0.5)
    images = G(z())
    assert images.shape == (4, 3, size, size)
    assert D(images).shape == (4,)
    assert G.noise_sizes == [s for s in (4, 8, 8, 16, 16, 32, 32) if s <= size]
    assert G.mapping.truncate(G.mapping(z()), 1.0).shape == (4, G.num_ws, 16) == (4, len(G.noise_sizes) + 1, 16)


@torch.no_grad()
def test_a_size_that_has_not_faded_in_shows_the_image_of_half_of_it_enlarged() -> None:
    small, large = growing(8, 1.0).G(z()), growing(16, 0.0).G(z())
    torch.testing.assert_close(large, small.repeat_interleave(2, 2).repeat_interleave(2, 3))


@torch.no_grad()
def test_a_size_fades_in_on_a_straight_line() -> None:
    start, middle, end = (growing(16, alpha).G(z()) for alpha in (0.0, 0.25, 1.0))
    torch.testing.assert_close(middle, 0.75 * start + 0.25 * end)


@torch.no_grad()
def test_discriminator_takes_a_size_that_has_not_faded_in_for_half_of_it() -> None:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    enlarged = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(growing(16, 0.0).D(enlarged), growing(8, 1.0).D(images))


@torch.no_grad()
def test_discriminator_fades_in_on_a_straight_line_between_the_features_of_both_sizes() -> None:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    small = growing(4, 1.0).D.features(torch.nn.functional.avg_pool2d(images, 2))
    large = growing(8, 1.0).D.features(images)
    torch.testing.assert_close(growing(8, 0.25).D.features(images), 0.75 * small + 0.25 * large)


def resting(network: torch.nn.Module) -> set[str]:
    return {part for name, p in network.named_parameters() if p.grad is None for part in name.split(".")[:1]}


def test_layers_of_later_sizes_rest() -> None:
    G, D = growing(8, 0.5)
    D(G(z())).sum().backward()
    assert resting(D) == {"b16", "b32"}
    assert {"b16", "b32"} <= resting(G.get_submodule("synthesis"))
    assert {"b8.torgb.weight", "b4.torgb.weight"} <= {
        name for name, p in G.get_submodule("synthesis").named_parameters() if p.grad is not None
    }


def test_a_size_beyond_the_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match="networks of 32 px cannot grow to 64 px"):
        growing(64, 1.0)


@pytest.mark.parametrize("joined", ["skip", "resnet"])
def test_networks_that_do_not_grow_refuse_another_size(joined: str) -> None:
    for network in build_networks(tiny(generator=joined, discriminator=joined), 16):
        network.grow(Growth(16, 1.0))
        with pytest.raises(ValueError, match="has one size, 16 px, and cannot work at 8 px: train it without growth"):
            network.grow(Growth(8, 1.0))


def test_images_of_another_size_than_the_grown_one_are_refused() -> None:
    with pytest.raises(ValueError, match="has grown to 8 px, it was given images of 16 px"):
        growing(8, 1.0).D(torch.zeros(4, 3, 16, 16))


def test_fading_mixes_enlarged_pixels_with_the_image() -> None:
    half, whole = torch.tensor([[[[1.0]]]]), torch.tensor([[[[2.0, 3.0], [4.0, 5.0]]]])
    torch.testing.assert_close(fade_in(half, whole, 0.25), torch.tensor([[[[1.25, 1.5], [1.75, 2.0]]]]))


# The last layer of a discriminator.


def features(count: int = 4, width: int = 6) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(2)).requires_grad_()


def codes(count: int = 4, width: int = 5) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(3)).requires_grad_()


def gradient(y: Tensor, x: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(y.sum(), x, allow_unused=True, retain_graph=True)
    return torch.zeros_like(x) if found is None else found


@pytest.mark.parametrize(("head", "kind"), [("linear", LinearHead), ("san", SlicingHead)])
def test_a_config_names_its_head(head: str, kind: type) -> None:
    assert isinstance(build_head(tiny(head=head), 6), kind)
    assert isinstance(build_networks(tiny(head=head), 8).D.get_submodule("b4.out"), kind)


def test_slicing_logits_are_the_features_along_a_unit_vector() -> None:
    head, h = SlicingHead(6), features()
    weight = head.weight.detach()[0]
    judgement = head.judge(h)
    torch.testing.assert_close(judgement.logits, h @ weight / weight.norm())
    assert judgement.direction is not None
    torch.testing.assert_close(judgement.direction, judgement.logits)


def test_slicing_logits_of_classes_are_the_features_along_the_label_s_unit_vector() -> None:
    head, h, c = SlicingHead(6, 5), features(), codes()
    along = c @ head.weight
    torch.testing.assert_close(head.judge(h, c).logits, (h * along).sum(dim=1) / along.norm(dim=1))


@pytest.mark.parametrize("labelled", [False, True])
def test_logits_teach_the_features_and_direction_the_direction(labelled: bool) -> None:
    h, c = features(), codes() if labelled else None
    head = SlicingHead(6, 5 if labelled else 0)
    logits, direction = head.judge(h, c)
    assert direction is not None
    assert gradient(logits, head.weight).abs().max() == 0
    assert gradient(direction, h).abs().max() == 0
    assert gradient(logits, h).abs().min() > 0
    assert gradient(direction, head.weight).abs().max() > 0
    if c is not None:
        assert gradient(logits, c).abs().max() == 0
        assert gradient(direction, c).abs().max() > 0


def test_direction_learns_nothing_of_its_length() -> None:
    head, h = SlicingHead(6), features()
    slope = gradient(head.judge(h).direction, head.weight)  # type: ignore[arg-type]
    assert (slope * head.weight).sum().abs() < 1e-6


def test_linear_logits_of_classes_are_a_projection() -> None:
    head, h, c = LinearHead(6, 5), features(), codes()
    torch.testing.assert_close(head.judge(h, c).logits, torch.einsum("nc,cf,nf->n", c, head.weight / 6**0.5, h))
    assert head.judge(h, c).direction is None


@pytest.mark.parametrize("num_labels", [0, 3])
def test_a_slicing_discriminator_can_be_differentiated_twice(num_labels: int) -> None:
    D = build_networks(tiny(head="san", num_labels=num_labels), 8).D
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(3)[[0, 1, 2, 0]] if num_labels else None
    r1_penalty(gradient_at(lambda x: D(x, labels), images)).sum().backward()
    grads = {name: p.grad for name, p in D.named_parameters()}
    assert all(torch.isfinite(g).all() for g in grads.values() if g is not None)
    assert grads["b4.fc.weight"] is not None
    assert grads["b4.out.weight"] is None  # the direction is a constant of the penalty


def test_missing_superfluous_and_misshapen_labels_are_refused() -> None:
    plain, classes = build_networks(tiny(), 8), build_networks(tiny(num_labels=3), 8)
    images, labels = torch.zeros(4, 3, 8, 8), torch.eye(3)[[0, 1, 2, 0]]
    for network, given in ((classes.G, z()), (classes.D, images)):
        with pytest.raises(ValueError, match="is told one of 3 classes with every image and was given none"):
            network(given)
        with pytest.raises(ValueError, match=r"labels are \[4, 2\], this network knows 3 classes"):
            network(given, labels[:, :2])
    for network, given in ((plain.G, z()), (plain.D, images)):
        with pytest.raises(ValueError, match="knows no classes but was given labels"):
            network(given, labels)
